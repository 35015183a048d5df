"""Shared by the subcommands on a run: how a run is found, and how one ends on bad input."""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..streams import one_line, plain

if TYPE_CHECKING:
    from ..models import Model

LARGEST = 1 << 26  # bytes of a run's own files
RUN = "a run's directory, or that of its experiment (then the newest): runs/digits/001, runs/digits"


class CommandError(ValueError):
    """What was asked for cannot be done; the message is one line for the user."""


def guarded(function: Callable[[argparse.Namespace], int | None]) -> Callable[[argparse.Namespace], int]:
    """``function`` as a subcommand's ``run``: bad input is one line on standard error and exit status 2.

    Else the exit status is what it returns; None stands for 0.
    """
    name = f"funcnet {function.__name__}"

    @functools.wraps(function)
    def run(arguments: argparse.Namespace) -> int:
        from ..checkpoint import CheckpointError
        from ..data import DataError
        from ..models import ModelError
        from ..types import ShapeError

        try:
            status = function(arguments)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it ends
            return 141
        except (CommandError, CheckpointError, DataError, ModelError, ShapeError, ImportError) as error:
            said = str(error)
        except OSError as error:
            said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        except MemoryError:
            said = "out of memory"
        except KeyboardInterrupt:
            return 130
        else:
            return status or 0
        print(f"{name}: {one_line(said)}", file=sys.stderr)
        return 2

    return run


def add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("where", metavar="RUN", help=RUN)
    command.add_argument("--network", metavar="FILE.py:NAME", help="the network, if it is one of your own")


def find_run(where: str, *files: str) -> Path:
    """The directory at ``where`` that holds one of ``files``, or the newest run in it. Raises CommandError."""
    path = Path(where)
    if not path.is_dir():
        raise CommandError(f"{where} is no directory; expected {RUN}")
    numbered = sorted((p for p in path.iterdir() if p.name.isdigit()), key=lambda p: int(p.name), reverse=True)
    for found in (path, path / "latest", *numbered[:1]):
        if any((found / file).exists() for file in files):
            return found
    if len(files) > 1:
        raise CommandError(f"{where} holds no run: neither {' nor '.join(files)}")
    latest = next((f"{p}, its newest run," for p in numbered[:1]), where)
    raise CommandError(
        f"{latest} holds no {files[0]}; experiments that save their model write it at the end: digits, mnist_cnn, "
        "char_gpt, tabular"
    )


def load(arguments: argparse.Namespace) -> Model:
    """The model of the run that is asked for. Raises CommandError, ModelError and CheckpointError."""
    from ..models import load_model

    return load_model(find_run(arguments.where, "model.json"), arguments.network)


def read_json(path: Path) -> Mapping[str, Any]:
    """An object from a run's file, or nothing if there is no such file. Raises CommandError for anything else."""
    if not path.exists():
        return {}
    with open(path, "rb") as file:
        content = file.read(LARGEST + 1)
    try:
        if len(content) > LARGEST:
            raise ValueError
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CommandError(f"{path} holds no JSON object of at most {LARGEST} bytes")
    return value


def number(least: float, kind: type = int, most: float = math.inf) -> Callable[[str], Any]:
    """A type for argparse: numbers from ``least`` to ``most``, finite."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most or not math.isfinite(value):
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(
                f"expected {what} of at least {least}{f' and at most {most}' * (most < math.inf)}; got {text!r:.40}"
            )
        return value

    return parse


def show(*columns: str, rows: list[tuple[Any, ...]]) -> None:
    """Prints a table; numbers stand at the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False)
    for place in range(len(columns)):
        if rows and not isinstance(rows[0][place], str):
            table.columns[place].justify = "right"
    for row in rows:
        table.add_row(*(Text(plain(f"{cell:.4g}" if isinstance(cell, float) else str(cell))) for cell in row))
    Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False).print(table)
