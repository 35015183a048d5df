"""The command ``funcnet``, also ``python -m funcnet``: its subcommands, each an entry in ``COMMANDS``."""

import argparse
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from .command import export, grade, info, learn, predict, sample
from .gradcheck.command import audit, cli
from .streams import Parsing, writable_streams

# Each adds a parser to the subparsers, whose default ``run`` takes the arguments and returns the exit status.
COMMANDS = (
    cli.add_check, audit.add_audit, learn.add_learn, grade.add_grade, predict.add_predict, sample.add_sample,
    info.add_info, export.add_export,
)  # fmt: skip


class Parser(Parsing, argparse.ArgumentParser):
    """Of ``funcnet`` and of its subcommands."""


class Version(argparse.Action):
    """Prints the versions that a report of a fault needs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        versions = [f"{name} {metadata.version(name)}" for name in ("funcnet", "jax", "jaxlib", "numpy")]
        print(", ".join([*versions, f"Python {platform.python_version()}"]))
        parser.exit()


def command_line() -> Parser:
    """The parser of all subcommands."""
    parser = Parser(prog="funcnet", description="Neural networks as pure functions, every backward derived by hand.")
    parser.add_argument("--version", action=Version, nargs=0, help="print the versions of funcnet, jax and numpy")
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
