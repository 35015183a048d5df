"""The directive ``api``: the public names of a module, each with its signature and its docstring.

Docstrings are plain prose with code between double backticks, indented code and lists; they are no reStructuredText, in
which ``*B`` or ``|x|`` would be markup.
"""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from funcnet.types import Rule


def prose(doc: str) -> list[nodes.Node]:
    """Paragraphs, lists and literal blocks."""
    found: list[nodes.Node] = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(doc)):
        lines = block.splitlines()
        if lines[0].startswith(" "):
            found.append(nodes.literal_block(text=textwrap.dedent(block), language="text"))
        elif lines[0].startswith("- "):
            items = re.split(r"^- ", block, flags=re.MULTILINE)[1:]
            found.append(nodes.bullet_list("", *(nodes.list_item("", paragraph(item)) for item in items)))
        elif block != "::":
            found.append(paragraph(block.removesuffix("::")))
    return found


def paragraph(text: str) -> nodes.paragraph:
    """Text in which double backticks are code."""
    parts = re.split(r"``(.+?)``", " ".join(text.split()))
    inline = (nodes.literal(text=part) if i % 2 else nodes.Text(part) for i, part in enumerate(parts) if part)
    return nodes.paragraph("", "", *inline)


def signature(value: Any) -> str:
    try:
        shown = str(inspect.signature(value))
    except (TypeError, ValueError):
        return ""
    return re.sub(
        r" at 0x[0-9a-f]+|jaxlib\._jax\.|jaxtyping\.|collections\.abc\.|typing\.|funcnet\.[a-z_.]*", "", shown
    )


class Api(SphinxDirective):
    """A definition for each name in ``__all__``, or defined in the module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        self.env.note_dependency(str(module.__file__))
        own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__ and n[0] != "_"]
        names = getattr(module, "__all__", own)
        found = prose(module.__doc__ or "")
        for name in names:
            if not inspect.ismodule(value := getattr(module, name)):
                found.append(self.entry(name, value))
        return found

    def entry(self, name: str, value: Any) -> nodes.definition_list:
        rule = isinstance(value, Rule)
        called = callable(value) and not rule
        head = nodes.term("", "", nodes.literal(text=name + (signature(value) if called else "")), classes=["api"])
        doc = (value.__doc__ if rule or called else None) or f"{value!r:.200}"
        return nodes.definition_list("", nodes.definition_list_item("", head, nodes.definition("", *prose(doc))))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("api", Api)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
