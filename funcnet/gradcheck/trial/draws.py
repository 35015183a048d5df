"""The inputs that a subject is tried on: drawn until its forward is finite, or the caller's own."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...types import Layer
from ..engine.compiling import compiled
from ..engine.leaves import all_finite, cast, first_line, floats_of, is_complex, is_float, pack, with_default_integers
from ..engine.width import as_users_have_it
from ..tolerances import ELEMENTS, SEED_DY
from .domains import is_structured
from .settings import Settings, arrays_of, settings
from .specs import Spec, flat, specs_of
from .subject import InputError, Subject, held, hold, in_pairs, paired
from .targets import as_subject, with_inputs

# Each axis name takes the next size, in order of appearance. Sizes are coprime and at least 5, so that a factor names
# the axis it comes from; small sizes collide with constants. No axis keeps its size from the first set to the second;
# in the third the first axis is 1 and the others are even.
PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)
SIZES = ((5, 7, *PRIMES), (8, 9, 5, 7, *PRIMES))
EVEN = (1, 8, *(prime - 1 for prime in PRIMES))
WIDE = (1, 130, *EVEN[2:])  # more columns than a block of 128 holds, unless an array has more elements than MANY
MANY = 1 << 16
DOMAINS = ("normal", "positive", "unit interval", "simplex")
ROWS = 40_009  # shows faults of compilers that few rows do not; a prime, so that the tail of a block shows too


class Draw(NamedTuple):
    """Arguments, and how they came about."""

    args: tuple[Any, ...]
    sizes: dict[str, int]
    domain: str
    seed: int
    kept: frozenset[int] = frozenset()
    """The differentiable leaves, by number, that no variant may change: they lie in a domain on purpose."""

    @property
    def shown(self) -> str:
        """The sizes, as a report shows them."""
        return " ".join(f"{axis}={size}" for axis, size in self.sizes.items()) or "one shape"


def keeping(draw: Draw, args: Any) -> Any:
    """``args`` with the leaves that are kept as they are in ``draw``."""
    leaves, structure = jax.tree.flatten(args)
    places = [n for n, leaf in enumerate(leaves) if is_float(leaf)]
    for i, old in enumerate(floats_of(draw.args)):
        leaves[places[i]] = old if i in draw.kept else leaves[places[i]]
    return jax.tree.unflatten(structure, leaves)


class Drawn(NamedTuple):
    """Arguments of a forward, and a random cotangent of what it returns."""

    args: tuple[Any, ...]
    dy: Any


class Inputs(NamedTuple):
    """Draws on which the forward is finite, one with very many rows, if there is one, and notes.

    ``narrow``: the forward takes arrays in the dtypes of ``draws`` and in no others.
    """

    draws: list[Draw]
    rows: Draw | None
    notes: tuple[str, ...] = ()
    narrow: bool = False


def draws(target: Any, *inputs: Any, dtype: Any = None, seed: int = 0, **given: Any) -> list[Drawn]:
    """The inputs on which ``check`` tries a backward, each with a cotangent.

    Takes ``target``, ``inputs``, ``seed`` and ``given`` (``in_shape``, ``sizes``, ``ranges``) as ``check`` does, and
    raises the same errors. Floating arrays are in ``dtype``, by default JAX's own; use float64 with x64 enabled.

    ::

        args, dy = gradcheck.draws(rule, seed=1)[0]
        y, residuals = rule.fwd(*args)
        cotangents = rule.bwd(residuals, dy)
    """
    default = jnp.result_type(float)
    subject, inputs = with_inputs(as_subject(target, inputs=inputs), inputs)
    (dtype,) = (asked := settings(target, subject, inputs, dtypes=(dtype or default,), seed=seed, **given)).dtypes
    with jax.enable_x64(True):
        subject, found = inputs_for(subject, target, inputs, asked)
    drawn = []
    with jax.enable_x64(jnp.float64 in (default, dtype)):
        for draw in found.draws:
            args = with_default_integers(cast(draw.args, dtype))
            y, _ = subject.fwd(*args)
            drawn.append(Drawn(args, draw_cotangent(y, np.random.default_rng([draw.seed, SEED_DY]))))
    return drawn


def inputs_for(subject: Subject, target: Any, inputs: tuple[Any, ...], asked: Settings) -> tuple[Subject, Inputs]:
    """Inputs from a Layer's ``in_shape``, the caller's arrays, or shapes; and the subject on just these arguments.

    Raises InputError if there is nothing to try, or the forward raises or is not finite.
    """
    if asked.in_shape is not None:
        modes = [(5, True), (8, True), (1, True), (3, False)]
        found = _given(subject, [layer_draw(target, asked.in_shape, n, asked.seed, train) for n, train in modes])
    elif asked.are_arrays:
        arrays = arrays_of(subject, inputs)
        subject, (draw,) = _seen(subject.taking(len(arrays)), [Draw(arrays, {}, "given arrays", asked.seed)], asked)
        found = _in_own_dtypes(subject, draw, asked)
    else:
        specs = specs_of(subject, inputs, asked.ranges, asked.draw)
        subject, found = _drawn(subject.taking(len(specs)), specs, asked)
    floats = floats_of(found.draws[0].args)
    if not sum(np.size(leaf) for leaf in floats):
        what = "holds no elements" if floats else "has no floating argument"
        raise InputError(f"the input of {subject.name} {what}: there is nothing to differentiate")
    return subject, found._replace(draws=[_with_kept(subject, draw, asked) for draw in found.draws])


def _with_kept(subject: Subject, draw: Draw, asked: Settings) -> Draw:
    """A draw that knows which of its leaves lie in a domain: one asked for, or one that no random array lies in."""
    leaves = zip(subject.leaves(draw.args), floats_of(draw.args), strict=True)
    kept = {i for i, (name, leaf) in enumerate(leaves) if name.argument in asked.draw or is_structured(leaf)}
    return draw._replace(kept=frozenset(kept))


def _given(subject: Subject, found: list[Draw]) -> Inputs:
    if not _all_finite(subject, found):
        raise InputError(f"the forward of {subject.name} is not finite on the inputs")
    return Inputs(found, None)


def _seen(subject: Subject, found: list[Draw], asked: Settings) -> tuple[Subject, list[Draw]]:
    """Arguments that are not differentiated held fixed, and complex arrays as pairs of real ones."""
    everything = set(range(len(subject.arguments)))
    argnums = everything - set(subject.static) if asked.argnums is None else set(asked.argnums)
    if fixed := everything - argnums:
        subject, found = held(subject, fixed), [d._replace(args=hold(d.args, fixed)) for d in found]
    complexes = any(map(is_complex, jax.tree.leaves(found[0].args)))
    with contextlib.suppress(Exception, SystemExit):  # the run in earnest reports the error
        complexes = complexes or any(map(is_complex, jax.tree.leaves(subject.shape_of_y(found[0].args))))
    if complexes:
        subject, found = in_pairs(subject), [d._replace(args=paired(d.args)) for d in found]
    return subject, found


def _in_own_dtypes(subject: Subject, draw: Draw, asked: Settings) -> Inputs:
    """The caller's arrays: in float64, or, if that is asked for or the forward takes nothing else, as they are."""
    own = {leaf.dtype.name for leaf in floats_of(draw.args)} - {"float64"}
    if not asked.as_is:
        try:
            return _given(subject, [draw._replace(args=cast(draw.args, jnp.float64))])
        except InputError as error:
            if not own or not _runs(subject, draw.args):
                raise error from error.__cause__
    if not own:
        return _given(subject, [draw])
    note = f"judged in {' and '.join(sorted(own))}" + ("" if asked.as_is else ": the forward takes nothing wider")
    return Inputs([draw], None, (note,), narrow=True)


