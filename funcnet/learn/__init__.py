"""``funcnet learn``: exercises in deriving backwards, whose answers the checker judges and explains."""
