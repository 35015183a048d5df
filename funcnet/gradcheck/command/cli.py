"""The command ``funcnet check``: finds the hand-written backwards of a file or a module, and checks each."""

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...progress import step_progress
from ...types import Layer
from ..check import check
from ..engine.leaves import first_line
from ..report import STYLES, Report
from ..trial.subject import InputError
from .discovery import Found, TargetError, find, find_named, opened

DTYPES = {"float64": jnp.float64, "float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}
RECURSION = sys.getrecursionlimit()
CANNOT, LEFT_OUT = "cannot be checked", "left out"

DESCRIPTION = """\
Checks every hand-written backward in a file or a module against automatic differentiation of its forward:
Rules, jax.custom_vjp functions, pairs X_fwd and X_bwd, Layers (with --in-shape), and factories annotated
"-> Rule" that can be called without arguments. Inputs are drawn from the forward's jaxtyping annotations.
Exit status: 0 all correct; 1 any wrong, imprecise or inconclusive; 2 bad input."""


class Checked(NamedTuple):
    """The outcome for one thing that was found: its report, or the reason why there is none."""

    name: str
    verdict: str
    report: Report | None = None
    seconds: float = 0.0
    reason: str = ""


# ---------------------------------------------------------------- the command line


def add_check(subparsers: Any) -> None:
    """Adds ``check`` to the subcommands of ``funcnet``."""
    command = subparsers.add_parser(
        "check", help="check hand-written backwards", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=run)
    command.add_argument("target", metavar="TARGET", help="FILE.py, FILE.py:NAME, MODULE or MODULE:NAME")
    command.add_argument("--json", action="store_true", help="one JSON document on standard output, nothing else")
    command.add_argument(
        "--dtypes", type=_dtypes, metavar="A,B", help=f"of {', '.join(DTYPES)}; the derivation itself is always judged "
        "in float64, then the arithmetic in these (default: all)",
    )  # fmt: skip
    command.add_argument("--seed", type=_natural, default=0, metavar="N", help="of the inputs (default: 0)")
    command.add_argument(
        "--quick", action="store_true", help="one set of sizes; float64 and float32, unless --dtypes says more"
    )
    command.add_argument("--in-shape", type=_shape, metavar="8,8", help="the input of Layers, without the batch axis")


def _dtypes(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in DTYPES:
            raise argparse.ArgumentTypeError(f"dtypes are of {', '.join(DTYPES)}; got {name!r}")
    return list(dict.fromkeys(names))


def _natural(text: str, least: int = 0) -> int:
    if not (text.strip().isdecimal() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}; got {text!r}")
    return int(text)


def _shape(text: str) -> tuple[int, ...]:
    return tuple(_natural(part, 1) for part in text.split(","))


def run(arguments: argparse.Namespace) -> int:
    """Checks, prints the result, and returns the exit status; one line on standard error if the input is bad."""
    try:
        with redirect_stdout(sys.stderr):  # what the checked code prints does not mix with the result
            results = _check_all(arguments)
    except TargetError as error:
        print(f"funcnet check: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    status = int(any(result.report is not None and result.verdict != "correct" for result in results))
    if arguments.json:
        print(json.dumps(_document(arguments, results, status), indent=2))
    else:
        _show(results)
    return status


# ---------------------------------------------------------------- the checks


def _check_all(arguments: argparse.Namespace) -> list[Checked]:
    arguments.dtypes = arguments.dtypes or list(DTYPES)[: 2 if arguments.quick else None]
    shape, results = arguments.in_shape, []
    with opened(arguments.target) as (module, name):
        found = [find_named(module, name, shape)] if name else find(module, shape)
        if not found:
            kinds = "no Rule, custom_vjp function, pair X_fwd, X_bwd, Layer or factory -> Rule"
            raise TargetError(f"{arguments.target} has nothing of its own to check: {kinds}")
        with step_progress("check", sum(not item.left_out for item in found)) as report:
            for item in found:
                result = _check_one(item, arguments)
                if name and result.report is None:
                    raise TargetError(f"{name} {CANNOT}: {result.reason}")
                if result.verdict != LEFT_OUT:
                    report(f"{item.name}: {result.verdict}, {result.seconds:.1f} s")
                results.append(result)
    if all(result.report is None for result in results):
        reasons = "; ".join(f"{r.name} {r.verdict}: {r.reason}" for r in results)
        raise TargetError(f"nothing in {arguments.target} could be checked: {reasons}")
    return results


def _check_one(item: Found, arguments: argparse.Namespace) -> Checked:
    if item.left_out:
        return Checked(item.name, LEFT_OUT, reason=item.left_out)
    start = time.perf_counter()
    dtypes = [DTYPES[name] for name in arguments.dtypes if name != "float64"]
    shape: dict[str, Any] = {"in_shape": arguments.in_shape} if isinstance(item.target, Layer) else {}
    try:
        how = {"quick": arguments.quick, "seed": arguments.seed, "progress": False, **shape}
        report = check(item.target, dtypes=dtypes, name=item.name, **how)
    except InputError as error:
        return Checked(item.name, CANNOT, None, time.perf_counter() - start, first_line(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the other rules are still checked, and this one counts as inconclusive
        note = f"the checker itself failed: {type(error).__name__}: {first_line(error)}"
        report = Report(item.name, "inconclusive", (), {}, (), (note,))
    # a structure that holds itself: jaxlib does not give back the depth that it recursed to
    sys.setrecursionlimit(sys.getrecursionlimit() + RECURSION)
    return Checked(item.name, report.verdict, report, time.perf_counter() - start)


# ---------------------------------------------------------------- the result


def _document(arguments: argparse.Namespace, results: Iterable[Checked], status: int) -> dict[str, Any]:
    return {
        "target": arguments.target,
        "exit_status": status,
        "seed": arguments.seed,
        "dtypes": arguments.dtypes,
        "jax": jax.__version__,
        "rules": [_plain({**r.report.to_dict(), "seconds": r.seconds}) for r in results if r.report is not None],
        "left_out": [{"name": r.name, "reason": f"{r.verdict}: {r.reason}"} for r in results if r.report is None],
    }


def _plain(value: Any) -> Any:
    """``value`` as JSON can hold it: infinity and NaN become null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    return float(value) if math.isfinite(value) else None


def _show(results: Sequence[Checked]) -> None:
    """The table, then the reports that are not correct, then everything that was left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    dtypes = list(dict.fromkeys(dtype for r in results if r.report is not None for dtype in r.report.ulps))
    caption = "errors in units in the last place, against float64: eager/jit/vmap, or one figure where they agree"
    table = Table("name", "verdict", *dtypes, "seconds", "mistake", box=None, caption=caption if dtypes else None)
    for column in table.columns[2:-1]:
        column.justify = "right"
    for result in results:
        if result.verdict != LEFT_OUT:
            verdict = Text(result.verdict, STYLES.get(result.verdict, "dim"))
            table.add_row(result.name, verdict, *(_ulps(result, dtype) for dtype in dtypes), *_figures(result))
    console.print(table)
    for result in results:
        if result.report is not None and result.verdict != "correct":
            console.print()
            console.print(result.report, soft_wrap=True)
    lines = [f"{r.verdict}: {r.name}: {r.reason}" for r in results if r.report is None]
    counts = Counter(result.verdict for result in results if result.report is not None)
    lines.append(", ".join(f"{counts[verdict]} {verdict}" for verdict in STYLES if counts[verdict]))
    console.print("", *lines, sep="\n", soft_wrap=True)


def _ulps(result: Checked, dtype: str) -> str:
    """The largest errors of eager, jit and vmap in one dtype."""
    figures = [f"{ulps:.2g}" for ulps in ({} if result.report is None else result.report.ulps.get(dtype, {})).values()]
    return "/".join(figures) if len(set(figures)) > 1 else "".join(figures[:1])


def _figures(result: Checked) -> tuple[str, str]:
    """Seconds, and the first mistake with its line."""
    if result.report is None:
        return "", ""
    findings, mistake = result.report.findings, ""
    if findings:
        first = findings[0]
        line = f" {Path(first.file).name}:{first.line}" if first.file else ""
        mistake = first.mistake + line + (f" (+{len(findings) - 1})" if len(findings) > 1 else "")
    return f"{result.seconds:.1f}", mistake
