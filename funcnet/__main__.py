"""The command ``funcnet``, also ``python -m funcnet``: its subcommands, each an entry in ``COMMANDS``."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from .command import export, info, predict, sample
from .gradcheck.command import cli
from .streams import writable_streams

# Each adds a parser to the subparsers, whose default ``run`` takes the arguments and returns the exit status.
COMMANDS = (cli.add_check, predict.add_predict, sample.add_sample, info.add_info, export.add_export)


class Parser(argparse.ArgumentParser):
    """Bad input is one line on standard error, and exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit status."""
    parser = Parser(prog="funcnet", description="Neural networks as pure functions, every backward derived by hand.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(subparsers)
    with writable_streams("funcnet"):
        arguments = parser.parse_args(argv)
        return arguments.run(arguments)
    return 2


if __name__ == "__main__":
    sys.exit(main())
