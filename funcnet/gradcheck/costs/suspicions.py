"""What is suspicious in a derivation's costs: each is a fact of its programs, and some are meant."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from ..engine.jaxprs import Line, Program, Step
from ..report import shown_path
from .count import FLOPS, MOVES, TRANSCENDENTAL, Count, Product, bytes_of, count, count_step, steps_of
from .passes import Passes

SUSPICIONS = {
    "wide-product": "a product of {} operands, though no argument is wider than {}",
    "uneven-precision": "the backward multiplies {}, and the forward does not",
    "unread-residual": "the forward keeps {}, which the backward does not read",
    "recomputable-residual": "the forward keeps {}, which {} from what is kept anyway",
    "more-residuals": "it keeps {}, autodiff {}, and it computes no less",
    "more-products": "it takes {} of products, autodiff {}, and it keeps no less",
    "large-array": "it makes an array {}, {} times as large as any argument, result or cotangent",
    "unneeded-cotangent": "the cotangent of {} takes {}, and argnums does not ask for it",
}
SHARE = 0.05  # of the bytes of all residuals, or of the work of all products: less is not worth a line
LARGE = 4  # times the largest array outside: the gates of an LSTM lie side by side
CLEARLY = 1.1  # times as many as autodiff
FEW = 3  # operations on each element that make a residual again, none of them an exponential or the like


class Suspicion(NamedTuple):
    """``id`` is a key of SUSPICIONS; the line is that of the code in question, if there is one."""

    id: str
    text: str
    file: str | None = None
    line: int | None = None
    source: str | None = None

    def __str__(self) -> str:
        where = f"\n    {shown_path(self.file)}:{self.line}: {self.source}" if self.file else ""
        return f"{self.id}: {self.text}{where}"


def suspicion(kind: str, *details: Any, line: Line | None = None) -> Suspicion:
    """A suspicion of that id, with its sentence filled in."""
    return Suspicion(kind, SUSPICIONS[kind].format(*details), *(line[:3] if line else ()))


def suspicions(
    args: Sequence[Any], hand: Passes, autodiff: Passes | None, others: Sequence[tuple[str, Count]] = ()
) -> list[Suspicion]:
    """All that is suspicious in a derivation, beside autodiff if there is that.

    ``args``: the floating arguments. ``others``: the arguments that nobody asked for, and what their cotangents take.
    """
    found = [*_products(args, hand, autodiff), *_residuals(hand), *_large(hand)]
    found += _beside(hand, autodiff) if autodiff else []
    amounts = ((name, counted.flops + counted.operations) for name, counted in others)
    return found + [suspicion("unneeded-cotangent", name, shown_flops(n)) for name, n in amounts if n]


def shown_bytes(n: float) -> str:
    """``1.5 MiB``."""
    return _shown(n, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def shown_flops(n: float) -> str:
    """``1.5 MFLOP``."""
    return _shown(n, 1000, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"))


def _shown(n: float, base: int, units: Sequence[str]) -> str:
    power = min(int(math.log(n, base)), len(units) - 1) if n >= 1 else 0
    return f"{n / base**power:.{3 if n < 1000 * base**power else 4}g} {units[power]}"


def _array(aval: Any) -> str:
    return f"{aval.dtype.name}{list(aval.shape)}"


# ---------------------------------------------------------------- products


def _products(args: Sequence[Any], hand: Passes, autodiff: Passes | None) -> Iterator[Suspicion]:
    widest = max(args, key=lambda arg: arg.dtype.itemsize).dtype
    first, second = ([p for p in count(program).products if _is_float(p)] for program in (hand.fwd, hand.bwd))
    least = SHARE * sum(p.flops for p in (*first, *second))
    wide = [p for p in (*first, *second) if _narrowest(p).itemsize > widest.itemsize]
    usual = (*first, *(count(autodiff.bwd).products if autodiff else ()))  # the derivative of a step may be sharper
    known = {(_narrowest(p), p.precision) for p in usual}
    uneven = [p for p in second if first and (_narrowest(p), p.precision) not in known and p not in wide]
    for p in _one_a_line(wide, least):
        yield suspicion("wide-product", _narrowest(p).name, widest.name, line=p.line)
    for p in _one_a_line(uneven, least):
        how = f" with precision {p.precision}" if p.precision else ""
        yield suspicion("uneven-precision", f"in {_narrowest(p).name}{how}", line=p.line)


def _narrowest(product: Product) -> Any:
    return min(map(jnp.dtype, product.operands), key=lambda dtype: dtype.itemsize)


def _is_float(product: Product) -> bool:
    return jnp.issubdtype(_narrowest(product), jnp.floating)


def _one_a_line(products: Sequence[Product], least: float) -> list[Product]:
    return list({p.line[:2]: p for p in products if p.flops >= least}.values())


# ---------------------------------------------------------------- residuals


def _residuals(hand: Passes) -> Iterator[Suspicion]:
    types = hand.fwd.types
    kept = sum(bytes_of(types[n]) for n in hand.residuals)
    for aval in hand.unread:
        if bytes_of(aval) > SHARE * kept:
            yield suspicion("unread-residual", _array(aval))
    made = {n: step for step in hand.fwd.steps for n in step.outs}
    there = {*hand.residuals, *hand.fwd.constants}
    for n in sorted(hand.own, key=lambda n: -bytes_of(types[n])):
        steps = _ways_back(hand.fwd, made, n, there - {n})
        if steps is not None and bytes_of(types[n]) > SHARE * kept:
            there.remove(n)
            names = ", ".join(dict.fromkeys(s.primitive for s in steps if s.primitive not in MOVES)) or "a copy"
            yield suspicion("recomputable-residual", _array(types[n]), f"{names} makes", line=made[n].line)


def _ways_back(program: Program, made: dict[int, Step], n: int, there: set[int]) -> list[Step] | None:
    """The few cheap steps that make a value of what is there; None if there are none such."""
    steps: dict[int, Step] = {}
    left = [n]
    while left:
        step = made.get(left.pop())
        if step is None or not _is_cheap(program, step):
            return None
        steps[id(step)] = step
        left += [i for i in step.ins if i not in there and not (i in made and id(made[i]) in steps)]
        if sum(s.primitive not in MOVES for s in steps.values()) > FEW:
            return None
    return list(steps.values())


def _is_cheap(program: Program, step: Step) -> bool:
    if step.bodies or step.primitive in FLOPS or step.primitive in TRANSCENDENTAL:
        return False
    size = max(math.prod(program.types[n].shape) for n in step.outs)
    (taken,) = steps_of(Program((), (), {}, [step], program.types))
    counted = count_step(taken, program)
    return not counted.opaque and not step.primitive.startswith("random") and counted.operations <= size


def _large(hand: Passes) -> Iterator[Suspicion]:
    """The largest array that a product reads or makes, or that is kept, if nothing outside is so large.

    Any other array may never lie in memory, as compilers fuse what works element by element.
    """
    outside = (*hand.fwd.inputs, *hand.fwd.outputs[: hand.ys])
    most = max(math.prod(hand.fwd.types[n].shape) for n in outside)
    found: list[tuple[int, Any, Line]] = []
    for program in (hand.fwd, hand.bwd):
        steps = [taken.step for taken in steps_of(program)]
        there = {n for step in steps if step.primitive in FLOPS for n in (*step.ins, *step.outs)}
        there |= {*program.outputs}
        sizes = (
            (math.prod(program.types[n].shape), program.types[n], s.line) for s in steps for n in s.outs if n in there
        )
        found += sizes
    size, aval, line = max(found, key=lambda item: item[0], default=(0, None, None))
    if size > LARGE * most:
        yield suspicion("large-array", _array(aval), f"{size / most:.3g}", line=line)


# ---------------------------------------------------------------- beside autodiff


def _beside(hand: Passes, autodiff: Passes) -> Iterator[Suspicion]:
    kept, by_autodiff = (sum(bytes_of(p.fwd.types[n]) for n in p.own) for p in (hand, autodiff))
    own, other = (count(p.fwd) + count(p.bwd) for p in (hand, autodiff))
    if kept > CLEARLY * by_autodiff and own.flops + own.operations >= other.flops + other.operations:
        yield suspicion("more-residuals", shown_bytes(kept), shown_bytes(by_autodiff))
    if own.flops > CLEARLY * other.flops and kept >= by_autodiff:
        yield suspicion("more-products", shown_flops(own.flops), shown_flops(other.flops))
