"""``check``: from inputs to verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..types import Layer
from . import decision, explaining, hypotheses, reference
from .backward import float_cotangents
from .decision import Malformed, Probe
from .inputs import DOMAINS, Draw, draws, finite, specs_of
from .reference import draw_cotangent, float_leaves
from .report import Finding, Report, Verdict
from .subject import InputError, Subject, as_subject, cast, is_float

DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)


def check(
    target: Any,
    *inputs: Any,
    in_shape: tuple[int, ...] | None = None,
    sizes: Mapping[str, int] | None = None,
    ranges: Mapping[str, str | int] | None = None,
    dtypes: Sequence[Any] = (jnp.float32,),
    seed: int = 0,
    name: str | None = None,
) -> Report:
    """Compares a hand-written backward with ``jax.vjp`` of its forward, and says what is wrong with it.

    ``target``: a ``Rule`` or any (fwd, bwd), a ``Layer``, or a ``jax.custom_vjp`` function.
    ``inputs``: none (drawn from the jaxtyping annotations of the forward), symbolic shapes such as ``"N I"`` or
    ``"N:int<K"``, or the arrays themselves. A Layer takes ``in_shape``, without the batch axis, instead.
    ``sizes`` fixes axes by name; ``ranges`` bounds integers: ``{"labels": "K"}``.
    ``dtypes``: in which the arithmetic is judged once the derivation is found right in float64.

    Raises InputError where it is called wrongly, or the forward raises or is not finite; what is wrong with the
    backward is never an exception but a finding.
    """
    subject = as_subject(target, name)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        candidates, notes = _draws(subject, target, inputs, in_shape, sizes or {}, ranges or {}, seed)
        described = tuple(f"{_sizes(d)} {d.domain}, seed {d.seed}" for d in candidates)
        try:
            probes = [decision.probe(subject, draw) for draw in candidates[:2]]
            laws = decision.law_findings(subject, probes[0])
            if all(p.agrees for p in probes):  # what fails at size 1 alone says little of what fails at every size
                probes += [decision.probe(subject, draw) for draw in candidates[2:]]
        except Malformed as malformed:
            findings = _explained_shapes(subject, candidates[0], malformed)
            return Report(subject.name, "wrong", tuple(findings), {}, described, notes)
        worst = _worst(subject, probes)
        doubts = _doubts(subject, probes)
        if doubts:
            return Report(subject.name, "inconclusive", (), worst, described, (*notes, *doubts))
        laws = _before_laws(subject, probes, laws)
        findings = laws + _explained(subject, probes, {(f.argument, f.leaf) for f in laws})
        verdict: Verdict = "wrong" if findings else "correct"
        if not findings:
            for dtype in dtypes:
                findings += decision.imprecise_findings(subject, candidates[0], dtype)
            verdict = "imprecise" if findings else "correct"
    return Report(subject.name, verdict, tuple(findings), worst, described, notes)


def check_custom_vjp(f: Any, *inputs: Any, **settings: Any) -> Report:
    """``check`` of a ``jax.custom_vjp`` function: its rule against the function that it decorates."""
    if not isinstance(f, jax.custom_vjp):
        raise InputError(f"expected a jax.custom_vjp function; got {f!r:.80}")
    return check(f, *inputs, **settings)


def assert_correct(target: Any, *inputs: Any, **settings: Any) -> None:
    """For pytest: raises AssertionError with the report unless the verdict is ``correct``."""
    __tracebackhide__ = True
    report = check(target, *inputs, **settings)
    if report.verdict != "correct":
        raise AssertionError(str(report))


# ---------------------------------------------------------------- inputs


def _draws(
    subject: Subject,
    target: Any,
    inputs: tuple[Any, ...],
    in_shape: tuple[int, ...] | None,
    sizes: Mapping[str, int],
    ranges: Mapping[str, str | int],
    seed: int,
) -> tuple[list[Draw], tuple[str, ...]]:
    """Draws on which the forward is finite, and what had to be done for that."""
    if isinstance(target, Layer):
        if in_shape is None or inputs:
            raise InputError("a Layer is checked with in_shape=..., without the batch axis, and no other inputs")
        found = [_layer_draw(target, in_shape, batch, seed) for batch in (5, 8, 1)]
    elif inputs and not all(isinstance(given, str) for given in inputs):
        if len(inputs) != len(subject.arguments):
            raise InputError(f"{subject.name} takes ({', '.join(subject.arguments)}); got {len(inputs)} inputs")
        arrays = jax.tree.map(jnp.asarray, inputs)
        found = [Draw(cast(arrays, jnp.float64), {}, "given arrays", seed)]
    else:
        specs = specs_of(subject, inputs, ranges)
        for domain in DOMAINS:
            found = draws(specs, seed, sizes, domain)
            if all(_is_finite(subject, draw) for draw in found[:2]):
                found = found[:2] + [draw for draw in found[2:] if _survives(subject, draw)]
                return found, () if domain == "normal" else (f"inputs were drawn as {domain}: others are not finite",)
    if not all(_is_finite(subject, draw) for draw in found):
        raise InputError(f"the forward of {subject.name} is not finite on the inputs")
    return found, ()


def _layer_draw(layer: Layer, in_shape: tuple[int, ...], batch: int, seed: int) -> Draw:
    """Parameters moved off their initial values, so that no zero bias or unit gain hides a mistake; training mode."""
    rng = np.random.default_rng([seed, batch])
    params, _ = layer.init(jax.random.key(seed), in_shape)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64) + 0.3 * rng.normal(size=leaf.shape), params)
    args = (params, rng.normal(size=(batch, *in_shape)), jax.random.key(seed + 1))
    return Draw(args, {"N": batch}, "normal", seed)


def _is_finite(subject: Subject, draw: Draw) -> bool:
    args = cast(draw.args, jnp.float64)
    try:
        y, _ = subject.fwd(*args)
    except Exception as error:
        text = str(error).splitlines()[0] if str(error) else ""
        raise InputError(
            f"the forward of {subject.name} raised {type(error).__name__} on {_sizes(draw)}: {text}"
        ) from error
    return finite(y)


def _survives(subject: Subject, draw: Draw) -> bool:
    """Whether the forward can be had at all where its first axis is 1, which not every forward promises."""
    try:
        return _is_finite(subject, draw)
    except InputError:
        return False


def _sizes(draw: Draw) -> str:
    return " ".join(f"{axis}={size}" for axis, size in draw.sizes.items()) or "shapes as given"


# ---------------------------------------------------------------- the verdict


def _worst(subject: Subject, probes: Sequence[Probe]) -> dict[str, float]:
    leaves = float_leaves(probes[0].draw.args)
    return {
        f"{subject.arguments[leaf.argument]}{leaf.path}": max(row[i] for p in probes for row in p.excess)
        for i, leaf in enumerate(leaves)
    }


def _doubts(subject: Subject, probes: Sequence[Probe]) -> list[str]:
    """Why the reference cannot be trusted: it disagrees with differences, or it is not finite."""
    p = probes[0]
    if not all(np.isfinite(ref).all() for probe in probes for row in probe.refs for ref in row):
        return ["the reference, jax.vjp of the forward, is not finite here"]
    if invisible := _below_sight(subject, p):
        return invisible
    audits = reference.audit(subject.primal, p.draw.args, p.dys[0], p.refs[0])
    return [
        f"for {subject.arguments[leaf.argument]}{leaf.path} autodiff says {a.autodiff:.6g} along a random direction, "
        f"and differences {a.slope:.6g} ± {a.uncertainty:.1g}: the reference itself is in doubt"
        for leaf, a in zip(float_leaves(p.draw.args), audits, strict=True)
        if a.disagree
    ]


def _before_laws(subject: Subject, probes: Sequence[Probe], laws: list[Finding]) -> list[Finding]:
    """A backward at updated weights is not linear in dy either, and that says more."""
    broken = {(f.argument, f.leaf): f for f in laws}
    for i, leaf in enumerate(float_leaves(probes[0].draw.args)):
        where = subject.arguments[leaf.argument], leaf.path
        if where in broken and (finding := hypotheses.updated_weights(subject, probes, i)):
            broken[where] = finding
    return sorted(broken.values(), key=lambda f: f.mistake != "updated-weights")


def _explained_shapes(subject: Subject, draw: Draw, malformed: Malformed) -> list[Finding]:
    """A name that says more than ``wrong-shape``, where the numbers give one."""
    if not all(f.mistake == "wrong-shape" for f in malformed.findings):
        return malformed.findings
    args = cast(draw.args, jnp.float64)
    y, residuals = subject.fwd(*args)
    dy = draw_cotangent(y, np.random.default_rng(draw.seed))
    gots = [np.asarray(leaf) for leaf in float_cotangents(args, subject.bwd(residuals, dy))]
    _, (refs,) = reference.pull(subject.primal, args, [dy])
    named = {(f.argument, f.leaf): f for f in malformed.findings}
    for leaf, got, ref in zip(float_leaves(args), gots, refs, strict=True):
        where = subject.arguments[leaf.argument], leaf.path
        others = [other for other in refs if other is not ref]
        if where in named and (finding := hypotheses.explain_shape(*where, got, ref, others)):
            named[where] = finding
    return list(named.values())


def _below_sight(subject: Subject, p: Probe) -> list[str]:
    """Leaves that disagree and are so small that differences cannot tell who is right: |dx| < 8u·|dy|·|y|/|x|."""
    names = [f"{subject.arguments[leaf.argument]}{leaf.path}" for leaf in float_leaves(p.draw.args)]
    _, floats = reference.of_floats(subject.primal, p.draw.args)
    dy, y = (max(float(np.abs(leaf).max(initial=0)) for leaf in jax.tree.leaves(tree)) for tree in (p.dys[0], p.y))
    return [
        f"{name}: autodiff and the rule disagree about numbers too small for differences to see: nobody can be blamed"
        for name, x, ref, got, excess in zip(names, floats, p.refs[0], p.gots[0], p.excess[0], strict=True)
        if excess > 1
        and max(np.abs(ref).max(), np.abs(got).max()) < 8 * reference.EPS * dy * y / max(np.abs(x).max(), 1e-300)
    ]


def _explained(subject: Subject, probes: Sequence[Probe], named: set[tuple[str, str]]) -> list[Finding]:
    """Findings for every leaf that is wrong and has none yet: factors of an axis, then paths, then the rest."""
    leaves = float_leaves(probes[0].draw.args)
    wrong = [
        i
        for i, leaf in enumerate(leaves)
        if (subject.arguments[leaf.argument], leaf.path) not in named
        and any(row[i] > 1 for p in probes for row in p.excess)
    ]
    return explaining.explain(subject, probes, _jittered(subject, probes[0]), wrong) if wrong else []


def _jittered(subject: Subject, p: Probe) -> Probe:
    """The same sizes at inputs nearby: a coincidence at one point does not survive at another."""
    rng = np.random.default_rng([p.draw.seed, 13])
    args = jax.tree.map(
        lambda leaf: leaf * (1 + 0.03 * rng.normal(size=leaf.shape)) if is_float(leaf) else leaf, p.draw.args
    )
    return decision.probe(subject, p.draw._replace(args=args))
