"""``check``: from inputs to verdict."""

import dataclasses
import linecache
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from . import tolerances
from .diagnose import collectives
from .diagnose.diagnose import diagnose, explain_shapes
from .diagnose.paths import without_cancelled
from .engine.inspection import calls_autodiff, casts_down, primitives
from .engine.jaxprs import OpaqueError
from .engine.leaves import cast, first_line, with_default_integers
from .engine.width import as_users_have_it, in_float64
from .judge import arithmetic, kinks, reference
from .judge.assumptions import assumed, negligible_guards
from .judge.doubts import doubts
from .judge.form import Malformed, left_out, run_backward
from .judge.ladder import on_its_rung
from .judge.laws import law_findings
from .judge.probe import Probe, adequacy, compiled_probe, probe, worst_elements, worst_errors
from .judge.rows import too_large, wrong_at_many_rows
from .report import DerivationError, Finding, Report, shown_alone
from .sighted import at_activations, by_differences, in_its_dtypes, is_a_limit, of_a_limit, sided_with
from .trial.draws import Draw, Inputs, draw_cotangent, inputs_for, survives
from .trial.settings import Settings, settings
from .trial.subject import DIFFERENCES, InputError, Subject, held, hold
from .trial.targets import as_subject, with_inputs
from .watch import OutOfTime, at, watched

# No finding: who calls autodiff on purpose knows it, and what it gives may be right.
BY_AUTODIFF = "by-autodiff: bwd calls JAX's autodiff, so it is no derivation by hand"
VAGUE = {"unexplained", "missing-factor"}  # it may be no mistake but an assumption of the author's


def check(
    target: Any,
    *inputs: Any,
    in_shape: tuple[int, ...] | None = None,
    sizes: Mapping[str, int] | None = None,
    ranges: Mapping[str, str | int] | None = None,
    draw: Mapping[str, Callable[..., Any]] | None = None,
    reference: Callable[..., Any] | None = None,
    surrogate: Callable[..., Any] | None = None,
    argnums: int | Sequence[int] | None = None,
    dtypes: Sequence[Any] = (jnp.float32,),
    dtype: Any = None,
    quick: bool = False,
    seed: int = 0,
    name: str | None = None,
    timeout: float | None = None,
    progress: bool = True,
) -> Report:
    """Compares a derivative with a reference, and says what is wrong with it.

    ``target``: a ``Rule`` or any (fwd, bwd), a ``Layer``, or any function, under jit, vmap or a wrapper too: by the
    ``custom_vjp`` and ``custom_jvp`` rules in it, or, if there are none, by the derivative that JAX makes of it.
    ``inputs``: none (drawn from the jaxtyping annotations of the forward), symbolic shapes such as ``"N I"`` or
    ``"N:int<K"``, or the arrays themselves. A Layer takes ``in_shape``, without the batch axis, instead.
    ``sizes`` fixes axes by name; ``ranges`` bounds integers: ``{"labels": "K"}``; ``draw`` says how an argument is
    drawn: ``{"y": gradcheck.one_hot}``, or any function of a NumPy generator and a shape.

    The reference is ``reference`` if it is given, a plain function of the same value; else ``jax.vjp`` of the function
    without its rules; else, if that cannot be differentiated, differences. ``surrogate``: a function of another value,
    whose gradient the target claims to have, as a straight-through estimator does.
    ``argnums``: the positions of the arguments that are differentiated; the others take part.

    ``dtypes``: in which the arithmetic is judged once the derivation is found right in float64. ``dtype``: run the
    target in this one alone; ``"as-is"``: in that of the arrays given, as a kernel asks for.
    ``quick``: one set of sizes, unless the rule is found wrong there.
    ``timeout``: after so many seconds it ends between two steps and reports what it knows: ``inconclusive``, or
    ``wrong`` if a mistake has been found. ``progress``: after two seconds a line on standard error; none in pytest.

    Raises InputError for invalid settings, and if the forward raises or is not finite. Faults of the backward are
    findings, never exceptions.
    """
    __tracebackhide__ = True
    linecache.checkcache()  # a file may have been edited since its lines were read
    try:
        subject = as_subject(target, name, inputs).beside(reference, surrogate)
        subject, inputs = with_inputs(subject, inputs)
        asked = settings(
            target, subject, inputs, in_shape=in_shape, sizes=sizes, ranges=ranges, dtypes=dtypes, seed=seed,
            dtype=dtype, argnums=argnums, draw=draw, timeout=timeout,
        )  # fmt: skip
        with in_float64(), watched(subject.name, asked.timeout, progress):
            try:
                at("inputs", "derivation", *_stages(asked.dtypes), known=Report(subject.name, "correct", (), {}, ()))
                return _checked(subject, target, inputs, asked, quick)
            except OutOfTime as late:
                text = f"time ran out after {asked.timeout:g} s, before: {', '.join(late.before)}"
                return late.known.but("wrong" if late.known.findings else "inconclusive", notes=[text])
    except InputError as error:
        raise shown_alone(error) from shown_alone(error.__cause__)


