"""Inputs to try a forward on: drawn from its jaxtyping annotations, from symbolic shapes, or the caller's own arrays.

Sizes are coprime and at least 5, so that a factor names the axis it comes from; small sizes collide with constants.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .subject import InputError, Subject

# Each axis name takes the next size, in order of appearance. Two sets, in which no axis keeps its size, and a third
# where the first axis is 1 and the others are even.
PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)
SIZES = ((5, 7, *PRIMES), (8, 9, 5, 7, *PRIMES))
EVEN = (1, 8, *(prime - 1 for prime in PRIMES))
WIDE = (1, 130, *EVEN[2:])  # more columns than a block of 128 holds, where no array has more elements than MANY
MANY = 1 << 16
MOST = 1 << 25  # elements of an array
DOMAINS = ("normal", "positive", "unit interval", "simplex")


class Spec(NamedTuple):
    """One array argument: its axes by name or number, its kind, and for integers the axis they stay below."""

    axes: tuple[str, ...]
    kind: str  # float, int, bool, key
    below: str | None = None


class Draw(NamedTuple):
    """Arguments, and how they came about."""

    args: tuple[Any, ...]
    sizes: dict[str, int]
    domain: str
    seed: int


def specs_of(subject: Subject, shapes: Sequence[str], ranges: Mapping[str, str | int]) -> tuple[Any, ...]:
    """A pytree of Spec (None: no array) per argument, from symbolic shapes if given, else from annotations."""
    if shapes:
        if not subject.required <= len(shapes) <= len(subject.arguments):
            names = ", ".join(subject.arguments)
            raise InputError(
                f"{subject.name} takes {len(subject.arguments)} arguments ({names}); got {len(shapes)} shapes"
            )
        found = [_from_symbol(shape) for shape in shapes]
    else:
        try:
            hints = typing.get_type_hints(subject.source, include_extras=True)
        except Exception as error:
            raise InputError(f"the annotations of {subject.name} cannot be read: {error}") from error
        found = []
        for i, name in enumerate(subject.arguments):
            try:
                found.append(_from_hint(subject.name, name, hints.get(name)))
            except InputError:
                if i < subject.required:
                    raise
                break  # it keeps its default, and so do those after it
    named = dict(zip(subject.arguments, found, strict=False))
    for name, below in ranges.items():
        spec = named.get(name)
        if not (isinstance(spec, Spec) and spec.kind == "int"):
            raise InputError(f"ranges is for integer arguments of {subject.name}; got {name!r}")
        named[name] = spec._replace(below=str(below))
    for name, spec in named.items():
        if any(s.kind == "int" and not s.below for s in _leaves(spec)):
            raise InputError(
                f"{subject.name}'s argument {name} holds integers: say what they stay below, by "
                f"ranges={{{name!r}: 10}}, the shape 'N:int<10' or Annotated[Int[...], Below('K')]"
            )
    return tuple(named.values())


def _leaves(specs: Any) -> list[Spec]:
    return [s for s in jax.tree.leaves(specs, is_leaf=lambda s: isinstance(s, Spec)) if isinstance(s, Spec)]


def _from_symbol(symbol: str) -> Spec:
    """``"N D"`` is float; ``"B T:int<V"``, ``"T T:bool"``, ``":key"`` say their kind."""
    axes, _, kind = symbol.partition(":")
    kind, _, below = kind.partition("<")
    if kind not in ("", "float", "int", "bool", "key") or (kind == "int" and not below):
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
    below = None
    if typing.get_origin(hint) is typing.Annotated:
        hint, *extras = typing.get_args(hint)
        below = next((extra.axis for extra in extras if hasattr(extra, "axis")), None)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if hasattr(hint, "dim_str") and hasattr(hint, "dtypes"):
        return Spec(_axes(hint.dim_str), _kind(hint.dtypes), below)
    if hasattr(hint, "leaftype"):  # PyTree[Float[Array, "..."]]: as the parameters of a layer are
        leaf = _from_hint(subject, name, hint.leaftype)
        return (
            {"w": leaf._replace(axes=("I", "O")), "b": leaf._replace(axes=("O",))}
            if "..." in leaf.axes
            else {"w": leaf}
        )
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
    """Of the dtypes that an annotation allows, a floating one if there is any: ``Shaped`` allows all."""
    text = dtypes if isinstance(dtypes, str) else " ".join(map(str, dtypes)) if hasattr(dtypes, "__iter__") else "float"
    if "complex" in text and "float" not in text:
        raise InputError("an annotation is of complex numbers: only real functions are checked")
    return "key" if "prng" in text else "float" if "float" in text else "bool" if "bool" in text else "int"


def draws(specs: tuple[Any, ...], seed: int, sizes: Mapping[str, int], domain: str) -> list[Draw]:
    """A draw for every set of sizes: two that differ in each axis, and one whose first axis is 1, the others even.

    In the last the second axis is long, as some mistakes are made in the last block of a row alone. ``*B`` is one axis
    in the first, two in the second.
    """
    names = _axis_names(specs)
    if unknown := sizes.keys() - set(names):
        raise InputError(f"sizes is for the axes {', '.join(names) or '(there are none)'}; got {', '.join(unknown)}")
    if len(names) > len(SIZES[0]):
        raise InputError(f"at most {len(SIZES[0])} axes have names; got {len(names)}")
    ranges = {s.below for s in _leaves(specs) if s.below} - {axis for s in _leaves(specs) for axis in s.axes}
    if unbounded := {below for below in ranges if not below.isdigit()} - sizes.keys():
        below = min(unbounded)
        raise InputError(f"the range {below} is no axis of an argument; give it a size, as in sizes={{{below!r}: 10}}")
    tables = [_sized(names, table, sizes) for table in SIZES]
    for name in names:
        if name.startswith(("*", "...")) and name not in sizes:
            tables[1][name] = (2, 3)
    if names:
        wide, even = (_sized(names, table, sizes) for table in (WIDE, EVEN))
        fits = all(math.prod(_shape(leaf, wide)) <= MANY for leaf in _leaves(specs))
        tables.append(wide if fits else even)
    for leaf in _leaves(specs):
        if math.prod(_shape(leaf, tables[0])) > MOST:
            raise InputError(f"an array {' '.join(leaf.axes)!r} would be too large; fix its axes by sizes=...")
    return [_draw(specs, table, [seed, i], domain) for i, table in enumerate(tables)]


def many_rows(specs: tuple[Any, ...], seed: int, sizes: Mapping[str, int], domain: str, rows: int) -> Draw | None:
    """A draw whose first axis has that many rows; None where no axis is free."""
    names = _axis_names(specs)
    if not names or names[0] in sizes:
        return None
    table = {**_sized(names, SIZES[0], sizes), names[0]: (rows,)}
    if any(math.prod(_shape(leaf, table)) > MOST for leaf in _leaves(specs)):
        return None
    return _draw(specs, table, [seed, rows], domain)


def _sized(names: Sequence[str], table: Sequence[int], sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """The axes with the sizes of a table, but for those that the caller fixed."""
    return {name: (sizes.get(name, size),) for name, size in zip(names, table, strict=False)}


def _axis_names(specs: tuple[Any, ...]) -> list[str]:
    leaves = _leaves(specs)
    names = dict.fromkeys(axis for s in leaves for axis in (*s.axes, *([s.below] if s.below else [])))
    return [name for name in names if not name.isdigit()]


def _draw(specs: tuple[Any, ...], table: dict[str, tuple[int, ...]], seeds: list[int], domain: str) -> Draw:
    rng = np.random.default_rng(seeds)
    args = jax.tree.map(lambda s: _array(s, table, rng, domain), specs, is_leaf=lambda s: isinstance(s, Spec))
    return Draw(args, {name: math.prod(size) for name, size in table.items()}, domain, seeds[0])


def _shape(spec: Spec, table: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(size for axis in spec.axes for size in ((int(axis),) if axis.isdigit() else table[axis]))


def _array(spec: Spec, table: Mapping[str, tuple[int, ...]], rng: np.random.Generator, domain: str) -> Any:
    shape = _shape(spec, table)
    if spec.kind == "key":
        return jax.random.key(int(rng.integers(2**31)))
    if spec.kind == "bool":
        mask = rng.random(shape) < 0.7
        if shape:
            mask[..., :1] = True  # no row is wholly False
        return jnp.asarray(mask)
    if spec.kind == "int":
        below = math.prod(table[spec.below]) if spec.below and spec.below in table else int(spec.below or 2)
        integers = rng.integers(below, size=shape)
        if integers.size > 1:  # a repeated index, on purpose
            integers.flat[1] = integers.flat[0]
        return jnp.asarray(
            integers
        )  # int64, JAX's default while the checker computes: what jnp.arange in the forward gives too
    return _floats(shape, rng, domain)


def _floats(shape: tuple[int, ...], rng: np.random.Generator, domain: str) -> np.ndarray:
    draw: Callable[[], Any] = {
        "normal": lambda: rng.normal(size=shape),
        "positive": lambda: 0.2 + np.abs(rng.normal(size=shape)),
        "unit interval": lambda: rng.uniform(0.05, 0.95, size=shape),
        "simplex": lambda: rng.dirichlet(np.ones(shape[-1]), size=shape[:-1]) if shape else rng.uniform(0.05, 0.95),
    }[domain]
    return np.asarray(draw())


def finite(tree: Any) -> bool:
    """Whether every float in a pytree is finite."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    return all(bool(np.isfinite(np.asarray(leaf)).all()) for leaf in leaves)
