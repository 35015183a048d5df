"""One comparison in the dtypes of the arguments, for what takes no others and cannot be widened, such as a kernel."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .. import tolerances
from ..engine.leaves import all_finite, cast, floats_of, is_float, peak, with_default_integers
from ..engine.rewriting import widened
from ..engine.width import as_users_have_it
from ..report import Finding
from ..trial.draws import Draw, draw_cotangent
from ..trial.subject import Subject
from . import reference
from .form import Malformed, run_backward
from .ladder import Sight, unit_of
from .probe import Probe


def narrow_probe(subject: Subject, draw: Draw) -> Sight:
    """Compares value and backward with the reference in float64. Raises Malformed, and NoReference if there is none.

    Each leaf may be off by AUTODIFF times the error of the reference in the same dtypes, and by rounding.
    """
    with as_users_have_it(draw.args):
        args = with_default_integers(draw.args)
        y, residuals = subject.fwd(*args)
        rng = np.random.default_rng([draw.seed, tolerances.SEED_DY])
        dys = [draw_cotangent(y, rng) for _ in range(2)]
        gots = [[d.astype(np.float64) for d in run_backward(subject, args, residuals, dy)] for dy in dys]
        plain = reference.pull(subject.primal, args, dys)
        value = subject.primal(*args)
    primal, high, dys64 = subject.primal, cast(args, np.float64), cast(dys, np.float64)
    try:
        refs = reference.pull(primal, high, dys64)
    except Exception:  # it takes no float64 either
        primal = widened(primal, args)
        refs = reference.pull(primal, high, dys64)
    if not all_finite([refs, plain]):
        raise reference.NoReference("the reference is not finite at these arguments")
    moved = reference.movement(primal, high, dys64, refs)
    unit = unit_of(args)
    if subject.primal_is != "a surrogate":
        _same_value(y, value, primal, high, unit)
    excess, blurred = [], [0.0] * len(refs[0])
    for got, ref, own, move in zip(gots, refs, plain, moved, strict=True):
        row = []
        for i in range(len(ref)):
            scale = max(peak(ref[i]), tolerances.TINY)
            allowed = (
                tolerances.AUTODIFF * peak(own[i].astype(np.float64) - ref[i])
                + tolerances.UNITS * unit * scale
                + tolerances.CONDITIONING * unit / tolerances.EPS * peak(move[i])
            )
            row.append(peak(got[i] - ref[i]) / allowed if np.isfinite(got[i]).all() else np.inf)
            blurred[i] = max(blurred[i], allowed / scale)
        excess.append(row)
    leaves = subject.leaves(args)
    return Sight(Probe(draw._replace(args=args), leaves, y, residuals, dys, refs, gots, excess, unit=unit), blurred)


def _same_value(y: Any, plain: Any, primal: Callable[..., Any], high: tuple[Any, ...], unit: float) -> None:
    """Raises Malformed unless y is as near to the reference in float64 as its cotangents must be."""
    if str(jax.tree.structure(y)) != str(jax.tree.structure(plain)):
        raise Malformed([Finding("", "y", "primal-mismatch", "has not the structure of the reference's value")])
    signs = np.random.default_rng(tolerances.SEED_NUDGE)

    def nudged(leaf: Any) -> Any:
        return leaf * (1 + unit * signs.choice([-1, 1], size=leaf.shape)) if is_float(leaf) else leaf

    sides = (y, plain, primal(*high), primal(*jax.tree.map(nudged, high)))
    for got, own, ref, moved in zip(*map(floats_of, cast(sides, np.float64)), strict=True):
        allowed = (
            tolerances.AUTODIFF * peak(own - ref)
            + tolerances.UNITS * unit * peak(ref)
            + tolerances.CONDITIONING * peak(moved - ref)
        )
        if got.shape != ref.shape or not peak(got - ref) <= allowed:
            off = f"is off by {peak(got - ref) / max(peak(ref), tolerances.TINY):.1e} of the largest entry"
            text = "has not the shape of the reference's value" if got.shape != ref.shape else off
            raise Malformed([Finding("", "y", "primal-mismatch", text)])
