"""The command ``funcnet``, also ``python -m funcnet``: its subcommands, each an entry in ``COMMANDS``."""

import argparse
import sys
from collections.abc import Sequence

from .command import export, info, predict, sample
from .gradcheck.command import cli
from .streams import Parsing, writable_streams

# Each adds a parser to the subparsers, whose default ``run`` takes the arguments and returns the exit status.
COMMANDS = (cli.add_check, predict.add_predict, sample.add_sample, info.add_info, export.add_export)


class Parser(Parsing, argparse.ArgumentParser):
    """Of ``funcnet`` and of its subcommands."""


def command_line() -> Parser:
    """The parser of all subcommands."""
    parser = Parser(prog="funcnet", description="Neural networks as pure functions, every backward derived by hand.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit status."""
    with writable_streams("funcnet"):
        arguments = command_line().parse_args(argv)
        return arguments.run(arguments)
    return 2


if __name__ == "__main__":
    sys.exit(main())