def _runs(subject: Subject, args: tuple[Any, ...]) -> bool:
    try:
        with as_users_have_it(args):
            return all_finite(subject.fwd(*with_default_integers(args))[0])
    except (Exception, SystemExit):
        return False


def _drawn(subject: Subject, specs: tuple[Any, ...], asked: Settings) -> tuple[Subject, Inputs]:
    seed, sizes, plain = asked.seed, asked.sizes, subject
    for domain in DOMAINS:
        found = _at_sizes(specs, seed, sizes, domain)
        if asked.as_is:
            narrow = found[0]._replace(args=cast(found[0].args, asked.dtypes[0]))
            subject, (draw,) = _seen(plain, [narrow], asked)
            if _runs(subject, draw.args):
                return subject, _in_own_dtypes(subject, draw, asked)
            continue
        subject, found = _seen(plain, found, asked)
        if _all_finite(subject, found[:2]):
            kept = found[:2] + [draw for draw in found[2:] if survives(subject, draw)]
            note = f"inputs were drawn as {domain}: others are not finite"
            rows = _many_rows(specs, seed, sizes, domain)
            rows = rows and _seen(plain, [rows], asked)[1][0]
            return subject, Inputs(kept, rows, () if domain == "normal" else (note,))
    _all_finite(subject, found[:1])  # raises what the forward raised, if it did
    raise InputError(f"the forward of {subject.name} is not finite on the inputs")


