"""``check``: from inputs to verdict."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .diagnose.diagnose import diagnose, explain_shapes
from .diagnose.paths import without_cancelled
from .engine.inspection import casts_down, primitives
from .engine.leaves import cast
from .judge import arithmetic, kinks, reference
from .judge.doubts import doubts
from .judge.form import Malformed, run_backward
from .judge.laws import law_findings
from .judge.probe import Probe, adequacy, compiled_probe, probe, worst_elements, worst_errors
from .judge.rows import too_large, wrong_at_many_rows
from .report import Finding, Report
from .trial.draws import Draw, Inputs, inputs_for, survives
from .trial.settings import settings
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

    Raises InputError for invalid settings, and if the forward raises or is not finite. Faults of the backward are
    findings, never exceptions.
    """
    subject = as_subject(target, name)
    asked = settings(target, inputs, in_shape=in_shape, sizes=sizes, ranges=ranges, dtypes=dtypes, seed=seed)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        subject, given = inputs_for(subject, target, inputs, asked)
        described = tuple(f"{d.shown} {d.domain}, seed {d.seed}" for d in given.draws)
        report = Report(subject.name, "correct", (), {}, described[:1] if quick else described, given.notes)
        as_given = subject
        try:
            if _casts_down(subject, given.draws[0]):
                subject = subject.widened()
                report = report.but(notes=["it computes in narrower floats than it gets: judged with all in float64"])
            probes, laws = _probed(subject, given.draws, quick)
        except Malformed as malformed:
            return report.but("wrong", explain_shapes(subject, given.draws[0], malformed))
        wrong = next((p for p in probes if not p.agrees), None)
        elements = worst_elements(wrong, wrong.wrong[0]) if wrong else ()
        report = dataclasses.replace(report, worst=worst_errors(probes), elements=elements)
        reasons, notes = doubts(subject, probes, subject is not as_given)
        report = report.but(notes=[*reasons, *notes])
        if reasons:
            return report.but("inconclusive")
        if findings := diagnose(subject, probes, laws):
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
    at_rows = compiled_probe(subject, rows) if rows and not loops else None  # it compiles in the background
    at_kinks, conventions = kinks.kink_findings(subject, first, vanished)
    if at_kinks:
        return report.but("wrong", at_kinks)

    tried = (*((jnp.float64,) if subject is as_given else ()), *dtypes)
    judged = {jnp.dtype(dtype).name: arithmetic.judge(as_given, subject, first, dtype, zero) for dtype in tried}
    malformed, imprecise, compiler, notes, reasons = (
        [item for one in judged.values() for item in getattr(one, field)]
        for field in ("malformed", "imprecise", "compiler", "notes", "doubts")
    )
    agrees = at_rows(vanished) if at_rows else None
    if rows and "jit" in judged[jnp.dtype(dtypes[0]).name].ulps and (agrees or survives(subject, rows)):
        if not agrees and not loops:
            malformed += wrong_at_many_rows(subject, rows, "; ".join(d.shown for d in given.draws), vanished)
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
    return report.but("inconclusive", notes=reasons) if reasons else report


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
