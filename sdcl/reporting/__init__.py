"""WHAT A RUN LEFT, TO LOOK AT: curves, ranked grids, embeddings, attention, pages. Nothing here is read by training."""