def _all_finite(subject: Subject, found: list[Draw]) -> bool:
    """Whether the forward is finite on all: the first is run eagerly, the others compiled."""
    return all(_is_finite(subject, draw, hasty=i > 0) for i, draw in enumerate(found))


def survives(subject: Subject, draw: Draw) -> bool:
    """Whether the forward runs, and is finite, at sizes that not every forward promises: 1, or very many."""
    try:
        return _is_finite(subject, draw, hasty=True)
    except InputError:
        return False


def layer_draw(layer: Layer, in_shape: tuple[int, ...], batch: int, seed: int, training: bool) -> Draw:
    """Parameters moved off their initial values, so that no zero bias or unit gain hides a mistake."""
    rng = np.random.default_rng([seed, batch])
    try:
        params, _ = layer.init(jax.random.key(seed), in_shape)
    except Exception as error:
        raise InputError(f"{layer.name} cannot be made for in_shape={in_shape}: {first_line(error)}") from error
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64) + 0.3 * rng.normal(size=leaf.shape), params)
    args = (params, rng.normal(size=(batch, *in_shape)), jax.random.key(seed + 1) if training else None)
    return Draw(args, {"N": batch}, "normal" if training else "normal, inference", seed)


def _is_finite(subject: Subject, draw: Draw, hasty: bool = False) -> bool:
    """``hasty``: by compiled code, which is faster."""
    args = cast(draw.args, jnp.float64)
    packed = pack(args)
    run = subject.value(packed.form)
    try:
        try:
            y = (compiled(run, packed.arrays, hasty=True) if hasty else run)(*packed.arrays)
        except jax.errors.JAXTypeError:  # it looks at values
            y = run(*packed.arrays)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        text = f"raised {type(error).__name__} on {draw.shown}: {first_line(error)}"
        raise InputError(f"the forward of {subject.name} {text}") from error
    _differentiable(subject, y)
    return all_finite(y)


def _differentiable(subject: Subject, y: Any) -> None:
    for leaf in jax.tree.leaves(y):
        if not hasattr(leaf, "dtype"):
            raise InputError(f"the forward of {subject.name} returns arrays; got a {type(leaf).__name__}")
    if not floats_of(y):
        raise InputError(f"the forward of {subject.name} returns no floating array: there is nothing to differentiate")


# ---------------------------------------------------------------- the arrays


def _at_sizes(specs: tuple[Any, ...], seed: int, sizes: Mapping[str, int], domain: str) -> list[Draw]:
    """A draw for every set of sizes: two that differ in each axis, and one whose first axis is 1, the others even.

    In the last the second axis is long, as some mistakes are made in the last block of a row alone. ``*B`` is one axis
    in the first, two in the second. Raises InputError if sizes and axes do not fit.
    """
    names = axis_names(specs)
    if unknown := sizes.keys() - set(names):
        raise InputError(f"sizes is for the axes {', '.join(names) or '(there are none)'}; got {', '.join(unknown)}")
    if len(names) > len(SIZES[0]):
        raise InputError(f"at most {len(SIZES[0])} axes have names; got {len(names)}")
    ranges = {s.below for s in flat(specs) if s.below} - {axis for s in flat(specs) for axis in s.axes}
    if unbounded := {below for below in ranges if not below.isdigit()} - sizes.keys():
        below = min(unbounded)
        raise InputError(f"the range {below} is no axis of an argument; give it a size, as in sizes={{{below!r}: 10}}")
    tables = [_sized(names, table, sizes) for table in SIZES]
    for name in names:
        if name.startswith(("*", "...")) and name not in sizes:
            tables[1][name] = (2, 3)
    if names:
        wide, even = (_sized(names, table, sizes) for table in (WIDE, EVEN))
        fits = all(math.prod(shape_of(leaf, wide)) <= MANY for leaf in flat(specs))
        tables.append(wide if fits else even)
    for leaf in flat(specs):
        if math.prod(shape_of(leaf, tables[0])) > ELEMENTS:
            raise InputError(f"an array {' '.join(leaf.axes)!r} would be too large; fix its axes by sizes=...")
    return [_draw(specs, table, [seed, i], domain) for i, table in enumerate(tables)]


