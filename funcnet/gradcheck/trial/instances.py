"""An instance of a class with ``forward`` and ``backward``: its parameters, and the gradients that it keeps."""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..engine.leaves import is_float
from .conventions import means, of_name

GRADS = {"grads", "grad", "gradients"}
SIZES = (5, 7, 11, 13, 17, 19)  # for a constructor that asks for numbers
SHARES = ("rate", "prob", "keep", "ratio", "alpha", "eps", "momentum", "slope", "reg")  # not above one


class Parameter(NamedTuple):
    """A floating array on an instance: the attributes and keys that lead to it, and what it is called."""

    path: tuple[Any, ...]
    name: str

    def get(self, instance: Any) -> Any:
        return _at(instance, self.path)

    def put(self, instance: Any, value: Any) -> None:
        _items(_at(instance, self.path[:-1]))[self.path[-1]] = value

    def gradient(self, instance: Any) -> Any:
        """``dw`` beside ``w``, or ``grads["w"]``; None if the instance keeps no gradient of it."""
        owner, key = _at(instance, self.path[:-1]), self.path[-1]
        in_container = isinstance(owner, dict | list)
        whole = _items(_at(instance, self.path[:-2]) if in_container else owner)
        beside = {} if isinstance(owner, list) else {name: v for name, v in _items(owner).items() if name != key}
        other = self.path[-2] if in_container else key
        kept = [v for name, v in whole.items() if name in GRADS or (name != other and means(name, str(other)))]
        for grads in (beside, *kept):
            if isinstance(grads, list) and isinstance(key, int) and key < len(grads):
                return grads[key]
            if isinstance(grads, dict) and (found := of_name(grads, str(key), None)) is not None:
                return found
        return None


def _items(holder: Any) -> Any:
    return holder if isinstance(holder, dict | list) else vars(holder)


def _at(instance: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        instance = _items(instance)[key]
    return instance


def parameters(instance: Any) -> list[Parameter]:
    """The floating arrays that an instance holds, in dicts, lists and instances too, except gradients of others."""
    found = list(_arrays(instance, (), "", set()))
    return [p for p in found if not any(p != q and p.path[:-1] == q.path[:-1] and _gradient_of(p, q) for q in found)]


def _gradient_of(p: Parameter, q: Parameter) -> bool:
    return isinstance(p.path[-1], str) and means(p.path[-1], str(q.path[-1]))


def _arrays(holder: Any, path: tuple[Any, ...], name: str, seen: set[int]) -> Iterator[Parameter]:
    if id(holder) in seen:
        return
    seen.add(id(holder))
    for key, value in list(enumerate(holder) if isinstance(holder, list) else _items(holder).items()):
        called = f"{name}[{key!r}]" if isinstance(holder, dict | list) else f"{name}.{key}".lstrip(".")
        if isinstance(value, np.ndarray):
            if is_float(value) and value.size:
                yield Parameter((*path, key), called)
        elif key not in GRADS and (isinstance(value, dict | list) or hasattr(value, "forward")):
            yield from _arrays(value, (*path, key), called, seen)


def made(cls: type) -> Any:
    """An instance, with numbers for what the constructor asks for; what it raises, it raises."""
    asked = inspect.signature(cls).parameters.values()
    names = [p.name for p in asked if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    sizes = iter(SIZES)
    return cls(*(0.5 if name == "p" or any(part in name.lower() for part in SHARES) else next(sizes) for name in names))


def output(instance: Any) -> Any:
    """The result of a forward that returns nothing, but keeps it."""
    return next((vars(instance)[name] for name in ("output", "out", "y", "a") if name in vars(instance)), None)
