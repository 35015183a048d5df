"""A table of a network: its layers, the shapes they give, and their parameters."""

import io

import jax

from ..types import Layer, Params, Shape


def summary(net: Layer, in_shape: Shape) -> str:
    """A table as text: for each layer its output shape (the batch axis is N) and its number of parameters.

    The line of a combinator stands above those of its parts and counts them in; named parts show their names. Only
    shapes are computed. Raises ShapeError if the layers do not fit each other or ``in_shape`` (without the batch axis).
    """
    from rich.console import Console
    from rich.table import Table

    table = Table("layer", "output", "leaves", "parameters")
    table.columns[0].no_wrap, table.columns[-1].justify = True, "right"
    for depth, label, layer, out_shape, params in _trace(net, in_shape):
        named = [] if layer.parts else jax.tree_util.tree_leaves_with_path(params)
        leaves = ", ".join(f"{jax.tree_util.keystr(path, simple=True, separator='.')} {p.shape}" for path, p in named)
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        name = f"{label}: {layer.name}" if label else layer.name
        table.add_row("  " * depth + name, str(("N", *out_shape)).replace("'", ""), leaves, f"{count:,}")
    text = io.StringIO()
    Console(file=text, width=120, force_terminal=False, force_jupyter=False, color_system=None).print(table)
    return text.getvalue()


def _trace(net: Layer, in_shape: Shape) -> list[tuple[int, str, Layer, Shape, Params]]:
    """(depth, name, layer, output shape, parameters' shapes) of the network and of each part, before its own parts."""
    rows: list = []

    def recording(layer: Layer, depth: int, label: str = "") -> Layer:
        labels = layer.labels or [""] * len(layer.parts)
        parts = [recording(part, depth + 1, name) for part, name in zip(layer.parts, labels, strict=True)]
        inside = layer.combine(*parts) if layer.combine else layer

        def init(key, in_shape):
            row = len(rows)
            rows.append(None)
            params, out_shape = inside.init(key, in_shape)
            rows[row] = (depth, label, layer, out_shape, params)
            return params, out_shape

        return layer._replace(init=init)

    jax.eval_shape(lambda key: recording(net, 0).init(key, in_shape)[0], jax.random.key(0))
    return rows
