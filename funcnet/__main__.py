"""``python -m funcnet``: the same as the command ``funcnet``."""

import sys

from .gradcheck.command.cli import main

if __name__ == "__main__":
    sys.exit(main())
