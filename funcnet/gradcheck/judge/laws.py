"""The laws of a backward: it gives the same answer twice, and it is linear in its cotangent."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.leaves import close, floats_of, is_float, peak
from ..report import Finding
from ..tolerances import HUGE, LINEAR, PARITY
from ..trial.subject import Subject
from .form import run_backward
from .probe import Probe


def law_findings(subject: Subject, p: Probe, room: float = LINEAR) -> list[Finding]:
    """A finding if the answer changes when bwd is called again, else one for each leaf that is not linear in dy.

    ``room``: the share of the largest entry by which the sides of a law may differ.
    """

    def run(dy):
        return run_backward(subject, p.draw.args, p.residuals, dy)

    again = run(p.dys[0])
    pairs = enumerate(zip(again, p.gots[0], strict=True))
    if not all(i in p.vanished or np.array_equal(a, b, equal_nan=True) for i, (a, b) in pairs):
        return [Finding("", "bwd", "nondeterministic")]
    dy, other = p.dys[:2]
    answers = zip(p.gots[0], p.gots[1], run(_plus(dy, dy, -1)), run(_plus(dy, dy)), run(_plus(dy, other)), strict=True)
    huge = min(HUGE, *(float(jnp.finfo(leaf.dtype).max) ** 0.5 for leaf in floats_of(dy)))  # float16 ends at 65,504
    far = run(_plus(dy, dy, huge - 1))  # clipping that does not bite at ordinary cotangents
    broken = {
        leaf: found
        for i, (leaf, got, at_far) in enumerate(zip(p.leaves, answers, far, strict=True))
        if i not in p.vanished and (found := _broken(*got, (huge, at_far), p.unit, room))
    }
    return [Finding(*leaf, mistake, evidence=(seen,)) for leaf, (mistake, seen) in broken.items()]


def _plus(a: Any, b: Any, factor: float = 1.0) -> Any:
    """a + factor·b, by numpy, as JAX would compile it."""
    return jax.tree.map(lambda u, v: jax.device_put(np.add(u, factor * np.asarray(v))) if is_float(u) else u, a, b)


def _broken(
    first: np.ndarray,
    second: np.ndarray,
    zero: np.ndarray,
    double: np.ndarray,
    both: np.ndarray,
    far: tuple[float, np.ndarray],
    unit: float,
    room: float,
) -> tuple[str, str] | None:
    """The mistake and what shows it, from the answers to dy₁, dy₂, 0, 2·dy₁, dy₁ + dy₂, and huge·dy₁."""
    huge, at_far = far
    scale = peak([first, second, zero])
    tolerance = max(room, PARITY * unit)
    same = functools.partial(close, tolerance=tolerance, scale=scale)
    laws = {
        "bwd(0) is not 0": same(zero, 0 * first),
        "bwd(2 dy) is not 2 bwd(dy)": same(double, 2 * first),
        "bwd(dy₁ + dy₂) is not bwd(dy₁) + bwd(dy₂)": same(both, first + second),
        f"bwd({huge:,.0f} dy) is not {huge:,.0f} bwd(dy)": (
            not np.isfinite(at_far).all() or peak(at_far - huge * first) <= huge * tolerance * scale
        ),
    }
    broken = [law for law, holds in laws.items() if not holds]
    if "bwd(0) is not 0" in broken and same(double, first):
        return "ignores-cotangent", "bwd(2 dy) = bwd(dy), and bwd(0) is not 0"
    if "bwd(2 dy) is not 2 bwd(dy)" in broken and same(double, 4 * first):
        return "cotangent-squared", "bwd(2 dy) = 4 bwd(dy)"
    return ("nonlinear-in-cotangent", broken[0]) if broken else None
