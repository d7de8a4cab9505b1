# Short names for the commands of CONTRIBUTING.md. Run them in a virtual environment with: pip install -e '.[test,faiss,dev]'
.PHONY: help check format test long docs serve ci

help:    ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

check:   ## lint, format and types, without changing a file
	ruff check .
	ruff format --check .
	mypy

format:  ## apply the formatter and the fixes of the linter
	ruff check --fix .
	ruff format .

test:    ## the quick tests, README's test command
	python -m pytest -q

long:    ## the tests that take a minute or more
	python -m pytest -q -m long

docs:    ## build the documentation site into site/
	mkdocs build --strict

serve:   ## show the documentation site at http://127.0.0.1:8000
	mkdocs serve

ci:      ## everything, in a fresh virtual environment
	.ci/run
