"""``check``: from inputs to verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .diagnose import diagnose as explaining
from .diagnose import patterns as hypotheses
from .diagnose.paths import Paths
from .engine.leaves import cast, float_leaves, is_float
from .engine.widening import casts_down, widened
from .judge import adequacy, arithmetic, kinks, reference
from .judge import probe as decision
from .judge.compiled import compiled_probe, cotangent_name
from .judge.form import float_cotangents
from .judge.probe import Malformed, Probe
from .judge.reference import draw_cotangent
from .report import Element, Finding, Report
from .trial.draws import Inputs, inputs_for, sizes_of, survives
from .trial.settings import settings
from .trial.specs import Draw
from .trial.subject import InputError, Subject, as_subject, custom_vjp_of


def check(
    target: Any,
    *inputs: Any,
    in_shape: tuple[int, ...] | None = None,
    sizes: Mapping[str, int] | None = None,
    ranges: Mapping[str, str | int] | None = None,
    dtypes: Sequence[Any] = (jnp.float32,),
    quick: bool = False,
    seed: int = 0,
    name: str | None = None,
) -> Report:
    """Compares a hand-written backward with ``jax.vjp`` of its forward, and says what is wrong with it.

    ``target``: a ``Rule`` or any (fwd, bwd), a ``Layer``, or a ``jax.custom_vjp`` function.
    ``inputs``: none (drawn from the jaxtyping annotations of the forward), symbolic shapes such as ``"N I"`` or
    ``"N:int<K"``, or the arrays themselves. A Layer takes ``in_shape``, without the batch axis, instead.
    ``sizes`` fixes axes by name; ``ranges`` bounds integers: ``{"labels": "K"}``.
    ``dtypes``: in which the arithmetic is judged once the derivation is found right in float64.
    ``quick``: one set of sizes, unless the rule is found wrong there.

    Raises InputError where it is called wrongly, or the forward raises or is not finite; what is wrong with the
    backward is never an exception but a finding.
    """
    subject = as_subject(target, name)
    asked = settings(target, inputs, in_shape, sizes, ranges, dtypes, seed)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        subject, given = inputs_for(subject, target, inputs, asked)
        described = tuple(f"{sizes_of(d)} {d.domain}, seed {d.seed}" for d in given.draws)
        report = Report(subject.name, "correct", (), {}, described[:1] if quick else described, given.notes)
        as_given = subject
        try:
            if _casts_down(subject, given.draws[0]):
                subject = widened(subject)
                report = report.but(notes=["it computes in narrower floats than it gets: judged with all in float64"])
            probes, laws = _probed(subject, given.draws, quick)
        except Malformed as malformed:
            return report.but("wrong", _explained_shapes(subject, given.draws[0], malformed))
        report = report.but(worst=_worst(subject, probes))
        if not all(p.agrees for p in probes):
            report = dataclasses.replace(report, elements=_worst_elements(subject, probes))
        doubts, notes = _doubts(subject, probes, subject is not as_given)
        report = report.but(notes=[*doubts, *notes])
        if doubts:
            return report.but("inconclusive")
        laws = _before_laws(subject, probes, laws)
        if findings := laws + _explained(subject, probes, {(f.argument, f.leaf) for f in laws}):
            return report.but("wrong", findings)
        given = given._replace(rows=None) if quick else given
        return _beyond_the_derivation(subject, as_given, given, probes, asked.dtypes, report)


def _casts_down(subject: Subject, draw: Draw) -> bool:
    """Whether forward or backward compute in less than float64 when they are given float64. Raises Malformed."""
    args = cast(draw.args, jnp.float64)
    if casts_down(lambda *args: subject.fwd(*args)[0], *args):
        return True
    y, residuals = subject.fwd(*args)
    if not casts_down(subject.bwd, residuals, y):
        return False
    decision.run_backward(subject, args, residuals, y)  # what it returns must be as wide as its arguments
    return True


def _probed(subject: Subject, draws: list[Draw], quick: bool) -> tuple[list[Probe], list[Finding]]:
    """The probes, and what is wrong with the laws of the cotangent. Raises Malformed."""
    probes = [_probe(subject, draws[0])]
    if draws[0].domain == "given arrays" and not probes[0].agrees:
        probes = [kinks.excuse(subject, probes[0])]
    begun = [] if quick or not probes[0].agrees else [(draw, compiled_probe(subject, draw)) for draw in draws[1:]]
    laws = decision.law_findings(subject, probes[0])
    if not probes[0].agrees:
        return probes + [_probe(subject, draw) for draw in draws[1:2]], laws
    for draw, compared in begun:
        probes.append(compared(probes[0].vanished) or _probe(subject, draw))
        if not probes[-1].agrees:
            break  # what fails at size 1 alone says little of what fails at every size
    return probes, laws


def _probe(subject: Subject, draw: Draw) -> Probe:
    """An eager probe. What is zero by cancellation is told by the size of the parts that cancel. Raises Malformed."""
    p = decision.probe(subject, draw)
    suspects = p.tiny()
    paths = Paths(subject, [p]) if suspects else None
    if paths is None or not paths.has_graph:
        return p
    sizes = {i: np.abs(paths.parts[:, paths.leaf == i]).max(initial=0) for i in suspects}
    peaks = {i: max(np.abs(d[i]).max(initial=0) for d in (*p.refs, *p.gots)) for i in suspects}
    return p.without(i for i in suspects if peaks[i] <= decision.ABSOLUTE * sizes[i])


def _beyond_the_derivation(
    subject: Subject, as_given: Subject, given: Inputs, probes: list[Probe], dtypes: Sequence[Any], report: Report
) -> Report:
    """The derivation is right: what it does at kinks, in each dtype, and when it is compiled; how sure this is.

    The arithmetic is that of ``as_given``; what computes in float32 has none in float64.
    """
    first, rows = given.draws[0], given.rows
    # of a while loop the reference takes a run for each element: too many with very many rows
    loops = "while" in reference.primitives(*reference.of_floats(subject.primal, first.args))
    if rows and (not dtypes or arithmetic.too_large(as_given, rows, dtypes[0])):
        rows = None
    at_rows = compiled_probe(subject, rows) if rows and not loops else lambda vanished: None
    leaves, vanished = float_leaves(first.args), probes[0].vanished
    zero = {cotangent_name(subject, leaves[i]) for i in vanished}
    at_kinks, conventions = kinks.kink_findings(subject, first, vanished)
    if at_kinks:
        return report.but("wrong", at_kinks)
    tried = (*((jnp.float64,) if subject is as_given else ()), *dtypes)
    judged = {jnp.dtype(dtype).name: arithmetic.judge(as_given, subject, first, dtype, zero) for dtype in tried}
    malformed, imprecise, compiler, notes, doubts = (
        [item for one in judged.values() for item in getattr(one, field)]
        for field in ("malformed", "imprecise", "compiler", "notes", "doubts")
    )
    seen = at_rows(vanished)
    if rows and "jit" in judged[jnp.dtype(dtypes[0]).name].ulps and (seen or survives(subject, rows)):
        malformed += [] if seen or loops else _at_many_rows(subject, given, rows, vanished)
        compiler += arithmetic.rows_disagree(as_given, rows, dtypes[0], zero)
        report = report.but(probes=(f"{sizes_of(rows)}, and under jit in {jnp.dtype(dtypes[0]).name}",))
    adequate = adequacy.adequacy(subject, probes)
    nothing = [f"{name} is zero by cancellation, and only rounding is left to compare" for name in sorted(zero)]
    missed = [f"the probes would not have seen {mutant}" for mutant in adequate.survivors]
    report = dataclasses.replace(
        report.but(notes=[*conventions, *notes, *nothing, *missed]),
        adequacy=adequate.share,
        ulps={name: one.ulps for name, one in judged.items()},
    )
    if malformed:
        return report.but("wrong", malformed)
    if compiler:
        return report.but("inconclusive", compiler)
    if imprecise:
        return report.but("imprecise", imprecise)
    return report.but("inconclusive", notes=doubts) if doubts else report


def _at_many_rows(subject: Subject, given: Inputs, rows: Draw, vanished: frozenset[int]) -> list[Finding]:
    """What is wrong with very many rows alone. No path is sought: arrays of that size are too much for it."""
    try:
        p = decision.probe(subject, rows, cotangents=1)
    except Malformed as malformed:
        return malformed.findings
    if not all(np.isfinite(ref).all() for ref in p.refs[0]):
        return []
    text = f"is right at {'; '.join(sizes_of(d) for d in given.draws)}, and wrong at {sizes_of(rows)}: {{}}"
    return [
        Finding(subject.arguments[leaf.argument], leaf.path, "unexplained", text.format(_off(got, ref)))
        for i, (leaf, got, ref) in enumerate(zip(float_leaves(p.draw.args), p.gots[0], p.refs[0], strict=True))
        if i not in vanished and p.excess[0][i] > 1
    ]


def _off(got: np.ndarray, ref: np.ndarray) -> str:
    """The element that is farthest off."""
    at = tuple(int(n) for n in np.unravel_index(np.argmax(np.abs(got - ref)), ref.shape))
    return f"got {got[at]:.6g} at {at}, expected {ref[at]:.6g}"


def check_custom_vjp(f: Any, *inputs: Any, **settings: Any) -> Report:
    """``check`` of a ``jax.custom_vjp`` function: its rule against the function that it decorates."""
    if custom_vjp_of(f) is None:
        raise InputError(f"expected a jax.custom_vjp function; got {f!r:.80}")
    return check(f, *inputs, **settings)


def assert_correct(target: Any, *inputs: Any, **settings: Any) -> None:
    """For pytest: raises AssertionError with the report unless the verdict is ``correct``."""
    __tracebackhide__ = True
    report = check(target, *inputs, **settings)
    if report.verdict != "correct":
        raise AssertionError(str(report))


# ---------------------------------------------------------------- the verdict


def _worst(subject: Subject, probes: Sequence[Probe]) -> dict[str, float]:
    leaves = float_leaves(probes[0].draw.args)
    return {
        f"{subject.arguments[leaf.argument]}{leaf.path}": max(row[i] for p in probes for row in p.excess)
        for i, leaf in enumerate(leaves)
    }


def _worst_elements(subject: Subject, probes: Sequence[Probe], count: int = 3) -> tuple[Element, ...]:
    """Of the leaf that is wrong first, where the backward is farthest off."""
    p = next(p for p in probes if not p.agrees)
    i = next(i for i, excess in enumerate(p.excess[0]) if any(row[i] > 1 for row in p.excess))
    name, got, ref = cotangent_name(subject, float_leaves(p.draw.args)[i]), p.gots[0][i], p.refs[0][i]
    found = []
    for flat in np.argsort(-np.abs(got - ref), axis=None, kind="stable")[:count]:
        at = tuple(int(n) for n in np.unravel_index(flat, ref.shape))
        found.append(Element(f"{name}[{', '.join(map(str, at))}]" if at else name, float(got[at]), float(ref[at])))
    return tuple(found)


def _doubts(subject: Subject, probes: Sequence[Probe], is_widened: bool) -> tuple[list[str], list[str]]:
    """Why the reference cannot be trusted: it disagrees with differences, or it is not finite; and notes."""
    p = probes[0]
    if not all(np.isfinite(ref).all() for probe in probes for row in probe.refs for ref in row):
        return ["the reference, jax.vjp of the forward, is not finite here"], []
    if invisible := _below_sight(subject, p):
        return invisible, []
    if not is_widened and (rounded := _rounded_constants(subject, p)):
        return rounded, []
    notes = []
    audits = reference.audit(subject.primal, p.draw.args, p.dys[0], p.refs[0])
    if any(a.disagree for a in audits):  # perhaps it straddled a kink that the point itself lies on
        smooth = kinks.smooth_directions(subject, p.draw.args, p.dys[0])
        if smooth is not None:
            audits = reference.audit(subject.primal, p.draw.args, p.dys[0], p.refs[0], smooth)
    if any(a.disagree for a in audits):
        held = reference.audit(subject.primal, p.draw.args, p.dys[0], p.refs[0], hold_stops=True)
        if not any(a.disagree for a in held):
            audits, notes = held, ["judged as jax.grad does: what stop_gradient hides is held fixed"]
    inside = reference.custom_derivatives(*reference.of_floats(subject.primal, p.draw.args))
    suspect = f"; the forward calls {', '.join(inside)}, whose own derivative may be wrong" if inside else ""
    doubts = [
        f"for {subject.arguments[leaf.argument]}{leaf.path} autodiff says {a.autodiff:.6g} along a random direction, "
        f"and differences {a.slope:.6g} ± {a.uncertainty:.1g}: the reference itself is in doubt" + suspect
        for leaf, a in zip(float_leaves(p.draw.args), audits, strict=True)
        if a.disagree
    ]
    return doubts, notes


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
    dy = draw_cotangent(y, np.random.default_rng([draw.seed, 3]))
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
    dy, y = (
        max((float(np.abs(leaf).max(initial=0)) for leaf in jax.tree.leaves(tree) if is_float(leaf)), default=0.0)
        for tree in (p.dys[0], p.y)
    )
    return [
        f"{name}: autodiff and the rule disagree about numbers too small for differences to see: nobody can be blamed"
        for name, x, ref, got, excess in zip(names, floats, p.refs[0], p.gots[0], p.excess[0], strict=True)
        if excess > 1
        and max(np.abs(ref).max(), np.abs(got).max()) < 8 * reference.EPS * dy * y / max(np.abs(x).max(), 1e-300)
    ]


def _rounded_constants(subject: Subject, p: Probe) -> list[str]:
    """Whether all is right but for constants that were rounded to float32, as ``jnp.float32(0.1)`` is."""
    errors = [
        np.abs(got - ref).max(initial=0) / max(np.abs(ref).max(initial=0), 1e-300)
        for got, ref in zip(p.gots[0], p.refs[0], strict=True)
    ]
    unit = float(np.finfo(np.float32).eps)
    if p.agrees or max(errors) > 4 * unit:
        return []
    found = reference.rounded_constants(*reference.of_floats(subject.primal, p.draw.args))
    return [
        f"right to {max(errors):.0e} and not beyond, as the forward holds the constant {value!r}, which was rounded to "
        f"float32: write it as a Python number"
        for value in found[:1]
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
