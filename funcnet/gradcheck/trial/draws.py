"""Which inputs a subject is tried on: drawn until its forward is finite, or the caller's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...types import Layer
from ..engine.compiling import HASTE, begun
from ..engine.leaves import cast, first_line, is_float
from ..engine.packing import pack
from ..judge.compiled import value
from .settings import Settings, arrays_of
from .specs import DOMAINS, Draw, draws, finite, many_rows, specs_of
from .subject import InputError, Subject

ROWS = 40_009  # where some faults of compilers show, and few rows do not; a prime, as a tail of a block must show too


class Inputs(NamedTuple):
    """Draws on which the forward is finite, one with very many rows (None: there is none), and what was needed."""

    draws: list[Draw]
    rows: Draw | None
    notes: tuple[str, ...] = ()


def inputs_for(subject: Subject, target: Any, inputs: tuple[Any, ...], asked: Settings) -> tuple[Subject, Inputs]:
    """Inputs for a Layer, from the caller's arrays, or from shapes, and the subject with those of its arguments.

    Raises InputError where there is nothing to try.
    """
    if asked.in_shape is not None:
        modes = [(5, True), (8, True), (1, True), (3, False)]
        found = _given(subject, [_layer_draw(target, asked.in_shape, n, asked.seed, train) for n, train in modes])
    elif inputs and not isinstance(inputs[0], str):
        arrays = cast(arrays_of(subject, inputs), jnp.float64)
        subject = subject.taking(len(arrays))
        found = _given(subject, [Draw(arrays, {}, "given arrays", asked.seed)])
    else:
        specs = specs_of(subject, inputs, asked.ranges)
        subject = subject.taking(len(specs))
        found = _drawn(subject, specs, asked.seed, asked.sizes)
    floats = [leaf for leaf in jax.tree.leaves(found.draws[0].args) if is_float(leaf)]
    if not sum(np.size(leaf) for leaf in floats):
        what = "holds no elements" if floats else "has no floating argument"
        raise InputError(f"the input of {subject.name} {what}: there is nothing to differentiate")
    return subject, found


def _given(subject: Subject, found: list[Draw]) -> Inputs:
    if not _all_finite(subject, found):
        raise InputError(f"the forward of {subject.name} is not finite on the inputs")
    return Inputs(found, None)


def _all_finite(subject: Subject, found: list[Draw]) -> bool:
    """The first is run eagerly, and the others compiled."""
    return all(_is_finite(subject, draw, compiled=i > 0) for i, draw in enumerate(found))


def _drawn(subject: Subject, specs: tuple[Any, ...], seed: int, sizes: Mapping[str, int]) -> Inputs:
    for domain in DOMAINS:
        found = draws(specs, seed, sizes, domain)
        if _all_finite(subject, found[:2]):
            kept = found[:2] + [draw for draw in found[2:] if survives(subject, draw)]
            note = f"inputs were drawn as {domain}: others are not finite"
            return Inputs(kept, many_rows(specs, seed, sizes, domain, ROWS), () if domain == "normal" else (note,))
    raise InputError(f"the forward of {subject.name} is not finite on the inputs")


def _layer_draw(layer: Layer, in_shape: tuple[int, ...], batch: int, seed: int, training: bool) -> Draw:
    """Parameters moved off their initial values, so that no zero bias or unit gain hides a mistake."""
    rng = np.random.default_rng([seed, batch])
    try:
        params, _ = layer.init(jax.random.key(seed), in_shape)
    except Exception as error:
        raise InputError(f"{layer.name} cannot be made for in_shape={in_shape}: {first_line(error)}") from error
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64) + 0.3 * rng.normal(size=leaf.shape), params)
    args = (params, rng.normal(size=(batch, *in_shape)), jax.random.key(seed + 1) if training else None)
    return Draw(args, {"N": batch}, "normal" if training else "normal, inference", seed)


def _is_finite(subject: Subject, draw: Draw, compiled: bool = False) -> bool:
    args = cast(draw.args, jnp.float64)
    packed = pack(args)
    run = value(subject, packed.form)
    try:
        try:
            y = begun(run, packed.arrays, options=HASTE)() if compiled else run(*packed.arrays)
        except jax.errors.JAXTypeError:  # it looks at values
            y = run(*packed.arrays)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(
            f"the forward of {subject.name} raised {type(error).__name__} on {sizes_of(draw)}: {first_line(error)}"
        ) from error
    _differentiable(subject, y)
    return finite(y)


def _differentiable(subject: Subject, y: Any) -> None:
    for leaf in jax.tree.leaves(y):
        if not hasattr(leaf, "dtype"):
            raise InputError(f"the forward of {subject.name} returns arrays; got a {type(leaf).__name__}")
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise InputError(f"the forward of {subject.name} is complex: only real functions are checked")
    if not any(is_float(leaf) for leaf in jax.tree.leaves(y)):
        raise InputError(f"the forward of {subject.name} returns no floating array: there is nothing to differentiate")


def survives(subject: Subject, draw: Draw) -> bool:
    """Whether the forward can be had, and is finite, at sizes that not every forward promises: 1, or very many."""
    try:
        return _is_finite(subject, draw, compiled=True)
    except InputError:
        return False


def sizes_of(draw: Draw) -> str:
    """The sizes of a draw as a report shows them."""
    return " ".join(f"{axis}={size}" for axis, size in draw.sizes.items()) or "one shape"
