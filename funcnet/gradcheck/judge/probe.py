"""One comparison in float64: what a backward gives on one draw, beside the reference.

``probe`` runs both sides eagerly. ``compiled_probe`` compiles them, which is faster, and blames nobody. ``adequacy``
plants mistakes into a right backward, and counts those that the probes would have caught.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.compiling import compiled
from ..engine.leaves import Leaf, all_finite, cast, close, is_float, pack, peak, unpack
from ..report import Element, Finding
from ..tolerances import ABSOLUTE, EPS, MOVEMENT, NUDGES, RELATIVE, SEED_DY, TINY, UNITS, VANISHING
from ..trial.draws import Draw, draw_cotangent
from ..trial.subject import Subject
from ..watch import at
from . import reference
from .form import Malformed, run_backward


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
    unit: float = EPS
    """The rounding unit of the backward."""

    @property
    def wrong(self) -> list[int]:
        """The leaves that are wrong."""
        return [i for i in range(len(self.leaves)) if any(row[i] > 1 for row in self.excess)]

    @property
    def agrees(self) -> bool:
        return not self.wrong

    def tiny(self) -> list[int]:
        """Leaves that hold next to nothing, beside dy, on either side."""
        sizes = [peak([row[i] for row in (*self.gots, *self.refs)]) for i in range(len(self.leaves))]
        return [i for i, size in enumerate(sizes) if 0 < size < VANISHING * peak(self.dys)]

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
    at()
    args = cast(draw.args, jnp.float64)
    leaves = subject.leaves(args)
    y, residuals = subject.fwd(*args)
    same_value(subject, y, subject.primal(*args))
    rng = np.random.default_rng([draw.seed, SEED_DY])
    dys = [draw_cotangent(y, rng) for _ in range(cotangents)]
    gots = [run_backward(subject, args, residuals, dy) for dy in dys]
    refs = reference.pull(subject.primal, args, dys)
    sides = zip(leaves, gots[0], refs[0], strict=True)
    if found := [Finding(*leaf, "not-finite") for leaf, got, ref in sides if all_finite(ref) and not all_finite(got)]:
        raise Malformed(found)
    excess = list(map(errors_in_units, gots, refs))
    if any(units > 1 for row in excess for units in row):  # the dear term only if the cheap ones fail
        excess = list(map(errors_in_units, gots, refs, reference.movement(subject.primal, args, dys, refs, NUDGES)))
    return Probe(draw._replace(args=args), leaves, y, residuals, dys, refs, gots, excess)


def same_value(subject: Subject, y: Any, primal: Any) -> None:
    """Raises Malformed unless the forward computes the function that is differentiated.

    For a ``custom_vjp`` the two are different code; for a rule they are one, and must give the same twice.
    """
    if subject.primal_is == "a surrogate":
        return
    if str(jax.tree.structure(y)) == str(jax.tree.structure(primal)):
        pairs = zip(*(map(np.asarray, jax.tree.leaves(tree)) for tree in (y, primal)), strict=True)
        if all(
            close(a, b, RELATIVE) if is_float(a) and subject.primal_is != "fwd" else np.array_equal(a, b)
            for a, b in pairs
        ):
            return
    mistake = ("fwd", "nondeterministic") if subject.primal_is == "fwd" else ("", "primal-mismatch")
    raise Malformed([Finding("", *mistake)])


# ---------------------------------------------------------------- the errors


def errors_in_units(
    gots: list[np.ndarray], refs: list[np.ndarray], moved: Sequence[np.ndarray] | None = None
) -> list[float]:
    """The largest error of every leaf, in units of what is allowed."""
    allowed = allowed_error(refs, moved)
    return [_ratio(np.abs(got - ref), a) for got, ref, a in zip(gots, refs, allowed, strict=True)]


def allowed_error(refs: list[np.ndarray], moved: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
    """The error that each element may have; ``moved`` is how far each moves with the rounding of the inputs.

    Beside the edge of a domain inputs may move out of it: a movement of NaN leaves no room.
    """
    room = [MOVEMENT * np.where(np.isnan(m), 0, m) for m in moved] if moved is not None else [np.zeros(())] * len(refs)
    return [RELATIVE * np.abs(r) + ABSOLUTE * peak(r) + more for r, more in zip(refs, room, strict=True)]


def _ratio(error: np.ndarray, allowed: np.ndarray) -> float:
    if not np.isfinite(error).all():
        return float("inf")
    return float(np.max(error / np.maximum(allowed, TINY), where=error > 0, initial=0))


def worst_errors(probes: Sequence[Probe]) -> dict[str, float]:
    """The largest error of each leaf over all probes, in units of what is allowed."""
    return {leaf.name: max(row[i] for p in probes for row in p.excess) for i, leaf in enumerate(probes[0].leaves)}


def worst_elements(p: Probe, i: int, count: int = 3) -> tuple[Element, ...]:
    """The wrong elements of a leaf that are farthest off, for the cotangent at which it is wrong the most."""
    k = int(np.argmax([row[i] for row in p.excess]))
    name, got, ref = p.leaves[i].cotangent, p.gots[k][i], p.refs[k][i]
    error, found = np.nan_to_num(np.abs(got - ref), nan=np.inf), []
    wrong = np.flatnonzero(error > np.maximum(allowed_error([ref])[0], UNITS * p.unit * peak(ref)))
    for flat in wrong[np.argsort(-error.ravel()[wrong], kind="stable")][:count]:
        at = tuple(int(n) for n in np.unravel_index(flat, ref.shape))
        found.append(Element(f"{name}[{', '.join(map(str, at))}]" if at else name, float(got[at]), float(ref[at])))
    return tuple(found)


# ---------------------------------------------------------------- the quality of the probes


MUTATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dropped": np.zeros_like,
    "scaled by 1.001": lambda d: 1.001 * d,
    "negated": np.negative,
    "transposed": lambda d: np.swapaxes(d, -1, -2),
}


def adequacy(subject: Subject, probes: Sequence[Probe]) -> tuple[float, list[str]]:
    """The share of mutants that the probes would have caught, and the names of the others.

    A mutant is a cotangent dropped, scaled by 1.001, negated or, if square, transposed. A leaf whose true gradient is
    zero hides such mistakes: then the share is below 1, as it should be.
    """
    shapes = [got.shape for got in probes[0].gots[0]]
    mutants = [
        (i, what)
        for i, shape in enumerate(shapes)
        for what in MUTATIONS
        if what != "transposed" or (len(shape) > 1 and shape[-1] == shape[-2] > 1)  # else told by its shape
    ]
    left = mutants
    for p in probes:
        if not left:
            break
        movements = reference.movement(subject.primal, p.draw.args, p.dys, p.refs)
        for moved, ref, got in zip(movements, p.refs, p.gots, strict=True):
            allowed = allowed_error(ref, moved)
            left = [(i, what) for i, what in left if (np.abs(MUTATIONS[what](got[i]) - ref[i]) <= allowed[i]).all()]
    share = 1 - len(left) / len(mutants) if mutants else 1.0
    return share, [f"{probes[0].leaves[i].cotangent} {what}" for i, what in left]


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
        cotangents = run_backward(subject, args, residuals, dy)
        return found | {leaf.cotangent: d for leaf, d in zip(subject.leaves(args), cotangents, strict=True)}

    return run


def compiled_sides(
    subject: Subject, args: tuple[Any, ...], dy: Any
) -> Callable[[tuple[Any, ...]], tuple[list[np.ndarray], list[np.ndarray]]]:
    """Starts compiling the backward and the reference, for arguments like these and this cotangent.

    The result takes arguments and gives both sides; it raises whatever tracing or compiling raised.
    """
    form, leaves = pack((args, dy)).form, subject.leaves(args)

    def truth(*arrays):
        args, dy = unpack(form, arrays)
        f, floats = reference.of_floats(subject.primal, args)
        return reference.vjp(f, *floats)[1](dy)

    runs = [compiled(run, pack((args, dy)).arrays, hasty=True) for run in (hand(subject, form), truth)]

    def sides(args: tuple[Any, ...]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        by_hand, by_autodiff = (run(*pack((args, dy)).arrays) for run in runs)
        return [np.asarray(by_hand[leaf.cotangent]) for leaf in leaves], [np.asarray(d) for d in by_autodiff]

    return sides


def compiled_probe(subject: Subject, draw: Draw) -> Callable[[frozenset[int]], Probe | None]:
    """Starts compiling both sides of a probe. Call the result, with the leaves known to cancel, to get the probe.

    It is None unless the sides agree: compiled code blames nobody. Forward and backward are compiled apart from the
    reference, so that no error of the compiler is in both.
    """
    if subject.in_numpy:
        return lambda vanished: None
    args = cast(draw.args, jnp.float64)
    try:
        y = subject.shape_of_y(args)
        dy = draw_cotangent(y, np.random.default_rng([draw.seed, SEED_DY]))
    except Exception:  # the eager probe reports the error
        return lambda vanished: None
    leaves, sides = subject.leaves(args), compiled_sides(subject, args, dy)

    def compared(vanished: frozenset[int]) -> Probe | None:
        try:
            gots, refs = sides(args)
        except Exception:
            return None
        if not all_finite((gots, refs)):
            return None
        excess = errors_in_units(gots, refs)
        p = Probe(draw._replace(args=args), leaves, y, None, [dy], [refs], [gots], [excess])
        p = p.without(vanished & set(p.tiny()))
        return p if p.agrees else None

    return compared
