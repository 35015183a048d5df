"""Any target of ``check``, and the inputs that it is called with, in one form."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ...types import Layer
from ..engine.compiling import with_loops_kept
from .homework import from_homework, in_jax_order, is_setting
from .subject import InputError, Subject, from_callable, from_custom_vjp, from_layer, from_rule


def as_subject(target: Any, name: str | None = None, inputs: tuple[Any, ...] = ()) -> Subject:
    """The subject of a target, for these inputs; one that is a subject stays so. Raises InputError if it is none."""
    if isinstance(target, Subject):
        return target
    subject = _in_one_form(target, name, inputs)
    if subject.in_numpy:
        return subject
    return subject._replace(fwd=with_loops_kept(subject.fwd), bwd=with_loops_kept(subject.bwd))


def with_inputs(subject: Subject, inputs: tuple[Any, ...]) -> tuple[Subject, tuple[Any, ...]]:
    """The inputs by position, and the subject that knows which of them are settings.

    They may be given as one dict by the names of the arguments. What a subject has of its own is added. Raises
    InputError if an argument is not given.
    """
    if len(inputs) == 1 and isinstance(inputs[0], Mapping) and inputs[0].keys() <= {*subject.arguments}:
        inputs = _by_position(subject, inputs[0])
    if not subject.in_numpy:
        return subject, inputs
    given = len(subject.arguments) - len(subject.own)
    inputs = tuple(np.array(i) if isinstance(i, list) else i for i in inputs or subject.example)
    if subject.own and len(inputs) == given:
        shapes = all(isinstance(i, str) for i in inputs)
        inputs += tuple(" ".join(map(str, np.shape(v))) if shapes else v for v in subject.own)
    static = tuple(i for i, value in enumerate(inputs) if is_setting(value, inputs))
    return subject._replace(static=static), inputs


def _by_position(subject: Subject, given: Mapping[str, Any]) -> tuple[Any, ...]:
    names = [name for name in subject.arguments if name in given]
    last = subject.arguments.index(names[-1]) + 1 if names else 0
    if missing := [name for name in subject.arguments[: max(last, subject.required)] if name not in given]:
        raise InputError(f"{subject.name} takes ({', '.join(subject.arguments)}); {', '.join(missing)} is not given")
    return tuple(given[name] for name in names)


def _in_one_form(target: Any, name: str | None, inputs: tuple[Any, ...]) -> Subject:
    count = len(inputs)
    if isinstance(target, Layer):
        return from_layer(target, name)
    is_pair = isinstance(target, tuple) and len(target) == 2 and all(callable(part) for part in target)
    if (is_pair or not isinstance(target, tuple)) and (found := from_homework(target, name, inputs)):
        return found
    if is_pair:
        return from_rule(in_jax_order(target), name, count)
    if isinstance(target, jax.custom_vjp):
        return from_custom_vjp(target, name, count)
    if not callable(target) or isinstance(target, type):
        raise InputError(f"expected a function, a Rule, a pair (fwd, bwd) or a Layer; got {target!r:.80}")
    return from_callable(target, name, count)
