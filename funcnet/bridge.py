"""Our rules in anyone's code, and anyone's function as a rule.

``function`` gives an ordinary JAX function whose gradient is the backward derived by hand; ``rule`` and ``layer`` give
a Rule and a Layer whose backward is autodiff. Nothing in funcnet calls a bridged function: compared with its own
``jax.grad``, a derivation would be compared with itself.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .types import Layer, Params, Residuals, Rule, Shape, memoized, require_made

# ---------------------------------------------------------------- ours as a function


@memoized
def function(part: Rule | Layer) -> Callable[..., Any]:
    """y as a function of the arguments of the forward: of a rule ``(*args)``, of a layer ``(params, x, key=None)``.

    It keeps the name, the signature and the docstring of the forward, and works under ``grad``, ``jit``, ``vmap``,
    ``scan``, ``checkpoint`` and ``shard_map``. Its gradients are the backward's, in the dtypes of the arguments, and
    None is no gradient. The derivative of a gradient is autodiff's, through the forward and the backward. Forward mode
    raises TypeError. Equal rules give one function. Raises TypeError for anything but a Rule or a Layer.
    """
    if not isinstance(part, Layer):
        require_made("function", Rule, part)
    name = part.name if isinstance(part, Layer) else _name(part.fwd)
    signature = _signature(part.fwd)

    def fwd(*args):
        y, residuals = part.fwd(*args)
        return y, (residuals, jax.tree.map(lambda arg: jnp.empty(0, arg.dtype), args))  # no bytes: they carry dtypes

    def bwd(saved, dy):
        residuals, likes = saved
        cotangents = part.bwd(residuals, dy)
        cotangents = (*cotangents, None) if isinstance(part, Layer) else tuple(cotangents)
        return jax.tree.map(_in_dtype, cotangents, likes, is_leaf=lambda d: d is None)

    by_hand = jax.custom_vjp(lambda *args: part.fwd(*args)[0])
    by_hand.defvjp(fwd, bwd)

    @functools.wraps(part.fwd)
    def call(*args, **named):
        try:
            bound = signature.bind(*args, **named)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        bound.apply_defaults()
        return by_hand(*_prepared(name, bound.args))

    call.__name__ = call.__qualname__ = name
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in signature.parameters.values() if p.annotation is not p.empty}
    if signature.return_annotation is not signature.empty:
        call.__annotations__["return"] = signature.return_annotation
    return call


def _name(fwd: Callable[..., Any]) -> str:
    """What a rule is called: ``relu`` for ``relu_fwd``, and the factory for a ``fwd`` within one."""
    whole = getattr(fwd, "__qualname__", "rule").replace(".<locals>", "")
    return whole.removesuffix(".fwd").removesuffix("_fwd").rpartition(".")[2]


def _signature(fwd: Callable[..., Any]) -> inspect.Signature:
    """The forward's, but of the pair (y, residuals) only y is returned."""
    try:
        signature = inspect.signature(fwd, eval_str=True)
    except Exception:  # an annotation may be any string: a local name, a shape
        return inspect.signature(fwd).replace(return_annotation=inspect.Signature.empty)
    returned = signature.return_annotation
    pair = get_args(returned) if get_origin(returned) is tuple else ()
    return signature.replace(return_annotation=pair[0]) if len(pair) == 2 else signature


def _in_dtype(cotangent: Any, like: Any) -> Any:
    return None if cotangent is None else cotangent.astype(like.dtype)


def _prepared(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments, guarded against forward mode, and all varying over the same axes of a ``shard_map``.

    JAX's own operations let their operands vary together, so that the gradient of one that all devices share is summed
    over them. For a function with a backward of its own nobody does that.
    """
    axes = frozenset[Any]().union(*(_varying(leaf) for leaf in jax.tree.leaves(args) if hasattr(leaf, "dtype")))

    def prepared(leaf):
        if not (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)):
            return leaf
        return _guarded(name, jax.lax.pcast(leaf, tuple(axes - _varying(leaf)), to="varying"))

    return jax.tree.map(prepared, args)


def _varying(array: Any) -> frozenset:
    """The axes of the ``shard_map`` around, if any, over which an array differs."""
    return jax.typeof(array).manual_axis_type.varying


# ---------------------------------------------------------------- forward mode is refused


def _refuse(*args: Any, name: str) -> Any:
    raise TypeError(
        f"{name} has its backward by hand, and so no forward mode: use jax.grad, jax.vjp or jax.jacrev, or give "
        "jax.jvp the forward itself, rule.fwd(...)[0]"
    )


# The identity on tangents. It can be transposed, which is reverse mode, and not run, compiled or differentiated. JAX
# refuses as well, without saying what to use; this one comes first.
_reverse_only = Primitive("reverse_only")
_reverse_only.def_impl(_refuse)
_reverse_only.def_abstract_eval(lambda tangent, name: tangent)
mlir.register_lowering(_reverse_only, _refuse)
batching.defvectorized(_reverse_only)
ad.primitive_jvps[_reverse_only] = _refuse
ad.primitive_transposes[_reverse_only] = lambda cotangent, tangent, name: [cotangent]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _guarded(name, x):
    """x, whose tangents go through ``_reverse_only``."""
    return x


@_guarded.defjvp
def _guarded_jvp(name, primals, tangents):
    return *primals, _reverse_only.bind(*tangents, name=name)


# ---------------------------------------------------------------- anyone's function as ours


@memoized
def rule(f: Callable[..., Any]) -> Rule:
    """A function of arrays, or of trees of them, as a Rule whose backward is autodiff: nothing in it is by hand.

    With it a network can be derived one piece at a time. Its residuals are what ``jax.vjp`` returns, a pytree of
    arrays. Integers get None.
    """

    @functools.wraps(f)
    def fwd(*args):
        return jax.vjp(f, *args)

    return Rule(fwd, by_autodiff)


def by_autodiff(pullback: Residuals, dy: Any) -> tuple[Any, ...]:
    """The backward of every ``rule``: its residuals are the pullback itself. ``lift`` knows such a rule by it."""
    return jax.tree.map(lambda d: None if d.dtype == jax.dtypes.float0 else d, pullback(dy))


def layer(init: Callable[[Any, Shape], tuple[Params, Shape]], f: Callable[..., Any], name: str | None = None) -> Layer:
    """``f(params, x, key)`` as a Layer whose backward is autodiff, and whose name says so. ``init`` is a Layer's.

    ``name`` is by default that of ``f``.
    """
    forward = rule(f).fwd

    def fwd(params, x, key=None):
        return forward(params, x, key)

    def bwd(residuals, dy):
        dparams, dx, _ = by_autodiff(residuals, dy)
        return dparams, dx

    return Layer(init, fwd, bwd, f"{name or getattr(f, '__name__', 'layer')}, by autodiff")
