"""The VJP with the derivative of one step exchanged for a slip: which slip gives what the backward gave?

Exchanging the gradient of a value for the gradient of its stand-in changes the whole VJP. If the backward gave just
that VJP, the slip is the mistake, made on the line that computes the value.
"""

import functools
import itertools
from collections import ChainMap, defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...engine.jaxprs import Hooks, Program, evaluate
from ...engine.leaves import close
from ...judge.probe import Probe
from ...report import Finding
from ...tolerances import APART, EQUAL
from ...trial.subject import Subject
from ..evidence import Evidence, by_shape, finding_at, together_then_alone
from ..graph import Result, mapped_vjps
from .operands import earlier_slips, example_slips, factor_slips, mask_slips, operand_slips, transpose_slips
from .order import order_slips
from .slip import Env, Slip, exchanged, stopped
from .slopes import composite_slips, function_slips, left_out_slips, value_slips
from .softmax import softmax_slips

# The most telling names first, in each batch; a batch is compiled only if those before it explain nothing.
ORDER = (
    "wrong-mask",
    "wrong-operand-transposed",
    "missing-factor",
    "derivative-at-output",
    "derivative-at-input",
    "sign-flipped",
    "reversed-axis",
    "permuted",
    "wrong-axis",
    "single-example",
    "wrong-operand",
)
Batches = tuple[list[Slip], list[Slip], list[Slip]]


def batches(program: Program, inside: bool = False) -> Batches:
    """Every slip for every step, loops and branches included: the usual ones, those that are dear, and the others.

    ``inside``: the program is the body of a loop or a branch.
    """
    usual: list[Slip] = []
    dear: list[Slip] = []
    others = [*order_slips(program), *softmax_slips(program), *left_out_slips(program)]
    made_by = {n: step for step in program.steps for n in step.outs}
    for step in program.steps:
        if len(step.outs) == 1 and program.is_float(step.outs[0]):
            for family in (mask_slips, transpose_slips, factor_slips, function_slips):
                usual += family(step, program)
            usual += earlier_slips(step, program, made_by)
            others += example_slips(step, program)
        for body in step.bodies:
            for mine, its in zip((usual, dear, others), batches(body, inside=True), strict=True):
                mine += its
    for slip in composite_slips(program):
        (dear if slip.mistake == "jacobian-diagonal-only" else usual).append(slip)
    dear += [] if inside else value_slips(program)
    others += operand_slips(program, functools.partial(_known, program))
    for batch in (usual, others):
        batch.sort(key=lambda slip: ORDER.index(slip.mistake))  # stable: program order within
    return usual, dear, others


def all_slips(program: Program) -> list[Slip]:
    """The slips of all batches, in the order in which they are named."""
    return list(itertools.chain(*batches(program)))


def _known(program: Program, env: Env, number: int) -> Any:
    """A value of the program; in a body of a loop it may be one that is computed later."""
    return env[number] if number in env else _constants(program, [env[n] for n in program.inputs])[number]


# ---------------------------------------------------------------- in force


def in_force(program: Program, number: int) -> Callable[[Sequence[Any]], Result]:
    """The hook, at given inputs, that puts the slip of that number in force."""
    slip = all_slips(program)[number]
    return lambda floats: _exchanging(program, [slip], [jnp.ones(())], floats)


def _exchanging(
    program: Program, slips: Sequence[Slip], switches: Any, floats: Sequence[Any], still: Collection[int] = ()
) -> Result:
    """The hook that exchanges the gradient of each slip's value, as far as its switch is 1.

    No gradient flows to the values ``still``.
    """
    later = _constants(program, floats)
    at = defaultdict(list)
    for k, slip in enumerate(slips):
        at[slip.value].append((switches[k], slip))

    def result(number: int, env: dict[int, Any]) -> Any:
        value, everything = env[number], ChainMap(env, later)
        value = stopped(value) if number in still else value
        slopes = defaultdict(list)
        for switch, slip in at[number]:
            if slip.stand_in:
                value = exchanged(value, slip.stand_in(everything), switch)
            elif slip.slope:
                slopes[slip.start].append((switch, slip.slope(everything)))
        for start, found in slopes.items():  # at most one is switched on, so the sum picks it
            slope = sum(switch * slope for switch, slope in found)
            value = exchanged(value, slope * everything[start], sum(switch for switch, _ in found))
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


# ---------------------------------------------------------------- the search


class _Tried:
    """The slips of the numbers ``chosen``, tried on probes of one shape; see ``_exchanging`` for ``still``."""

    def __init__(self, subject: Subject, probes: Sequence[Probe], chosen: Sequence[int], still: Collection[int] = ()):
        self.chosen, self.evidence = chosen, Evidence(subject, probes)
        program = self.evidence.program()
        found = all_slips(program)
        slips = [found[k] for k in chosen if k < len(found)]
        self.values = np.zeros((0, len(self.evidence.got)))
        if slips:
            hooks = lambda switches, floats: Hooks(result=_exchanging(program, slips, switches, floats, still))  # noqa: E731
            n = len(slips)
            right, *values = self.evidence.vjps(mapped_vjps(program, hooks, 0.0, n + 1), np.eye(n + 1, n, -1))
            if close(right, self.evidence.ref):
                self.values = np.array(values)

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
    program = Evidence(subject, same[:1]).program()
    found_in = batches(program)
    slips, ends = list(itertools.chain(*found_in)), np.cumsum([0, *map(len, found_in)])
    # A derivation by hand leaves out the shift by a maximum, which cancels; beside a slip it would not.
    shifts = [n for step in program.steps if step.primitive == "reduce_max" for n in step.outs]
    found: dict[int, Finding] = {}
    left = list(wrong)
    tries = list(map(range, ends[:-1].tolist(), ends[1:].tolist()))
    for still, batch in itertools.product(([], shifts) if shifts else ([],), tries):
        if not (left and batch):
            continue
        tried = _Tried(subject, same, batch, still)
        for group in together_then_alone(left):
            for k in tried.explaining(group):
                if all(_Tried(subject, [p], [k], still).explaining(group) for p in others[:1]):
                    leaves = [i for i in left if k in tried.explaining([i])]
                    named = [same[0].leaves[i] for i in leaves]
                    found[k] = finding_at(slips[k].line, named, slips[k].mistake, slips[k].text)
                    left[:] = [i for i in left if i not in leaves]
                    break
    return list(found.values()), list(found), left
