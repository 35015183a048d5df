"""Runs NumPy code by JAX, so that it can be traced and differentiated.

Its arrays are boxes. What NumPy is asked to do with a box, by a ufunc, a function or an operator, JAX does with what is
in it; a write into a box changes what is in it. While the code runs, ``np.zeros`` and its kin make boxes too, so that a
result may be filled in element by element. The code itself is neither copied nor run again from its source.
"""

import contextlib
import itertools
import operator
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special
import numpy as np

from ..tolerances import BOXED
from .leaves import is_float

MAKERS = {"zeros", "empty", "ones", "full", "array", "asarray", "asanyarray", "ascontiguousarray"}
MAKERS |= {"zeros_like", "empty_like", "ones_like", "full_like", "copy"}
ASSEMBLERS = {"array", "asarray", "asanyarray", "ascontiguousarray"}
METHODS = {("add", "reduce"): "sum", ("maximum", "reduce"): "max", ("minimum", "reduce"): "min"}
METHODS |= {("multiply", "reduce"): "prod", ("add", "accumulate"): "cumsum", ("multiply", "accumulate"): "cumprod"}
IN_PLACE = {"add": "add", "subtract": "subtract", "multiply": "multiply", "maximum": "max", "minimum": "min"}


class UntraceableError(TypeError):
    """JAX has nothing for what NumPy was asked to do."""


def by_jax(f: Callable[..., Any], namespaces: Callable[[], list[dict[str, Any]]]) -> Callable[..., Any]:
    """``f``, NumPy code, on JAX's arrays. Its modules' ``namespaces`` see a numpy whose new arrays are boxes.

    It raises UntraceableError, or whatever NumPy or JAX raise, for code that needs numbers.
    """

    def run(*args: Any) -> Any:
        with _numpy_in_boxes(namespaces()), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return jax.tree.map(_arrays, f(*jax.tree.map(_boxed_float, args)), is_leaf=_is_box)

    return run


def _boxed_float(leaf: Any) -> Any:
    if not hasattr(leaf, "dtype"):
        return leaf
    return Box(leaf) if is_float(leaf) else np.array(leaf)  # integers index: NumPy must see their values


def _arrays(leaf: Any) -> Any:
    return jnp.asarray(opened(leaf)) if _is_box(leaf) or isinstance(leaf, np.ndarray | np.generic | float) else leaf


def _is_box(leaf: Any) -> bool:
    return isinstance(leaf, Box)


# ---------------------------------------------------------------- the box


