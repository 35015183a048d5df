"""The subject of a check: anything with a forward and a hand-written backward, brought to one form."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal

from ...types import Layer
from ..engine.leaves import Leaf, floats_of, is_float, unpack
from ..engine.widening import widened


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
    """Whether the primal is ``fwd`` itself; for a ``custom_vjp`` it is other code for the same function."""
    static: tuple[int, ...] = ()
    """The arguments under ``nondiff_argnums``: they are no arrays and go through as they are."""
    required: int = 0
    """The number of arguments without a default."""

    def leaves(self, args: tuple[Any, ...]) -> list[Leaf]:
        """The names of the differentiable leaves of the arguments, in order."""
        return [
            Leaf(self.arguments[path[0].idx], jax.tree_util.keystr(path[1:]))
            for path, leaf in jax.tree_util.tree_leaves_with_path(args)
            if is_float(leaf)
        ]

    def value(self, form: Hashable) -> Callable[..., Any]:
        """y as a function of the arrays of ``args``, packed."""
        return lambda *arrays: self.fwd(*unpack(form, arrays))[0]

    def widened(self) -> Subject:
        """The subject with every float of its forward and of its backward in float64."""
        fwd = widened(self.fwd)
        primal = (lambda *args: fwd(*args)[0]) if self.primal_is_fwd else widened(self.primal)
        return self._replace(fwd=fwd, bwd=widened(self.bwd), primal=primal)

    def taking(self, count: int) -> Subject:
        """The same on its first ``count`` arguments; the others keep their defaults, and need no cotangents."""
        everything = len(self.arguments)

        def bwd(residuals, dy):
            got = self.bwd(residuals, dy)
            return got[:count] if isinstance(got, tuple) and len(got) == everything else got

        return self._replace(arguments=self.arguments[:count], bwd=bwd) if count < everything else self


def from_rule(rule: Any, name: str | None = None) -> Subject:
    """A ``Rule`` or any pair (fwd, bwd)."""
    if not (isinstance(rule, tuple) and len(rule) == 2 and all(callable(part) for part in rule)):
        raise InputError(f"expected a Rule, a pair (fwd, bwd), a Layer or a custom_vjp function; got {rule!r:.80}")
    own_fwd, bwd = rule
    source = _source(own_fwd)
    own_name = getattr(source, "__qualname__", "rule").replace(".<locals>", "").removesuffix("_fwd")
    called = name or str(own_name).removesuffix(".fwd").removesuffix(".__call__")

    def fwd(*args):
        result = own_fwd(*args)
        if not (isinstance(result, tuple) and len(result) == 2):
            got = f"{len(result)} of them" if isinstance(result, tuple) else type(result).__name__
            raise InputError(f"the forward of {called} returns a pair (y, residuals); got {got}")
        return result

    arguments, required = _parameters(own_fwd)
    return Subject(called, fwd, bwd, lambda *args: fwd(*args)[0], arguments, source, required=required)


def from_layer(layer: Layer, name: str | None = None) -> Subject:
    """A ``Layer``, as a rule on (params, x, key)."""

    def bwd(residuals, dy):
        return (*layer.bwd(residuals, dy), None)

    primal = lambda params, x, key: layer.fwd(params, x, key)[0]  # noqa: E731
    return Subject(name or layer.name, layer.fwd, bwd, primal, ("params", "x", "key"), layer.fwd, required=3)


def from_custom_vjp(f: Any, name: str | None = None) -> Subject:
    """A ``jax.custom_vjp`` function; the primal is what it decorates, never the function itself.

    Arguments under ``nondiff_argnums`` are as good as integers: they take part and have no cotangent.
    """
    primal_fwd, primal_bwd = getattr(f, "fwd", None), getattr(f, "bwd", None)
    if primal_fwd is None or primal_bwd is None:
        raise InputError(f"expected a jax.custom_vjp function with defvjp called; got {f!r:.80}")
    nondiff = tuple(f.nondiff_argnums)

    def fwd(*args):
        given = (arg if i in nondiff else as_primals(arg) for i, arg in enumerate(args))
        y, residuals = primal_fwd(*(given if f.symbolic_zeros else args))
        return y, (args, residuals)

    def as_primals(arg):
        return jax.tree.map(lambda leaf: CustomVJPPrimal(leaf, True), arg)

    def bwd(saved, dy):
        args, residuals = saved
        cotangents = list(primal_bwd(*(args[i] for i in nondiff), residuals, dy))
        for i in sorted(nondiff):
            cotangents.insert(i, None)
        if len(cotangents) != len(args):
            return tuple(cotangents)
        return tuple(
            _zeros(arg) if d is None and floats_of(arg) else d for arg, d in zip(args, cotangents, strict=True)
        )

    source = _source(f.fun)
    arguments, _ = _parameters(f.fun)
    called = name or str(getattr(source, "__name__", "f"))
    return Subject(called, fwd, bwd, f.fun, arguments, source, False, nondiff, len(arguments))


def _zeros(arg: Any) -> Any:
    """The cotangent that None stands for in a ``custom_vjp``."""
    return jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if is_float(leaf) else None, arg)


def _source(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a person wrote, below decorators and partial applications."""
    while isinstance(f, functools.partial):
        f = f.func
    f = inspect.unwrap(f)
    return f if hasattr(f, "__name__") else type(f).__call__


def _parameters(f: Callable[..., Any]) -> tuple[tuple[str, ...], int]:
    """The names of the arguments by position, and how many of them have no default."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError) as error:
        raise InputError(f"the arguments of the forward cannot be read: {error}") from error
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        raise InputError("the forward takes any number of arguments (*args); each needs a name")
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return tuple(p.name for p in placed), sum(p.default is p.empty for p in placed)


def custom_vjp_of(f: Any) -> Any:
    """``f`` itself, or the function that it wraps, if that is a ``jax.custom_vjp``; else None."""
    inner = inspect.unwrap(f, stop=lambda g: isinstance(g, jax.custom_vjp)) if callable(f) else f
    return inner if isinstance(inner, jax.custom_vjp) else None


def as_subject(target: Any, name: str | None = None) -> Subject:
    """Any target of ``check`` in one form. Raises InputError if it is none."""
    if isinstance(target, Layer):
        return from_layer(target, name)
    if (custom := custom_vjp_of(target)) is not None:
        return from_custom_vjp(custom, name)
    return from_rule(target, name)
