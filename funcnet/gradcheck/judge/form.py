"""Runs a hand-written backward, and checks that what it returns has the right form."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.leaves import first_line, floats_of, is_float, is_traced
from ..report import Finding
from ..trial.subject import Subject


class Malformed(Exception):  # noqa: N818  (never leaves the checker)
    """The backward raised, or returned something of the wrong form."""

    def __init__(self, findings: list[Finding]):
        super().__init__("; ".join(finding.explanation for finding in findings))
        self.findings = findings


def run_backward(subject: Subject, args: tuple[Any, ...], residuals: Any, dy: Any) -> list[np.ndarray]:
    """The cotangents of the differentiable leaves, as NumPy's arrays unless JAX is tracing. Raises Malformed."""
    got = _returned(subject, residuals, dy)
    if subject.none_is_zero and isinstance(got, tuple | list) and len(got) == len(args):
        got = tuple(map(_with_zeros, got, args))
    if found := structure_findings(subject, args, got):
        raise Malformed(found)
    return [leaf if is_traced(leaf) else np.asarray(leaf) for leaf in float_cotangents(args, got)]


def _returned(subject: Subject, residuals: Any, dy: Any) -> Any:
    """Whatever the backward returns. Raises Malformed if it raises."""
    try:
        return subject.bwd(residuals, dy)
    except (Exception, SystemExit) as error:
        text = f"bwd raised {type(error).__name__}: {first_line(error)}"
        raise Malformed([Finding("", "", "wrong-structure", text)]) from error


def _with_zeros(cotangent: Any, arg: Any) -> Any:
    """The cotangent with zeros for every None that stands for floats, if its tree is that of the argument."""
    found = cotangents_of(cotangent, arg)
    leaves, structure = jax.tree.flatten(arg)
    if len(found) != len(leaves):
        return cotangent
    filled = [
        jnp.zeros_like(leaf) if d is None and is_float(leaf) else d for leaf, d in zip(leaves, found, strict=True)
    ]
    return jax.tree.unflatten(structure, filled)


def left_out(subject: Subject, args: tuple[Any, ...], residuals: Any, dy: Any) -> list[int]:
    """The arguments with floats for which the backward returns None, if it does not for all. Raises Malformed."""
    got = _returned(subject, residuals, dy)
    if not (isinstance(got, tuple | list) and len(got) == len(args)):
        return []
    moving = [i for i, arg in enumerate(args) if floats_of(arg)]
    none = [i for i in moving if got[i] is None]
    return none if len(none) < len(moving) else []


def structure_findings(subject: Subject, args: tuple[Any, ...], got: Any) -> list[Finding]:
    """Findings about the form of the cotangents: the tuple, the trees, the shapes, the dtypes."""
    if not isinstance(got, tuple | list) or len(got) != len(args):
        form = f"{len(got)} cotangents" if isinstance(got, tuple | list) else f"a {type(got).__name__}"
        text = f"bwd returned {form}; expected a tuple of {len(args)}, one per argument"
        return [Finding("", "", "wrong-structure", text)]
    triples = zip(subject.arguments, args, got, strict=True)
    return [finding for name, arg, cotangent in triples for finding in _of_argument(name, arg, cotangent)]


def _of_argument(name: str, arg: Any, cotangent: Any) -> Iterator[Finding]:
    """Findings about the form of the cotangent of one argument."""
    if not floats_of(arg):
        if not all(is_absent(leaf) for leaf in jax.tree.leaves(cotangent)):
            yield Finding(name, "", "wrong-structure", "is not differentiable; expected None")
        return
    expected, leaves = jax.tree_util.tree_leaves_with_path(arg), cotangents_of(cotangent, arg)
    if len(leaves) != len(expected):
        trees = f"{jax.tree.structure(cotangent)}; expected {jax.tree.structure(arg)}"
        yield Finding(name, "", "wrong-structure", f"bwd returned {trees}")
        return
    for (path, leaf), value in zip(expected, leaves, strict=True):
        if fault := _fault(leaf, value):
            yield Finding(name, jax.tree_util.keystr(path), *fault)


def _fault(leaf: Any, value: Any) -> tuple[str, str] | None:
    """The mistake and its description, if ``value`` cannot be the cotangent of ``leaf``."""
    if not is_float(leaf):
        return None if is_absent(value) else ("wrong-structure", "holds integers; expected None")
    if is_absent(value):
        return "wrong-structure", "bwd returned no cotangent for a differentiable leaf"
    if not hasattr(value, "dtype") and not isinstance(value, int | float):
        return "wrong-structure", f"holds {value!r:.40}; expected an array"
    if np.shape(value) != np.shape(leaf):
        return "wrong-shape", f"has shape {np.shape(value)}; expected {np.shape(leaf)}"
    if getattr(value, "dtype", None) != leaf.dtype:
        return "wrong-dtype", f"has dtype {getattr(value, 'dtype', type(value).__name__)}; expected {leaf.dtype}"
    return None


def is_absent(leaf: Any) -> bool:
    """None or float0: how a backward says that there is no cotangent."""
    return leaf is None or getattr(leaf, "dtype", None) == jax.dtypes.float0


def cotangents_of(cotangent: Any, arg: Any) -> list[Any]:
    """The cotangent of every leaf of an argument, in order; as in JAX, None may stand for a whole subtree.

    If the trees differ, just the leaves of the cotangent.
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


def float_cotangents(args: tuple[Any, ...], got: Any) -> list[Any]:
    """The cotangents of the differentiable leaves, in order; their form must have been found right."""
    flat = []
    for arg, cotangent in zip(args, got, strict=True):
        leaves = cotangents_of(cotangent, arg) if floats_of(arg) else []
        flat += [value for leaf, value in zip(jax.tree.leaves(arg), leaves, strict=False) if is_float(leaf)]
    assert len(flat) == len(floats_of(args))
    return flat
