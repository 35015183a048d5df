"""One comparison in float64: what a backward gives on one draw, beside the reference.

``probe`` runs both sides eagerly. ``compiled_probe`` compiles them, which is faster, and blames nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.compiling import compiled
from ..engine.leaves import Leaf, cast, floats_of, is_float
from ..engine.packing import pack, unpack
from ..report import Element, Finding
from ..tolerances import ABSOLUTE, EPS, MOVEMENT, NUDGES, PARITY, RELATIVE, SEED_DY, TINY, VANISHING
from ..trial.draws import Draw, draw_cotangent
from ..trial.subject import Subject
from . import reference
from .form import Malformed, checked_backward, not_finite, run_backward


class Probe(NamedTuple):
    """One set of arguments, several cotangents, and for each (dy, leaf) what the reference and the backward say."""

    draw: Draw
    leaves: list[Leaf]
    y: Any
    residuals: Any
    dys: list[Any]
    refs: list[list[np.ndarray]]
    gots: list[list[np.ndarray]]
    excess: list[list[float]]
    """The error of each in units of what is allowed: at most 1 is right."""
    vanished: frozenset[int] = frozenset()
    """Leaves whose gradient cancels to zero: only rounding error is left on both sides, and it is taken for zero."""

    @property
    def wrong(self) -> list[int]:
        """The leaves that are wrong."""
        return [i for i in range(len(self.leaves)) if any(row[i] > 1 for row in self.excess)]

    @property
    def agrees(self) -> bool:
        return not self.wrong

    def tiny(self) -> list[int]:
        """Leaves that hold next to nothing, beside dy, on either side."""
        dy = max((float(np.abs(leaf).max(initial=0)) for leaf in floats_of(self.dys)), default=0.0)
        rows = (*self.gots, *self.refs)
        sizes = [max(float(np.abs(row[i]).max(initial=0)) for row in rows) for i in range(len(self.leaves))]
        return [i for i, size in enumerate(sizes) if 0 < size < VANISHING * dy]

    def without(self, leaves: Iterable[int]) -> Probe:
        """With these leaves vanished."""
        gone = frozenset(leaves)
        refs, gots = (
            [[0 * d if i in gone else d for i, d in enumerate(row)] for row in side] for side in (self.refs, self.gots)
        )
        excess = [[0.0 if i in gone else e for i, e in enumerate(row)] for row in self.excess]
        return self._replace(refs=refs, gots=gots, excess=excess, vanished=gone)


def probe(subject: Subject, draw: Draw, cotangents: int = 2) -> Probe:
    """Runs forward, backward and reference on one draw in float64, with random cotangents. Raises Malformed."""
    args = cast(draw.args, jnp.float64)
    leaves = subject.leaves(args)
    y, residuals = subject.fwd(*args)
    _same_value(subject, y, subject.primal(*args))
    rng = np.random.default_rng([draw.seed, SEED_DY])
    dys = [draw_cotangent(y, rng) for _ in range(cotangents)]
    gots = [run_backward(subject, args, residuals, dy) for dy in dys]
    refs = reference.pull(subject.primal, args, dys)
    if found := not_finite(leaves, gots[0], refs[0]):
        raise Malformed(found)
    excess = _excess(subject, args, dys, refs, gots)
    return Probe(draw._replace(args=args), leaves, y, residuals, dys, refs, gots, excess)


def _same_value(subject: Subject, y: Any, primal: Any) -> None:
    """Raises Malformed unless the forward computes the function that is differentiated.

    For a ``custom_vjp`` the two are different code; for a rule they are one, and must give the same twice.
    """
    if str(jax.tree.structure(y)) == str(jax.tree.structure(primal)):
        pairs = list(zip(jax.tree.leaves(y), jax.tree.leaves(primal), strict=True))
        units = 0 if subject.primal_is_fwd else PARITY
        if all(np.shape(a) == np.shape(b) and _near(np.asarray(a), np.asarray(b), units) for a, b in pairs):
            return
    if subject.primal_is_fwd:
        text = "the forward gives another value when it is called again with the same arguments"
        raise Malformed([Finding("", "", "nondeterministic", text)])
    text = "the fwd of this custom_vjp returns another value than the function that it decorates"
    raise Malformed([Finding("", "", "primal-mismatch", text)])


def _near(a: np.ndarray, b: np.ndarray, units: int) -> bool:
    if not units or not is_float(a):
        return bool(np.array_equal(a, b))
    return bool(np.abs(a - b).max(initial=0) <= units * EPS * np.abs(b).max(initial=0))


# ---------------------------------------------------------------- the errors


def _excess(
    subject: Subject, args: tuple[Any, ...], dys: list[Any], refs: list[list[np.ndarray]], gots: list[list[np.ndarray]]
) -> list[list[float]]:
    """The largest error of every leaf, in units of what is allowed; its dear term only if the cheap ones fail."""
    found = list(map(errors_in_units, gots, refs))
    if all(units <= 1 for row in found for units in row):
        return found
    return list(map(errors_in_units, gots, refs, reference.movement(subject.primal, args, dys, refs, NUDGES)))


def errors_in_units(
    gots: list[np.ndarray], refs: list[np.ndarray], moved: Sequence[np.ndarray] | None = None
) -> list[float]:
    """The largest error of every leaf, in units of what is allowed."""
    allowed = allowed_error(refs, moved)
    return [_ratio(np.abs(got - ref), a) for got, ref, a in zip(gots, refs, allowed, strict=True)]


def allowed_error(refs: list[np.ndarray], moved: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
    """The error that each element may have; ``moved`` is how far each moves with the rounding of the inputs."""
    room = [MOVEMENT * m for m in moved] if moved is not None else [np.zeros(())] * len(refs)
    return [
        RELATIVE * np.abs(r) + ABSOLUTE * np.abs(r).max(initial=0) + more for r, more in zip(refs, room, strict=True)
    ]


def _ratio(error: np.ndarray, allowed: np.ndarray) -> float:
    if not np.isfinite(error).all():
        return float("inf")
    exact = error == 0
    return float(np.max(np.where(exact, 0, error / np.where(exact, 1, np.maximum(allowed, TINY))), initial=0))


def worst_errors(probes: Sequence[Probe]) -> dict[str, float]:
    """The largest error of each leaf over all probes, in units of what is allowed."""
    return {leaf.name: max(row[i] for p in probes for row in p.excess) for i, leaf in enumerate(probes[0].leaves)}


def worst_elements(p: Probe, i: int, count: int = 3) -> tuple[Element, ...]:
    """The elements of a leaf that are farthest off."""
    name, got, ref = p.leaves[i].cotangent, p.gots[0][i], p.refs[0][i]
    found = []
    for flat in np.argsort(-np.abs(got - ref), axis=None, kind="stable")[:count]:
        at = tuple(int(n) for n in np.unravel_index(flat, ref.shape))
        found.append(Element(f"{name}[{', '.join(map(str, at))}]" if at else name, float(got[at]), float(ref[at])))
    return tuple(found)


# ---------------------------------------------------------------- compiled


def hand(subject: Subject, form: Hashable) -> Callable[..., dict[str, Any]]:
    """``(args, dy)``, packed, to the float leaves of y, of the residuals and of the cotangents, by name."""

    def run(*arrays) -> dict[str, Any]:
        args, dy = unpack(form, arrays)
        y, residuals = subject.fwd(*args)
        found = {
            f"{name}{jax.tree_util.keystr(path)}": leaf
            for name, tree in (("y", y), ("residuals", residuals))
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
            if is_float(leaf)
        }
        cotangents = checked_backward(subject, args, residuals, dy)
        return found | {leaf.cotangent: d for leaf, d in zip(subject.leaves(args), cotangents, strict=True)}

    return run


def truth(subject: Subject, form: Hashable) -> Callable[..., dict[str, Any]]:
    """``(args, dy)``, packed, to the reference of every cotangent, by name."""

    def run(*arrays) -> dict[str, Any]:
        args, dy = unpack(form, arrays)
        f, floats = reference.of_floats(subject.primal, args)
        _, pull = reference.vjp(f, *floats)
        return {leaf.cotangent: d for leaf, d in zip(subject.leaves(args), pull(dy), strict=True)}

    return run


def shape_of_y(subject: Subject, args: tuple[Any, ...]) -> Any:
    """The result of the forward: its shapes and dtypes if it can be traced, else its values."""
    packed = pack(args)
    try:
        return jax.eval_shape(subject.value(packed.form), *packed.arrays)
    except jax.errors.JAXTypeError:  # it looks at values
        return subject.fwd(*args)[0]


def compiled_probe(subject: Subject, draw: Draw) -> Callable[[frozenset[int]], Probe | None]:
    """Starts compiling both sides of a probe. Call the result, with the leaves known to cancel, to get the probe.

    It is None unless the sides agree: compiled code blames nobody. Forward and backward are one program and the
    reference another, so that no error of the compiler is in both.
    """
    args = cast(draw.args, jnp.float64)
    try:
        y = shape_of_y(subject, args)
        dy = draw_cotangent(y, np.random.default_rng([draw.seed, SEED_DY]))
    except Exception:  # whatever it is, the eager probe says it better
        return lambda vanished: None
    packed = pack((args, dy))
    sides = [compiled(run(subject, packed.form), packed.arrays, hasty=True) for run in (hand, truth)]

    def compared(vanished: frozenset[int]) -> Probe | None:
        leaves = subject.leaves(args)
        try:
            found = [run(*packed.arrays) for run in sides]
        except Exception:
            return None
        gots, refs = ([np.asarray(side[leaf.cotangent]) for leaf in leaves] for side in found)
        if not all(np.isfinite(leaf).all() for leaf in (*gots, *refs)):
            return None
        excess = errors_in_units(gots, refs)
        p = Probe(draw._replace(args=args), leaves, y, None, [dy], [refs], [gots], [excess])
        p = p.without(vanished & set(p.tiny()))
        return p if p.agrees else None

    return compared
