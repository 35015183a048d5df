"""The command ``funcnet check``: every hand-written backward of files, folders and modules, checked."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...files import write_whole
from ...progress import step_progress
from ...streams import one_line
from .discovery import TargetError
from .processes import isolated
from .shown import Result, document, junit, show
from .worker import DTYPES, LEFT_OUT, NOTHING, Asked, Checked, Listed, Refused

MOST = 1000  # Python files of a folder

SKIPPED = ("__pycache__", "node_modules", "site-packages")  # of a folder, beside hidden ones

DESCRIPTION = """\
Checks every hand-written backward in files, folders or modules against automatic differentiation of its forward:
Rules, jax.custom_vjp functions, pairs X_fwd and X_bwd, Layers (with --in-shape), factories annotated "-> Rule" that
can be called without arguments; and in NumPy pairs X_forward and X_backward, classes with a forward and a backward,
losses that return (loss, gradient). Inputs are drawn from the forward's jaxtyping annotations, or from --shapes; or
they are what a function returns that --inputs names, or X_example() in the file. Each target has its own process.
Exit status: 0 all correct; 1 any wrong, imprecise or inconclusive, or found and not checked; 2 bad input."""


def add_check(subparsers: Any) -> None:
    """Adds ``check`` to the subcommands of ``funcnet``."""
    command = subparsers.add_parser(
        "check", help="check hand-written backwards", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=run)
    add_common(command, "check")
    add = command.add_argument
    add("--dtypes", type=_dtypes, metavar="A,B", help=f"of {', '.join(DTYPES)}; the derivation itself is always judged "
        "in float64, then the arithmetic in these (default: all)")  # fmt: skip
    add("--quick", action="store_true", help="one set of sizes; float64 and float32, unless --dtypes says more")
    add("--allow-unchecked", action="store_true", help="what was found and could not be checked does not fail the run")
    add("--junit", metavar="FILE", help="a JUnit file too, for continuous integration")


def add_common(command: argparse.ArgumentParser, verb: str) -> None:
    """The flags that say what there is and what it is tried on; ``verb``: what is done with it."""
    add = command.add_argument
    add("targets", metavar="TARGET", nargs="+", help="FILE.py, FILE.py:NAME, FOLDER, MODULE or MODULE:NAME")
    add("--shapes", nargs="+", metavar="SHAPE", help='of the arguments that are not annotated, in order: "N D" "D M" M')
    add("--inputs", metavar="FILE.py:NAME", help="a function that returns the arguments, by name or in order")
    add("--in-shape", type=_shape, metavar="8,8", help="the input of Layers, without the batch axis")
    add("--seed", type=natural, default=0, metavar="N", help="of the inputs (default: 0)")
    add("--timeout", type=_positive, default=120.0, metavar="S", help=f"seconds for each {verb}, and for the import of "
        "a target (default: 120)")  # fmt: skip
    add("--memory", type=_positive, default=_half_of_memory(), metavar="GIB", help="of a target's process (default: "
        "half of the machine's)")  # fmt: skip
    add("--json", action="store_true", help="one JSON document on standard output, nothing else")


def _dtypes(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in DTYPES:
            raise argparse.ArgumentTypeError(f"dtypes are of {', '.join(DTYPES)}; got {name!r}")
    return list(dict.fromkeys(names))


def natural(text: str, least: int = 0) -> int:
    """A whole number on the command line."""
    if not (text.strip().isdecimal() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}; got {text!r}")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"expected a number above 0; got {text!r}")
    return number


def _shape(text: str) -> tuple[int, ...]:
    return tuple(natural(part, 1) for part in text.split(","))


def _half_of_memory() -> float:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**31
    except (AttributeError, ValueError, OSError):
        return 16.0


def run(arguments: argparse.Namespace) -> int:
    """Checks, prints the result, and returns the exit status; one line on standard error for each bad target."""
    dtypes = arguments.dtypes or list(DTYPES)[: 2 if arguments.quick else None]
    asked = asked_by(arguments, dtypes=tuple(dtypes), quick=arguments.quick)
    if (junit_file := arguments.junit) is not None and not _may_be_a_file(junit_file):
        return refuse("check", f"--junit {junit_file}: no file can be written there")
    try:
        results, refused = each_of(arguments.targets, asked, arguments.memory, "check")
    except KeyboardInterrupt:
        return 130
    for reason in refused:
        refuse("check", reason)
    status = _status(results, refused, arguments.allow_unchecked)
    if junit_file is not None:
        try:
            write_whole(Path(junit_file), junit(results, refused, arguments.allow_unchecked))
        except OSError as error:
            status = refuse("check", f"--junit {junit_file}: {error.strerror}")
    if results and arguments.json:
        how = {"seed": asked.seed, "dtypes": list(asked.dtypes)}
        print(json.dumps(document(arguments.targets, "rules", results, refused, status, **how), indent=2))
    elif results:
        show(results)
    return status


def asked_by(arguments: argparse.Namespace, **more: Any) -> Asked:
    """What the common flags ask for, and ``more``."""
    shapes = None if arguments.shapes is None else tuple(arguments.shapes)
    own = {name: getattr(arguments, name) for name in ("seed", "in_shape", "inputs", "timeout")}
    return Asked(shapes=shapes, **own, **more)


def refuse(verb: str, reason: str) -> int:
    """One line on standard error; returns the exit status for bad input."""
    print(f"funcnet {verb}: {one_line(reason)}", file=sys.stderr)
    return 2


def _may_be_a_file(text: str) -> bool:
    """Whether a regular file is there, or may be made there."""
    try:
        path = Path(text)
        return path.is_file() or (bool(path.name) and not path.exists() and path.parent.is_dir())
    except (OSError, ValueError):
        return False


def _status(results: Sequence[Result], refused: Sequence[str], allow_unchecked: bool) -> int:
    reports = [checked.report for _, checked in results]
    if refused or not reports:
        return 2
    if not any(reports) or not all(report for report in reports if report is not None):
        return 1
    return int(None in reports and not allow_unchecked)


def each_of(targets: Sequence[str], asked: Asked, memory: float, verb: str) -> tuple[list[Result], list[str]]:
    """The results of all targets, each in a process of ``memory`` GiB, and the reasons why some were refused."""
    results: list[Result] = []
    refused: list[str] = []
    spread: dict[str, str] = {}  # each target once, with the folder that it was found in, or ""
    for target in targets:
        try:
            spread |= dict.fromkeys(_python_files(target), target) or {target: ""}
        except TargetError as error:
            refused.append(str(error))
    for target, folder in spread.items():
        checked, why = _done(target, asked, memory, verb)
        results += (Result(target, item) for item in checked)
        refused += (event.reason for event in why if not (folder and event.is_empty))
    if not results and not refused:
        refused = [f"{' '.join(targets)} {NOTHING}"]
    return results, refused


def _python_files(target: str) -> list[str]:
    """The Python files below a folder; none if it is no folder, or a package that can be imported.

    Raises TargetError for a folder that nobody can mean, such as the root.
    """
    try:
        is_module = os.sep not in target and Path(target, "__init__.py").exists()
        if is_module or not Path(target).is_dir():
            return []
    except (OSError, ValueError):  # no path could have such a name
        return []
    found: list[str] = []
    for number, (place, folders, names) in enumerate(os.walk(target)):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED)
        found += (os.path.join(place, name) for name in names if name.endswith(".py") and not name.startswith("."))
        if len(found) > MOST or number > 10 * MOST:
            raise TargetError(f"{target} holds too much, more than {MOST:,} Python files or {10 * MOST:,} folders")
    return sorted(found)


def _done(target: str, asked: Asked, memory: float, verb: str) -> tuple[list[Checked], list[Refused]]:
    """What was found in one target, and why it was refused, if it was."""
    results: list[Checked] = []
    refused: list[Refused] = []
    with contextlib.ExitStack() as stack:
        report: Callable[[str], None] = lambda text: None  # noqa: E731
        for event in isolated(target, asked, memory):
            if isinstance(event, Listed):
                report = stack.enter_context(step_progress(verb, len(event.names)))
            elif isinstance(event, Refused):
                refused.append(event)
            else:
                results.append(event)
                if event.verdict != LEFT_OUT:
                    report(f"{event.name}: {event.verdict}, {event.seconds:.1f} s")
    return results, refused
