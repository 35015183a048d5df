"""Runs a hand-written backward, and sees whether what it returns has the right form."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..engine.leaves import float_leaves, has_cotangent, is_float
from ..report import Finding
from ..trial.subject import Subject


def is_absent(leaf: Any) -> bool:
    """None or float0: how a backward says that there is no cotangent."""
    return leaf is None or getattr(leaf, "dtype", None) == jax.dtypes.float0


def leaves_of(cotangent: Any, arg: Any) -> list[Any]:
    """What a backward returned for every leaf of an argument, in order; as in JAX, None may stand for a whole subtree.

    Where the trees differ, just the leaves of the cotangent.
    """
    found: list[Any] = []

    def place(part, of):
        if part is not None and not jax.tree_util.treedef_is_leaf(jax.tree.structure(of)):
            raise ValueError("an array for a subtree")
        found.extend([part] * len(jax.tree.leaves(of)))

    try:
        jax.tree.map(place, cotangent, arg, is_leaf=lambda part: part is None)
    except (ValueError, TypeError):
        return jax.tree.leaves(cotangent, is_leaf=lambda part: part is None)
    return found


def structure_findings(subject: Subject, args: tuple[Any, ...], got: Any) -> list[Finding]:
    """What is wrong with the form of the cotangents: the tuple, the trees, the shapes, the dtypes, NaN."""

    def finding(argument: str, leaf: str, mistake: str, explanation: str) -> Finding:
        return Finding(argument, leaf, mistake, explanation)

    if not isinstance(got, tuple | list) or len(got) != len(args):
        form = f"{len(got)} cotangents" if isinstance(got, tuple | list) else f"a {type(got).__name__}"
        return [
            finding(
                "", "", "wrong-structure", f"bwd returned {form}; expected a tuple of {len(args)}, one per argument"
            )
        ]
    found = []
    for name, arg, cotangent in zip(subject.arguments, args, got, strict=True):
        if not has_cotangent(arg):
            if not all(is_absent(leaf) for leaf in jax.tree.leaves(cotangent)):
                found.append(finding(name, "", "wrong-structure", "is not differentiable; expected None"))
            continue
        expected = jax.tree_util.tree_leaves_with_path(arg)
        leaves = leaves_of(cotangent, arg)
        if len(leaves) != len(expected):
            trees = f"{jax.tree.structure(cotangent)}; expected {jax.tree.structure(arg)}"
            found.append(finding(name, "", "wrong-structure", f"bwd returned {trees}"))
            continue
        for (path, leaf), value in zip(expected, leaves, strict=True):
            where = jax.tree_util.keystr(path)
            if not is_float(leaf):
                if not is_absent(value):
                    found.append(finding(name, where, "wrong-structure", "holds integers; expected None"))
            elif is_absent(value):
                found.append(
                    finding(name, where, "wrong-structure", "bwd returned no cotangent for a differentiable leaf")
                )
            elif not hasattr(value, "dtype") and not isinstance(value, int | float):
                found.append(finding(name, where, "wrong-structure", f"holds {value!r:.40}; expected an array"))
            elif np.shape(value) != np.shape(leaf):
                found.append(
                    finding(name, where, "wrong-shape", f"has shape {np.shape(value)}; expected {np.shape(leaf)}")
                )
            elif getattr(value, "dtype", None) != leaf.dtype:
                dtype = getattr(value, "dtype", type(value).__name__)
                found.append(finding(name, where, "wrong-dtype", f"has dtype {dtype}; expected {leaf.dtype}"))
    return found


def float_cotangents(args: tuple[Any, ...], got: Any) -> list[Any]:
    """The cotangents of the differentiable leaves, in order; the form must have been found right."""
    flat = []
    for arg, cotangent in zip(args, got, strict=True):
        leaves = leaves_of(cotangent, arg) if has_cotangent(arg) else []
        flat += [value for leaf, value in zip(jax.tree.leaves(arg), leaves, strict=False) if is_float(leaf)]
    assert len(flat) == len(float_leaves(args))
    return flat
