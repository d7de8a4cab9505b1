"""STARTING WEIGHTS: unlabelled crops (or, for one named objective, labelled synthetic people) -> a single-stem backbone."""
