"""Experiments: one script a claim. ``python -m experiments`` lists them."""

import funcnet_interrupts  # noqa: F401  (before any experiment imports what takes time)
