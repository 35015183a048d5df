"""How good the probes are: which share of mistakes, planted into a right backward, they would have caught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

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


class Adequacy(NamedTuple):
    """How many of the mutants were caught; ``survivors`` names those that no probe tells from the right backward."""

    mutants: int
    survivors: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the mutants, those that the probes would have caught."""
        return 1 - len(self.survivors) / self.mutants if self.mutants else 1.0


def adequacy(subject: Subject, probes: Sequence[Probe]) -> Adequacy:
    """Each cotangent dropped, scaled by 1.001, negated and, if square, transposed; judged by the same probes.

    A leaf whose true gradient is zero hides such mistakes: then the share is below 1, as it should be.
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
    leaves = probes[0].leaves
    return Adequacy(len(mutants), tuple(f"{leaves[i].cotangent} {what}" for i, what in left))
