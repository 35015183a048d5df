"""The VJP with the derivative of one step exchanged for a slip: which slip gives what the backward gave?

Exchanging the gradient of a value for the gradient of its stand-in changes the whole VJP. If the backward gave just
that VJP, the slip is the mistake, made on the line that computes the value.
"""

from collections import ChainMap, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...engine.jaxprs import Hooks, Program, evaluate
from ...judge.probe import Probe
from ...report import Finding
from ...tolerances import APART, EQUAL
from ...trial.subject import Subject
from ..evidence import Evidence, by_shape, finding_at, together_then_alone
from ..graph import Result, mapped_vjps
from .operands import earlier_slips, factor_slips, mask_slips, transpose_slips
from .slip import Slip, stopped
from .slopes import composite_slips, function_slips, value_slips

# The most telling names first. The last is rare, and dear to compile.
ORDER = (
    "wrong-mask",
    "wrong-operand-transposed",
    "missing-factor",
    "derivative-at-output",
    "derivative-at-input",
    "sign-flipped",
    "jacobian-diagonal-only",
)


def all_slips(program: Program, inside: bool = False) -> list[Slip]:
    """Every slip for every step, loops and branches included, in the order in which they are named.

    ``inside``: the program is the body of a loop or a branch.
    """
    found: list[Slip] = []
    made_by = {n: step for step in program.steps for n in step.outs}
    for step in program.steps:
        if len(step.outs) == 1 and program.is_float(step.outs[0]):
            for family in (mask_slips, transpose_slips, factor_slips, function_slips):
                found += family(step, program)
            found += earlier_slips(step, program, made_by)
        for body in step.bodies:
            found += all_slips(body, inside=True)
    found += composite_slips(program)
    found.sort(key=lambda slip: ORDER.index(slip.mistake))  # stable: program order within
    return found if inside else found + value_slips(program)


# ---------------------------------------------------------------- in force


def in_force(program: Program, number: int) -> Callable[[Sequence[Any]], Result]:
    """The hook, at given inputs, that puts the slip of that number in force."""
    slip = all_slips(program)[number]
    return lambda floats: _exchanging(program, [slip], [jnp.ones(())], floats)


def _exchanging(program: Program, slips: Sequence[Slip], switches: Any, floats: Sequence[Any]) -> Result:
    """The hook that exchanges the gradient of each slip's value, as far as its switch is 1."""
    later = _constants(program, floats)
    at = defaultdict(list)
    for k, slip in enumerate(slips):
        at[slip.value].append((switches[k], slip))

    def result(number: int, env: dict[int, Any]) -> Any:
        value, everything = env[number], ChainMap(env, later)
        slopes = defaultdict(list)
        for switch, slip in at[number]:
            if slip.stand_in:
                value = _exchanged(value, slip.stand_in(everything), switch)
            elif slip.slope:
                slopes[slip.start].append((switch, slip.slope(everything)))
        for start, found in slopes.items():  # at most one is switched on, so the sum picks it
            slope = sum(switch * slope for switch, slope in found)
            value = _exchanged(value, slope * everything[start], sum(switch for switch, _ in found))
        return value

    return result


def _constants(program: Program, floats: Sequence[Any]) -> dict[int, Any]:
    """Every float value outside loops that the program computes, by number, with no gradient to it."""
    found = {}

    def result(number, env):
        found[number] = stopped(env[number])
        return env[number]

    evaluate(program, [stopped(value) for value in floats], Hooks(result=result))
    own = [n for step in program.steps for n in step.outs if program.is_float(n)]
    return {n: found[n] for n in own}


@jax.custom_jvp
def _exchanged(v, u, s):
    """v, with the gradient of u instead of its own if s is 1."""
    return v


@_exchanged.defjvp
def _exchanged_jvp(primals, tangents):
    v, _, s = primals
    s = s.astype(v.dtype)
    return v, (1 - s) * tangents[0] + s * tangents[1]


# ---------------------------------------------------------------- the search


class _Tried:
    """The slips of the numbers ``chosen``, tried on probes of one shape."""

    def __init__(self, subject: Subject, probes: Sequence[Probe], chosen: Sequence[int]):
        self.chosen, self.evidence = chosen, Evidence(subject, probes)
        program = self.evidence.program()
        found = all_slips(program)
        slips = [found[k] for k in chosen if k < len(found)]
        self.values = np.zeros((0, len(self.evidence.got)))
        if slips:
            hooks = lambda switches, floats: Hooks(result=_exchanging(program, slips, switches, floats))  # noqa: E731
            self.values = self.evidence.vjps(mapped_vjps(program, hooks, 0.0, len(slips)), np.eye(len(slips)))

    def explaining(self, leaves: Sequence[int]) -> list[int]:
        """The numbers of the slips by which all these leaves are what the backward gave, and not what is right."""
        fits = np.ones(len(self.values), bool)
        for i in leaves:
            entries = self.evidence.leaf == i
            values, got, ref = (side[..., entries] for side in (self.values, self.evidence.got, self.evidence.ref))
            fits &= np.abs(values - got).max(axis=1) <= EQUAL * np.abs(got).max()
            fits &= np.abs(values - ref).max(axis=1) > APART * np.abs(ref).max()
        return [self.chosen[k] for k in np.flatnonzero(fits).tolist()]


def explain(subject: Subject, probes: Sequence[Probe], wrong: list[int]) -> tuple[list[Finding], list[int], list[int]]:
    """Findings of slips that explain the wrong leaves, the numbers of these slips, and the leaves that are left."""
    same, others = by_shape(probes)
    slips = all_slips(Evidence(subject, same[:1]).program())
    rare = next((k for k, slip in enumerate(slips) if slip.mistake == ORDER[-1]), len(slips))
    found: dict[int, Finding] = {}
    left = list(wrong)
    for batch in (range(rare), range(rare, len(slips))):
        if not (left and batch):
            continue
        tried = _Tried(subject, same, batch)
        for group in together_then_alone(left):
            for k in tried.explaining(group):
                if all(_Tried(subject, [p], [k]).explaining(group) for p in others[:1]):
                    leaves = [i for i in left if k in tried.explaining([i])]
                    named = [same[0].leaves[i] for i in leaves]
                    found[k] = finding_at(slips[k].line, named, slips[k].mistake, slips[k].text)
                    left[:] = [i for i in left if i not in leaves]
                    break
    return list(found.values()), list(found), left
