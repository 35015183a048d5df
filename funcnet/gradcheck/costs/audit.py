"""``audit``: what a derivation costs, beside autodiff of its forward and beside ``jax.checkpoint`` of it."""

import dataclasses
import linecache
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...types import Layer
from ..engine.leaves import cast, first_line, floats_of, is_complex, pack, with_default_integers
from ..engine.width import as_users_have_it
from ..judge.ladder import on_its_rung
from ..report import shown_alone
from ..trial.draws import axis_names, inputs_for, layer_draw, shape_of
from ..trial.settings import Settings, arrays_of, mapping, settings, whole
from ..trial.specs import flat, specs_of
from ..trial.subject import DIFFERENCES, Complex, InputError, Subject
from ..trial.targets import as_subject, with_inputs
from .count import bytes_of, count
from .machine import compiled, timed
from .passes import Passes, by_autodiff, by_hand
from .suspicions import Suspicion, suspicions
from .table import table
from .twice import computed_twice

# Each named axis takes the next size, in order of appearance; each is larger than the one before, as some arrays must
# not be longer than a later one. Then all are doubled while that is not too much, or halved until no argument is.
SIZES = (64, 80, 96, 112, 128, 144, 160, 176, 192, 208)
DOUBLED = 6  # times at most
LARGEST = 1 << 18  # elements of an argument
PRODUCT = 1 << 25  # of the sizes of all axes: a product of arrays that share an axis may take so much, if it is doubled


@dataclasses.dataclass(frozen=True)
class Costs:
    """What forward and backward cost together. Products and operations are counted on the programs, and exact.

    ``products``: their number, and ``product_flops`` their floating-point operations by the dtype of their operands,
    and of the result if it is another. ``operations``: all other arithmetic, of which ``transcendental`` are
    exponentials, logarithms, roots and the like. ``residual_bytes``: what only the backward needs; ``kept_bytes``: the
    arguments and results that it needs too. ``twice_*``: what the backward computes as the forward has, and the bytes
    that the forward would have to keep instead.
    ``temporary_bytes``, ``argument_bytes``, ``result_bytes`` and ``compiler_flops`` are what the compiler says of both
    passes as one program; None if it does not. ``seconds``: the median, and the quartiles; None if not timed.
    ``opaque``: steps that no figure counts. ``endless``: one turn of a ``while`` loop was counted.
    """

    products: int
    product_flops: dict[str, int]
    operations: int
    transcendental: int
    residual_bytes: int
    kept_bytes: int
    twice_flops: int
    twice_operations: int
    twice_bytes: int
    temporary_bytes: int | None
    argument_bytes: int | None
    result_bytes: int | None
    compiler_flops: float | None
    seconds: tuple[float, float, float] | None
    opaque: tuple[str, ...]
    endless: bool