def _checked(subject: Subject, target: Any, inputs: tuple[Any, ...], asked: Settings, quick: bool) -> Report:
    subject, given = inputs_for(subject, target, inputs, asked)
    subject = on_its_rung(subject, given.draws[0].args)
    described = tuple(f"{d.shown} {d.domain}, seed {d.seed}" for d in given.draws)
    notes, probes = (*given.notes, *subject.notes), described[:1] if quick else described
    report = Report(subject.name, "correct", (), {}, probes, notes, reference=subject.reference)
    at("derivation", *_stages(asked.dtypes), known=report)
    try:
        called = _called_once(subject, given)
        if subject.by_hand and calls_autodiff(subject.bwd, *called[1:]):
            report = report.but(notes=[BY_AUTODIFF])
        if subject.by_hand:
            report = report.but(notes=collectives.notes(subject, *called))
        subject, given, report = _without_the_left_out(subject, given, called, report)
        at(known=report)
        draw, casts = given.draws[0], not given.narrow and _casts_down(subject, given.draws[0])
        wide = _widened(subject, given) if given.narrow or casts else subject
        if wide is None and casts:  # a kernel that takes float64, and computes in float32
            report = report.but(notes=["judged in float32: a kernel in it cannot be widened"])
            return in_its_dtypes(subject, draw._replace(args=cast(draw.args, jnp.float32)), report)
        if wide is None:
            return in_its_dtypes(subject, draw, report)
        if casts:
            report = report.but(notes=["it computes in narrower floats than it gets: judged with all in float64"])
        if subject.reference == DIFFERENCES:
            return by_differences(wide, given, report)
        if not given.narrow and is_a_limit(subject, draw.args) and (seen := of_a_limit(wide, draw, report)):
            return seen
        try:
            return _by_autodiff(wide, subject, given, asked.dtypes, quick, report)
        except reference.NoReference as error:
            return by_differences(wide, given, report.but(notes=[str(error)]))
    except Malformed as malformed:
        return report.but("wrong", malformed.findings)


def _called_once(subject: Subject, given: Inputs) -> tuple[tuple[Any, ...], Any, Any]:
    """Arguments, the residuals of them, and a cotangent."""
    draw = given.draws[0]
    args = draw.args if given.narrow else cast(draw.args, jnp.float64)
    with as_users_have_it(args):
        args = with_default_integers(args) if given.narrow else args
        y, residuals = subject.fwd(*args)
        return args, residuals, draw_cotangent(y, np.random.default_rng([draw.seed, tolerances.SEED_DY]))


def _without_the_left_out(
    subject: Subject, given: Inputs, called: tuple[tuple[Any, ...], Any, Any], report: Report
) -> tuple[Subject, Inputs, Report]:
    """Arguments for which the backward returns None, held fixed: they must not hide what else is wrong.

    In a ``custom_vjp`` that is a way to say that an argument is not differentiated, and a condition of the verdict. In
    a pair it is a finding. Raises Malformed.
    """
    args, residuals, dy = called
    with as_users_have_it(args):
        none = left_out(subject, args, residuals, dy)
        zero = none and subject.none_is_zero
        moving = reference.moving(subject.primal, subject.leaves(args), args, dy) if zero else ()
    if not none:
        return subject, given, report
    names = [subject.arguments[i] for i in none]
    if subject.none_is_zero:
        conditions = tuple(f"{name} is not differentiated" for name in names if name in moving)
        report = dataclasses.replace(report, conditions=conditions)
    else:
        text = "bwd returned None for a differentiable argument; if that is meant, say so by argnums"
        report = report.but("wrong", [Finding(name, "", "wrong-structure", text) for name in names])
    draws = [d._replace(args=hold(d.args, none)) for d in given.draws]
    rows = given.rows and given.rows._replace(args=hold(given.rows.args, none))
    return held(subject, none), given._replace(draws=draws, rows=rows), report