def _many_rows(specs: tuple[Any, ...], seed: int, sizes: Mapping[str, int], domain: str) -> Draw | None:
    """A draw whose first axis has ROWS rows; None if no axis is free, or an array would be too large."""
    names = axis_names(specs)
    if not names or names[0] in sizes:
        return None
    table = {**_sized(names, SIZES[0], sizes), names[0]: (ROWS,)}
    if any(math.prod(shape_of(leaf, table)) > ELEMENTS for leaf in flat(specs)):
        return None
    return _draw(specs, table, [seed, ROWS], domain)


def _sized(names: Sequence[str], table: Sequence[int], sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """The axes with the sizes of a table, unless the caller fixed them."""
    return {name: (sizes.get(name, size),) for name, size in zip(names, table, strict=False)}


def axis_names(specs: tuple[Any, ...]) -> list[str]:
    """The names of the axes, in order of appearance; those that integers stay below too."""
    leaves = flat(specs)
    names = dict.fromkeys(axis for s in leaves for axis in (*s.axes, *([s.below] if s.below else [])))
    return [name for name in names if not name.isdigit()]


def _draw(specs: tuple[Any, ...], table: dict[str, tuple[int, ...]], seeds: list[int], domain: str) -> Draw:
    rng = np.random.default_rng(seeds)
    is_spec = lambda s: isinstance(s, Spec)  # noqa: E731
    args = jax.tree.map(lambda s: _array(s, table, rng, domain) if is_spec(s) else s, specs, is_leaf=is_spec)
    return Draw(args, {name: math.prod(size) for name, size in table.items()}, domain, seeds[0])


def shape_of(spec: Spec, table: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of an array whose named axes have these sizes, one or more each."""
    return tuple(size for axis in spec.axes for size in ((int(axis),) if axis.isdigit() else table[axis]))


def _array(spec: Spec, table: Mapping[str, tuple[int, ...]], rng: np.random.Generator, domain: str) -> Any:
    shape = shape_of(spec, table)
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
        # int64, JAX's default while the checker computes: jnp.arange in the forward gives that too
        return jnp.asarray(integers)
    if spec.kind == "complex":
        return _floats(shape, rng, domain) + 1j * _floats(shape, rng, domain)
    if spec.domain is not None:
        return np.asarray(_from_domain(spec.domain, rng, shape), np.float64)
    return _floats(shape, rng, domain)


def _from_domain(domain: Any, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    try:
        found = domain(rng, shape)
    except Exception as error:
        raise InputError(f"no array of shape {shape} can be drawn: {first_line(error)}") from error
    if np.shape(found) != shape:
        raise InputError(f"draw was asked for shape {shape}; it gave {np.shape(found)}")
    return found


def _floats(shape: tuple[int, ...], rng: np.random.Generator, domain: str) -> np.ndarray:
    draw: Callable[[], Any] = {
        "normal": lambda: rng.normal(size=shape),
        "positive": lambda: 0.2 + np.abs(rng.normal(size=shape)),
        "unit interval": lambda: rng.uniform(0.05, 0.95, size=shape),
        "simplex": lambda: rng.dirichlet(np.ones(shape[-1]), size=shape[:-1]) if shape else rng.uniform(0.05, 0.95),
    }[domain]
    return np.asarray(draw())


def draw_cotangent(y: Any, rng: np.random.Generator) -> Any:
    """A random normal cotangent for y; float0 for its integers."""

    def leaf(part):
        if not is_float(part):
            return np.zeros(np.shape(part), jax.dtypes.float0)
        return jax.device_put(np.asarray(rng.normal(size=np.shape(part))).astype(part.dtype))

    return jax.tree.map(leaf, y)
