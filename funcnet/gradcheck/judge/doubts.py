"""Whether the reference can be trusted at a point: if not, nobody is blamed."""

from collections.abc import Sequence

import numpy as np

from ..engine.inspection import custom_derivatives, rounded_constants
from ..engine.leaves import peak
from ..tolerances import EPS, FLOAT32, ROUNDED, SIGHT, TINY
from ..trial.subject import Subject
from . import kinks, reference
from .probe import Probe


def doubts(subject: Subject, probes: Sequence[Probe], is_widened: bool) -> tuple[list[str], list[str]]:
    """Why the reference cannot be trusted: it disagrees with differences, or it is not finite; and notes."""
    p = probes[0]
    if not all(np.isfinite(ref).all() for probe in probes for row in probe.refs for ref in row):
        return ["the reference, jax.vjp of the forward, is not finite here"], []
    if invisible := _below_sight(subject, p):
        return invisible, []
    if not is_widened and (rounded := _rounded_constants(subject, p)):
        return rounded, []
    return _audited(subject, p)


def _below_sight(subject: Subject, p: Probe) -> list[str]:
    """A reason for each leaf that disagrees and is too small for differences to decide: |dx| < 8u·|dy|·|y|/|x|."""
    _, floats = reference.of_floats(subject.primal, p.draw.args)
    dy, y = peak(p.dys[0]), peak(p.y)
    return [
        f"{leaf.name}: autodiff and the rule disagree about numbers too small for differences to see: nobody can be "
        f"blamed"
        for leaf, x, ref, got, excess in zip(p.leaves, floats, p.refs[0], p.gots[0], p.excess[0], strict=True)
        if excess > 1 and peak([ref, got]) < SIGHT * EPS * dy * y / max(peak(x), TINY)
    ]


def _rounded_constants(subject: Subject, p: Probe) -> list[str]:
    """A reason if all is right except for constants that were rounded to float32, as ``jnp.float32(0.1)`` is."""
    errors = [peak(got - ref) / max(peak(ref), TINY) for got, ref in zip(p.gots[0], p.refs[0], strict=True)]
    if p.agrees or max(errors) > ROUNDED * FLOAT32:
        return []
    found = rounded_constants(*reference.of_floats(subject.primal, p.draw.args))
    return [
        f"right to {max(errors):.0e} and not beyond, as the forward holds the constant {value!r}, which was rounded to "
        f"float32: write it as a Python number"
        for value in found[:1]
    ]


def _audited(subject: Subject, p: Probe) -> tuple[list[str], list[str]]:
    """Doubts and notes from differences beside the reference."""
    args, dy, refs = p.draw.args, p.dys[0], p.refs[0]
    notes = []
    audits = reference.audit(subject.primal, args, dy, refs)
    if any(a.disagree for a in audits):  # perhaps they straddled a kink that the point itself lies on
        smooth = kinks.smooth_directions(subject, args, dy)
        if smooth is not None:
            audits = reference.audit(subject.primal, args, dy, refs, smooth)
    if any(a.disagree for a in audits):
        held = reference.audit(subject.primal, args, dy, refs, hold_stops=True)
        if not any(a.disagree for a in held):
            audits, notes = held, ["judged as jax.grad does: what stop_gradient hides is held fixed"]
    inside = custom_derivatives(*reference.of_floats(subject.primal, args))
    suspect = f"; the forward calls {', '.join(inside)}, whose own derivative may be wrong" if inside else ""
    found = [
        f"for {leaf.name} autodiff says {a.autodiff:.6g} along a random direction, "
        f"and differences {a.difference:.6g} ± {a.uncertainty:.1g}: the reference itself is in doubt" + suspect
        for leaf, a in zip(p.leaves, audits, strict=True)
        if a.disagree
    ]
    return found, notes
