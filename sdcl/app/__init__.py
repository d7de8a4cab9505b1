"""`sdcl app`: a page on this machine that searches galleries and walks through a run.

folders.py      which paths may be read at all
workspace.py    galleries, queries, threshold costs, attention: what the search page asks for
run_walk.py     epochs, clusters, links and neighbours of a run folder
server.py       HTTP: addresses, limits, headers
serving.py      binds 127.0.0.1 until Ctrl-C
templates/, static/     the page; nothing of it comes from elsewhere

It computes nothing of its own: embeddings, search, costs and attention are those of `inference/` and
`reporting/`.
"""
