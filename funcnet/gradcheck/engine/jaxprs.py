"""A jaxpr as a flat list of steps, each with the line that wrote it. The one module that touches jaxprs.

Calls are inlined; the bodies of scan and cond are programs of their own; whatever else is not known is one step.
"""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from .widening import scan_counts

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "checkpoint": "jaxpr", "remat2": "jaxpr"}
# Custom derivatives are looked into only where that leaves the derivative as it is: the caller says.
CUSTOM = {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


class Line(NamedTuple):
    """A line of the forward; ``place`` is where in it: the same for what is traced several times from one position."""

    file: str | None
    number: int | None
    text: str | None
    place: Hashable


class Step(NamedTuple):
    """One equation: values are numbers, unlike those of any other program of the same forward."""

    primitive: str
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    params: dict[str, Any]
    line: Line
    bind: Callable[..., list[Any]]
    bodies: tuple[Program, ...] = ()


class Program(NamedTuple):
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: dict[int, Any]
    steps: list[Step]
    types: dict[int, jax.ShapeDtypeStruct]
    """Of every value, those of the bodies included."""

    def is_float(self, value: int) -> bool:
        return bool(jnp.issubdtype(self.types[value].dtype, jnp.floating))


def traced_once(f: Callable[..., Any], args: list[Any]) -> Callable[..., Any]:
    """``f`` as its jaxpr, still run op by op: a loop or branch inside is then compiled once, and not at every call.

    A function that cannot be traced, as it looks at values, comes back as it is.
    """
    try:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
    except jax.errors.JAXTypeError:
        return f
    return Traced(_seen_before(_ByStep(closed)), closed, jax.tree.structure(shape))


class _ByStep:
    """A jaxpr run op by op, its loops and branches each jitted: their derivatives too are compiled once then."""

    def __init__(self, closed: Any):
        self.closed = closed
        self.steps = [
            jax.jit(_binder(eqn)) if eqn.primitive.name in ("scan", "while", "cond") else _binder(eqn)
            for eqn in closed.jaxpr.eqns
        ]

    def __call__(self, *values: Any) -> list[Any]:
        jaxpr, consts = self.closed.jaxpr, self.closed.consts
        env: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *values), strict=True))

        def value(atom: Any) -> Any:
            return atom.val if isinstance(atom, core.Literal) else env[atom]

        for eqn, step in zip(jaxpr.eqns, self.steps, strict=True):
            env.update(zip(eqn.outvars, step(*map(value, eqn.invars)), strict=True))
        return [value(atom) for atom in jaxpr.outvars]


class Traced:
    """A traced function: called, it runs; its jaxpr has the lines that wrote it."""

    def __init__(self, run: _ByStep, closed: Any, structure: Any):
        self.run, self.closed, self.structure = run, closed, structure

    def __call__(self, *values: Any) -> Any:
        return jax.tree.unflatten(self.structure, self.run(*values))


_KEPT: dict[Hashable, _ByStep] = {}  # the last few, the newest last


def _seen_before(run: _ByStep) -> _ByStep:
    """The same of an earlier trace, if there is one: what JAX has compiled for its loops hangs on its identity.

    Custom derivatives are functions that a jaxpr's text does not tell apart.
    """
    closed, text = run.closed, str(run.closed.jaxpr)
    if "custom_" in text or "callback" in text:
        return run
    try:
        constants = tuple((np.shape(c), np.asarray(c).dtype.str, np.asarray(c).tobytes()) for c in closed.consts)
    except TypeError:  # random keys
        return run
    key = text, constants
    run = _KEPT[key] = _KEPT.pop(key, run)
    if len(_KEPT) > 16:
        _KEPT.pop(next(iter(_KEPT)))
    return run


def program_of(f: Callable[..., Any], floats: Sequence[Any], file: str | None, inline_custom: bool) -> Program:
    """``f(*floats)`` as a program whose outputs are the leaves of the result; lines are those of ``file``."""
    closed = f.closed if isinstance(f, Traced) else jax.make_jaxpr(f)(*floats)
    return _Flattening(file, CALLS | CUSTOM if inline_custom else CALLS).program(closed.jaxpr, closed.consts)


