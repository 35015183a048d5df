"""The command ``funcnet audit``: what the hand-written backwards of files, folders and modules cost."""

import argparse
import functools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...files import write_whole
from ...types import Layer
from ..costs.audit import Audit, Costs, audit
from ..engine.leaves import first_line
from ..trial.subject import InputError
from .cli import add_common, asked_by, each_of, natural, refuse
from .discovery import Found
from .shown import Result, document
from .worker import CANNOT, DTYPES, Asked, Checked, inputs_of

BEGIN, END = "<!-- funcnet audit -->", "<!-- the end of funcnet audit -->"
DESCRIPTION = f"""\
Counts what every hand-written backward in files, folders or modules costs, beside autodiff of its forward and beside
jax.checkpoint of it: products, other arithmetic, what is computed twice, residuals, temporary memory and time; and says
what is suspicious. It does not say whether they are right: funcnet check does. Targets are those of funcnet check.
--markdown writes a line for each into a file, between the lines
  {BEGIN}
  {END}
Exit status: 0 all counted; 1 any that cannot be; 2 bad input."""


def add_audit(subparsers: Any) -> None:
    """Adds ``audit`` to the subcommands of ``funcnet``."""
    command = subparsers.add_parser(
        "audit", help="count what hand-written backwards cost", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=run)
    add_common(command, "audit")
    add = command.add_argument
    add("--sizes", type=_size, nargs="+", metavar="N=128", help="of the axes by name (default: some 100 elements each)")
    add("--dtype", choices=DTYPES, help="of all floating arguments (default: float32, or what --inputs gives)")
    add("--no-time", action="store_true", help="compile the programs, and do not run them")
    add("--markdown", metavar="FILE", help="write a line for each into this file too")


def _size(text: str) -> tuple[str, int]:
    name, _, size = text.partition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"a size is like N=128; got {text!r}")
    return name, natural(size, 1)


def run(arguments: argparse.Namespace) -> int:
    """Counts, prints the result, and returns the exit status; one line on standard error for each bad target."""
    how = {"sizes": dict(arguments.sizes or ()), "dtype": arguments.dtype, "time": not arguments.no_time}
    asked = asked_by(arguments, one=functools.partial(audit_one, how))
    try:
        around = _around(arguments.markdown)
        results, refused = each_of(arguments.targets, asked, arguments.memory, "audit")
        audits = _audits(results)
        if around and audits and not refused:
            write_whole(Path(arguments.markdown), around[0] + markdown(audits) + around[1])
    except KeyboardInterrupt:
        return 130
    except (OSError, NoPlaceError, UnicodeDecodeError) as error:
        return refuse("audit", f"--markdown {arguments.markdown}: {getattr(error, 'strerror', None) or error}")
    for reason in refused:
        refuse("audit", reason)
    cannot = any(checked.verdict == CANNOT for _, checked in results)
    status = 2 if refused or not results else int(cannot or not audits)
    if results and arguments.json:
        print(json.dumps(document(arguments.targets, "audits", results, refused, status), indent=2))
    elif results:
        left_out = "\n".join(f"{r.verdict}: {r.name}: {r.reason}" for _, r in results if r.report is None)
        print("\n\n".join([*map(str, audits), *[left_out] * bool(left_out)]))
    return status


def audit_one(how: Mapping[str, Any], item: Found, asked: Asked, given: Any = None) -> Checked:
    """Counts one thing; ``how``: the settings of ``audit`` beside those in ``asked``."""
    start = time.perf_counter()
    try:
        inputs = inputs_of(item, asked, given)
        settings = dict(how) | {"dtype": how["dtype"] and DTYPES[how["dtype"]]}
        if isinstance(item.target, Layer):
            settings["in_shape"] = asked.in_shape
        found = audit(item.target, *inputs, name=item.name, seed=asked.seed, **settings)
    except InputError as error:
        return Checked(item.name, CANNOT, None, time.perf_counter() - start, first_line(error))
    except BaseException as error:
        text = f"the audit itself failed: {type(error).__name__}: {first_line(error)}"
        return Checked(item.name, CANNOT, None, time.perf_counter() - start, text)
    return Checked(item.name, "counted", found, time.perf_counter() - start)


def _audits(results: Sequence[Result]) -> list[Audit]:
    return [checked.report for _, checked in results if checked.report is not None]


# ---------------------------------------------------------------- a table in a file


class NoPlaceError(ValueError):
    """The file for the table has no place for it."""


def _around(file: str | None) -> tuple[str, str] | None:
    """The text before and after the table in its file, if there is to be one."""
    if file is None:
        return None
    before, begin, rest = Path(file).read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise NoPlaceError(f"there is no line {BEGIN} with a line {END} after it")
    return before + begin, end + after


def markdown(audits: Sequence[Audit]) -> str:
    """A line for each audit: the figures by hand, by autodiff and by its checkpoint; times over that of autodiff."""
    rows = [
        "| | sizes | products, MFLOP | other, kFLOP | residuals, KiB | temporary, KiB | time | suspicious |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for found in audits:
        columns = list(found.columns.values())
        cells = [
            found.name,
            found.inputs,
            _cell([sum(costs.product_flops.values()) / 1e6 for costs in columns]),
            _cell([costs.operations / 1e3 for costs in columns]),
            _cell([costs.residual_bytes / 1024 for costs in columns]),
            _cell([(costs.temporary_bytes or 0) / 1024 for costs in columns]),
            _cell([_ratio(costs, columns[1:2]) for costs in columns]),
            ", ".join(dict.fromkeys(s.id for s in found.suspicions)),
        ]
        rows.append("| " + " | ".join(cell.replace("*", r"\*").replace("|", r"\|") for cell in cells) + " |")
    return "\n" + "\n".join(rows) + "\n"


def _cell(values: Sequence[float | str]) -> str:
    """``1 / 2 / 3``, or one figure if all are the same."""
    shown = [v if isinstance(v, str) else f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in values]
    return " / ".join(shown) if len(set(shown)) > 1 else "".join(shown[:1])


def _ratio(costs: Costs, autodiff: Sequence[Costs]) -> str:
    """The time over that of autodiff; if the middle halves of their runs overlap, they are as good as equal."""
    if not (autodiff and costs.seconds and autodiff[0].seconds):
        return ""
    median, low, high = costs.seconds
    other, other_low, other_high = autodiff[0].seconds
    return "1" if low <= other_high and other_low <= high else f"{median / other:.2g}"
