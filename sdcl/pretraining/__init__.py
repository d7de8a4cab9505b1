"""Pretraining of single-stem ViTs on unlabelled person crops or on rendered identities."""
