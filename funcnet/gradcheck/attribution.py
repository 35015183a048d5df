"""Names the path of the forward that an error comes from: one least-squares fit per edge of its graph.

For an edge e let C_e be the part of the true VJP that flows through it, C_e = VJP − VJP(gradient through e stopped).
The VJP is affine in a scale on one edge, so a backward that lost, negated, doubled or mis-scaled one path satisfies
got − ref = (c − 1)·C_e exactly. Projecting gives c, and what remains says whether the edge explains the error at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import reference
from .decision import Probe
from .hypotheses import axis_of
from .reference import EPS, float_leaves
from .report import Finding
from .subject import Subject
from .trace import Edge, Graph, trace

# Run once or twice and compiled each time: as in -O0. Only the CPU knows these options, so only there.
COMPILE_FAST = (
    {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    if jax.default_backend() == "cpu"
    else None
)


class Paths(NamedTuple):
    """For one probe: C_e of every edge, beside the error, as rows over all cotangents and leaves."""

    graph: Graph
    parts: np.ndarray  # (edges, entries)
    error: np.ndarray  # (entries,)
    ref: np.ndarray  # (entries,)
    leaf: np.ndarray  # (entries,), the leaf that an entry belongs to


def paths_of(subject: Subject, probe: Probe) -> tuple[Paths, Paths] | None:
    """Every C_e at once: one VJP, mapped over the rows 1 and 1 − I of scales. None where the forward has no graph.

    Custom derivatives are looked into only where the VJP stays the same by it. The second of the two is the same with
    the gradient stopped on edges whose paths cancel (a shift by the maximum): who derives by hand leaves them out, and
    so they must not come alive when another path is lost.
    """
    f, floats = reference.of_floats(subject.primal, probe.draw.args)
    ref, error = _stack(probe.refs), _stack(probe.gots) - _stack(probe.refs)
    leaf = np.concatenate([np.full(r.size, i) for row in probe.refs for i, r in enumerate(row)])
    for inline in (True, False):
        graph = trace(f, floats, _file_of(subject), inline)
        n = len(graph.edges)
        if not n:
            return None
        mapped = jax.jit(
            jax.vmap(functools.partial(_vjps, graph.run, probe.dys, floats)), compiler_options=COMPILE_FAST
        )
        rows = np.vstack([np.ones(n), 1 - np.eye(n)])
        values = np.asarray(mapped(rows))
        if np.abs(values[0] - ref).max() > 1e-9 * max(np.abs(ref).max(), 1e-300):
            continue
        rows[:, np.abs(values[0] - values[1:]).max(axis=1) <= 1e-12 * np.abs(ref).max()] = 0
        frozen = np.asarray(mapped(rows))
        if np.abs(frozen[0] - ref).max() > 1e-9 * max(np.abs(ref).max(), 1e-300):
            frozen = values
        return Paths(graph, values[0] - values[1:], error, ref, leaf), Paths(
            graph, frozen[0] - frozen[1:], error, ref, leaf
        )
    return None


def _file_of(subject: Subject) -> str | None:
    code = getattr(subject.source, "__code__", None)
    return code.co_filename if code else None


def _vjps(run: Callable[..., Any], dys: list[Any], floats: list[Any], changes) -> Any:
    """The VJP of ``run(changes, …)`` for every cotangent, as one vector."""
    _, pull = jax.vjp(functools.partial(run, changes), *floats)
    return jnp.concatenate([leaf.ravel() for dy in dys for leaf in pull(dy)])


def missing_factor(subject: Subject, probes: Sequence[Probe], i: int) -> Finding | None:
    """Whether leaf i is the VJP with one slope, or one operand of a product, taken as 1: the gradient jumps over it."""
    factors: set[int] | None = None
    for probe in probes:
        f, floats = reference.of_floats(subject.primal, probe.draw.args)
        graph = trace(f, floats, _file_of(subject), inline_custom=False)
        n = len(graph.bridges)
        if not n:
            return None
        mapped = jax.jit(
            jax.vmap(functools.partial(_vjps, graph.run_bridged, probe.dys, floats)), compiler_options=COMPILE_FAST
        )
        leaf = np.concatenate([np.full(r.size, j) for row in probe.refs for j, r in enumerate(row)])
        values, got = np.asarray(mapped(np.eye(n)))[:, leaf == i], _stack(probe.gots)[leaf == i]
        ref = _stack(probe.refs)[leaf == i]
        close = np.abs(values - got).max(axis=1) <= 1e-9 * np.abs(got).max()
        close &= np.abs(values - ref).max(axis=1) > 1e-6 * np.abs(ref).max()
        found = set(np.flatnonzero(close).tolist())
        factors = found if factors is None else factors & found
        if not factors:
            return None
    if not factors:
        return None
    edge = graph.bridges[min(factors)]
    name = float_leaves(probes[0].draw.args)[i]
    text = "lacks a factor: it is right if the slope of this line, or the other operand of its product, were 1"
    argument = subject.arguments[name.argument]
    return Finding(argument, name.path, "missing-factor", text, None, None, edge.file, edge.line, edge.source)


def _stack(rows: list[list[np.ndarray]]) -> np.ndarray:
    return np.concatenate([leaf.ravel() for row in rows for leaf in row])


class Fit(NamedTuple):
    edge: int
    c: float


def explain_paths(subject: Subject, probes: Sequence[Probe], wrong: Sequence[int]) -> tuple[list[Finding], list[int]]:
    """Findings for the leaves ``wrong`` as one path (or two) of the forward, and the leaves that none explains.

    All leaves are tried together, as one lost path upstream spoils several; then each alone.
    """
    same_shape = [p for p in probes if p.draw.sizes == probes[0].draw.sizes]
    others = [p for p in probes[len(same_shape) :] if all(size > 1 for size in p.draw.sizes.values())]
    found: list[Finding] = []
    left = list(wrong)
    both = [paths for p in same_shape if (paths := paths_of(subject, p)) is not None]
    if len(both) < len(same_shape):
        return [], left
    for paths in zip(*both, strict=True):  # as they are, then with cancelling paths frozen
        stacked = _concatenate(list(paths))
        groups = [left] + [[i] for i in left] * (len(left) > 1)
        for group in groups:
            if set(group) <= set(left) and (named := _explain(subject, stacked, group, probes, others)):
                found += named
                left = [i for i in left if i not in group]
    return found, left


def _concatenate(found: list[Paths]) -> Paths:
    parts, error, ref, leaf = (np.concatenate([getattr(p, name) for p in found], axis=-1) for name in Paths._fields[1:])
    return Paths(found[0].graph, parts, error, ref, leaf)


def _explain(
    subject: Subject, paths: Paths, leaves: list[int], probes: Sequence[Probe], others: Sequence[Probe]
) -> list[Finding]:
    entries = np.isin(paths.leaf, leaves)
    seen = paths._replace(parts=paths.parts[:, entries], error=paths.error[entries], ref=paths.ref[entries])
    if not np.abs(seen.error).max(initial=0) > 1e-10 * np.abs(seen.ref).max(initial=0):
        return []  # wrong at another size only
    for fits in (_single(seen), _double(seen)):
        if fits:
            return [_finding(subject, paths.graph.edges, fit, leaves, probes, others) for fit in fits]
    return []


def _tolerance(paths: Paths) -> float:
    return 1e-10 + 256 * EPS * float(np.linalg.norm(paths.ref) / np.linalg.norm(paths.error))


def _single(paths: Paths) -> list[Fit]:
    """The edge that alone explains the error: the simplest c, then the first in program order."""
    norms = (paths.parts**2).sum(axis=1)
    carries = norms > (1e-12 * np.linalg.norm(paths.ref)) ** 2
    a = np.where(carries, paths.parts @ paths.error / np.where(carries, norms, 1), 0)
    residual = np.linalg.norm(paths.error - a[:, None] * paths.parts, axis=1) / np.linalg.norm(paths.error)
    fitting = [Fit(int(e), float(1 + a[e])) for e in np.flatnonzero(carries & (residual < _tolerance(paths)))]
    if not fitting:
        return []
    best = min(fitting, key=lambda fit: (_complexity(fit.c), fit.edge))
    series = [fit for fit in fitting if abs(fit.c - best.c) < 1e-6 * max(1, abs(best.c))]
    return [_at_literal(series, best, paths.graph.edges)]


def _at_literal(series: list[Fit], best: Fit, edges: list[Edge]) -> Fit:
    """A factor belongs to the product, quotient or power with that constant, else to the first with any constant."""
    if _complexity(best.c) < 3:
        return best

    def has_factor(fit: Fit) -> bool:
        literal = edges[fit.edge].literal
        return literal is not None and any(abs(literal - c) < 1e-6 * abs(c) for c in (best.c, 1 / best.c))

    constants = [fit for fit in series if edges[fit.edge].literal is not None]
    return next((fit for fit in constants if has_factor(fit)), constants[0] if constants else best)


def _complexity(c: float) -> int:
    """0 is simpler than −1, that than 2, and these than any other factor."""
    return next((rank for rank, simple in enumerate((0, -1, 2)) if abs(c - simple) < 1e-7), 3)


def _double(paths: Paths) -> list[Fit]:
    """Two edges that explain the error together, each with a simple c; edges in series count as one."""
    scale = np.linalg.norm(paths.ref)
    norms = np.linalg.norm(paths.parts, axis=1)
    kept: list[int] = []
    for e in np.flatnonzero(norms > 1e-12 * scale):
        if not kept or (np.linalg.norm(paths.parts[kept] - paths.parts[e], axis=1) > 1e-9 * norms[e]).all():
            kept.append(int(e))
    basis = paths.parts[kept] / norms[kept, None]
    i, j = np.triu_indices(len(kept), 1)
    # each pair's two-by-two normal equations, all at once; unit vectors, so their Gram matrix is [[1, g], [g, 1]]
    gram, height = (basis @ basis.T)[i, j], basis @ paths.error
    det = 1 - gram**2
    safe = np.where(det > 1e-12, det, 1)
    a, b = (height[i] - gram * height[j]) / safe, (height[j] - gram * height[i]) / safe
    total = float(paths.error @ paths.error)
    promising = np.flatnonzero((det > 1e-12) & (total - a * height[i] - b * height[j] < 1e-10 * total))
    best: tuple[int, list[Fit]] | None = None
    for k in promising:
        left = paths.error - a[k] * basis[i[k]] - b[k] * basis[j[k]]
        if np.linalg.norm(left) > _tolerance(paths) * np.sqrt(total):
            continue
        fits = [Fit(kept[at], float(1 + size / norms[kept[at]])) for at, size in ((i[k], a[k]), (j[k], b[k]))]
        rank = sum(_complexity(fit.c) for fit in fits)
        if best is None or rank < best[0]:
            best = rank, fits
    return best[1] if best else []


def _finding(
    subject: Subject, edges: list[Edge], fit: Fit, leaves: list[int], probes: Sequence[Probe], others: Sequence[Probe]
) -> Finding:
    """The finding in words; an axis is named only where the factor follows it to a second set of sizes."""
    edge = edges[fit.edge]
    names = [float_leaves(probes[0].draw.args)[i] for i in leaves]
    argument, leaf = subject.arguments[names[0].argument], names[0].path
    mistake, axis, text = _name(subject, fit, leaves, probes, others)
    also = [f"d{subject.arguments[name.argument]}{name.path}" for name in names[1:]]
    evidence = (f"the same path explains {', '.join(also)}",) if also else ()
    return Finding(argument, leaf, mistake, text, fit.c, axis, edge.file, edge.line, edge.source, evidence)


def _name(
    subject: Subject, fit: Fit, leaves: list[int], probes: Sequence[Probe], others: Sequence[Probe]
) -> tuple[str, str | None, str]:
    simple = _complexity(fit.c)
    if simple < 3:
        return [
            ("path-lost", None, "the gradient that flows through this line is missing"),
            ("sign-flipped", None, "the gradient through this line has the wrong sign"),
            ("counted-twice", None, "the gradient through this line is counted twice"),
        ][simple]
    seen, factors = [probes[0]], [fit.c]
    for probe in others[:1]:
        both = paths_of(subject, probe)
        if both is not None and fit.edge < len(both[0].parts):
            paths = both[0]
            entries = np.isin(paths.leaf, leaves)
            part, error = paths.parts[fit.edge][entries], paths.error[entries]
            seen.append(probe)
            factors.append(1 + float(part @ error / max(part @ part, 1e-300)))
    found = axis_of(factors, seen) if len(seen) > 1 else None
    if found:
        axis, power = found
        if power == 1:
            return "missing-mean-divisor", axis, f"is {axis} times too large on this path: not divided by {axis}"
        return "extra-mean-divisor", axis, f"is {axis} times too small on this path: divided by {axis} once too often"
    root = axis_of([c**2 for c in factors], seen) if len(seen) > 1 else None
    if root:
        kind = "√" if root[1] == 1 else "1/√"
        return "wrong-scale", root[0], f"is {kind}{root[0]} times what it should be on this path"
    return "wrong-scale", None, f"is {fit.c:.6g} times what it should be on this path"
