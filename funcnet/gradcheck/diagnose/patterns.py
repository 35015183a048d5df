"""Names mistakes that are not a scale on one path: each hypothesis must hold on every probe and cotangent it sees."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.compiling import haste
from ..engine.leaves import floats_of
from ..judge import reference
from ..judge.probe import Probe, allowed_error
from ..report import Finding
from ..trial.subject import Subject


def close(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-9) -> bool:
    """Equal to rounding, in the scale of the whole leaf."""
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= tolerance * np.abs(b).max(initial=1e-300))


def whole_leaf_factor(probes: Sequence[Probe], i: int) -> list[float] | None:
    """c with got = c·expected for the whole leaf, one for each of the probes; None where there is none."""
    factors = []
    for p in probes:
        got = np.concatenate([row[i].ravel() for row in p.gots])
        ref = np.concatenate([row[i].ravel() for row in p.refs])
        c = float(got @ ref / (ref @ ref))
        if np.abs(got - c * ref).max() > 1e-9 * max(1, abs(c)) * np.abs(ref).max():
            return None
        factors.append(c)
    return factors


def products(sizes: Mapping[str, int]) -> dict[str, int]:
    """The size of every axis, and of several together as in a mean over all elements; axes of one are none."""
    axes = [axis for axis, size in sizes.items() if size > 1]
    chosen = [c for n in range(1, min(len(axes), 4) + 1) for c in itertools.combinations(axes, n)]
    return {"·".join(c): math.prod(sizes[axis] for axis in c) for c in chosen}


def axis_of(factors: Sequence[float], probes: Sequence[Probe]) -> tuple[str, int] | None:
    """The axis whose size (power 1) or its inverse (power −1) the factor is on every probe; sizes must differ."""
    for axis in products(probes[0].draw.sizes):
        sizes = [math.prod(p.draw.sizes[name] for name in axis.split("·")) for p in probes]
        for power in (1, -1):
            if len(set(sizes)) > 1 and all(abs(c / s**power - 1) < 1e-9 for c, s in zip(factors, sizes, strict=True)):
                return axis, power
    return None


def axis_factor(subject: Subject, probes: Sequence[Probe], i: int) -> Finding | None:
    """The whole leaf is too large or too small by the size of an axis."""
    probes = [p for p in probes if any(row[i].any() for row in p.refs)]  # a zero has no factor
    factors = whole_leaf_factor(probes, i)
    found = factors and axis_of(factors, probes)
    if not (factors and found):
        return None
    axis, power = found
    name, path = _names(subject, probes, i)
    if power == 1:
        text = f"is {axis} times too large: the mean over {axis} was not divided by {axis}"
        return Finding(name, path, "missing-mean-divisor", text, factors[0], axis)
    text = f"is {axis} times too small: it was divided by {axis} once too often"
    return Finding(name, path, "extra-mean-divisor", text, factors[0], axis)


class Tools:
    """The VJP of the forward of one probe, compiled once, and all that the forward computes on the way."""

    def __init__(self, subject: Subject, probe: Probe, same_shape: Tools | None = None):
        f, self.floats = reference.of_floats(subject.primal, probe.draw.args)
        self.f: Callable[..., Any] = same_shape.f if same_shape else f
        self.sizes = probe.draw.sizes
        self.pull: Callable[..., Any] = (
            same_shape.pull
            if same_shape
            else jax.jit(lambda floats, dy: jax.vjp(f, *floats)[1](dy), compiler_options=haste())
        )


def tools_for(subject: Subject, probes: Sequence[Probe]) -> list[Tools]:
    """One for each probe; those of the same shape share what is compiled."""
    found: list[Tools] = []
    for p in probes:
        found.append(Tools(subject, p, next((t for t in found if t.sizes and t.sizes == p.draw.sizes), None)))
    return found


class Case(NamedTuple):
    """One leaf on one probe and cotangent: what was got, what was expected, and the means to try something else."""

    tools: Tools
    probe: Probe
    k: int
    i: int

    @property
    def got(self) -> np.ndarray:
        return self.probe.gots[self.k][self.i]

    @property
    def ref(self) -> np.ndarray:
        return self.probe.refs[self.k][self.i]

    @property
    def floats(self) -> list[np.ndarray]:
        return [np.asarray(leaf) for leaf in floats_of(self.probe.draw.args)]

    @property
    def integers(self) -> list[np.ndarray]:
        leaves = jax.tree.leaves(self.probe.draw.args)
        return [np.asarray(leaf) for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.integer)]

    @property
    def wrong(self) -> np.ndarray:
        """Which elements are wrong."""
        return np.abs(self.got - self.ref) > 1e-9 * np.abs(self.ref).max(initial=1e-300)

    def vjp(self, floats: list[np.ndarray], dy: Any = None) -> list[np.ndarray]:
        """The reference at other inputs or with another cotangent."""
        dy = self.probe.dys[self.k] if dy is None else dy
        pulled = self.tools.pull([jnp.asarray(leaf) for leaf in floats], dy)
        return [np.asarray(leaf) for leaf in pulled]


def _transposed(case: Case) -> bool:
    return case.ref.ndim >= 2 and close(case.got, np.swapaxes(case.ref, -1, -2))


def _swapped(case: Case) -> bool:
    gots, refs = case.probe.gots[case.k], case.probe.refs[case.k]
    return any(
        j != case.i and close(case.got, ref) and not close(got, ref)
        for j, (got, ref) in enumerate(zip(gots, refs, strict=True))
    )


def _updated_weights(case: Case) -> bool:
    """got = VJP at θ − lr·dθ for another argument θ: the error is d(VJP) along dθ; that gives lr, which must fit."""
    for j, theta in enumerate(case.floats):
        if j == case.i or not close(case.probe.gots[case.k][j], case.probe.refs[case.k][j]):
            continue
        step = 1e-4 * case.probe.refs[case.k][j]
        moved = [leaf - step if n == j else leaf for n, leaf in enumerate(case.floats)]
        slope = (case.vjp(moved)[case.i] - case.ref) / 1e-4
        if not np.abs(slope).max(initial=0) > 0:
            continue
        rate = float(np.vdot(case.got - case.ref, slope) / np.vdot(slope, slope))
        there = [leaf - rate * step / 1e-4 if n == j else leaf for n, leaf in enumerate(case.floats)]
        if abs(rate) > 1e-9 and close(case.vjp(there)[case.i], case.got, 1e-7) and theta.size:
            return True
    return False


def _single_example(case: Case) -> bool:
    """got is the contribution of the first or the last row of dy, where the rows are examples apart from each other."""
    dy = case.probe.dys[case.k]
    if not hasattr(dy, "shape") or not dy.shape or dy.shape[0] < 2:
        return False
    rows = {n: case.vjp(case.floats, jnp.zeros_like(dy).at[n].set(dy[n])) for n in (0, len(dy) - 1)}
    for n, pulled in rows.items():
        batched = [leaf for leaf in pulled if leaf.ndim and len(leaf) == len(dy)]
        if any(np.delete(leaf, n, axis=0).any() for leaf in batched):
            return False  # a later row depends on an earlier one, as over time
    return any(close(case.got, pulled[case.i]) for pulled in rows.values())


def _elementwise(case: Case) -> bool:
    return hasattr(case.probe.y, "shape") and case.probe.y.shape == case.ref.shape == case.floats[case.i].shape


def _diagonal_only(case: Case) -> bool:
    """got = diag(J) ⊙ dy, and J is more than that."""
    if not _elementwise(case) or case.ref.size > 400:
        return False
    size, shape = case.ref.size, case.ref.shape
    units = jnp.eye(size).reshape(size, *shape)
    rows = jax.vmap(lambda e: case.tools.pull(case.tools.floats, e)[case.i].ravel())(units)
    kept = np.diag(np.asarray(rows)).reshape(shape) * np.asarray(case.probe.dys[case.k])
    return close(case.got, kept) and not close(case.ref, kept)


def _scatter(case: Case) -> bool:
    """Wrong only in rows whose index is repeated."""
    for index in case.integers:
        rows, counts = np.unique(index, return_counts=True)
        wrong = np.flatnonzero(case.wrong.reshape(len(case.wrong), -1).any(axis=1)) if case.wrong.ndim else np.array([])
        if len(wrong) and (counts > 1).any() and set(wrong) <= set(rows[counts > 1]):
            return True
    return False


def _flipped_kernel(case: Case) -> bool:
    """got is the VJP with another argument reversed along its first one or two axes."""
    for j, kernel in enumerate(case.floats):
        for axes in ((0,), (0, 1)):
            if j != case.i and kernel.ndim >= len(axes) and kernel.shape[0] > 1:
                flipped = [np.flip(leaf, axes) if n == j else leaf for n, leaf in enumerate(case.floats)]
                if close(case.got, case.vjp(flipped)[case.i]):
                    return True
    return False


def _epsilon(case: Case) -> bool:
    """A ratio close to 1 that is the same along an axis."""
    if not (case.ref != 0).all() or not case.ref.ndim:
        return False
    ratio = case.got / case.ref
    constant = any((np.ptp(ratio, axis=axis) < 1e-9).all() for axis in range(ratio.ndim))
    return bool(0 < np.abs(ratio - 1).max() < 1e-2 and constant)


def _wrong_axis(case: Case) -> bool:
    """A sum too far: all of a bias is one number, the sum over its own axis as well."""
    got, ref = case.got, case.ref
    return got.size > 1 and not np.ptp(got) and abs(got.flat[0] - ref.sum()) <= 1e-9 * np.abs(ref).sum()


Signature = tuple[str, str, Callable[[Case], bool]]
EXACT: list[Signature] = [
    ("transposed", "is the transpose of what is expected", _transposed),
    ("swapped-cotangents", "is the cotangent of another argument", _swapped),
    ("wrong-reduction-axis", "is summed over its own axis too", _wrong_axis),
    ("single-example", "is the contribution of one example; expected the sum over all", _single_example),
    ("jacobian-diagonal-only", "keeps only the diagonal of the Jacobian", _diagonal_only),
    ("scatter-overwrites", "is wrong only where an index is repeated: set where it should add", _scatter),
    (
        "kernel-not-flipped",
        "is right for the reversed kernel: a correlation where a convolution is due",
        _flipped_kernel,
    ),
]
PATTERNS: list[Signature] = [
    ("wrong-epsilon-or-ddof", "has a ratio to the truth that is nearly 1 and the same along each row", _epsilon),
]


def updated_weights(subject: Subject, probes: Sequence[Probe], i: int) -> Finding | None:
    """Before the laws are judged: this mistake is quadratic in dy."""
    name, path = _names(subject, probes, i)
    if all(_updated_weights(case) for case in _cases(tools_for(subject, probes), probes, i)):
        text = "is the cotangent at weights that are already updated: the error is proportional to the learning rate"
        return Finding(name, path, "updated-weights", text)
    return None


def _cases(tools: Sequence[Tools], probes: Sequence[Probe], i: int) -> list[Case]:
    """Every probe and cotangent in which the leaf is wrong and larger than one element."""
    cases = [Case(tool, p, k, i) for tool, p in zip(tools, probes, strict=True) for k in range(len(p.dys))]
    return [case for case in cases if case.wrong.any() and case.ref.size > 1] or cases


def explain(
    subject: Subject, tools: Sequence[Tools], probes: Sequence[Probe], i: int, signatures: Sequence[Signature]
) -> Finding | None:
    """The first hypothesis that explains leaf i on every probe where it is wrong."""
    name, path = _names(subject, probes, i)
    cases = _cases(tools, probes, i)
    for mistake, text, holds in signatures:
        if all(holds(case) for case in cases):
            return Finding(name, path, mistake, text)
    return None


def explain_shape(name: str, path: str, got: np.ndarray, ref: np.ndarray, others: list[np.ndarray]) -> Finding | None:
    """What a cotangent of the wrong shape is: a sum that was not taken, an axis kept, a transpose, another's."""
    axes = [
        chosen for n in range(1, got.ndim) for chosen in itertools.combinations(range(got.ndim), n)
        if close(got.sum(axis=chosen), ref)
    ]  # fmt: skip
    if close(got, ref):  # here it is right: it was wrong in another draw
        return Finding(
            name, path, "rank-assumption", "is right for arrays of one rank and of the wrong shape for another"
        )
    # sums of the same contributions over whichever axes have one grand total
    elsewhere = got.ndim == ref.ndim == 1 and got.size > 1 and close(got.sum(), ref.sum())
    kept = got.size == ref.size and close(got.reshape(ref.shape), ref)
    whole = got.size == 1 < ref.size and close(got.reshape(()), ref.sum())
    checks = [
        ("wrong-reduction-axis", "is summed over its own axis too", whole),
        ("transposed", "is the transpose of what is expected", got.ndim == 2 and close(got.T, ref)),
        ("wrong-reduction-axis", "has an axis of one that a sum kept", kept and got.ndim != ref.ndim),
        ("missing-broadcast-sum", "is not summed over an axis that the argument was broadcast along", bool(axes)),
        ("swapped-cotangents", "is the cotangent of another argument", any(close(got, other) for other in others)),
        ("wrong-reduction-axis", "is summed over another axis than it was broadcast along", elsewhere),
    ]
    text = f"has shape {got.shape}, expected {ref.shape}: it "
    return next((Finding(name, path, mistake, text + says) for mistake, says, holds in checks if holds), None)


def unexplained(subject: Subject, probes: Sequence[Probe], i: int) -> Finding:
    """No hypothesis fits: the worst elements, which the report shows, speak for themselves."""
    name, path = _names(subject, probes, i)
    p = max(probes, key=lambda p: p.excess[0][i])
    got, ref = p.gots[0][i], p.refs[0][i]
    wrong = int((np.abs(got - ref) > allowed_error([ref])[0]).sum())
    return Finding(name, path, "unexplained", f"{wrong} of its {ref.size} elements are wrong")


def _names(subject: Subject, probes: Sequence[Probe], i: int) -> tuple[str, str]:
    return probes[0].leaves[i]
