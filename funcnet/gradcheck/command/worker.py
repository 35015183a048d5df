"""What runs in the process of one target: finds what there is to check, and checks one thing after another."""

import inspect
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from ...types import Layer
from ..check import check
from ..engine.leaves import first_line
from ..report import Report
from ..trial.subject import InputError
from ..trial.targets import as_subject
from .discovery import Found, TargetError, find, find_named, opened

DTYPES = {"float64": jnp.float64, "float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}
CANNOT, LEFT_OUT = "cannot be checked", "left out"
NOTHING = (
    "has nothing of its own to check: no Rule, custom_vjp function, pair X_fwd, X_bwd or X_forward, X_backward, Layer, "
    "class with forward and backward, or factory -> Rule"
)
RECURSION = sys.getrecursionlimit()


class Asked(NamedTuple):
    """How everything is checked: the flags of the command."""

    dtypes: tuple[str, ...] = ("float64",)
    seed: int = 0
    quick: bool = False
    in_shape: tuple[int, ...] | None = None
    shapes: tuple[str, ...] | None = None
    inputs: str | None = None
    timeout: float = 120.0
    one: Callable[..., "Checked"] | None = None
    """What is done with each thing that is found: by default ``check_one``."""


class Listed(NamedTuple):
    """The names that will be checked."""

    names: tuple[str, ...]


class Started(NamedTuple):
    name: str


class Checked(NamedTuple):
    """The outcome for one thing that was found: its report, or its Audit, or the reason why there is none."""

    name: str
    verdict: str
    report: Any = None
    seconds: float = 0.0
    reason: str = ""


class Refused(NamedTuple):
    """There is nothing to be said of the target, or of the rest of it. ``is_empty``: it could be opened."""

    reason: str
    is_empty: bool = False


def examined(target: str, asked: Asked, known: Collection[str] = ()) -> Iterator[Listed | Started | Checked | Refused]:
    """Finds and checks; what is ``known`` already is passed over. Ends with a Refused if the target is bad input."""
    try:
        with opened(target) as (module, name):
            given = _given(asked.inputs)
            found = [find_named(module, name, asked.in_shape)] if name else find(module, asked.in_shape)
            if not found:
                yield Refused(f"{target} {NOTHING}", is_empty=True)
                return
            yield Listed(tuple(item.name for item in found if not item.left_out))
            for item in found:
                if item.name in known:
                    continue
                if item.left_out:
                    yield Checked(item.name, LEFT_OUT, reason=item.left_out)
                    continue
                yield Started(item.name)
                result = (asked.one or check_one)(item, asked, given)
                if name and result.report is None:
                    raise TargetError(f"{name} {CANNOT}: {result.reason}")
                yield result
    except TargetError as error:
        yield Refused(str(error))


def _given(inputs: str | None) -> Any:
    """What ``--inputs FILE.py:NAME`` returns: arguments by name, or in order."""
    if inputs is None:
        return None
    with opened(inputs) as (module, name):
        make = getattr(module, name, None) if name else None
        if not callable(make):
            raise TargetError(f"--inputs is FILE.py:NAME, a function that returns arguments by name; got {inputs}")
        try:
            given = make()
        except Exception as error:
            raise TargetError(f"--inputs: {name}() raised {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(given, Mapping | tuple | list):
        raise TargetError(f"--inputs: {name}() returned {type(given).__name__}; expected a dict by name, or a tuple")
    return given


def check_one(item: Found, asked: Asked, given: Any = None) -> Checked:
    """Checks one thing. A checker that fails is ``inconclusive``, and the others are still checked."""
    start = time.perf_counter()
    dtypes = [DTYPES[name] for name in asked.dtypes if name != "float64"]
    shape: dict[str, Any] = {"in_shape": asked.in_shape} if isinstance(item.target, Layer) else {}
    try:
        inputs = inputs_of(item, asked, given)
        how = {"quick": asked.quick, "seed": asked.seed, "progress": False, "timeout": asked.timeout, **shape}
        report = check(item.target, *inputs, dtypes=dtypes, name=item.name, **how)
    except InputError as error:
        return Checked(item.name, CANNOT, None, time.perf_counter() - start, first_line(error))
    except BaseException as error:
        note = f"the checker itself failed: {type(error).__name__}: {first_line(error)}"
        report = Report(item.name, "inconclusive", (), {}, (), (note,))
    # a structure that holds itself: jaxlib does not give back the depth that it recursed to
    sys.setrecursionlimit(sys.getrecursionlimit() + RECURSION)
    return Checked(item.name, report.verdict, report, time.perf_counter() - start)


def inputs_of(item: Found, asked: Asked, given: Any) -> tuple[Any, ...]:
    """The arguments of one thing, from ``--inputs``, ``--shapes`` or its file's example; none if annotations do."""
    if isinstance(item.target, Layer) or (given is None and asked.shapes is None):
        return item.inputs
    subject = as_subject(item.target, item.name)
    if given is None:
        annotated = all(name in inspect.get_annotations(subject.source) for name in subject.arguments)
        return () if annotated else tuple(asked.shapes or ())
    if not isinstance(given, Mapping):
        return tuple(given)
    return ({name: given[name] for name in subject.arguments if name in given},)
