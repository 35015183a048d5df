"""Slips: the wrong local derivatives that people write."""
