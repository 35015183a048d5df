"""What the build writes on a page of the manual: the map, the code, an example with numbers, and a verdict.

A page is named after its rule, ``derivations/softmax.md``. A rule that is not found correct ends the build.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import checked
import kept
import sources
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from funcnet.gradcheck.costs.suspicions import shown_bytes, shown_flops

LOG = logging.getLogger(__name__)
FOLDERS = ("derivations", "networks")
CHECKS = Path("_build/checks")
COSTS = {
    "matrix products": (lambda costs: sum(costs["product_flops"].values()), shown_flops),
    "other arithmetic": (lambda costs: costs["operations"], shown_flops),
    "computed a second time": (lambda costs: costs["twice_flops"] + costs["twice_operations"], shown_flops),
    "kept for the backward alone": (lambda costs: costs["residual_bytes"], shown_bytes),
    "temporary memory": (lambda costs: costs["temporary_bytes"], shown_bytes),
}


def check_all(app: Sphinx) -> None:
    """Before any page is read: every rule is checked, and those that are not green end the build."""
    docs = Path(app.srcdir)
    paths = (path for folder in FOLDERS for path in (docs / folder).glob("*.md"))
    places = (str(path.relative_to(docs).with_suffix("")) for path in paths)
    pages = {place: page for place in sorted(places) if (page := checked.read(docs, place))}
    answers = kept.answers(pages, checked.tried, checked.SOURCES, docs / CHECKS, LOG.info)
    bad = [answer["report"]["shown"] for answer in answers.values() if answer["report"]["verdict"] != "correct"]
    if bad:
        raise ExtensionError("\n".join(["rules that are not found correct:", *bad]))
    app.rule_answers = answers  # type: ignore[attr-defined]


class OfRule(SphinxDirective):
    """On the page of a rule."""

    @property
    def rule_name(self) -> str:
        return self.env.docname.rpartition("/")[2]

    @property
    def page(self) -> checked.Page:
        page = checked.read(Path(self.env.srcdir), self.env.docname)
        if page is None:
            raise self.error(f"{self.env.docname} has no rule-verdict")
        return page

    @property
    def answer(self) -> dict[str, Any]:
        self.env.note_dependency(str(kept.place(Path(self.env.srcdir) / CHECKS, self.env.docname)))
        return self.env.app.rule_answers[self.env.docname]


class RuleMap(OfRule):
    """The arguments and the result, with their shapes."""

    def run(self) -> list[nodes.Node]:
        rows = [[nodes.literal(text=name), text] for name, text in sources.types_of(self.page.target)]
        return [table(["array", "shape"], rows, ["rule-map"])]


class RuleCode(OfRule):
    """The source of the rule; or, with arguments, of the named parts of a module of ``funcnet.ops``."""

    optional_arguments = 20

    def run(self) -> list[nodes.Node]:
        module_name, *names = self.arguments or [sources.module_of(self.rule_name).__name__, self.rule_name]
        __import__(module_name)
        module = sys.modules[module_name]
        self.env.note_dependency(module.__file__)
        caption = nodes.paragraph("", "", nodes.literal(text=sources.relative(module)), classes=["code-from"])
        code, used = sources.code_of(module, *names)
        found: list[nodes.Node] = [caption, nodes.literal_block(text=code, language="python")]
        if used:
            found += [nodes.paragraph(text="and what it uses:", classes=["code-from"])]
            found += [nodes.literal_block(text=used, language="python")]
        return found


class RuleExample(OfRule):
    """The example whose arguments stand inside, with the numbers that the rule gives."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        lines = self.answer["example"]
        width = max(len(label) for label, _ in lines) + 2
        text = [f"{label:<{width}}{value}".replace("\n", "\n" + " " * width) for label, value in lines]
        return [nodes.literal_block(text="\n".join(text), language="text", classes=["example"])]


class RuleVerdict(OfRule):
    """The checker's box."""

    def run(self) -> list[nodes.Node]:
        report, audit = self.answer["report"], self.answer["audit"]
        condition = f", if {' and '.join(report['conditions'])}" if report["conditions"] else ""
        box = nodes.admonition(classes=["verdict"])
        box += nodes.title(text=f"{self.rule_name}: {report['verdict']}{condition}")
        worst = (f"{max(modes.values()):.2g} ulp in {dtype}" for dtype, modes in report["ulps"].items())
        facts = [
            ("beside", report["reference"]),
            (f"{len(report['probes'])} probes", "; ".join(report["probes"])),
            ("worst error", f"{', '.join(worst)}, of eager, jit and vmap"),
            ("planted mistakes", f"{report['adequacy']:.0%} of the mutants of this backward are caught"),
            *(("note", note) for note in report["notes"]),
        ]
        box += table([], [[name, text] for name, text in facts], ["facts"])
        if costs := [row for row in map(self.costs, COSTS) if row]:
            text = f"What forward and backward cost together, at {audit['inputs']} in {audit['dtype']}:"
            box += [nodes.paragraph(text=text), table(["", *audit["columns"]], costs, ["costs"])]
        return [box]

    def costs(self, label: str) -> list[str]:
        """One row of the table of costs; nothing if it is all zero."""
        values = list(map(COSTS[label][0], self.answer["audit"]["columns"].values()))
        show = COSTS[label][1]
        return [label, *("–" if value is None else show(value) for value in values)] if any(values) else []


def table(head: list[str], rows: list[list[Any]], classes: list[str]) -> nodes.table:
    """A table of texts or inline nodes."""

    def row(cells: list[Any]) -> nodes.row:
        inside = (cell if isinstance(cell, nodes.Node) else nodes.Text(cell) for cell in cells)
        return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", node)) for node in inside))

    group = nodes.tgroup(cols=len(rows[0]))
    for i in range(len(rows[0])):
        group += nodes.colspec(colwidth=max(6, max(len(str(cells[i])) for cells in [*rows, *([head] if head else [])])))
    if head:
        group += nodes.thead("", row(head))
    group += nodes.tbody("", *map(row, rows))
    return nodes.table("", group, classes=classes)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", check_all)
    for directive in (RuleMap, RuleCode, RuleExample, RuleVerdict):
        words = directive.__name__.removeprefix("Rule").lower()
        app.add_directive(f"rule-{words}", directive)
    return {"parallel_read_safe": False, "parallel_write_safe": False}
