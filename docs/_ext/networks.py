"""The directive ``network``: a graph of maps, with what flows forward on each edge and the cotangent that flows back.

Each line of the content is a node or an edge, in the order of the picture:

    softmax: 0 -2 | softmax | dtable          a box at column 0, two rows down; after the second bar the parameters'
                                              cotangents, in red
    x -> softmax: z (N, K) | dz               an edge: what flows forward, and back
    x -> plus by 1.4: x | dx                  an edge that bends through column 1.4

Labels are as matplotlib sets them, so ``$\\bar x$`` is mathematics.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from docutils import nodes
from matplotlib.patches import FancyBboxPatch
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from experiments.pictures.style import BOX, FORWARD, GRADIENT, RIM

WIDTH, HEIGHT = 1.5, 0.5  # of a box, in columns and rows
APART = 0.05  # half the distance between the two arrows of an edge
INCHES = 1.35, 0.95  # of a column and a row


class Node(NamedTuple):
    x: float
    y: float
    text: str
    params: str


class Edge(NamedTuple):
    start: str
    end: str
    bend: float | None
    forward: str
    backward: str


def read(lines: list[str]) -> tuple[dict[str, Node], list[Edge]]:
    """Raises ValueError for a line that is neither a node nor an edge, and for an edge without its nodes."""
    boxes: dict[str, Node] = {}
    edges: list[Edge] = []
    for line in lines:
        head, _, labels = line.partition(":")
        labels = labels.replace("\\n", "\n")  # two lines in a box
        first, second = [label.strip() for label in f"{labels}||".split("|")[:2]]
        if edge := re.fullmatch(r"\s*(\S+) -> (\S+)(?: by (\S+))?\s*", head):
            start, end, bend = edge.groups()
            edges.append(Edge(start, end, float(bend) if bend else None, first, second))
        elif place := re.fullmatch(r"\s*(\S+) (\S+)\s*", first):
            text, params = [label.strip() for label in f"{labels}||".split("|")[1:3]]
            boxes[head.strip()] = Node(float(place[1]), float(place[2]), text, params)
        else:
            raise ValueError(f"neither a node nor an edge: {line}")
    for name in (name for edge in edges for name in (edge.start, edge.end)):
        if name not in boxes:
            raise ValueError(f"an edge leads to {name}, which is no node")
    return boxes, edges


def draw(lines: list[str], path: Path) -> None:
    """Writes the picture as SVG and PDF."""
    boxes, edges = read(lines)
    bends = [edge.bend for edge in edges if edge.bend is not None]
    left, right = min([b.x for b in boxes.values()] + bends) - 1.3, max([b.x for b in boxes.values()] + bends) + 1.3
    bottom, top = min(b.y for b in boxes.values()) - 0.4, max(b.y for b in boxes.values()) + 0.4
    figure = plt.figure(figsize=(INCHES[0] * (right - left), INCHES[1] * (top - bottom)))
    axes: Any = figure.add_axes((0, 0, 1, 1))
    for edge in edges:
        _edge(axes, edge, boxes[edge.start], boxes[edge.end])
    for box in boxes.values():
        _box(axes, box)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.axis("off")
    for suffix, undated in ((".svg", {"Date": None}), (".pdf", {"CreationDate": None})):
        figure.savefig(path.with_suffix(suffix), metadata=undated, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)


def _box(axes: Any, box: Node) -> None:
    corner = box.x - WIDTH / 2, box.y - HEIGHT / 2
    style = "round,pad=0,rounding_size=0.1"
    if box.text.startswith("("):  # an input or a result: no box
        axes.text(box.x, box.y, box.text[1:-1], ha="center", va="center", fontsize=10.5)
        return
    axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=style, facecolor=BOX, edgecolor=RIM, zorder=2))
    shift = 0.1 if box.params else 0
    axes.text(box.x, box.y + shift, box.text, ha="center", va="center", fontsize=10, zorder=3)
    if box.params:
        axes.text(box.x, box.y - 0.12, box.params, ha="center", va="center", fontsize=8.5, color=GRADIENT, zorder=3)


def _edge(axes: Any, edge: Edge, start: Node, end: Node) -> None:
    """Two lines side by side: forward, and back."""
    for sign, colour, label in ((-1, FORWARD, edge.forward), (1, GRADIENT, edge.backward)):
        if not label:
            continue
        points = _path(edge, start, end, sign * APART)
        way = points if sign < 0 else points[::-1]
        xs, ys = zip(*way, strict=True)
        axes.plot(xs[:-1], ys[:-1], color=colour, lw=1.2, zorder=1, solid_joinstyle="round")
        axes.annotate("", way[-1], way[-2], arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.2}, zorder=1)
        (x0, y0), (x1, y1) = points[len(points) // 2 - 1], points[len(points) // 2]
        middle, gap = ((x0 + x1) / 2, (y0 + y1) / 2), 0.1
        if abs(x1 - x0) < abs(y1 - y0):
            place = (middle[0] + sign * gap, middle[1], "right" if sign < 0 else "left", "center")
        else:
            place = (middle[0], middle[1] - sign * gap, "center", "bottom" if sign < 0 else "top")
        axes.text(*place[:2], label, ha=place[2], va=place[3], fontsize=9, color=colour)


def _path(edge: Edge, start: Node, end: Node, shift: float) -> list[tuple[float, float]]:
    """From border to border: straight, or through the column of the bend."""
    if edge.bend is not None:
        side = 1 if edge.bend > start.x else -1
        outer = edge.bend + shift
        y0, y1 = start.y - side * shift, end.y + side * shift
        x0, x1 = (box.x + side * (0.4 if box.text.startswith("(") else WIDTH / 2) for box in (start, end))
        return [(x0, y0), (outer, y0), (outer, y1), (x1, y1)]
    if abs(start.y - end.y) >= abs(start.x - end.x) * 0.5:  # down or up
        down = 1 if start.y > end.y else -1
        x = (start.x if start.x == end.x else None, start.x, end.x)
        return [(x[1] + shift, start.y - down * HEIGHT / 2), (x[2] + shift, end.y + down * HEIGHT / 2)]
    side = 1 if end.x > start.x else -1
    x0, x1 = (box.x + s * (0.4 if box.text.startswith("(") else WIDTH / 2) for box, s in ((start, side), (end, -side)))
    return [(x0, start.y - shift * side), (x1, end.y - shift * side)]


class Network(SphinxDirective):
    """The picture, as a figure. Its argument is the caption."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        lines = [line for line in self.content if line.strip()]
        folder = Path(self.env.srcdir) / "_build" / "networks"
        folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256("\n".join([*lines, Path(__file__).read_text("utf-8")]).encode()).hexdigest()[:16]
        if not (folder / f"{name}.pdf").exists():
            try:
                draw(lines, folder / name)
            except ValueError as error:
                raise self.error(str(error)) from None
        caption = self.arguments[0] if self.arguments else ""
        figure = nodes.figure("", classes=["network"])
        figure += nodes.image(uri=f"/_build/networks/{name}.*", alt=caption)
        figure += nodes.caption("", "", *self.parse_inline(caption)[0]) if caption else []
        return [figure]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("network", Network)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
