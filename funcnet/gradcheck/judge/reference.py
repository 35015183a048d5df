"""The reference: ``jax.vjp`` of the undecorated forward, eager and in float64, and the audit of that reference."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import tolerances
from ..engine.compiling import compiled, traced_once
from ..engine.jaxprs import NO_REVERSE, with_stops_held
from ..engine.leaves import Leaf, close, first_line, is_float, pack, unpack
from ..trial.subject import InputError
from ..watch import at


class NoReference(InputError):  # noqa: N818
    """``jax.vjp`` cannot differentiate the function that it is to be the reference for."""


def of_floats(primal: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], list[Any]]:
    """``primal`` as a function of the differentiable leaves alone, traced once but run eagerly, and those leaves."""
    leaves, structure = jax.tree.flatten(args)
    positions = [i for i, leaf in enumerate(leaves) if is_float(leaf)]

    def f(*floats):
        filled = list(leaves)
        for position, value in zip(positions, floats, strict=True):
            filled[position] = value
        return primal(*jax.tree.unflatten(structure, filled))

    floats = [jnp.asarray(leaves[position]) for position in positions]
    return traced_once(f, floats), floats


def pull(primal: Callable[..., Any], args: tuple[Any, ...], dys: list[Any]) -> list[list[np.ndarray]]:
    """For every cotangent the reference for every differentiable leaf. Raises InputError if there is none."""
    f, floats = of_floats(primal, args)
    try:
        _, pullback = vjp(f, *floats)
        return [[np.asarray(leaf) for leaf in pullback(dy)] for dy in dys]
    except Exception as error:  # it looks at values, or JAX has no derivative of it
        text = f"jax.vjp of the forward raised {type(error).__name__}, so there is no reference: {first_line(error)}"
        raise NoReference(f"{text} (a forward of the same function in plain JAX would be one)") from error


def moving(primal: Callable[..., Any], leaves: Sequence[Leaf], args: tuple[Any, ...], dy: Any) -> set[str]:
    """The arguments whose gradient is not zero; if there is no reference, all."""
    try:
        (refs,) = pull(primal, args, [dy])
    except NoReference:
        return {leaf.argument for leaf in leaves}
    return {leaf.argument for leaf, ref in zip(leaves, refs, strict=True) if np.any(ref)}


def vjp(f: Callable[..., Any], *floats: Any) -> tuple[Any, Callable[[Any], Sequence[Any]]]:
    """``jax.vjp``, or forward mode if ``f`` holds a ``while`` loop, which has no reverse."""
    y, reverse = jax.vjp(f, *floats)

    def pullback(dy):
        try:
            return reverse(dy)
        except ValueError as error:
            if NO_REVERSE not in str(error):
                raise
            return [_along_units(f, floats, i, dy) for i in range(len(floats))]

    return y, pullback


def _along_units(f: Callable[..., Any], floats: Sequence[Any], i: int, dy: Any) -> Any:
    """⟨dy, ∂y⟩ along every unit vector of one argument."""
    x = floats[i]

    def along(unit):
        still = [jnp.zeros_like(leaf) for leaf in floats]
        still[i] = unit
        _, moved = jax.jvp(f, tuple(floats), tuple(still))
        pairs = zip(jax.tree.leaves(dy), jax.tree.leaves(moved), strict=True)
        return sum(jnp.vdot(d, m) for d, m in pairs if is_float(d))

    units = jnp.eye(x.size, dtype=x.dtype).reshape(-1, *x.shape)
    return jax.vmap(along)(units).astype(x.dtype).reshape(x.shape)


def movement(
    primal: Callable[..., Any], args: tuple[Any, ...], dys: list[Any], refs: list[list[np.ndarray]], nudges: int = 1
) -> list[list[np.ndarray]]:
    """How far the reference moves when the inputs move by one rounding unit: no backward is blamed for so much.

    For each cotangent and leaf the largest movement under several nudges. Several run compiled together, and their
    results are compared with each other alone; but if compiled code does not give ``refs`` either, they run eagerly.
    """
    f, floats = of_floats(primal, args)
    here = [np.asarray(leaf) for leaf in floats]
    points = [here]
    for nudge, sign in itertools.product(range(nudges), (1, -1)):
        rng = np.random.default_rng(tolerances.SEED_NUDGE + nudge)
        signs = [sign * rng.choice([-1, 1], size=leaf.shape) for leaf in here]
        points.append([np.asarray(leaf * (1 + tolerances.EPS * by)) for leaf, by in zip(here, signs, strict=True)])
    seen = compiled_at(f, dys, points) if nudges > 1 else None
    if seen is not None and not _is_same(seen[0], refs):  # the compiler errs, and would excuse any backward
        seen = None
    seen = seen or [refs, *eagerly_at(f, dys, points[1:])]

    def moved(dy: int, leaf: int) -> np.ndarray:
        base, *others = (at[dy][leaf] for at in seen)
        return np.max([np.abs(other - base) for other in others], axis=0)

    with np.errstate(invalid="ignore"):  # infinite at inputs that were infinite in a narrow dtype
        return [[moved(dy, leaf) for leaf in range(len(here))] for dy in range(len(dys))]


def _is_same(got: list[list[np.ndarray]], refs: list[list[np.ndarray]]) -> bool:
    return all(close(a, b) for ours, theirs in zip(got, refs, strict=True) for a, b in zip(ours, theirs, strict=True))


Pulled = list[list[list[np.ndarray]]]  # for each point and each cotangent an array for each leaf


def eagerly_at(f: Callable[..., Any], dys: list[Any], points: list[list[np.ndarray]]) -> Pulled:
    """The reference at each point."""
    found = []
    for point in points:
        at()
        _, pullback = vjp(f, *(jax.device_put(leaf) for leaf in point))
        found.append([[np.asarray(leaf) for leaf in pullback(dy)] for dy in dys])
    return found


def compiled_at(f: Callable[..., Any], dys: list[Any], points: list[list[np.ndarray]]) -> Pulled | None:
    """The same by compiled code; None if there is none, or if it would not be quicker.

    The code takes one point and one cotangent, so that it is compiled once for any number of them.
    """
    packed = [pack(dy) for dy in dys]
    count = len(points[0])

    def pulled(*arrays: Any) -> Sequence[Any]:
        return vjp(f, *arrays[:count])[1](unpack(packed[0].form, arrays[count:]))

    if len(points) * sum(leaf.size for leaf in points[0]) > tolerances.AT_ONCE:
        return None
    try:
        run = compiled(pulled, [*points[0], *packed[0].arrays], hasty=True)
        return [[[np.asarray(leaf) for leaf in run(*point, *dy.arrays)] for dy in packed] for point in points]
    except Exception:  # it looks at values, or the eager run reports the error
        return None


class Audit(NamedTuple):
    """The derivative of one leaf by differences, the error they estimate for it, and the same by autodiff."""

    difference: float
    uncertainty: float
    autodiff: float

    @property
    def disagree(self) -> bool:
        """Whether differences are sure of a value that autodiff does not give."""
        scale = max(abs(self.difference), abs(self.autodiff))
        return (
            self.uncertainty < tolerances.SURE * scale
            and abs(self.difference - self.autodiff) > tolerances.DISAGREE * scale
        )


def audit(
    primal: Callable[..., Any],
    args: tuple[Any, ...],
    dy: Any,
    ref: list[np.ndarray],
    along_these: list[np.ndarray] | None = None,
    hold_stops: bool = False,
) -> list[Audit]:
    """⟨dy, y⟩ differentiated along one random direction per leaf, by Ridders' extrapolation, beside the reference.

    ``along_these``: for each leaf the elements that may move, as 0 and 1; the others are at kinks.
    ``hold_stops``: see ``with_stops_held``.
    """
    f, floats = of_floats(primal, args)
    f = (with_stops_held(f, floats) if hold_stops else None) or f

    def inner(y) -> float:
        pairs = zip(jax.tree.leaves(dy), jax.tree.leaves(y), strict=True)
        return float(sum(np.vdot(np.asarray(a), np.asarray(b)) for a, b in pairs if is_float(b)))

    result = []
    for i, leaf in enumerate(floats):
        direction = np.random.default_rng([tolerances.SEED_DIRECTION, i]).normal(size=np.shape(leaf))
        if along_these is not None:
            direction *= along_these[i]

        def along(t: float, i: int = i, direction: np.ndarray = direction) -> float:
            moved = list(floats)
            moved[i] = jax.device_put(np.asarray(np.asarray(floats[i]) + t * direction))
            return inner(f(*moved))

        difference, uncertainty = map(float, ridders(along))
        result.append(Audit(difference, uncertainty, float(np.vdot(ref[i], direction))))
    return result


def ridders(f: Callable[[float], Any]) -> tuple[Any, Any]:
    """f′(0) and an estimate of its error: central differences, extrapolated to step zero (Ridders 1982).

    ``f`` gives a number, or an array whose every element is extrapolated for itself.
    """
    step = tolerances.RIDDERS_STEP
    table = [np.asarray(f(step) - f(-step)) / (2 * step)]
    best, uncertainty = table[0], np.full(table[0].shape, np.inf)
    for _ in range(1, tolerances.RIDDERS_ROWS):
        step /= tolerances.RIDDERS_SHRINK
        previous, table = table, [np.asarray(f(step) - f(-step)) / (2 * step)]
        factor = 1.0
        for j in range(len(previous)):
            factor *= tolerances.RIDDERS_SHRINK * tolerances.RIDDERS_SHRINK
            table.append((table[j] * factor - previous[j]) / (factor - 1))
            change = np.maximum(abs(table[j + 1] - table[j]), abs(table[j + 1] - previous[j]))
            better = change <= uncertainty
            best, uncertainty = np.where(better, table[j + 1], best), np.where(better, change, uncertainty)
    return best, uncertainty
