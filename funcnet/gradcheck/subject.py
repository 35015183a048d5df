"""What is checked: anything with a forward and a hand-written backward, brought to one form."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..types import Layer


class InputError(ValueError):
    """The checker was called wrongly; the message says what was expected."""


class Subject(NamedTuple):
    """A forward, ``fwd(*args) -> (y, residuals)``, and the backward that somebody wrote for it.

    ``primal`` is the function that is differentiated for reference: the forward without its residuals, undecorated.
    ``source`` is the function whose annotations and lines are read.
    """

    name: str
    fwd: Callable[..., tuple[Any, Any]]
    bwd: Callable[[Any, Any], Any]
    primal: Callable[..., Any]
    arguments: tuple[str, ...]
    source: Callable[..., Any]
    primal_is_fwd: bool = True
    """Whether the primal is ``fwd`` itself, and not, as for a ``custom_vjp``, other code for the same function."""
    static: tuple[int, ...] = ()
    """The arguments that are no arrays and go through as they are: those of ``nondiff_argnums``."""


def from_rule(rule: Any, name: str | None = None) -> Subject:
    """A ``Rule`` or any pair (fwd, bwd)."""
    if not (isinstance(rule, tuple) and len(rule) == 2 and all(callable(part) for part in rule)):
        raise InputError(f"expected a Rule, a pair (fwd, bwd), a Layer or a custom_vjp function; got {rule!r:.80}")
    fwd, bwd = rule
    own_name = getattr(fwd, "__qualname__", "rule").replace(".<locals>", "").removesuffix("_fwd").removesuffix(".fwd")
    return Subject(name or own_name, fwd, bwd, lambda *args: fwd(*args)[0], _parameters(fwd), inspect.unwrap(fwd))


def from_layer(layer: Layer, name: str | None = None) -> Subject:
    """A ``Layer``, as a rule on (params, x, key)."""

    def bwd(residuals, dy):
        return (*layer.bwd(residuals, dy), None)

    primal = lambda params, x, key: layer.fwd(params, x, key)[0]  # noqa: E731
    return Subject(name or layer.name, layer.fwd, bwd, primal, ("params", "x", "key"), layer.fwd)


def from_custom_vjp(f: Any, name: str | None = None) -> Subject:
    """A ``jax.custom_vjp`` function; the primal is what it decorates, never the function itself.

    Arguments under ``nondiff_argnums`` are as good as integers: they take part and have no cotangent.
    """
    primal_fwd, primal_bwd = getattr(f, "fwd", None), getattr(f, "bwd", None)
    if primal_fwd is None or primal_bwd is None:
        raise InputError(f"expected a jax.custom_vjp function with defvjp called; got {f!r:.80}")
    nondiff = tuple(f.nondiff_argnums)

    def fwd(*args):
        y, residuals = primal_fwd(*args)
        return y, (args, residuals)

    def bwd(saved, dy):
        args, residuals = saved
        cotangents = list(primal_bwd(*(args[i] for i in nondiff), residuals, dy))
        for i in sorted(nondiff):
            cotangents.insert(i, None)
        if len(cotangents) != len(args):
            return tuple(cotangents)
        return tuple(
            _zeros(arg) if d is None and has_cotangent(arg) else d for arg, d in zip(args, cotangents, strict=True)
        )

    return Subject(name or f.fun.__name__, fwd, bwd, f.fun, _parameters(f.fun), inspect.unwrap(f.fun), False, nondiff)


def _zeros(arg: Any) -> Any:
    """What None stands for, in a ``custom_vjp``."""
    return jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if is_float(leaf) else None, arg)


def _parameters(f: Callable[..., Any]) -> tuple[str, ...]:
    parameters = inspect.signature(f).parameters.values()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


def is_float(leaf: Any) -> bool:
    """Whether a leaf is differentiable: of a floating dtype."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def has_cotangent(arg: Any) -> bool:
    """Whether any leaf of an argument is differentiable."""
    return any(is_float(leaf) for leaf in jax.tree.leaves(arg))


def cast(tree: Any, dtype: Any) -> Any:
    """``tree`` with its float leaves in ``dtype``."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if is_float(leaf) else leaf, tree)


def as_subject(target: Any, name: str | None = None) -> Subject:
    """Whatever can be checked, brought to one form."""
    if isinstance(target, Layer):
        return from_layer(target, name)
    if isinstance(target, jax.custom_vjp):
        return from_custom_vjp(target, name)
    return from_rule(target, name)
