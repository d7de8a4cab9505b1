"""HTML reports of run folders: curves, ranked galleries, embeddings, attention, comparison of runs.

Training reads nothing of it.
"""
