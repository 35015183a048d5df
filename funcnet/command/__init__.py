"""Subcommands of ``funcnet`` on a run: predict, sample, info, export. Heavy imports stand inside functions."""
