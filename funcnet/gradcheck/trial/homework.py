"""NumPy homework, as people write it, as subjects: pairs of functions, classes, and losses that return their gradient.

What differs is a ``Style``: what is called forward, and what backward. All else is one mechanism: arguments and
gradients are told apart by ``conventions.py``, and for reference ``engine/boxed.py`` runs the forward by JAX.
"""

import contextlib
import copy
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from ..engine.boxed import by_jax, namespaces_of
from ..engine.leaves import floats_of, is_float
from . import instances
from .conventions import Plan, called_by, in_order, means, of_arrays, plans_for, returned_names
from .subject import NUMPY, InputError, Subject, parameters_of, source_of

NOT_TRIED = "NumPy code: judged in float64, and neither compiled nor in other dtypes"
LIBRARIES = {"numpy", "jax", "jaxlib", "funcnet"}
SEED = 0  # NumPy's own generator is set to it before each call, so that dropout draws the same mask twice
METHODS = ("forward", "backward")
MOVED = 0.3  # standard deviations by which parameters leave their initial values, so that no zero hides a mistake


# ---------------------------------------------------------------- what is homework


def is_homework(*functions: Any) -> bool:
    """Whether they compute with NumPy and not with JAX, themselves and by what they call of their authors' code.

    Where there are operators alone, what their module imports decides.
    """
    plain = [source_of(f) for f in functions]
    used = set().union(*(_packages(f, set()) for f in plain))
    if not used & {"numpy", "jax", "jaxlib"}:
        known = [value for f in plain for value in getattr(f, "__globals__", {}).values()]
        used = {_home(value) for value in known if isinstance(value, ModuleType)}
    return "numpy" in used and not used & {"jax", "jaxlib"}


def _packages(f: Any, seen: set[int]) -> set[str]:
    """The packages that a function or a class uses, itself or by code that it calls; those are not looked into."""
    if id(f) in seen:
        return set()
    seen.add(id(f))
    if not isinstance(f, FunctionType | type | ModuleType):
        return {_home(type(f))}
    if isinstance(f, ModuleType) or _home(f) in LIBRARIES:
        return {_home(f)}
    if isinstance(f, type):
        parts = [value for base in f.__mro__[:-1] for value in vars(base).values() if isinstance(value, FunctionType)]
        return set().union(*(_packages(part, seen) for part in parts))
    names = _names(f.__code__)
    used = [f.__globals__[name] for name in names if name in f.__globals__]
    for cell in f.__closure__ or ():
        with contextlib.suppress(ValueError):  # it is not yet filled
            used.append(cell.cell_contents)
    beside = [value for value in used if isinstance(value, ModuleType) and _home(value) not in LIBRARIES]
    used += [vars(module)[name] for module in beside for name in names if name in vars(module)]
    return set().union(*(_packages(value, seen) for value in used))


def _home(value: Any) -> str:
    """The package that a module, or what is defined in one, belongs to."""
    name = value.__name__ if isinstance(value, ModuleType) else value.__module__
    return str(name or "").partition(".")[0]


def _names(code: CodeType) -> set[str]:
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


# ---------------------------------------------------------------- the styles


class Style(NamedTuple):
    """How homework is called, on NumPy's arrays.

    ``forward(*args) -> (y, cache)``; ``backward(cache, values)`` gives what the author's ``written`` one returned, and
    a function that finds the gradient of an argument elsewhere. ``values`` are all that a backward may be given.
    ``inputs`` are the arguments whose gradients it may return alone.
    """

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[[Any, dict[str, Any]], tuple[Any, Callable[[str], Any]]]
    written: Callable[..., Any]
    inputs: tuple[str, ...]


def from_homework(target: Any, name: str | None, inputs: Sequence[Any]) -> Subject | None:
    """The subject of a pair, an instance, or a loss that returns its gradient, in NumPy; None if it is none of them."""
    if isinstance(target, tuple) and is_homework(*target):
        return _from_pair(target[0], target[1], name, len(inputs))
    if is_layer(type(target)) and is_homework(type(target)):
        return _from_instance(target, name, inputs)
    if returns_gradient(target):
        return _from_loss(target, name, len(inputs))
    return None


