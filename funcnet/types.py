"""The three atoms, and the few names that all other modules share.

Everything in funcnet is one of three tuples of pure functions. None has methods of its own, and nothing mutates:

    Rule(fwd, bwd)                 an operation on arrays, with its hand-derived backward
    Layer(init, fwd, bwd)          a rule with parameters; layers compose into layers
    Optimizer(init, update)        gradients to updates

Every array starts with a batch axis; the shapes that ``Layer.init`` takes and returns leave it out.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array

Params = Any
"""A pytree of arrays: a dict per layer, a tuple per combinator."""

Residuals = Any
"""Saved by ``fwd`` for ``bwd``: a pytree of arrays."""

Shape = tuple[int, ...]


class Rule(NamedTuple):
    """An operation and its derivative.

    fwd(*args)          -> (y, residuals)
    bwd(residuals, dy)  -> a tuple: a cotangent for each arg, in the order of args; None if an arg is not
                           differentiable (labels, a random key)
    """

    fwd: Callable[..., tuple[Any, Residuals]]
    bwd: Callable[[Residuals, Any], tuple[Any, ...]]


class _Derivation:
    """The ``__doc__`` of ``Rule``: of the class its own, of a rule its two derivations, so that ``help`` shows them."""

    def __init__(self, own: str | None):
        self.own = own

    def __get__(self, rule: Rule | None, owner: type) -> str | None:
        if rule is None:
            return self.own
        parts = (inspect.getdoc(part) or "It has no docstring." for part in rule)
        return "\n\n".join(f"{name}:\n{doc}" for name, doc in zip(("Forward", "Backward"), parts, strict=True))


Rule.__doc__ = cast(str, _Derivation(Rule.__doc__))


class Layer(NamedTuple):
    """A rule with parameters.

    init(key, in_shape)       -> (params, out_shape)     shapes without the batch axis
    fwd(params, x, key=None)  -> (y, residuals)          key=None is inference, a key is training
    bwd(residuals, dy)        -> (dparams, dx)           dx is None if x is not differentiable, e.g. tokens

    ``name`` is what errors and summaries call the layer. A combinator also says what it is made of, so that
    ``combine(*parts)`` builds it anew: that lets a tool look inside without knowing any combinator. ``labels`` are the
    names of the parts, if they have names.
    """

    init: Callable[[Any, Shape], tuple[Params, Shape]]
    fwd: Callable[..., tuple[Any, Residuals]]
    bwd: Callable[[Residuals, Any], tuple[Params, Any]]
    name: str = "layer"
    parts: tuple[Layer, ...] = ()
    combine: Callable[..., Layer] | None = None
    labels: tuple[str, ...] = ()


F = TypeVar("F", bound=Callable[..., Any])


def memoized(factory: F) -> F:
    """Equal arguments return the same object, as jit compares functions by identity and should compile them once."""
    cached, signature = functools.lru_cache(maxsize=256, typed=True)(factory), inspect.signature(factory)

    @functools.wraps(factory)
    def make(*args, **settings):
        bound = signature.bind(*args, **settings)
        bound.apply_defaults()
        try:
            return cached(*bound.args, **bound.kwargs)
        except TypeError:  # an argument is not hashable
            return factory(*args, **settings)

    return cast(F, make)


class Optimizer(NamedTuple):
    """A transformation of gradients; the signature is optax's, so an optax transformation may take its place.

    init(params)                      -> opt_state
    update(grads, opt_state, params)  -> (updates, opt_state)      to be added to params
    """

    init: Callable[[Params], Any]
    update: Callable[..., tuple[Params, Any]]


class Initializer(Protocol):
    """Draws an array: ``(key, shape, dtype)``; the dtype ``float`` is JAX's default, float32 unless x64 is on."""

    def __call__(self, key: Any, shape: Shape, dtype: Any = float) -> Array: ...


class Below(NamedTuple):
    """Marks the range of an integer argument: ``Annotated[Int[Array, "*B"], Below("K")]`` lies in [0, K)."""

    axis: str


def at_least_float32(dtype: Any) -> Any:
    """The dtype to accumulate in: float32 for narrower dtypes, else ``dtype`` itself."""
    return jnp.dtype(jnp.float32) if dtype.itemsize < 4 else dtype


class ShapeError(ValueError):
    """An array or a shape that does not fit; the message names the layer, the shape it got and the shape it expects."""


def require_arrays(name: str, *trees: Any) -> None:
    """Raises TypeError for anything in the trees that is not an array, such as the numbers of a list."""
    for tree in trees:
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if not hasattr(leaf, "shape"):
                kind = f"{type(tree).__name__} that holds {type(leaf).__name__}" if path else type(leaf).__name__
                raise TypeError(f"{name} expects an array; got a {kind}: jnp.asarray(...) makes an array of it")


def require_shape(name: str, in_shape: Any) -> None:
    """Raises TypeError unless it is the shape of an example, a tuple."""
    if not isinstance(in_shape, tuple | list):
        written = f"({in_shape},)" if isinstance(in_shape, int) else "x.shape[1:]"
        raise TypeError(f"{name} expects the shape of one example, a tuple; got {in_shape!r:.60}: write {written}")


def require_key(name: str, key: Any) -> Any:
    """The random key itself. Raises TypeError for anything else, such as a seed."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == jnp.uint32):
        seed = key if isinstance(key, int) else 0
        raise TypeError(f"{name} expects a random key; got {key!r:.60}: jax.random.key({seed:d}) makes one")
    return key


def require_made(name: str, kind: type, value: Any) -> None:
    """Raises TypeError unless ``value`` is of the kind, which a factory that was not called is not."""
    if not isinstance(value, kind):
        called = getattr(value, "__name__", "")
        hint = f"the function {called}: call it, {called}(...)" if called else f"{value!r:.60}"
        raise TypeError(f"{name} expects {'an' if kind is Optimizer else 'a'} {kind.__name__}; got {hint}")


def require_not_a_pair(name: str, params: Any) -> None:
    """Raises TypeError for ``(params, out_shape)``, the pair that ``init`` returns."""
    match params:
        case (_, tuple(shape)) if shape and all(isinstance(size, int) for size in shape):
            raise TypeError(
                f"{name} got the pair that init returns; pass its first part: params, out_shape = net.init(...)"
            )
