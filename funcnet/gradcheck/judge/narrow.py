"""One comparison in the dtypes of the arguments, for what takes no others and cannot be widened, such as a kernel."""

import numpy as np

from .. import tolerances
from ..engine.leaves import cast, peak, with_default_integers
from ..engine.rewriting import widened
from ..engine.width import as_users_have_it
from ..trial.draws import Draw, draw_cotangent
from ..trial.subject import Subject
from . import reference
from .form import run_backward
from .ladder import Sight, unit_of
from .probe import Probe


def narrow_probe(subject: Subject, draw: Draw) -> Sight:
    """Compares a backward with the reference in float64. Raises Malformed, and NoReference if there is none.

    Each leaf may be off by AUTODIFF times the error of the reference in the same dtypes, and by rounding.
    """
    with as_users_have_it(draw.args):
        args = with_default_integers(draw.args)
        y, residuals = subject.fwd(*args)
        rng = np.random.default_rng([draw.seed, tolerances.SEED_DY])
        dys = [draw_cotangent(y, rng) for _ in range(2)]
        gots = [[d.astype(np.float64) for d in run_backward(subject, args, residuals, dy)] for dy in dys]
        plain = reference.pull(subject.primal, args, dys)
    primal, high, dys64 = subject.primal, cast(args, np.float64), cast(dys, np.float64)
    try:
        refs = reference.pull(primal, high, dys64)
    except Exception:  # it takes no float64 either
        primal = widened(primal, args)
        refs = reference.pull(primal, high, dys64)
    moved = reference.movement(primal, high, dys64, refs)
    unit = unit_of(args)
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