class Box(np.lib.mixins.NDArrayOperatorsMixin):
    """An array of JAX's, or one of NumPy's into which JAX's may be written."""

    def __init__(self, value: Any):
        self.value = value

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        if method == "at":
            return _write_at(IN_PLACE.get(ufunc.__name__), *inputs)
        name = ufunc.__name__ if method == "__call__" else METHODS.get((ufunc.__name__, method))
        own = ufunc if method == "__call__" else getattr(ufunc, method)
        result = _called(own, name, inputs, kwargs)
        if out is None:
            return result
        if not isinstance(out[0], Box):
            raise UntraceableError("JAX's array is written into NumPy's")
        out[0][...] = result
        return out[0]

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _called(func, func.__name__, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        if _is_traced(self.value):
            raise UntraceableError("NumPy asks for the numbers of JAX's array")
        return np.array(self.value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "value":  # NumPy and copies ask for what there is not
            raise AttributeError(name)
        found = getattr(self.value, name)
        if callable(found):
            return lambda *args, **kwargs: boxed(found(*opened(args), **opened(kwargs)))
        return boxed(found)

    def __getitem__(self, index: Any) -> Any:
        return boxed(self.value[_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        index, value = _index(index), opened(value)
        if not any(map(_is_traced, jax.tree.leaves((self.value, index, value)))):
            self.value[index] = value
            return
        _count()
        is_mask = getattr(index, "dtype", None) == np.bool_ and np.shape(index) == np.shape(self.value)
        if is_mask and np.ndim(value) == 0:  # JAX takes no mask that it does not know for an index
            self.value = jnp.where(index, value, self.value)
        else:
            self.value = jnp.asarray(self.value).at[index].set(value)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __index__(self) -> int:
        return operator.index(self.value)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Box":
        return Box(self.value if _is_traced(self.value) else np.array(self.value))


def _is_traced(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array)  # a tracer, or an array of JAX's, on which it computes eagerly


def boxed(value: Any) -> Any:
    """A result of JAX's or NumPy's, with its floating arrays in boxes."""
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(map(boxed, value))
    return Box(value) if _is_traced(value) or (isinstance(value, np.ndarray) and is_float(value)) else value


def opened(value: Any) -> Any:
    """Arguments of a call, with the arrays out of their boxes."""
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(map(opened, value))
    if isinstance(value, dict):
        return {key: opened(item) for key, item in value.items()}
    return value.value if isinstance(value, Box) else value


def _index(index: Any) -> Any:
    """An index as JAX takes it: no lists, no ranges."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    return np.asarray(index) if isinstance(index, list | range) else opened(index)


def _called(own: Callable[..., Any], name: str | None, args: Any, kwargs: Any) -> Any:
    """NumPy's function on open arrays; JAX's function of that name if one of them is JAX's."""
    args, kwargs = opened(args), opened(kwargs)
    if not any(map(_is_traced, jax.tree.leaves((args, kwargs)))):
        return boxed(own(*args, **kwargs))
    _count()
    home = getattr(own, "__module__", None) or ""
    rooms = [jnp.linalg, jnp.fft] if home.startswith(("numpy.linalg", "numpy.fft")) else [jnp, jax.scipy.special]
    for room in rooms:
        if name and hasattr(room, name):
            return boxed(getattr(room, name)(*args, **kwargs))
    raise UntraceableError(f"JAX has no {name}")


def _write_at(name: str | None, target: Any, index: Any, *values: Any) -> None:
    """What ``np.add.at`` and its kin do."""
    if name is None or not isinstance(target, Box) or len(values) != 1:
        raise UntraceableError("JAX's array is written into NumPy's")
    _count()
    target.value = getattr(jnp.asarray(target.value).at[_index(index)], name)(opened(values[0]))


# ---------------------------------------------------------------- a numpy that makes boxes

_steps: list[Iterator[int]] = []


def _count() -> None:
    if _steps and next(_steps[-1]) > BOXED:
        raise UntraceableError(f"more than {BOXED} steps of NumPy: loops over single elements")


class _Making:
    """Stands for numpy: all of it, but its new floating arrays are boxes."""

    def __getattr__(self, name: str) -> Any:
        own = getattr(np, name)
        if name not in MAKERS:
            return own

        def make(*args: Any, **kwargs: Any) -> Any:
            if name in ASSEMBLERS and any(map(_is_box, jax.tree.leaves(args, is_leaf=_is_box))):
                return Box(_assembled(args[0], name == "array"))
            return boxed(own(*args, **kwargs))

        return make


def _assembled(value: Any, copied: bool) -> Any:
    """A box, or boxes in lists, as one array."""
    if isinstance(value, Box):
        return np.array(value.value) if copied and not _is_traced(value.value) else value.value
    return jnp.stack([jnp.asarray(_assembled(part, copied)) for part in value]) if isinstance(value, list) else value


@contextlib.contextmanager
def _numpy_in_boxes(namespaces: list[dict[str, Any]]) -> Iterator[None]:
    """Puts ``_Making`` where these namespaces hold numpy, for as long as it is open."""
    held = [(space, name) for space in namespaces for name, value in space.items() if value is np]
    _steps.append(itertools.count())
    for space, name in held:
        space[name] = _Making()
    try:
        yield
    finally:
        _steps.pop()
        for space, name in held:
            space[name] = np


def namespaces_of(f: Callable[..., Any]) -> list[dict[str, Any]]:
    """The globals of ``f``, and of the modules in its folder that have been imported."""
    own = getattr(f, "__globals__", {})
    file = own.get("__file__")
    beside = [
        vars(module)
        for module in list(sys.modules.values())
        if isinstance(module, ModuleType) and file and _folder(getattr(module, "__file__", None)) == _folder(file)
    ]
    return [own, *(space for space in beside if space is not own)]


def _folder(file: str | None) -> Path | None:
    return Path(file).parent if file else None
