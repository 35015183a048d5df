"""Whether a backward agrees with the reference, in float64 and then in the target dtype, and obeys the laws."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.leaves import cast, first_line, float_leaves, is_float
from ..report import Finding
from ..trial.specs import Draw
from ..trial.subject import Subject
from . import reference
from .form import float_cotangents, structure_findings
from .reference import EPS, draw_cotangent

# |Δ| ≤ RELATIVE·|ref| + ABSOLUTE·(scale of the leaf) + 4·(movement of the reference as the inputs move by a rounding
# unit). True rules agree to 1e-15 … 1e-12, and 1.00001 times the truth must fail.
RELATIVE, ABSOLUTE = 1e-10, 1e-12


class Probe(NamedTuple):
    """One set of arguments, several cotangents, and for each (dy, leaf) what the reference and the backward say."""

    draw: Draw
    y: Any
    residuals: Any
    dys: list[Any]
    refs: list[list[np.ndarray]]
    gots: list[list[np.ndarray]]
    excess: list[list[float]]
    """The error of each in units of what is allowed: at most 1 is right."""
    vanished: frozenset[int] = frozenset()
    """Leaves whose gradient is zero by cancellation: of both sides only rounding is left, which is taken for zero."""

    def tiny(self) -> list[int]:
        """Leaves of which there is next to nothing, beside dy, on either side."""
        leaves = [leaf for d in self.dys for leaf in jax.tree.leaves(d) if is_float(leaf)]
        dy = max((float(np.abs(leaf).max(initial=0)) for leaf in leaves), default=0.0)
        rows = (*self.gots, *self.refs)
        sizes = [max(float(np.abs(row[i]).max(initial=0)) for row in rows) for i in range(len(self.refs[0]))]
        return [i for i, size in enumerate(sizes) if 0 < size < 1e-10 * dy]

    def without(self, leaves: Iterable[int]) -> Probe:
        """With these leaves vanished."""
        gone = frozenset(leaves)
        refs, gots = (
            [[0 * d if i in gone else d for i, d in enumerate(row)] for row in side] for side in (self.refs, self.gots)
        )
        excess = [[0.0 if i in gone else e for i, e in enumerate(row)] for row in self.excess]
        return self._replace(refs=refs, gots=gots, excess=excess, vanished=gone)

    @property
    def agrees(self) -> bool:
        return all(e <= 1 for row in self.excess for e in row)


class Malformed(Exception):  # noqa: N818  (never leaves the checker)
    """The backward raised, or returned something of the wrong form."""

    def __init__(self, findings: list[Finding]):
        super().__init__("; ".join(finding.explanation for finding in findings))
        self.findings = findings


def run_backward(subject: Subject, args: tuple[Any, ...], residuals: Any, dy: Any) -> list[np.ndarray]:
    """The cotangents of the differentiable leaves. Raises Malformed."""
    return [np.asarray(leaf) for leaf in checked_backward(subject, args, residuals, dy)]


def checked_backward(subject: Subject, args: tuple[Any, ...], residuals: Any, dy: Any) -> list[Any]:
    """The same, as whatever arrays the backward returns; under ``jit`` they are tracers. Raises Malformed."""
    try:
        got = subject.bwd(residuals, dy)
    except (Exception, SystemExit) as error:
        text = f"bwd raised {type(error).__name__}: {first_line(error)}"
        raise Malformed([Finding("", "", "wrong-structure", text)]) from error
    if found := structure_findings(subject, args, got):
        raise Malformed(found)
    return float_cotangents(args, got)


def probe(subject: Subject, draw: Draw, cotangents: int = 2) -> Probe:
    """Runs forward, backward and reference on one draw in float64, with random cotangents. Raises Malformed."""
    args = cast(draw.args, jnp.float64)
    y, residuals = subject.fwd(*args)
    _same_value(subject, y, subject.primal(*args))
    rng = np.random.default_rng([draw.seed, 3])
    dys = [draw_cotangent(y, rng) for _ in range(cotangents)]
    gots = [run_backward(subject, args, residuals, dy) for dy in dys]
    _, refs = reference.pull(subject.primal, args, dys)
    if found := not_finite(subject, args, gots[0], refs[0]):
        raise Malformed(found)
    excess = errors_in_units(subject, args, dys, refs, gots)
    return Probe(draw._replace(args=args), y, residuals, dys, refs, gots, excess)


def _same_value(subject: Subject, y: Any, primal: Any) -> None:
    """Raises Malformed where the forward does not compute the function that is differentiated, or not twice the same.

    For a ``custom_vjp`` the two are different code; for a rule they are one, and must agree with itself.
    """
    what = "nondeterministic" if subject.primal_is_fwd else "primal-mismatch"
    if str(jax.tree.structure(y)) == str(jax.tree.structure(primal)):
        pairs = list(zip(jax.tree.leaves(y), jax.tree.leaves(primal), strict=True))
        if all(np.shape(a) == np.shape(b) for a, b in pairs):
            units = 0 if subject.primal_is_fwd else 64
            if all(_near(np.asarray(a), np.asarray(b), units) for a, b in pairs):
                return
    text = {
        "nondeterministic": "the forward gives another value when it is called again with the same arguments",
        "primal-mismatch": "the fwd of this custom_vjp returns another value than the function that it decorates",
    }[what]
    raise Malformed([Finding("", "", what, text)])


def _near(a: np.ndarray, b: np.ndarray, units: int) -> bool:
    if not units or not is_float(a):
        return bool(np.array_equal(a, b))
    return bool(np.abs(a - b).max(initial=0) <= units * EPS * np.abs(b).max(initial=0))


def not_finite(subject: Subject, args: tuple[Any, ...], got: list[np.ndarray], ref: list[np.ndarray]) -> list[Finding]:
    """The leaves that hold NaN or infinity where the reference has neither."""
    return [
        Finding(subject.arguments[leaf.argument], leaf.path, "not-finite", "holds NaN or infinity; expected is finite")
        for leaf, g, r in zip(float_leaves(args), got, ref, strict=True)
        if np.isfinite(r).all() and not np.isfinite(g).all()
    ]


def errors_in_units(
    subject: Subject, args: tuple[Any, ...], dys: list[Any], refs: list[list[np.ndarray]], gots: list[list[np.ndarray]]
) -> list[list[float]]:
    """The largest error of every leaf, in units of what is allowed; the dear term only where the cheap ones fail."""

    def units(got: list[np.ndarray], ref: list[np.ndarray], moved: list[Any]) -> list[float]:
        return [ratio(np.abs(g - r), a) for g, r, a in zip(got, ref, allowed_error(ref, moved), strict=True)]

    found = [units(got, ref, [0.0] * len(ref)) for got, ref in zip(gots, refs, strict=True)]
    if all(units <= 1 for row in found for units in row):
        return found
    return list(map(units, gots, refs, reference.movement(subject.primal, args, dys, refs, nudges=8)))


def allowed_error(ref: list[np.ndarray], moved: list[Any]) -> list[np.ndarray]:
    """What every element may be off by; ``moved`` is how far each moves with the rounding of the inputs."""
    return [RELATIVE * np.abs(r) + ABSOLUTE * np.abs(r).max(initial=0) + 4 * m for r, m in zip(ref, moved, strict=True)]


def ratio(error: np.ndarray, allowed: np.ndarray) -> float:
    if not np.isfinite(error).all():
        return float("inf")
    exact = error == 0
    return float(np.max(np.where(exact, 0, error / np.where(exact, 1, np.maximum(allowed, 1e-300))), initial=0))


def law_findings(subject: Subject, p: Probe) -> list[Finding]:
    """Whether the backward is linear in its cotangent: bwd(0) = 0, bwd(c·dy) = c·bwd(dy) for c = 2 and 10⁶,
    bwd(dy₁ + dy₂) = bwd(dy₁) + bwd(dy₂); and whether it gives the same answer twice."""

    def run(dy):
        return run_backward(subject, p.draw.args, p.residuals, dy)

    def plus(a, b, factor=1.0):
        """a + factor·b, by numpy, as JAX would compile it."""
        return jax.tree.map(lambda u, v: jax.device_put(np.add(u, factor * np.asarray(v))) if is_float(u) else u, a, b)

    def scaled(dy, factor):
        return plus(dy, dy, factor - 1)

    again = run(p.dys[0])
    pairs = enumerate(zip(again, p.gots[0], strict=True))
    if not all(i in p.vanished or np.array_equal(a, b, equal_nan=True) for i, (a, b) in pairs):
        return [Finding("", "", "nondeterministic", "bwd gives another answer when it is called again with the same")]
    zero, double, both = run(scaled(p.dys[0], 0)), run(scaled(p.dys[0], 2)), run(plus(*p.dys[:2]))
    far = run(scaled(p.dys[0], 1e6))  # clipping that does not bite at ordinary cotangents
    found = []
    for i, leaf in enumerate(float_leaves(p.draw.args)):
        if i in p.vanished:
            continue
        first, second = p.gots[0][i], p.gots[1][i]
        scale = max(np.abs(first).max(initial=0), np.abs(second).max(initial=0), np.abs(zero[i]).max(initial=0))

        def same(a, b, scale=scale):
            return bool(np.abs(a - b).max(initial=0) <= 1e-9 * scale + 1e-300)

        if same(zero[i], 0 * first) and same(double[i], 2 * first) and same(both[i], first + second):
            if np.abs(far[i] - 1e6 * first).max(initial=0) > 1e-3 * scale:
                text = "is not linear in dy: bwd(1e6 dy) is not 1e6 bwd(dy)"
                found.append(Finding(subject.arguments[leaf.argument], leaf.path, "nonlinear-in-cotangent", text))
            continue
        if same(double[i], first) and not same(zero[i], 0 * first):
            mistake, text = "ignores-cotangent", "does not depend on dy: bwd(2 dy) = bwd(dy), and bwd(0) is not 0"
        elif same(double[i], 4 * first):
            mistake, text = "cotangent-squared", "is quadratic in dy: bwd(2 dy) = 4 bwd(dy)"
        else:
            mistake, text = "nonlinear-in-cotangent", "is not linear in dy; a backward must be"
        found.append(Finding(subject.arguments[leaf.argument], leaf.path, mistake, text))
    return found