def _by_autodiff(
    subject: Subject, as_given: Subject, given: Inputs, dtypes: Sequence[Any], quick: bool, report: Report
) -> Report:
    """The walk beside ``jax.vjp`` of the primal, for a subject that is widened if it has to be. Raises Malformed, and
    NoReference if there is none."""
    try:
        probes, laws = _probed(subject, given.draws, quick)
    except Malformed as malformed:
        return report.but("wrong", explain_shapes(subject, given.draws[0], malformed))
    wrong = next((p for p in probes if not p.agrees), None)
    elements = worst_elements(wrong, wrong.wrong[0]) if wrong else ()
    report = dataclasses.replace(report, worst=worst_errors(probes), elements=elements)
    at("reference", *_stages(dtypes), known=report)
    reasons, notes = doubts(subject, probes, subject is not as_given)
    if wrong and reasons:
        seen = sided_with(subject, given, wrong, report.but(notes=reasons))
        if seen is not None:
            return seen
    report = report.but(notes=[*reasons, *notes])
    if reasons:
        return report.but("inconclusive")
    condition, doubt = negligible_guards(subject, probes, not laws) if wrong else ("", "")
    if doubt:
        return report.but("inconclusive", notes=[doubt])
    if wrong and not condition:
        text = "is wrong; there was no time to find the reason"
        leaves = [Finding(*probes[0].leaves[i], "unexplained", text) for i in _wrong_leaves(probes)]
        at("the reason", known=report.but("wrong", laws or leaves))
    if not condition and (findings := _explained(subject, probes, laws)):
        vague = all(finding.mistake in VAGUE for finding in findings)
        at("the author's assumptions", known=report.but("wrong", findings))
        condition = assumed(subject, probes) if vague and not laws else ""
        if not condition:
            return report.but("wrong", findings)
    if condition:
        return dataclasses.replace(report, elements=(), conditions=(*report.conditions, condition))
    if report.findings:
        return report
    given = given._replace(rows=None) if quick or subject.in_numpy else given
    dtypes = () if subject.in_numpy else (None,) if given.narrow else dtypes
    return _beyond_the_derivation(subject, as_given, given, probes, dtypes, report)


def _widened(subject: Subject, given: Inputs) -> Subject | None:
    """The subject in float64; None if a step of it runs in its own dtype alone, as a kernel does."""
    high = cast(given.draws[0].args, jnp.float64)
    wide = subject.widened(given.draws[0].args if given.narrow else high)
    try:
        y, residuals = wide.fwd(*high)
        wide.bwd(residuals, y)
        return wide
    except OpaqueError:
        return None
    except Exception:
        return None if given.narrow else wide  # the probe says so


def _explained(subject: Subject, probes: Sequence[Probe], laws: list[Finding]) -> list[Finding]:
    """The findings; an exception on the way leaves the leaves wrong, and unexplained."""
    try:
        return diagnose(subject, probes, laws)
    except Exception as error:
        text = f"is wrong; the search for the reason ended in {type(error).__name__}: {first_line(error)}"
        return [*laws, *(Finding(*probes[0].leaves[i], "unexplained", text) for i in _wrong_leaves(probes))]


def _wrong_leaves(probes: Sequence[Probe]) -> list[int]:
    return sorted({i for p in probes for i in p.wrong})


def _casts_down(subject: Subject, draw: Draw) -> bool:
    """Whether forward or backward compute in less than float64 when they are given float64. Raises Malformed."""
    args = cast(draw.args, jnp.float64)
    if casts_down(lambda *args: subject.fwd(*args)[0], *args):
        return True
    y, residuals = subject.fwd(*args)
    if not casts_down(subject.bwd, residuals, y):
        return False
    run_backward(subject, args, residuals, y)  # what it returns must be as wide as its arguments
    return True


def _probed(subject: Subject, draws: list[Draw], quick: bool) -> tuple[list[Probe], list[Finding]]:
    """The probes, and what is wrong with the laws of the cotangent. Raises Malformed."""
    probes = [_probe(subject, draws[0])]
    if draws[0].domain == "given arrays" and not probes[0].agrees:
        probes = [kinks.excuse(subject, probes[0])]
    begun = [] if quick or not probes[0].agrees else [(draw, compiled_probe(subject, draw)) for draw in draws[1:]]
    laws = law_findings(subject, probes[0])
    if not probes[0].agrees:
        return probes + [_probe(subject, draw) for draw in draws[1:2]], laws
    for draw, compared in begun:
        probes.append(compared(probes[0].vanished) or _probe(subject, draw))
        if not probes[-1].agrees:
            break  # what fails at size 1 alone says little of what fails at every size
    return probes, laws


