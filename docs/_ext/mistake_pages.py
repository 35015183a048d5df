"""The directive ``mistakes``: a section for each mistake that the checker names, with a planted example that is run.

Each line of the content is ``id | what it comes from | the name of a planted mistake``, or "none" where none can be
planted. The sentence and the remedy are those of the table. A mistake without a line, or an example that is named
otherwise, ends the build.
"""

from __future__ import annotations

import inspect
import os
import textwrap
from pathlib import Path
from typing import Any

import kept
import planted_here
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from experiments import mistakes
from funcnet import gradcheck

LOG = logging.getLogger(__name__)
TABLES = kept.ROOT / "tests" / "gradcheck"
SOURCES = [
    kept.ROOT / "funcnet" / "gradcheck",
    kept.ROOT / "experiments" / "mistakes",
    *sorted(TABLES.glob("planted*.py")),
    *sorted(TABLES.glob("forwards*.py")),
    Path(planted_here.__file__),
    Path(__file__),
]


def judged(name: str) -> dict[str, Any]:
    """What the checker says of a planted mistake, and the code that is wrong."""
    from tests.gradcheck.planted import PLANTED

    os.chdir(kept.ROOT)  # reports name files from there
    if here := getattr(planted_here, name, None):
        code = textwrap.dedent("".join(inspect.getsourcelines(here)[0][1:]).rpartition("    return ")[0])
        target, *inputs = here()
    else:
        gallery = {entry.name: (entry.wrong, entry.inputs) for entry in mistakes.GALLERY}
        target, inputs = gallery.get(name) or next((p.rule, ()) for p in PLANTED if p.name == name)
        code = "\n\n".join(map(undecorated, target))
    report = gradcheck.check(target, *inputs, name=name, progress=False)
    return {"code": code.strip("\n"), "mistakes": list(report.mistakes), "shown": str(report)}


def undecorated(function: Any) -> str:
    source = textwrap.dedent(inspect.getsource(function))
    return source[source.index("def ") :]


class Mistakes(SphinxDirective):
    """All sections, in the order of the table."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        rows = {}
        for line in self.content:
            if line.strip():
                mistake, cause, planted = (part.strip() for part in line.split("|"))
                rows[mistake] = cause, planted
        if rows.keys() != gradcheck.MISTAKES.keys():
            raise self.error(f"not one line for each mistake: {sorted(rows.keys() ^ gradcheck.MISTAKES.keys())}")
        names = {planted: planted for _, planted in rows.values() if planted != "none"}
        folder = Path(self.env.srcdir) / "_build" / "checks"
        answers = kept.answers(names, judged, SOURCES, folder, LOG.info)
        return [self.section(mistake, *rows[mistake.id], answers) for mistake in gradcheck.MISTAKES.values()]

    def section(self, mistake: Any, cause: str, planted: str, answers: dict[str, dict[str, Any]]) -> nodes.section:
        section = nodes.section(ids=[mistake.id], names=[mistake.id])
        section += nodes.title("", "", nodes.literal(text=mistake.id))
        section += nodes.paragraph("", f"The gradient {mistake.sentence}.")
        section += nodes.paragraph("", "", nodes.strong(text="Where it comes from: "), *self.parse_inline(cause)[0])
        section += nodes.paragraph("", "", nodes.strong(text="To fix it: "), nodes.Text(f"{mistake.remedy}."))
        if planted != "none":
            answer = answers[planted]
            if answer["mistakes"][:1] != [mistake.id]:
                raise ExtensionError(f"{planted} is no {mistake.id}:\n{answer['shown']}")
            section += nodes.literal_block(text=answer["code"], language="python")
            section += nodes.literal_block(text=answer["shown"], language="text")
        return section


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("mistakes", Mistakes)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
