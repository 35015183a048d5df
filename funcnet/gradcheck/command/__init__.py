"""The command ``funcnet check``."""