def _probe(subject: Subject, draw: Draw) -> Probe:
    """An eager probe, in which leaves that cancel to zero have vanished. Raises Malformed."""
    return without_cancelled(subject, probe(subject, draw))


def _beyond_the_derivation(
    subject: Subject, as_given: Subject, given: Inputs, probes: list[Probe], dtypes: Sequence[Any], report: Report
) -> Report:
    """For a right derivation: how it fares at kinks, in each dtype and compiled, and how sure the probes are.

    The arithmetic of ``as_given`` is judged, not the widened one; a rule that computes in float32 has none in float64.
    """
    first, vanished = given.draws[0], probes[0].vanished
    zero = {probes[0].leaves[i].cotangent for i in vanished}
    rows = given.rows if dtypes and given.rows and not too_large(as_given, given.rows, dtypes[0]) else None
    # the reference of a while loop takes a run for each element: too many at very many rows
    loops = "while" in primitives(*reference.of_floats(subject.primal, first.args))
    tried = (*((jnp.float64,) if subject is as_given and not subject.in_numpy else ()), *dtypes)
    at(*_stages(tried), known=report)
    begun = {_called(dtype): arithmetic.judge(as_given, subject, first, dtype, zero) for dtype in tried}
    at_rows = compiled_probe(subject, rows) if rows and not loops else None  # all of these compile in the background
    at_kinks, conventions = kinks.kink_findings(subject, first, vanished)
    if at_kinks:
        return report.but("wrong", at_kinks)

    judged: dict[str, arithmetic.Arithmetic] = {}
    for i, (called, one) in enumerate(begun.items()):
        at(*_stages(tried)[1 + i :], known=report.but(findings=[f for done in judged.values() for f in done.malformed]))
        judged[called] = one()
    malformed, imprecise, compiler, notes, reasons = (
        [item for one in judged.values() for item in getattr(one, field)]
        for field in ("malformed", "imprecise", "compiler", "notes", "doubts")
    )
    at("many rows", "mutants", known=report.but(findings=malformed))
    zeros = (i for i in range(len(probes[0].leaves)) if not any(np.any(row[i]) for p in probes for row in p.refs))
    gone = vanished | frozenset(zeros)  # at very many rows rounding may leave something of a zero
    agrees = at_rows(gone) if at_rows else None
    if rows and "jit" in judged[jnp.dtype(dtypes[0]).name].ulps and (agrees or survives(subject, rows)):
        if not agrees and not loops:
            malformed += wrong_at_many_rows(subject, rows, "; ".join(d.shown for d in given.draws), gone)
        compiler += arithmetic.rows_disagree(as_given, rows, dtypes[0], zero)
        shown = f"{rows.shown}, and under jit in {jnp.dtype(dtypes[0]).name}"
        report = dataclasses.replace(report, probes=(*report.probes, shown))

    share, survivors = adequacy(subject, probes)
    notes += [f"{name} is zero by cancellation, and only rounding is left to compare" for name in sorted(zero)]
    notes += [f"the probes would not have seen {mutant}" for mutant in survivors]
    ulps = {name: dict(one.ulps) for name, one in judged.items()}
    report = dataclasses.replace(report.but(notes=[*conventions, *notes]), adequacy=share, ulps=ulps)
    if malformed:
        return report.but("wrong", malformed)
    if compiler:
        return report.but("inconclusive", compiler)
    if imprecise:
        return report.but("imprecise", imprecise)
    if reasons:
        return report.but("inconclusive", notes=reasons)
    return at_activations(as_given, first, report, exact=subject.primal) if given.narrow else report


def _stages(dtypes: Sequence[Any]) -> list[str]:
    """The stages after the derivation is found right."""
    return ["kinks", *map(_called, dtypes), "many rows", "mutants"]


def _called(dtype: Any) -> str:
    return "as is" if dtype is None else jnp.dtype(dtype).name


def assert_correct(target: Any, *inputs: Any, **settings: Any) -> None:
    """For pytest and notebooks: raises DerivationError, an AssertionError, with the report if it is not ``correct``."""
    __tracebackhide__ = True
    report = check(target, *inputs, **settings)
    if not report:
        raise DerivationError(str(report))
