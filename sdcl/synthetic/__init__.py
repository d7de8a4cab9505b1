"""Synthetic visible-infrared images of people, for tests, examples and pretraining without download or
licence.
"""
