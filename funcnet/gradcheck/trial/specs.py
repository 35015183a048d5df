"""The arrays that a forward asks for: read from its jaxtyping annotations or from symbolic shapes."""

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .domains import Domain
from .subject import InputError, Subject

KINDS = {"float": "float", "complex": "complex", "bool": "bool", "key": "prng"}  # as jaxtyping's dtypes show them


class Spec(NamedTuple):
    """One array argument: its axes by name or number, its kind, and for integers the axis they stay below."""

    axes: tuple[str, ...]
    kind: str  # float, complex, int, bool, key
    below: str | None = None
    domain: Callable[[np.random.Generator, tuple[int, ...]], Any] | None = None


def specs_of(
    subject: Subject, shapes: Sequence[str], ranges: Mapping[str, str | int], draw: Mapping[str, Any]
) -> tuple[Any, ...]:
    """A pytree of Spec (None: no array) per argument, from symbolic shapes if given, else from annotations."""
    if shapes:
        if not subject.required <= len(shapes) <= len(subject.arguments):
            takes = f"{len(subject.arguments)} arguments ({', '.join(subject.arguments)})"
            raise InputError(f"{subject.name} takes {takes}; got {len(shapes)} shapes")
        found = [s if i in subject.static else _from_symbol(s) for i, s in enumerate(shapes)]
    else:
        found = _from_annotations(subject)
    named = dict(zip(subject.arguments, found, strict=False))
    for name, below in ranges.items():
        spec = named.get(name)
        if not (isinstance(spec, Spec) and spec.kind == "int"):
            raise InputError(f"ranges is for integer arguments of {subject.name}; got {name!r}")
        named[name] = spec._replace(below=str(below))
    for name, domain in draw.items():
        spec = named.get(name)
        if not (isinstance(spec, Spec) and spec.kind == "float"):
            raise InputError(f"draw is for floating arguments of {subject.name}; got {name!r}")
        named[name] = spec._replace(domain=domain)
    for name, spec in named.items():
        if any(s.kind == "int" and not s.below for s in flat(spec)):
            raise InputError(
                f"{subject.name}'s argument {name} holds integers: say what they stay below, by "
                f"ranges={{{name!r}: 10}}, the shape 'N:int<10' or Annotated[Int[...], Below('K')]"
            )
    return tuple(named.values())


def _from_annotations(subject: Subject) -> list[Any]:
    """A pytree of Spec for each argument, up to the first that has a default and no array annotation."""
    try:
        hints = typing.get_type_hints(subject.source, include_extras=True)
    except Exception as error:
        raise InputError(f"the annotations of {subject.name} cannot be read: {error}") from error
    found: list[Any] = []
    for i, name in enumerate(subject.arguments):
        try:
            found.append(_from_hint(subject.name, name, hints.get(name)))
        except InputError as error:
            if i < subject.required:
                hint = f"; or add {subject.name}_example(), which returns them, to its file" if subject.in_numpy else ""
                raise InputError(f"{error}{hint}") from error.__cause__
            break  # it keeps its default, and so do those after it
    return found


def flat(specs: Any) -> list[Spec]:
    """Every Spec in a pytree of them, in order."""
    return [s for s in jax.tree.leaves(specs, is_leaf=lambda s: isinstance(s, Spec)) if isinstance(s, Spec)]


def _from_symbol(symbol: str) -> Spec:
    """``"N D"`` is float; ``"B T:int<V"``, ``"T T:bool"``, ``":key"`` say their kind."""
    axes, _, kind = symbol.partition(":")
    kind, _, below = kind.partition("<")
    if kind not in ("", "int", *KINDS) or (kind == "int" and not below):
        raise InputError(f"a symbolic shape is like 'N D', 'N:int<K', 'T T:bool' or ':key'; got {symbol!r}")
    return Spec(_axes(axes), kind or "float", below or None)


def _axes(text: str) -> tuple[str, ...]:
    # "#N" may be 1 or N, and "N=3" is 3 that is called N
    axes = tuple(axis.removeprefix("#").rpartition("=")[2] for axis in text.split())
    for axis in axes:
        if not (axis == "..." or axis.isdigit() or axis.lstrip("*").isidentifier()):
            raise InputError(f"an axis is a name, a *name or a number; got {axis!r} in {text!r}")
    return axes


def _from_hint(subject: str, name: str, hint: Any) -> Any:
    below = domain = None
    if typing.get_origin(hint) is typing.Annotated:
        hint, *extras = typing.get_args(hint)
        below = next((extra.axis for extra in extras if hasattr(extra, "axis")), None)
        domain = next((extra for extra in extras if isinstance(extra, Domain)), None)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if hasattr(hint, "dim_str") and hasattr(hint, "dtypes"):
        return Spec(_axes(hint.dim_str), _kind(hint.dtypes), below, domain)
    if hasattr(hint, "leaftype"):  # PyTree[Float[Array, "..."]]: as the parameters of a layer are
        leaf = _from_hint(subject, name, hint.leaftype)
        dense = {"w": leaf._replace(axes=("I", "O")), "b": leaf._replace(axes=("O",))}
        return dense if "..." in leaf.axes else {"w": leaf}
    if typing.get_origin(hint) is tuple and Ellipsis not in typing.get_args(hint):
        return tuple(_from_hint(subject, name, part) for part in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        fields = typing.get_type_hints(hint, include_extras=True)
        return hint(*(_from_hint(subject, name, fields[field]) for field in hint._fields))
    raise InputError(
        f"{subject}'s argument {name} has no array annotation to draw from (found {hint}); annotate it like "
        f'Float[Array, "N D"], or give symbolic shapes or arrays'
    )


def _kind(dtypes: Any) -> str:
    """The kind to draw for the dtypes that an annotation allows: float if it is among them, as in ``Shaped``."""
    text = dtypes if isinstance(dtypes, str) else " ".join(map(str, dtypes)) if hasattr(dtypes, "__iter__") else "float"
    return next((kind for kind in ("key", "float", "complex", "bool") if KINDS[kind] in text), "int")
