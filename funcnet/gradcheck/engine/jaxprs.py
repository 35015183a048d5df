"""A jaxpr as a flat list of steps, each with the line that wrote it, and the one walker that runs such a program.

Calls are inlined; the bodies of loops and branches are programs of their own; any other primitive is one step. Hooks
change what the walker does on the way.
"""

from __future__ import annotations

import functools
import itertools
import linecache
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax._src.interpreters import partial_eval  # there is no public way to leave out what nobody reads
from jax.extend import core

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "checkpoint": "jaxpr", "remat2": "jaxpr"}
# Inlined only if the caller says that it leaves the derivative as it is.
CUSTOM = {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
NO_REVERSE = "Reverse-mode differentiation does not work"  # JAX's ValueError for a ``while`` loop
NO_LINES = object()
LOOPS = {"scan": ("jaxpr",), "while": ("cond_jaxpr", "body_jaxpr"), "cond": ("branches",)}  # and branches


class Line(NamedTuple):
    """A line of the forward; ``place`` is the position in it, the same each time it is traced from there."""

    file: str | None
    number: int | None
    text: str | None
    place: Hashable


class Step(NamedTuple):
    """One equation. Values are numbers; no other program of the same forward uses the same ones.

    ``traceback`` is JAX's own note of where it was written.
    """

    primitive: str
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    params: dict[str, Any]
    line: Line
    bind: Callable[..., list[Any]]
    bodies: tuple[Program, ...] = ()
    traceback: Any = None


class Program(NamedTuple):
    """A function as steps. ``types`` holds the type of every value, also in the bodies."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: dict[int, Any]
    steps: list[Step]
    types: dict[int, jax.ShapeDtypeStruct]

    def is_float(self, value: int) -> bool:
        return bool(jnp.issubdtype(self.types[value].dtype, jnp.floating))


class Traced:
    """A traced function: called, it runs step by step; its jaxpr has the lines that wrote it."""

    def __init__(self, program: Program, closed: Any, structure: Any):
        self.program, self.closed, self.structure = program, closed, structure

    def __call__(self, *values: Any) -> Any:
        return jax.tree.unflatten(self.structure, evaluate(self.program, values))


# ---------------------------------------------------------------- from a jaxpr to a program


def closed_jaxpr(f: Callable[..., Any], args: Sequence[Any]) -> Any:
    """The jaxpr of ``f(*args)``. Raises JAXTypeError if ``f`` looks at values."""
    return f.closed if isinstance(f, Traced) else jax.make_jaxpr(f)(*args)


def program_of(f: Callable[..., Any], floats: Sequence[Any], file: str | None, inline_custom: bool) -> Program:
    """``f(*floats)`` as a program whose outputs are the leaves of the result, with the lines of ``file``."""
    calls = CALLS | CUSTOM if inline_custom else CALLS
    return flattened(closed_jaxpr(f, floats), calls, ("scan", "cond"), file=file)


def flattened(
    closed: Any,
    calls: dict[str, str] | None,
    opened: Collection[str],
    keep: Callable[[Any], bool] | None = None,
    file: Any = NO_LINES,
) -> Program:
    """A jaxpr as a program.

    ``calls``: the primitives to inline, each with the parameter that holds its jaxpr (None: every one that holds a
    jaxpr). ``opened``: the loops and branches whose bodies become programs; the others are jitted. ``keep``: whether an
    equation that could be inlined stays one step. ``file``: whose lines the steps have; None: any outside JAX.
    """
    return _Flattening(calls, opened, file, keep).program(closed.jaxpr, closed.consts)


def pruned(closed: Any, wanted: Sequence[bool], taken: bool | Sequence[bool] = True) -> tuple[Any, list[bool]]:
    """A jaxpr with the outputs that are wanted alone, without what only the others need.

    It takes the inputs that it reads, and those that are to be ``taken`` in any case; which, is the second result.
    """
    jaxpr, takes = partial_eval.dce_jaxpr(closed.jaxpr, list(wanted), instantiate=taken)
    return core.ClosedJaxpr(jaxpr, closed.consts), takes


def _binder(eqn: Any) -> Callable[..., list[Any]]:
    """Runs an equation on values, perhaps with other parameters."""

    def bind(*values, params=eqn.params):
        outs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(params))
        return list(outs) if eqn.primitive.multiple_results else [outs]

    return bind


PYTHON = str(Path(functools.__file__).parent)
HOME = str(Path(__file__).parent.parent)  # whoever called the checker has not written the forward
BOXED = str(Path(__file__).with_name("boxed.py"))  # stands between NumPy code and JAX


class OpaqueError(NotImplementedError):
    """A function has steps that cannot be looked into, nor rewritten."""


class _Flattening:
    def __init__(
        self,
        calls: dict[str, str] | None,
        opened: Collection[str],
        file: Any,
        keep: Callable[[Any], bool] | None = None,
    ):
        self.calls, self.opened, self.file, self.keep = calls, opened, file, keep
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
            if (called := self.called(eqn)) is not None:
                inner, consts_inside = _opened(called)
                # a library's own function is traced once for all its callers: the line within is the first caller's
                outside = line if _is_library(inner, self.file) else inside
                outs = self.inline(inner, consts_inside, ins, constants, steps, outside)
            else:
                outs = [self.new(v.aval) for v in eqn.outvars]
                held, bind = _bodies(eqn), _binder(eqn)
                if held and name not in self.opened:
                    held, bind = [], jax.jit(bind)
                bodies = tuple(self.program(*_opened(body), inside) for body in held)
                traceback = eqn.source_info.traceback
                steps.append(Step(name, ins, tuple(outs), eqn.params, line, bind, bodies, traceback))
            known.update(zip(eqn.outvars, outs, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def called(self, eqn) -> Any:
        """The jaxpr that an equation calls, if it is one to inline."""
        if self.keep and eqn.primitive.name in CUSTOM and self.keep(eqn):
            return None
        if self.calls is not None:
            return eqn.params[self.calls[eqn.primitive.name]] if eqn.primitive.name in self.calls else None
        if eqn.primitive.name in LOOPS:
            return None
        if eqn.primitive.name == "pallas_call":
            raise OpaqueError("the steps of a kernel work on references to memory")
        return next((eqn.params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in eqn.params), None)

    def line(self, eqn) -> Line:
        if self.file is NO_LINES:
            return Line(None, None, None, None)
        traceback = eqn.source_info.traceback
        frames = getattr(traceback, "frames", None) or []
        frames = list(itertools.takewhile(lambda f: not f.file_name.startswith(HOME) or f.file_name == BOXED, frames))
        own = [i for i, f in enumerate(frames) if f.file_name == self.file]
        own = own or [i for i, f in enumerate(frames) if not _is_foreign(f.file_name)]
        if not own:
            return Line(None, None, None, object())
        frame = frames[own[0]]
        place = tuple(zip(*(side[: own[0] + 1] for side in traceback.raw_frames()), strict=True))
        source = linecache.getline(frame.file_name, frame.line_num).strip()
        return Line(frame.file_name, frame.line_num, source, place)


def line_of(eqn: Any) -> Line:
    """The line outside JAX and the checker that wrote an equation."""
    return _Flattening(None, (), None).line(eqn)


def _is_foreign(file: str) -> bool:
    """Whether a file is JAX's, NumPy's or Python's, as contextlib is below a decorator, or the checker's own."""
    library = "/jax/" in file or "/numpy/" in file or (file.startswith(PYTHON) and "site-packages" not in file)
    return library or file == BOXED


def is_library(eqn: Any) -> bool:
    """Whether an equation calls a function that JAX itself defines."""
    key = (CALLS | CUSTOM).get(eqn.primitive.name)
    return key in eqn.params and _is_library(_opened(eqn.params[key])[0])


def _is_library(jaxpr: Any, but: Any = None) -> bool:
    file = getattr(getattr(jaxpr, "debug_info", None), "func_filename", None)
    return file is not None and file != but and "/jax/" in file


def _opened(jaxpr) -> tuple[Any, Sequence[Any]]:
    """A jaxpr, closed or open, and its constants."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def _bodies(eqn) -> list[Any]:
    """The jaxprs of a loop or branch; no others."""
    held = [eqn.params[key] for key in LOOPS.get(eqn.primitive.name, ())]
    return list(held[0]) if eqn.primitive.name == "cond" else held


def equations(jaxpr: Any, but: Callable[[Any], bool] = lambda eqn: False) -> Iterator[Any]:
    """Every equation of a jaxpr, at any depth, but not within the equations ``but``."""
    left = [jaxpr]
    while left:
        for eqn in left.pop().eqns:
            yield eqn
            if but(eqn):
                continue
            held = [part for value in eqn.params.values() for part in (value if isinstance(value, tuple) else (value,))]
            left += [getattr(part, "jaxpr", part) for part in held if hasattr(getattr(part, "jaxpr", part), "eqns")]


# ---------------------------------------------------------------- the walker


class Hooks(NamedTuple):
    """Changes to what the walker does on the way.

    ``operand(step, number, value, turn)``: the value to use for a floating operand.
    ``result(number, env)``: the value to keep for a result, by its number; ``env`` holds all values so far.
    ``step(step, values, perform)``: the results of a step; ``perform(values)`` runs it as the walker would.
    ``constant(value)``: the value to use for a constant.
    ``turns``: how many turns a ``while`` loop takes at most; the floats of one that would take more are NaN.
    """

    operand: Callable[[Step, int, Any, Any], Any] | None = None
    result: Callable[[int, dict[int, Any]], Any] | None = None
    step: Callable[[Step, list[Any], Callable[[list[Any]], list[Any]]], list[Any]] | None = None
    constant: Callable[[Any], Any] | None = None
    turns: int | None = None


NO_HOOKS = Hooks()


def evaluate(program: Program, args: Sequence[Any], hooks: Hooks = NO_HOOKS, turn: Any = None) -> list[Any]:
    """The program on ``args``. ``turn`` is (whether it is the first, whether the last) of the loop around it."""
    constants = program.constants
    if hooks.constant:
        constants = {n: hooks.constant(value) for n, value in constants.items()}
    env: dict[int, Any] = constants | dict(zip(program.inputs, args, strict=True))
    for step in program.steps:
        values = [env[n] for n in step.ins]
        if hooks.operand:
            passed = {
                n: hooks.operand(step, n, env[n], turn)
                for n in step.ins
                if program.is_float(n) and n not in program.constants
            }
            values = [passed.get(n, env[n]) for n in step.ins]
        perform = functools.partial(_perform, step, hooks, turn)
        outs = hooks.step(step, values, perform) if hooks.step else perform(values)
        env.update(zip(step.outs, outs, strict=True))
        if hooks.result:
            for n in step.outs:
                env[n] = hooks.result(n, env)
    return [env[n] for n in program.outputs]


def _perform(step: Step, hooks: Hooks, turn: Any, values: list[Any]) -> list[Any]:
    if not step.bodies:
        return step.bind(*values)
    if step.primitive == "scan":
        return _scan(step, values, hooks)
    if step.primitive == "while":
        return _while(step, values, hooks)
    by_platform = step.params.get("branches_platforms")
    if by_platform:  # of the others not even the code can be compiled here
        own = [i for i, platforms in enumerate(by_platform) if platforms and jax.default_backend() in platforms]
        return evaluate(step.bodies[own[0] if own else -1], values[1:], hooks, turn)
    branches = [lambda *ops, body=body: evaluate(body, ops, hooks, turn) for body in step.bodies]
    return lax.switch(values[0], branches, *values[1:])


def counts(step: Step) -> tuple[int, int]:
    """How many operands of a scan are the same in every turn, and how many are carried from turn to turn.

    Inferred from rank: a scanned operand has one more axis outside the body. (Their names differ by version.)
    """
    (body,) = step.bodies

    def same_rank(outside: Sequence[int], inside: Sequence[int]) -> int:
        pairs = zip(outside, inside, strict=True)
        return sum(len(body.types[o].shape) == len(body.types[i].shape) for o, i in pairs)

    carried = same_rank(step.outs, body.outputs)
    return same_rank(step.ins, body.inputs) - carried, carried


def _scan(step: Step, values: list[Any], hooks: Hooks) -> list[Any]:
    """The loop again, with what the hooks do inside its body, the same in every turn."""
    (body,) = step.bodies
    fixed, carried = counts(step)
    consts, carry, xs = values[:fixed], values[fixed : fixed + carried], values[fixed + carried :]
    length = step.params["length"]
    # which turn it is matters to operands alone
    turns = (jnp.arange(length) == 0, jnp.arange(length) == length - 1) if hooks.operand else None

    def turn(carry, row):
        x, at = row
        outs = evaluate(body, [*consts, *carry, *x], hooks, at)
        return outs[:carried], outs[carried:]

    carry, ys = lax.scan(turn, list(carry), (list(xs), turns), length=length, reverse=step.params["reverse"])
    return [*carry, *ys]


def _while(step: Step, values: list[Any], hooks: Hooks) -> list[Any]:
    """The loop again. Under ``vmap`` its condition is an array: it turns while any is true, and moves those alone."""
    condition, body = step.bodies
    first = step.params["cond_nconsts"]
    second = first + step.params["body_nconsts"]

    def goes_on(carry):
        return evaluate(condition, [*values[:first], *carry], hooks)[0]

    def turned(carry):
        moved = evaluate(body, [*values[first:second], *carry], hooks)
        going = goes_on(carry) if condition.types[condition.outputs[0]].shape else True
        return [new if going is True else _where(going, new, old) for new, old in zip(moved, carry, strict=True)]

    most = hooks.turns
    if most is None:
        return lax.while_loop(lambda carry: goes_on(carry).any(), turned, values[second:])
    found, _ = lax.while_loop(
        lambda state: goes_on(state[0]).any() & (state[1] < most),
        lambda state: (turned(state[0]), state[1] + 1),
        (values[second:], jnp.zeros((), int)),
    )
    cut = goes_on(found)
    return [_where(cut, jnp.nan, v) if jnp.issubdtype(v.dtype, jnp.floating) else v for v in found]


def _where(going: Any, new: Any, old: Any) -> Any:
    """``new`` where ``going`` is true; its axes are the first of ``old``."""
    return jnp.where(going.reshape(*going.shape, *(1,) * (old.ndim - going.ndim)), new, old)


def with_stops_held(f: Callable[..., Any], floats: list[Any]) -> Callable[..., Any] | None:
    """``f`` with what ``stop_gradient`` hides held as it is here: the function that autodiff differentiates.

    None if it hides nothing, or only inside a loop.
    """
    if not isinstance(f, Traced):
        return None
    program = program_of(f, floats, None, inline_custom=True)
    stopped = {value for step in program.steps if step.primitive == "stop_gradient" for value in step.outs}
    if not stopped:
        return None
    here: dict[int, Any] = {}
    evaluate(program, floats, Hooks(result=lambda value, env: here.setdefault(value, env[value])))
    held = Hooks(result=lambda value, env: here[value] if value in stopped else env[value])
    return lambda *moved: jax.tree.unflatten(f.structure, evaluate(program, moved, held))
