"""Results: as JSON; and those of ``funcnet check`` as a table, and as a JUnit file for continuous integration."""

import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import jax

from ..report import STYLES
from .worker import LEFT_OUT, Checked

LONGEST = 60  # characters of a name in the table; a name may have thousands


class Result(NamedTuple):
    """One thing that was found in a target."""

    target: str
    checked: Checked


def document(
    targets: Sequence[str], kind: str, results: Sequence[Result], refused: Sequence[str], status: int, **asked: Any
) -> dict[str, Any]:
    """All of it as JSON can hold it, the reports under the name ``kind``, and what was ``asked`` for."""
    return {
        "targets": list(targets),
        "exit_status": status,
        "jax": jax.__version__,
        **asked,
        kind: [
            _plain({"target": target, **r.report.to_dict(), "seconds": r.seconds})
            for target, r in results
            if r.report is not None
        ],
        "unchecked": [
            {"target": target, "name": r.name, "reason": f"{r.verdict}: {r.reason}"}
            for target, r in results
            if r.report is None
        ],
        "refused": list(refused),
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


def junit(results: Sequence[Result], refused: Sequence[str], allow_unchecked: bool) -> bytes:
    """A suite for each target, and a case for each thing in it; a target that was refused is an error."""
    root = ElementTree.Element("testsuites", name="funcnet check")
    for target in dict.fromkeys(target for target, _ in results):
        own = [checked for where, checked in results if where == target]
        suite = ElementTree.SubElement(root, "testsuite", name=_clean(target))
        for checked in own:
            case = ElementTree.SubElement(
                suite, "testcase", classname=_clean(target), name=_clean(checked.name), time=f"{checked.seconds:.3f}"
            )
            if checked.report is None:
                kind = "skipped" if allow_unchecked else "error"
                ElementTree.SubElement(case, kind, message=_clean(f"{checked.verdict}: {checked.reason}"))
            elif not checked.report:
                failure = ElementTree.SubElement(case, "failure", message=_clean(checked.verdict))
                failure.text = _clean(str(checked.report))
        kinds = {"tests": "testcase", "failures": ".//failure", "errors": ".//error", "skipped": ".//skipped"}
        for attribute, path in kinds.items():
            suite.set(attribute, str(len(suite.findall(path))))
    for reason in refused:
        suite = ElementTree.SubElement(root, "testsuite", name="bad input", tests="1", errors="1")
        case = ElementTree.SubElement(suite, "testcase", classname="bad input", name=_clean(reason.split(" ")[0]))
        ElementTree.SubElement(case, "error", message=_clean(reason))
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _clean(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return "".join(c if c.isprintable() or c in "\n\t" else "·" for c in text)


def show(results: Sequence[Result]) -> None:
    """The table, then the reports that are not correct, then everything that was left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    reports = [r.report for _, r in results if r.report is not None]
    dtypes = list(dict.fromkeys(dtype for report in reports for dtype in report.ulps))
    several = len({target for target, _ in results}) > 1
    caption = "errors in units in the last place, against float64: eager/jit/vmap, or one figure where they agree"
    columns = (*["in"] * several, "name", "verdict", *dtypes, "seconds", "mistake")
    table = Table(*columns, box=None, caption=caption if dtypes else None)
    for column in table.columns[2 + several : -1]:
        column.justify = "right"
    for target, result in results:
        if result.verdict != LEFT_OUT:
            verdict = Text(result.verdict, STYLES.get(result.verdict, "dim"))
            figures = (*(_ulps(result, dtype) for dtype in dtypes), *_figures(result))
            table.add_row(*[_short(target)] * several, _short(result.name), verdict, *figures)
    console.print(table)
    for report in reports:
        if not report:
            console.print()
            console.print(report, soft_wrap=True)
    lines = [
        f"{r.verdict}: {target + ': ' if several else ''}{_short(r.name)}: {r.reason}"
        for target, r in results
        if r.report is None
    ]
    counts = Counter[str](report.verdict for report in reports)
    counted = [f"{counts[verdict]} {verdict}" for verdict in STYLES if counts[verdict]]
    counted += [f"{len(lines)} not checked"] * bool(lines)
    console.print("", *lines, ", ".join(counted), sep="\n", soft_wrap=True)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


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
