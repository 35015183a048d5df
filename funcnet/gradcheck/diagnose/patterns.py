"""Mistakes that show in the numbers of a whole cotangent: each pattern must hold on every probe that is wrong."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.compiling import haste
from ..engine.leaves import Leaf, close, floats_of, is_float, peak
from ..judge import reference
from ..judge.probe import Probe, allowed_error
from ..mistakes import MISTAKES
from ..report import Finding
from ..tolerances import EQUAL, LARGEST_JACOBIAN, NEARLY_ONE, RATE, RATE_STEP, TINY
from ..trial.subject import Subject
from .evidence import line_of_use, placed


class Case(NamedTuple):
    """Leaf ``i`` on one probe and its ``k``-th cotangent; ``pull(floats, dy)`` is the true VJP."""

    probe: Probe
    pull: Callable[..., Any]
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
        return [np.asarray(leaf) for leaf in leaves if jnp.issubdtype(getattr(leaf, "dtype", bool), jnp.integer)]

    @property
    def wrong(self) -> np.ndarray:
        """Which elements are wrong."""
        return np.abs(self.got - self.ref) > EQUAL * max(peak(self.ref), TINY)

    def vjp(self, floats: list[np.ndarray], dy: Any = None) -> list[np.ndarray]:
        """The true VJP at other inputs or with another cotangent."""
        dy = self.probe.dys[self.k] if dy is None else dy
        return [np.asarray(leaf) for leaf in self.pull([jnp.asarray(leaf) for leaf in floats], dy)]

    def with_argument(self, j: int, value: np.ndarray) -> np.ndarray:
        """The true cotangent of the leaf if leaf ``j`` of the inputs had another value."""
        return self.vjp([value if n == j else leaf for n, leaf in enumerate(self.floats)])[self.i]


class Cases:
    """The cases of every leaf. Probes of the same sizes share the compiled VJP."""

    def __init__(self, subject: Subject, probes: Sequence[Probe]):
        self.subject, self.probes = subject, probes
        known: dict[Any, Callable[..., Any]] = {}
        keys = [tuple(p.draw.sizes.items()) or n for n, p in enumerate(probes)]
        for key, p in zip(keys, probes, strict=True):
            if key not in known:
                f, _ = reference.of_floats(subject.primal, p.draw.args)
                known[key] = jax.jit(lambda floats, dy, f=f: jax.vjp(f, *floats)[1](dy), compiler_options=haste())
        self.pulls = [known[key] for key in keys]

    def of(self, i: int) -> list[Case]:
        """Every probe and cotangent on which the leaf is wrong and has more than one element; all if there are none."""
        cases = [
            Case(p, pull, k, i) for p, pull in zip(self.probes, self.pulls, strict=True) for k in range(len(p.dys))
        ]
        return [case for case in cases if case.wrong.any() and case.ref.size > 1] or cases


# ---------------------------------------------------------------- the patterns


def _transposed(case: Case) -> bool:
    """got is the reference with two of its axes exchanged."""
    pairs = itertools.combinations(range(case.ref.ndim), 2)
    return any(close(case.got, np.swapaxes(case.ref, a, b)) for a, b in pairs if case.ref.shape[a] == case.ref.shape[b])


def _swapped(case: Case) -> bool:
    """got is the reference of another leaf, whose own cotangent is wrong too."""
    gots, refs = case.probe.gots[case.k], case.probe.refs[case.k]
    others = (j for j in range(len(refs)) if j != case.i)
    return any(close(case.got, refs[j]) and not close(gots[j], refs[j]) for j in others)


def _wrong_axis(case: Case) -> bool:
    """All of a bias is one number: the sum over its own axis as well."""
    got, ref = case.got, case.ref
    return got.size > 1 and not np.ptp(got) and abs(got.flat[0] - ref.sum()) <= EQUAL * np.abs(ref).sum()


def _lost_result(case: Case) -> bool:
    """got is the VJP with the cotangent of one of several results set to zero."""
    leaves, structure = jax.tree.flatten(case.probe.dys[case.k])
    without = [
        jax.tree.unflatten(structure, [jnp.zeros_like(dy) if n == m else dy for n, dy in enumerate(leaves)])
        for m, dropped in enumerate(leaves)
        if len(leaves) > 1 and is_float(dropped)
    ]
    return any(close(case.got, case.vjp(case.floats, dy)[case.i]) for dy in without)


def _single_example(case: Case) -> bool:
    """got is the contribution of the first or the last row of dy, if the rows are independent examples."""
    dy = case.probe.dys[case.k]
    if not hasattr(dy, "shape") or not dy.shape or dy.shape[0] < 2:
        return False
    rows = {n: case.vjp(case.floats, jnp.zeros_like(dy).at[n].set(dy[n])) for n in (0, len(dy) - 1)}
    for n, pulled in rows.items():
        batched = [leaf for leaf in pulled if leaf.ndim and len(leaf) == len(dy)]
        if any(np.delete(leaf, n, axis=0).any() for leaf in batched):
            return False  # a later row depends on an earlier one, as over time
    return any(close(case.got, pulled[case.i]) for pulled in rows.values())


def _diagonal_only(case: Case) -> bool:
    """got = diag(J) ⊙ dy, for an elementwise leaf whose Jacobian J is more than its diagonal."""
    shape = case.ref.shape
    if getattr(case.probe.y, "shape", None) != shape or case.ref.size > LARGEST_JACOBIAN:
        return False
    units = jnp.eye(case.ref.size).reshape(-1, *shape)
    floats = [jnp.asarray(leaf) for leaf in case.floats]
    rows = jax.vmap(lambda e: case.pull(floats, e)[case.i].ravel())(units)
    kept = np.diag(np.asarray(rows)).reshape(shape) * np.asarray(case.probe.dys[case.k])
    return close(case.got, kept) and not close(case.ref, kept)


def _scatter(case: Case) -> bool:
    """Wrong only in rows whose index is repeated."""
    wrong = set(np.flatnonzero(case.wrong.reshape(len(case.wrong), -1).any(axis=1))) if case.wrong.ndim else set()
    for index in case.integers:
        rows, counts = np.unique(index, return_counts=True)
        if wrong and wrong <= set(rows[counts > 1]):
            return True
    return False


def _flipped_kernel(case: Case) -> bool:
    """got is the VJP with another argument reversed along its first one or two axes."""
    return any(
        close(case.got, case.with_argument(j, np.flip(kernel, axes)))
        for j, kernel in enumerate(case.floats)
        for axes in ((0,), (0, 1))
        if j != case.i and kernel.ndim >= len(axes) and kernel.shape[0] > 1
    )


def _epsilon(case: Case) -> bool:
    """The ratio to the reference is close to 1, and the same along an axis."""
    if not (case.ref != 0).all() or not case.ref.ndim:
        return False
    ratio = case.got / case.ref
    constant = any((np.ptp(ratio, axis=axis) < EQUAL).all() for axis in range(ratio.ndim))
    return bool(0 < np.abs(ratio - 1).max() < NEARLY_ONE and constant)


def _updated_weights(case: Case) -> bool:
    """got is the VJP at θ − rate·dθ for another argument θ.

    The error is then the derivative of the VJP along −dθ, which gives the rate. With it, the VJP there must be what was
    got; or the derivative the error, as masks taken before the update are not those at the updated weights.
    """
    gots, refs = case.probe.gots[case.k], case.probe.refs[case.k]
    for j, theta in enumerate(case.floats):
        if j == case.i or not close(gots[j], refs[j]):
            continue
        along = (case.with_argument(j, theta - RATE_STEP * refs[j]) - case.ref) / RATE_STEP
        if not peak(along):
            continue
        error = case.got - case.ref
        rate = float(np.vdot(error, along) / np.vdot(along, along))
        there = case.with_argument(j, theta - rate * refs[j])
        if abs(rate) > EQUAL and (close(there, case.got, RATE) or close(error, rate * along, RATE)):
            return True
    return False


def _reversed(case: Case) -> bool:
    """got is the reference flipped along one axis, or along several."""
    axes = [axis for axis in range(case.ref.ndim) if case.ref.shape[axis] > 1]
    chosen = (some for n in range(1, len(axes) + 1) for some in itertools.combinations(axes, n))
    return any(close(case.got, np.flip(case.ref, some)) for some in chosen)


class Pattern(NamedTuple):
    """A mistake, the test for it on one case, and its explanation if it is not the sentence of the table.

    ``uses``: the primitives by which the line that uses the leaf is known; None if no line is responsible.
    """

    mistake: str
    holds: Callable[[Case], bool]
    text: str = ""
    uses: frozenset[str] | None = None


ANY = frozenset[str]()
EXACT = (
    Pattern("transposed", _transposed, uses=frozenset({"dot_general"})),
    Pattern("swapped-cotangents", _swapped),
    Pattern("path-lost", _lost_result, "misses all that flows back from one of the results"),
    Pattern("wrong-reduction-axis", _wrong_axis, "is summed over its own axis too", ANY),
    Pattern("single-example", _single_example, uses=ANY),
    Pattern("jacobian-diagonal-only", _diagonal_only),
    Pattern("scatter-overwrites", _scatter, uses=frozenset({"gather"})),
    Pattern("kernel-not-flipped", _flipped_kernel, uses=frozenset({"conv_general_dilated"})),
)
LOOSE = (Pattern("reversed-axis", _reversed, uses=ANY), Pattern("wrong-epsilon-or-ddof", _epsilon))
UPDATED = (Pattern("updated-weights", _updated_weights),)  # named before the laws: it is quadratic in dy


def explain(cases: Cases, i: int, patterns: Sequence[Pattern]) -> Finding | None:
    """The first pattern that holds on every case of leaf i."""
    of_leaf = cases.of(i)
    for mistake, holds, text, uses in patterns:
        if all(holds(case) for case in of_leaf):
            line = None if uses is None else line_of_use(cases.subject, cases.probes[0].draw.args, i, uses)
            return placed(Finding(*cases.probes[0].leaves[i], mistake, text), line)
    return None


def unexplained(probes: Sequence[Probe], i: int) -> Finding:
    """Nothing fits: the worst elements, which the report shows, speak for themselves."""
    p = max(probes, key=lambda p: p.excess[0][i])
    got, ref = p.gots[0][i], p.refs[0][i]
    wrong = int((np.abs(got - ref) > allowed_error([ref])[0]).sum())
    return Finding(*probes[0].leaves[i], "unexplained", f"{wrong} of its {ref.size} elements are wrong")


def explain_shape(leaf: Leaf, got: np.ndarray, ref: np.ndarray, others: list[np.ndarray]) -> Finding | None:
    """Why a cotangent has the wrong shape: a sum was not taken, an axis was kept, it is another's, or a transpose."""
    if close(got, ref):  # right in this draw, wrong in another
        return Finding(*leaf, "rank-assumption")
    sums = (axes for n in range(1, got.ndim) for axes in itertools.combinations(range(got.ndim), n))
    # sums of the same contributions, over whichever axes, have the same total
    elsewhere = got.ndim == ref.ndim == 1 and got.size > 1 and close(got.sum(), ref.sum())
    kept = got.ndim != ref.ndim and got.size == ref.size and close(got.reshape(ref.shape), ref)
    whole = got.size == 1 < ref.size and close(got.reshape(()), ref.sum())
    checks = [
        ("wrong-reduction-axis", "is summed over its own axis too", whole),
        ("transposed", "", got.ndim == 2 and close(got.T, ref)),
        ("wrong-reduction-axis", "has an axis of one that a sum kept", kept),
        ("missing-broadcast-sum", "", any(close(got.sum(axis=axes), ref) for axes in sums)),
        ("swapped-cotangents", "", any(close(got, other) for other in others)),
        ("wrong-reduction-axis", "is summed over another axis than it was broadcast along", elsewhere),
    ]
    text = f"has shape {got.shape}, expected {ref.shape}: it "
    named = ((mistake, says or MISTAKES[mistake].sentence) for mistake, says, holds in checks if holds)
    return next((Finding(*leaf, mistake, text + says) for mistake, says in named), None)
