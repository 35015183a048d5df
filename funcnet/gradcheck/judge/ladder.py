"""The references, from the best down: a function of the caller's, autodiff of the function without the rules that it
calls, differences. ``on_its_rung`` finds the one for a subject; the rest of the file is the last one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import tolerances
from ..engine.compiling import compiled
from ..engine.jaxprs import Traced
from ..engine.leaves import cast, close, first_line, floats_of, is_float, peak, with_default_integers
from ..engine.rewriting import undecorated
from ..engine.width import as_users_have_it
from ..trial.draws import Draw, draw_cotangent
from ..trial.subject import DIFFERENCES, NUMPY, UNDECORATED, Subject
from ..watch import at
from .form import run_backward
from .probe import Probe, same_value
from .reference import of_floats, ridders


def on_its_rung(subject: Subject, args: tuple[Any, ...]) -> Subject:
    """The subject with the function that is differentiated for reference, if nobody has said which."""
    if subject.reference == NUMPY and (reason := _why_not_by_jax(subject, cast(args, np.float64))):
        note = f"the forward cannot be run by JAX, so no line of it can be named: {reason}"
        notes = (note, *subject.notes)
        return subject._replace(
            primal=lambda *args: subject.fwd(*args)[0], primal_is="fwd", reference=DIFFERENCES, notes=notes
        )
    if subject.reference:
        return subject
    try:
        with as_users_have_it(args):
            primal = undecorated(subject.primal, args)
    except jax.errors.JAXTypeError:  # it looks at values
        primal = None
    if primal is None:
        return subject._replace(reference=DIFFERENCES)
    return subject._replace(primal=primal, reference=UNDECORATED)


def _why_not_by_jax(subject: Subject, args: tuple[Any, ...]) -> str:
    """Why JAX cannot run a forward of NumPy's, or not to the same value; empty if it can."""
    try:
        y = subject.fwd(*args)[0]
        f, floats = of_floats(subject.primal, args)
        if not isinstance(f, Traced):
            return "it looks at values"
        value = f(*floats)
        same = str(jax.tree.structure(y)) == str(jax.tree.structure(value)) and all(
            close(np.asarray(a), np.asarray(b), tolerances.RELATIVE)
            for a, b in zip(jax.tree.leaves(y), jax.tree.leaves(value), strict=True)
        )
        return "" if same else "it gets another value"
    except Exception as error:
        return first_line(error)


# ---------------------------------------------------------------- differences


class Sight(NamedTuple):
    """A probe beside a reference. ``blurred``: by leaf, the share of its largest entry that the reference cannot see.

    ``value_off``: by how much of its largest entry the value is off, if that is more than it may be.
    """

    probe: Probe
    blurred: list[float]
    value_off: float = 0.0


def probe_by_differences(subject: Subject, draw: Draw, narrow: bool = False) -> Sight:
    """Compares a backward with differences of its forward, in float64 or in the dtypes of the draw. Raises Malformed.

    In a leaf of more than ELEMENTS_MOVED elements some are moved, and the others are taken for right if a direction
    that moves all of them agrees.
    """
    args = with_default_integers(draw.args) if narrow else cast(draw.args, np.float64)
    unit = unit_of(args)
    least = max(tolerances.DIFFERENCES, tolerances.PARITY * unit)
    y, residuals = subject.fwd(*args)
    if subject.in_numpy:
        same_value(subject, y, subject.primal(*args))
    rng = np.random.default_rng([draw.seed, tolerances.SEED_DY])
    dys = [draw_cotangent(y, rng) for _ in range(2)]
    noise = unit * peak(dys) * peak(y) / tolerances.RIDDERS_STEP  # what the rounding of y makes of a difference
    gots = [run_backward(subject, args, residuals, dy) for dy in dys]
    along = _along(subject, args, dys)
    refs, excess, blurred = [list(row) for row in gots], [[0.0] * len(row) for row in gots], []
    for i, leaf in enumerate(map(np.asarray, floats_of(args))):
        directions, moved = _directions(leaf, i)
        value, uncertainty = ridders(lambda t, i=i, directions=directions: along(i, t * directions))  # type: ignore[misc]
        with np.errstate(invalid="ignore"):  # NaN and infinity are wrong
            got = np.stack([directions.reshape(len(directions), -1) @ row[i].ravel() for row in gots], axis=1)
        scale = max(peak(value), tolerances.TINY)
        allowed = tolerances.UNSURE * (uncertainty + noise) + least * scale
        size = max(peak(value), peak(got))  # what is nothing to both is seen
        blurred.append(float(allowed.max() / size) if size else 0.0)
        for k in range(len(dys)):
            excess[k][i] = float(np.nan_to_num(np.abs(got - value) / allowed, nan=np.inf)[:, k].max())
            ref = np.array(gots[k][i], np.float64)
            ref.flat[moved] = value[: len(moved), k]
            refs[k][i] = ref
    leaves = subject.leaves(args)
    p = Probe(draw._replace(args=args), leaves, y, residuals, dys, refs, gots, excess, unit=unit)
    return Sight(p, blurred)


def unit_of(args: Any) -> float:
    """The rounding unit of the narrowest dtype among the arguments."""
    return max(float(jnp.finfo(leaf.dtype).eps) for leaf in floats_of(args))


def _directions(leaf: np.ndarray, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions in which a leaf moves: units, then, if there are too many of these, all elements at once; and the
    elements that the units move."""
    rng = np.random.default_rng([tolerances.SEED_DIRECTION, i])
    moved = np.arange(leaf.size)
    if leaf.size > tolerances.ELEMENTS_MOVED:
        moved = np.sort(rng.choice(leaf.size, tolerances.ELEMENTS_MOVED, replace=False))
    units = np.zeros((len(moved), leaf.size))
    units[np.arange(len(moved)), moved] = 1
    if leaf.size > len(moved):
        units = np.concatenate([units, rng.normal(size=(tolerances.DIRECTIONS, leaf.size)) / leaf.size**0.5])
    return units.reshape(-1, *leaf.shape), moved


def _along(subject: Subject, args: tuple[Any, ...], dys: list[Any]) -> Callable[[int, np.ndarray], np.ndarray]:
    """(leaf, steps) to ⟨dy, y⟩ for every step of that leaf, by row, and for every dy, by column."""
    _, floats = of_floats(subject.primal, args)
    leaves, structure = jax.tree.flatten(args)
    places = [n for n, leaf in enumerate(leaves) if is_float(leaf)]

    def values(*moved: Any) -> list[Any]:
        filled = dict(enumerate(leaves)) | dict(zip(places, moved, strict=True))
        y = subject.primal(*jax.tree.unflatten(structure, [filled[n] for n in range(len(leaves))]))
        return [leaf for leaf in jax.tree.leaves(y) if is_float(leaf)]

    run = values
    try:
        run = compiled(values, floats, hasty=True)
        run(*floats)
    except Exception:  # it looks at values
        run = values
    rows = [np.concatenate([np.asarray(d, np.float64).ravel() for d in floats_of(dy)]) for dy in dys]

    y_here = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in run(*floats)])

    def along(i: int, steps: np.ndarray) -> np.ndarray:
        here, found = np.asarray(floats[i]), []
        for step in steps:
            at()
            moved = list(floats)
            moved[i] = jax.device_put((here + step).astype(here.dtype))
            y = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in run(*moved)])
            found.append([row @ (y - y_here) for row in rows])  # less is lost to rounding than by row @ y
        return np.array(found)

    return along
