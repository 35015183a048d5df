"""The quality of the probes: the share of mistakes, planted into a right backward, that they would have caught."""

from collections.abc import Callable, Sequence

import numpy as np

from ..trial.subject import Subject
from . import reference
from .probe import Probe, allowed_error

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
