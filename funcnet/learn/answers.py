"""A learner's pair of functions, run beside the exercise's own forward.

Nothing here imports JAX: the checker takes for NumPy code what stands in a module that knows NumPy alone.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..gradcheck.command.discovery import blamed
from ..gradcheck.engine.underived import AutodiffError, without_autodiff
from ..gradcheck.trial.conventions import called_by, of_name, plans_for
from .index import Exercise

AUTODIFF = "calls JAX's autodiff; the derivation is to be yours"
Pair = Sequence[Callable[..., Any]]


class Fault(Exception):  # noqa: N818  (shown to the learner; no error of ours)
    """The learner's code cannot be judged; the message is one line."""


def arguments(task: Exercise) -> list[str]:
    """The names of the arguments of the exercise's forward, without its settings, which have defaults."""
    parameters = inspect.signature(task.forward).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]


def as_homework(task: Exercise, pair: Pair) -> Callable[..., Any]:
    """The learner's pair as a backward of the exercise's forward, by the names of its arguments.

    What the exercise's forward saves is ignored. So the learner's may save what it likes, and either function may be
    of NumPy or of JAX.
    """

    def backward(dy: Any, cache: Any, *args: Any) -> dict[str, np.ndarray]:
        _, own = run_forward(pair[0], args)
        return run_backward(task, pair[1], args, own, dy)

    names = ("dy", "cache", *arguments(task))
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    backward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return backward


def run_forward(forward: Callable[..., Any], args: Sequence[Any]) -> tuple[Any, Any]:
    """The value, or a tuple of several, and the cache. Raises Fault."""
    result = forward(*args)
    if not (isinstance(result, tuple) and len(result) > 1):
        raise Fault(f"{place(forward)}: the forward returns y and a cache; got {type(result).__name__}")
    return result[0] if len(result) == 2 else result[:-1], result[-1]


def run_backward(
    task: Exercise, backward: Callable[..., Any], args: Sequence[Any], cache: Any, dy: Any
) -> dict[str, np.ndarray]:
    """The gradients by name, in float64. Raises Fault, and AutodiffError."""
    known = arguments(task)
    values = dict(zip(known, args, strict=False)) | {"cache": cache, "dy": dy}
    with without_autodiff():
        returned = called_by(plans_for(backward, known), backward, values)
    if isinstance(returned, dict):
        found = [of_name(returned, name.removeprefix("d"), None) for name in task.gradients]
    else:
        found = list(returned) if isinstance(returned, tuple | list) else [returned]
    if len(found) != len(task.gradients):
        raise Fault(f"{place(backward)}: it returns {', '.join(task.gradients)}; got {len(found)} values")
    for name, value in zip(task.gradients, found, strict=True):
        if value is None or np.asarray(value).dtype.kind not in "fiu":
            raise Fault(f"{place(backward)}: {name} is an array of numbers; got {value!r:.40}")
    return {name: np.asarray(value, np.float64) for name, value in zip(task.gradients, found, strict=True)}


def place(function: Callable[..., Any]) -> str:
    """``file:line: name`` of a function."""
    code = inspect.unwrap(function).__code__
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}: {code.co_name}"


@contextlib.contextmanager
def blaming(function: Callable[..., Any]) -> Iterator[None]:
    """What the learner's code raises is a Fault with its line, but for NotImplementedError."""
    folder = Path(inspect.unwrap(function).__code__.co_filename).parent
    try:
        yield
    except (Fault, NotImplementedError):
        raise
    except AutodiffError as error:
        raise Fault(f"{blamed(error, folder).partition(': ')[0]} {AUTODIFF}") from error
    except (Exception, SystemExit) as error:
        raise Fault(blamed(error, folder)) from error
