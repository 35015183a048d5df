"""The laws of a backward: it gives the same answer twice, and it is linear in its cotangent."""

from typing import Any

import jax
import numpy as np

from ..engine.leaves import is_float
from ..report import Finding
from ..tolerances import FAR, FAR_OFF, LINEAR, TINY
from ..trial.subject import Subject
from .form import run_backward
from .probe import Probe


def law_findings(subject: Subject, p: Probe) -> list[Finding]:
    """Which laws are broken: bwd(0) = 0, bwd(c·dy) = c·bwd(dy) for c = 2 and 10⁶, bwd(dy₁ + dy₂) = bwd(dy₁) + bwd(dy₂),
    and the same answer twice."""

    def run(dy):
        return run_backward(subject, p.draw.args, p.residuals, dy)

    again = run(p.dys[0])
    pairs = enumerate(zip(again, p.gots[0], strict=True))
    if not all(i in p.vanished or np.array_equal(a, b, equal_nan=True) for i, (a, b) in pairs):
        return [Finding("", "", "nondeterministic", "bwd gives another answer when it is called again with the same")]
    dy, other = p.dys[:2]
    answers = zip(p.gots[0], p.gots[1], run(_plus(dy, dy, -1)), run(_plus(dy, dy)), run(_plus(dy, other)), strict=True)
    far = run(_plus(dy, dy, FAR - 1))  # clipping that does not bite at ordinary cotangents
    broken = {
        leaf: found
        for i, (leaf, got, at_far) in enumerate(zip(p.leaves, answers, far, strict=True))
        if i not in p.vanished and (found := _broken(*got, at_far))
    }
    return [Finding(*leaf, *found) for leaf, found in broken.items()]


def _plus(a: Any, b: Any, factor: float = 1.0) -> Any:
    """a + factor·b, by numpy, as JAX would compile it."""
    return jax.tree.map(lambda u, v: jax.device_put(np.add(u, factor * np.asarray(v))) if is_float(u) else u, a, b)


def _broken(
    first: np.ndarray, second: np.ndarray, zero: np.ndarray, double: np.ndarray, both: np.ndarray, far: np.ndarray
) -> tuple[str, str] | None:
    """The mistake and its description, from the answers to dy₁, dy₂, 0, 2·dy₁, dy₁ + dy₂ and 10⁶·dy₁."""
    scale = max(np.abs(answer).max(initial=0) for answer in (first, second, zero))

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return bool(np.abs(a - b).max(initial=0) <= LINEAR * scale + TINY)

    if same(zero, 0 * first) and same(double, 2 * first) and same(both, first + second):
        if np.abs(far - FAR * first).max(initial=0) > FAR_OFF * scale:
            return "nonlinear-in-cotangent", "is not linear in dy: bwd(1e6 dy) is not 1e6 bwd(dy)"
        return None
    if same(double, first) and not same(zero, 0 * first):
        return "ignores-cotangent", "does not depend on dy: bwd(2 dy) = bwd(dy), and bwd(0) is not 0"
    if same(double, 4 * first):
        return "cotangent-squared", "is quadratic in dy: bwd(2 dy) = 4 bwd(dy)"
    return "nonlinear-in-cotangent", "is not linear in dy; a backward must be"