def is_layer(cls: Any) -> bool:
    """Whether it is a class of somebody's with a forward and a backward."""
    return isinstance(cls, type) and all(isinstance(getattr(cls, part, None), FunctionType) for part in METHODS)


def returns_gradient(f: Any) -> bool:
    """Whether it is a function in NumPy whose last return is ``value, gradient``."""
    return isinstance(f, FunctionType) and len(returned_names(f)) > 1 and is_homework(f)


def _from_pair(forward: Any, backward: Any, name: str | None, count: int) -> Subject:
    arguments, required, defaults = parameters_of(forward, count)
    plans = plans_for(backward, arguments)

    def run(*args: Any) -> tuple[Any, Any]:
        return _without_cache(forward(*args, *defaults[len(args) :]), plans)

    def back(cache: Any, values: dict[str, Any]) -> tuple[Any, Callable[[str], Any]]:
        return called_by(plans, backward, values | {"cache": cache}), lambda name: None

    called = name or re.sub(r"_?(forward|fwd)_?", "", _name(forward)) or "forward"
    return _subject(called, Style(run, back, backward, arguments), arguments, required, forward)


def _without_cache(result: Any, plans: list[Plan]) -> tuple[Any, Any]:
    """The values and the cache, if a backward takes one."""
    if not (isinstance(result, tuple) and len(result) > 1 and any("cache" in plan for plan in plans)):
        return result, None
    return result[0] if len(result) == 2 else result[:-1], result[-1]


def _from_loss(loss: Any, name: str | None, count: int) -> Subject:
    arguments, required, defaults = parameters_of(loss, count)

    def run(*args: Any) -> tuple[Any, Any]:
        result = loss(*args, *defaults[len(args) :])
        if not (isinstance(result, tuple) and len(result) > 1):
            raise InputError(f"{_name(loss)} returns no gradient: give (forward, backward), or return (loss, gradient)")
        return result[0], result[1] if len(result) == 2 else result[1:]

    def back(gradients: Any, values: dict[str, Any]) -> tuple[Any, Callable[[str], Any]]:
        return jax.tree.map(lambda leaf: leaf * values["dy"], gradients), lambda name: None

    return _subject(name or _name(loss), Style(run, back, loss, arguments), arguments, required, loss)


def _from_instance(layer: Any, name: str | None, inputs: Sequence[Any]) -> Subject:
    """A layer with its state: its parameters are arguments too, after those of its forward."""
    names, required, _ = parameters_of(layer.forward, 0)
    takes = names[:required]
    found = instances.parameters(layer)
    named = {parameter.name: parameter for parameter in found}
    plans = plans_for(layer.backward, takes)
    of_mean = "loss" in type(layer).__name__.lower() and all(set(plan) <= {"dy", *takes} for plan in plans)
    if of_mean:  # backward(predictions, targets): the first is named like a gradient, and is none
        plans = [[takes[0] if kind == "dy" else kind for kind in plan] for plan in plans]

    def run(*args: Any) -> tuple[Any, Any]:
        used = copy.deepcopy(layer)
        for parameter, value in zip(found, args[required:], strict=True):
            parameter.put(used, value)
        y, cache = _without_cache(used.forward(*args[:required]), plans)
        y = instances.output(used) if y is None else y
        return np.mean(y) if of_mean else y, (used, cache)

    def back(saved: Any, values: dict[str, Any]) -> tuple[Any, Callable[[str], Any]]:
        used, cache = copy.deepcopy(saved)
        before = {name: copy.deepcopy(parameter.get(used)) for name, parameter in named.items()}
        returned = called_by(plans, used.backward, values | {"cache": cache})

        def left(argument: str) -> Any:
            if argument not in named:
                gradient = _of_input(used, argument, takes)
            elif "rate" in plans[0] and np.any(moved := before[argument] - named[argument].get(used)):
                gradient = moved  # by a learning rate of one
            else:
                gradient = named[argument].gradient(used)
            return gradient if gradient is None or "dy" in plans[0] else gradient * values["dy"]

        return returned, left

    rng = np.random.default_rng(SEED)
    own = tuple(p.get(layer) + MOVED * rng.normal(size=p.get(layer).shape) for p in found)
    arguments = (*takes, *named)
    called = name or type(layer).__name__
    subject = _subject(called, Style(run, back, layer.backward, takes), arguments, required, layer.forward)
    subject = subject._replace(own=own)
    return subject if inputs else subject._replace(example=_guessed(subject, required))


