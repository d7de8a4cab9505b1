"""Kept for `python setup.py develop` and tools that look for it; everything is in pyproject.toml."""

from setuptools import setup

setup()
