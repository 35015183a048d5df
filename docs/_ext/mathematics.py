"""Formulas set when the site is built, by the KaTeX beside this folder: a page needs no script, and no network.

A formula that KaTeX cannot read ends the build. The PDF does not come here: LaTeX sets its formulas.
"""

import json
from pathlib import Path

from docutils.nodes import SkipNode
from py_mini_racer import JSEvalException, MiniRacer
from sphinx.errors import ExtensionError

KATEX = Path(__file__).parent.parent / "_vendor" / "katex" / "katex.min.js"


class Typesetter:
    """KaTeX in an engine of its own, which starts with the first formula."""

    def __init__(self) -> None:
        self.engine: MiniRacer | None = None

    def html(self, formula: str, where: str, display: bool) -> str:
        if self.engine is None:
            self.engine = MiniRacer()
            self.engine.eval(KATEX.read_text("utf-8"))
        options = json.dumps({"displayMode": display, "throwOnError": True, "strict": "error"})
        try:
            return str(self.engine.eval(f"katex.renderToString({json.dumps(formula)}, {options})"))
        except JSEvalException as error:
            reason = next(line for line in str(error).splitlines() if "Error" in line)
            raise ExtensionError(f"{where}: {reason}: {formula}") from None


TYPESETTER = Typesetter()


def inline(translator, node):
    translator.body.append(TYPESETTER.html(node.astext(), f"{node.source}:{node.line}", display=False))
    raise SkipNode


def block(translator, node):
    html = TYPESETTER.html(node.astext(), f"{node.source}:{node.line}", display=True)
    translator.body.append(f'<div class="math-block">{html}</div>')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("katex", inline_renderers=(inline, None), block_renderers=(block, None))
    app.config.html_math_renderer = "katex"
    return {"parallel_read_safe": True, "parallel_write_safe": False}