def _of_input(layer: Any, argument: str, takes: Sequence[str]) -> Any:
    """What a layer keeps as the gradient of its input: ``dinputs``, ``dx``."""
    names = (argument, "inputs", "x") if argument == takes[0] else (argument,)
    kept = vars(layer)
    return next((v for key, v in kept.items() for n in names if means(key, n) and not means(n, key)), None)


def _guessed(subject: Subject, required: int) -> tuple[Any, ...]:
    """A shape on which the forward runs, if there is one: rows as long as an axis of a parameter, or of any."""
    sizes = dict.fromkeys(str(size) for value in subject.own for size in np.shape(value))
    for size in (*sizes, "D") if required == 1 else ():
        with contextlib.suppress(Exception):
            subject.fwd(np.ones((3, 4 if size == "D" else int(size))), *subject.own)
            return (f"N {size}",)
    return ()


def in_jax_order(pair: Any) -> Any:
    """A pair whose backward takes (dy, cache), by their names, as one that takes (cache, dy)."""
    fwd, bwd = pair
    with contextlib.suppress(InputError):
        if plans_for(bwd, ()) == [["dy", "cache"]]:
            return fwd, lambda cache, dy: bwd(dy, cache)
    return pair


def _name(f: Any) -> str:
    return str(getattr(source_of(f), "__qualname__", "f")).replace(".<locals>", "")


# ---------------------------------------------------------------- as a subject


def _subject(name: str, style: Style, arguments: Sequence[str], required: int, source: Any) -> Subject:
    def fwd(*args: Any) -> tuple[Any, Any]:
        numbers = _numbers(args)
        with _same_random_numbers():
            y, cache = style.forward(*copy.deepcopy(numbers))
        y = jax.tree.map(_as_array, y)
        if any(leaf.dtype != np.float64 for leaf in floats_of(y)):
            raise InputError(f"the forward of {name} computes in less than float64, which is what it was given")
        return y, lambda: (cache, numbers, y)  # a function: JAX does not look into it

    def bwd(saved: Any, dy: Any) -> Any:
        cache, args, y = saved()
        values = dict(zip(arguments, args, strict=False)) | {"y": y, "dy": _numbers(dy), "rate": 1.0}
        with _same_random_numbers():
            returned, left = style.backward(cache, values)
        found = in_order(arguments, args, style.inputs, returned, style.written)
        if found is None:
            return tuple(returned)
        gradients = (found.get(argument) for argument in arguments[: len(args)])
        pairs = zip(arguments, gradients, args, strict=False)
        kept = tuple(left(name) if d is None and floats_of(arg) else d for name, d, arg in pairs)
        return jax.tree.map(_as_array, kept)

    def plain(*args: Any) -> Any:
        with _same_random_numbers():
            return style.forward(*args)[0]

    primal = by_jax(plain, lambda: namespaces_of(source_of(source)))
    return Subject(
        name, fwd, bwd, primal, tuple(arguments), source_of(source), "other code", (), required, NUMPY,
        none_is_zero=True, in_numpy=True, notes=(NOT_TRIED,),
    )  # fmt: skip


def _numbers(tree: Any) -> Any:
    """Copies in NumPy's arrays, floats in float64; all else as it is."""
    return jax.tree.map(
        lambda leaf: np.array(leaf, np.float64 if is_float(leaf) else None) if hasattr(leaf, "dtype") else leaf, tree
    )


def _as_array(leaf: Any) -> Any:
    return np.asarray(leaf) if isinstance(leaf, float | np.generic | np.ndarray) else leaf


def is_setting(given: Any, inputs: Sequence[Any]) -> bool:
    """Whether an input is not made of arrays, but a setting: a stride, a mode, a dict of these.

    A string is a shape, except beside arrays.
    """
    return any(map(of_arrays, inputs)) if isinstance(given, str) else not of_arrays(given)


@contextlib.contextmanager
def _same_random_numbers() -> Iterator[None]:
    """NumPy's own generator at the same place at every call; and no warnings of NumPy's about its arithmetic."""
    before = np.random.get_state()
    np.random.seed(SEED)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(before)
