"""Experiments: one script a claim. ``python -m experiments`` lists them."""