@dataclasses.dataclass(frozen=True, repr=False)
class Audit:
    """The answer of ``audit``. ``str(audit)`` is for people, ``to_dict()`` for machines.

    ``columns``: the costs "by hand", of "autodiff" and of its "checkpoint"; without those that JAX cannot make.
    """

    name: str
    dtype: str
    inputs: str
    device: str
    columns: dict[str, Costs]
    suspicions: tuple[Suspicion, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return table(self)

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """The audit as JSON can hold it."""
        return dataclasses.asdict(self) | {"suspicions": [found._asdict() for found in self.suspicions]}


def audit(
    target: Any,
    *inputs: Any,
    in_shape: tuple[int, ...] | None = None,
    sizes: Mapping[str, int] | None = None,
    argnums: int | Sequence[int] | None = None,
    reference: Callable[..., Any] | None = None,
    dtype: Any = None,
    time: bool = True,
    seed: int = 0,
    name: str | None = None,
) -> Audit:
    """Counts what a derivation costs, beside ``jax.vjp`` of its forward and of ``jax.checkpoint`` of it.

    It says nothing of whether the derivation is right: ``check`` does. Takes ``target``, ``inputs``, ``in_shape``,
    ``argnums`` and ``seed`` as ``check`` does. ``reference``: a plain function of the same value, to be differentiated
    by JAX in place of the forward, as a kernel cannot be.
    ``sizes``: of the axes by name; the others have some 100 elements, fewer if an argument would be too large. For a
    Layer N, the batch. ``dtype``: of all floating arguments; by default float32, or what the given arrays have.
    ``time``: whether the compiled programs are run and timed.

    Raises InputError for invalid settings and complex arguments, if the forward raises, and if the derivation cannot be
    traced or compiled.
    """
    __tracebackhide__ = True
    linecache.checkcache()
    try:
        subject, inputs = with_inputs(as_subject(target, name, inputs), inputs)
        if subject.in_numpy:
            raise InputError(f"{subject.name} is NumPy code: there is no program to count")
        subject, args, asked, shown = _arguments(subject, target, inputs, in_shape, sizes, argnums, dtype, seed)
        with as_users_have_it(args):
            args = jax.tree.map(
                lambda a: jnp.asarray(a) if isinstance(a, np.ndarray) else a, with_default_integers(args)
            )
            return _audited(subject, args, asked.argnums, reference, shown, time)
    except InputError as error:
        raise shown_alone(error) from shown_alone(error.__cause__)


# ---------------------------------------------------------------- what it is tried on


def _arguments(
    subject: Subject,
    target: Any,
    inputs: tuple[Any, ...],
    in_shape: Any,
    sizes: Any,
    argnums: Any,
    dtype: Any,
    seed: int,
) -> tuple[Subject, tuple[Any, ...], Settings, str]:
    """The subject on just these arguments, the arguments, the settings, and a description of the arguments."""
    is_layer, drawn = isinstance(target, Layer), all(isinstance(given, str) for given in inputs)
    as_is = "as-is" if dtype is None and not drawn else dtype or jnp.float32
    asked = settings(
        target, subject, inputs, in_shape=in_shape, sizes=None if is_layer else sizes, dtypes=(jnp.float32,), seed=seed,
        dtype=as_is, argnums=argnums,
    )  # fmt: skip
    if is_layer:
        if unknown := mapping("sizes", sizes).keys() - {"N"}:
            raise InputError(f"sizes of a Layer is for N, the batch; got {', '.join(unknown)}")
        n = whole("the batch N", (sizes or {}).get("N", SIZES[0]), 1)
        draw = layer_draw(target, asked.in_shape or (), n, seed, True)
        return subject, cast(draw.args, asked.dtypes[0]), asked, draw.shown
    if asked.are_arrays:
        arrays = arrays_of(subject, inputs)
        arrays = arrays if dtype is None else cast(arrays, asked.dtypes[0])
        return subject.taking(len(arrays)), arrays, asked, "given arrays"
    drawing = asked._replace(sizes=_sizes(subject, inputs, asked.sizes), argnums=None)
    with jax.enable_x64(True):
        subject, found = inputs_for(subject, target, inputs, drawing)
    return subject, found.draws[0].args, asked, found.draws[0].shown


def _sizes(subject: Subject, shapes: Sequence[str], given: Mapping[str, int]) -> dict[str, int]:
    """The size of every named axis."""
    specs = specs_of(subject, shapes, {}, {})
    names = axis_names(specs)
    for halved in range(DOUBLED + SIZES[0].bit_length()):
        chosen = {
            name: max(1, (size << DOUBLED) >> halved) for name, size in zip(names, SIZES * 2, strict=False)
        } | dict(given)
        table = {name: (size,) for name, size in chosen.items()}
        fits = all(math.prod(shape_of(leaf, table)) <= LARGEST for leaf in flat(specs))
        if fits and (halved >= DOUBLED or math.prod(chosen.values()) <= PRODUCT):
            break
    return chosen


# ---------------------------------------------------------------- what it costs


def _audited(subject: Subject, args: tuple[Any, ...], argnums: Any, reference: Any, shown: str, time: bool) -> Audit:
    floats = floats_of(args)
    if any(isinstance(leaf, Complex) or is_complex(leaf) for leaf in jax.tree.leaves(args, is_leaf=_is_pair)):
        raise InputError(f"{subject.name} takes complex arguments: only real ones are counted")
    if not floats:
        raise InputError(f"the input of {subject.name} has no floating argument: there is nothing to differentiate")
    everything = range(len(args))
    wanted = everything if argnums is None else argnums
    hand = by_hand(subject, args, wanted) if subject.by_hand else _by_rules(subject, args, wanted)
    if not hand.places:
        raise InputError(f"the backward of {subject.name} has no cotangent that is asked for")
    left = [i for i in everything if i not in wanted and floats_of(args[i]) and subject.by_hand]
    others = [(subject.arguments[i], _total(by_hand(subject, args, [i]))) for i in left]
    passes, notes = _beside(subject, args, hand, reference)
    columns = _columns(subject.name, passes, pack(args).arrays, time)
    found = suspicions(floats, hand, passes.get("autodiff"), others)
    dtype = "/".join(dict.fromkeys(leaf.dtype.name for leaf in floats))
    return Audit(subject.name, dtype, shown, jax.default_backend(), columns, tuple(found), notes)


def _is_pair(part: Any) -> bool:
    return isinstance(part, Complex)


def _beside(
    subject: Subject, args: tuple[Any, ...], hand: Passes, reference: Any
) -> tuple[dict[str, Passes], tuple[str, ...]]:
    """The passes by hand with those of autodiff beside them; if there is no autodiff, the reason."""
    subject = on_its_rung(subject.beside(reference, None), args)
    if subject.reference == DIFFERENCES and not subject.by_hand:
        raise InputError(f"{subject.name} holds no hand-written backward")
    passes = {"by hand": hand}
    try:
        passes["autodiff"] = by_autodiff(subject.primal, args, hand.places)
        passes["checkpoint"] = by_autodiff(subject.primal, args, hand.places, checkpoint=True)
    except Exception as error:
        return passes, (f"no {'checkpoint' if len(passes) > 1 else 'autodiff'}: {first_line(error)}",)
    return passes, ()


def _by_rules(subject: Subject, args: tuple[Any, ...], argnums: Any) -> Passes:
    leaves = [(i, leaf) for i, arg in enumerate(args) for leaf in jax.tree.leaves(arg)]
    places = [n for n, (i, leaf) in enumerate(leaves) if i in argnums and floats_of(leaf)]
    try:
        return by_autodiff(subject.primal, args, places)
    except Exception as error:
        raise InputError(f"{subject.name} cannot be traced: {type(error).__name__}: {first_line(error)}") from error


def _total(passes: Passes) -> Any:
    return count(passes.fwd) + count(passes.bwd)


def _columns(name: str, passes: Mapping[str, Passes], arrays: Sequence[Any], time: bool) -> dict[str, Costs]:
    try:
        programs = [compiled(each, arrays) for each in passes.values()]
        times: Sequence[Any] = timed(programs) if time else [None] * len(programs)
    except Exception as error:
        text = f"{name} cannot be compiled and run: {type(error).__name__}: {first_line(error)}"
        raise InputError(text) from error
    columns = {}
    for (called, each), program, seconds in zip(passes.items(), programs, times, strict=True):
        counted, twice, flops = _total(each), computed_twice(each), dict[str, int]()
        for product in counted.products:
            operands = "·".join(dict.fromkeys(product.operands))
            dtypes = operands if {product.result} == {*product.operands} else f"{operands} → {product.result}"
            flops[dtypes] = flops.get(dtypes, 0) + product.flops
        own, kept = (sum(bytes_of(each.fwd.types[n]) for n in some) for some in (each.own, each.residuals))
        columns[called] = Costs(
            sum(p.times for p in counted.products), flops, counted.operations, counted.transcendental, own, kept - own,
            twice.work.flops, twice.work.operations, twice.bytes, program.temporary_bytes, program.argument_bytes,
            program.result_bytes, program.flops, seconds and tuple(seconds), tuple(dict.fromkeys(counted.opaque)),
            counted.endless,
        )  # fmt: skip
    return columns