class _Flattening:
    def __init__(self, file: str | None, calls: dict[str, str]):
        self.file, self.calls = file, calls
        self.numbers, self.types = itertools.count(), dict[int, jax.ShapeDtypeStruct]()

    def program(self, jaxpr, consts, called_from: Line | None = None) -> Program:
        constants: dict[int, Any] = {}
        steps: list[Step] = []
        inputs = tuple(self.new(v.aval) for v in jaxpr.invars)
        outputs = self.inline(jaxpr, consts, inputs, constants, steps, called_from)
        return Program(inputs, tuple(outputs), constants, steps, self.types)

    def new(self, aval) -> int:
        number = next(self.numbers)
        # keys and the like have a dtype of their own; none of them is differentiable
        self.types[number] = jax.ShapeDtypeStruct(getattr(aval, "shape", ()), getattr(aval, "dtype", jnp.dtype(bool)))
        return number

    def inline(self, jaxpr, consts, args, constants, steps, called_from) -> list[int]:
        known: dict[Any, int] = dict(zip(jaxpr.invars, args, strict=True))

        def constant(aval, value) -> int:
            number = self.new(aval)
            constants[number] = value
            return number

        def number(atom) -> int:
            return constant(atom.aval, atom.val) if isinstance(atom, core.Literal) else known[atom]

        known |= {v: constant(v.aval, value) for v, value in zip(jaxpr.constvars, consts, strict=True)}
        for nth, eqn in enumerate(jaxpr.eqns):
            inside = called_from and called_from._replace(place=(called_from.place, nth))
            name, line = eqn.primitive.name, inside or self.line(eqn)
            ins = tuple(number(atom) for atom in eqn.invars)
            if name in self.calls:
                inner, consts_inside = _opened(eqn.params[self.calls[name]])
                # a library's own function is traced once for all its callers: the line within is that of the first
                outside = line if self.is_library(inner) else inside
                outs = self.inline(inner, consts_inside, ins, constants, steps, outside)
            else:
                outs = [self.new(v.aval) for v in eqn.outvars]
                bodies = [eqn.params["jaxpr"]] if name == "scan" else eqn.params["branches"] if name == "cond" else []
                bodies = tuple(self.program(*_opened(body), inside) for body in bodies)
                steps.append(Step(name, ins, tuple(outs), eqn.params, line, _binder(eqn), bodies))
            known.update(zip(eqn.outvars, outs, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def is_library(self, jaxpr) -> bool:
        file = getattr(getattr(jaxpr, "debug_info", None), "func_filename", None)
        return file is not None and file != self.file and "/jax/" in file

    def line(self, eqn) -> Line:
        traceback = eqn.source_info.traceback
        frames = getattr(traceback, "frames", None) or []
        own = [i for i, f in enumerate(frames) if f.file_name == self.file]
        own = own or [i for i, f in enumerate(frames) if "/jax/" not in f.file_name]
        if not own:
            return Line(None, None, None, object())
        frame = frames[own[0]]
        place = tuple(zip(*(side[: own[0] + 1] for side in traceback.raw_frames()), strict=True))
        source = linecache.getline(frame.file_name, frame.line_num).strip()
        return Line(frame.file_name, frame.line_num, source, place)


def _opened(jaxpr) -> tuple[Any, Sequence[Any]]:
    """A jaxpr, closed or open, and its constants."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def _binder(eqn) -> Callable[..., list[Any]]:
    def bind(*values):
        outs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
        return list(outs) if eqn.primitive.multiple_results else [outs]

    return bind


class Hooks(NamedTuple):
    """What is done on the way: to an operand (step, value's number, value, turn), and to a result (number, env)."""

    operand: Callable[[Step, int, Any, Any], Any] = lambda step, number, value, turn: value
    result: Callable[[int, dict[int, Any]], Any] = lambda number, env: env[number]


def evaluate(program: Program, args: Sequence[Any], hooks: Hooks, turn: Any = None) -> list[Any]:
    """The program on ``args``. ``turn`` is (whether it is the first, whether the last) of the loop around it."""
    env: dict[int, Any] = program.constants | dict(zip(program.inputs, args, strict=True))
    for step in program.steps:
        passed = {
            n: hooks.operand(step, n, env[n], turn) if program.is_float(n) and n not in program.constants else env[n]
            for n in step.ins
        }
        values = [passed[n] for n in step.ins]
        if step.primitive == "scan":
            outs = _scan(step, values, hooks)
        elif step.primitive == "cond":
            branches = [lambda *ops, body=body: evaluate(body, ops, hooks, turn) for body in step.bodies]
            outs = lax.switch(values[0], branches, *values[1:])
        else:
            outs = step.bind(*values)
        env.update(zip(step.outs, outs, strict=True))
        for n in step.outs:
            env[n] = hooks.result(n, env)
    return [env[n] for n in program.outputs]


def counts(step: Step) -> tuple[int, int]:
    """``scan_counts`` of a step that is a scan."""
    (body,) = step.bodies
    ins, outs, body_ins, body_outs = (
        [body.types[n] for n in side] for side in (step.ins, step.outs, body.inputs, body.outputs)
    )
    return scan_counts(ins, outs, body_ins, body_outs)


def _scan(step: Step, values: list[Any], hooks: Hooks) -> list[Any]:
    """The loop again, with what the hooks do inside its body, the same in every turn."""
    (body,) = step.bodies
    fixed, carried = counts(step)
    consts, carry, xs = values[:fixed], values[fixed : fixed + carried], values[fixed + carried :]
    length = step.params["length"]
    turns = (jnp.arange(length) == 0, jnp.arange(length) == length - 1)

    def turn(carry, row):
        x, at = row
        outs = evaluate(body, [*consts, *carry, *x], hooks, at)
        return outs[:carried], outs[carried:]

    carry, ys = lax.scan(turn, list(carry), (list(xs), turns), length=length, reverse=step.params["reverse"])
    return [*carry, *ys]
