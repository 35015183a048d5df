"""Lifts a rule of one array to a layer without parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..bridge import by_autodiff
from ..types import Layer, Params, Rule, Shape, ShapeError, require_arrays, require_not_a_pair, require_shape


def lift(rule: Rule, name: str) -> Layer:
    """A rule of one array as a layer without parameters; ``name`` is how errors and summaries call it.

    They also say so if the rule is by autodiff, from ``bridge.rule``.
    """
    if rule.bwd is by_autodiff:
        name += ", by autodiff"

    def init(key, in_shape):
        require_shape(name, in_shape)
        return {}, out_shape(rule.fwd, in_shape)

    def fwd(params, x, key=None):
        require(name, params, x)
        return rule.fwd(x)

    def bwd(residuals, dy):
        (dx,) = rule.bwd(residuals, dy)
        return {}, dx

    return Layer(init, fwd, bwd, name)


def factory(
    rule: Rule, name: str, make: Callable[[Rule, str], Layer] = lift, doc: str | None = None
) -> Callable[[], Layer]:
    """The layer factory ``name()`` of a rule without settings; its docstring is ``doc``, or else the rule's."""

    def layer() -> Layer:
        return make(rule, name)

    layer.__name__ = layer.__qualname__ = name
    layer.__doc__, layer.__module__ = doc or rule.fwd.__doc__, "funcnet.layers"
    return layer


def out_shape(fwd: Callable, in_shape: Shape, dtype: Any = jnp.float32) -> Shape:
    """The shape that ``fwd`` returns for one example of ``in_shape``, without computing it."""
    return jax.eval_shape(fwd, jax.ShapeDtypeStruct((1, *in_shape), dtype))[0].shape[1:]


def require(name: str, params: Params, x: Any, **expected: Any) -> None:
    """Checks what the ``fwd`` of a layer is given, before it computes with parameters of another network.

    ``expected`` are the shapes of the parameters by name, None for any size, or for a parameter that has no one shape;
    a dict stands for parameters within. Raises TypeError unless ``x`` is an array, ShapeError for other parameters.
    """
    if not hasattr(x, "shape"):
        raise TypeError(f"{name} expects an array; got a {type(x).__name__}: jnp.asarray(...) makes an array of it")
    _require(name, "params", params, expected)


def _require(name: str, at: str, params: Params, expected: Mapping[str, Any]) -> None:
    require_not_a_pair(name, params)
    if not isinstance(params, Mapping) or params.keys() != expected.keys():
        got = f"of {list(params)}" if isinstance(params, Mapping) else f"a {type(params).__name__}"
        raise ShapeError(f"{name} got {at} {got}, expects {list(expected)}: are they of another network?")
    for key, wanted in expected.items():
        inner = f"{at}[{key!r}]"
        if isinstance(wanted, Mapping):
            _require(name, inner, params[key], wanted)
        elif wanted is not None:
            require_arrays(f"{name}'s {inner}", params[key])
            shape = params[key].shape
            if len(shape) != len(wanted) or any(w not in (None, s) for s, w in zip(shape, wanted, strict=True)):
                sizes = str(tuple(wanted)).replace("None", "any")
                raise ShapeError(f"{name} got {inner} of shape {shape}, expects {sizes}: are they of another network?")
