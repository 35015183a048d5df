"""The pairs of programs whose costs are compared: by hand, by autodiff, and by autodiff of ``jax.checkpoint``."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

from ..engine.jaxprs import CALLS, CUSTOM, LOOPS, Program, flattened, pruned
from ..engine.leaves import first_line, is_float, pack, unpack
from ..judge.form import cotangents_of, is_absent
from ..trial.draws import draw_cotangent
from ..trial.subject import InputError, Subject


class Passes(NamedTuple):
    """A forward and its backward, traced for the same arguments, without what nobody reads.

    The forward takes the arrays of the arguments and returns the leaves of y, then the residuals that the backward
    reads. The backward takes these residuals, then ``dys``, and returns the cotangents.
    """

    fwd: Program
    bwd: Program
    run: Callable[..., tuple[list[Any], list[Any]]]
    """(arrays, dys) to y and the cotangents, as one function."""
    dys: tuple[Any, ...]
    ys: int
    """The number of leaves of y."""
    unread: tuple[Any, ...]
    """The types of the residuals that the backward does not read, apart from arguments and results."""
    places: tuple[int, ...]
    """The leaves of the arguments that have a cotangent, by position among all leaves."""

    @property
    def residuals(self) -> tuple[int, ...]:
        """The values of the forward that it keeps for the backward, each once; constants are no values of its."""
        return tuple(n for n in dict.fromkeys(self.fwd.outputs[self.ys :]) if n not in self.fwd.constants)

    @property
    def own(self) -> tuple[int, ...]:
        """Those of them that are neither arguments nor results: memory that only the backward needs."""
        there = {*self.fwd.inputs, *self.fwd.outputs[: self.ys]}
        return tuple(n for n in self.residuals if n not in there)


def by_hand(subject: Subject, args: tuple[Any, ...], argnums: Collection[int]) -> Passes:
    """The derivation as it is written, with the cotangents of the arguments ``argnums`` alone.

    Raises InputError if it cannot be traced, or returns something other than a cotangent for each argument.
    """
    packed, places = pack(args), list[int]()

    def bwd(residuals: Any, dy: Any) -> list[Any]:
        got = subject.bwd(residuals, dy)
        if not (isinstance(got, tuple | list) and len(got) == len(args)):
            raise InputError(f"the backward of {subject.name} does not return a tuple of {len(args)} cotangents")
        found = [d for d, arg in zip(got, args, strict=True) for d in cotangents_of(d, arg)]
        if len(found) != len(jax.tree.leaves(args)):
            raise InputError(f"the backward of {subject.name} returns trees other than its arguments")
        places[:] = [i for i in _floats(args, argnums) if not is_absent(found[i])]
        return [found[i] for i in places]

    try:
        traced = _traced(lambda *arrays: subject.fwd(*unpack(packed.form, arrays)), bwd, packed.arrays)
    except InputError:
        raise
    except Exception as error:
        text = f"{subject.name} cannot be traced, so there is no program to count: {type(error).__name__}"
        raise InputError(f"{text}: {first_line(error)}") from error
    return traced._replace(places=tuple(places))


def by_autodiff(
    primal: Callable[..., Any], args: tuple[Any, ...], places: Sequence[int], checkpoint: bool = False
) -> Passes:
    """``jax.vjp`` of a function by the leaves at ``places``, or of its ``jax.checkpoint``. Raises what that raises."""
    packed = pack(args)

    def fwd(*arrays: Any) -> tuple[Any, Any]:
        leaves, structure = jax.tree.flatten(unpack(packed.form, arrays))

        def of_moving(*moving: Any) -> Any:
            filled = dict(enumerate(leaves)) | dict(zip(places, moving, strict=True))
            return primal(*jax.tree.unflatten(structure, [filled[i] for i in range(len(leaves))]))

        f = jax.checkpoint(of_moving) if checkpoint else of_moving
        return jax.vjp(f, *[leaves[i] for i in places])

    traced = _traced(fwd, lambda pullback, dy: list(pullback(dy)), packed.arrays)
    return traced._replace(places=tuple(places), unread=())  # what JAX keeps is no choice of the author's


def _floats(args: tuple[Any, ...], argnums: Collection[int]) -> list[int]:
    """The floating leaves of these arguments, by position among all leaves."""
    owners = [i for i, arg in enumerate(args) for _ in jax.tree.leaves(arg)]
    return [n for n, leaf in enumerate(jax.tree.leaves(args)) if is_float(leaf) and owners[n] in argnums]


def _traced(fwd: Callable[..., Any], bwd: Callable[[Any, Any], list[Any]], arrays: Sequence[Any]) -> Passes:
    forms: list[Any] = []

    def forward(*arrays: Any) -> tuple[Any, ...]:
        y, residuals = map(pack, fwd(*arrays))
        forms[:] = y.form, residuals.form, len(y.arrays)
        return (*y.arrays, *residuals.arrays)

    first = jax.make_jaxpr(forward)(*arrays)
    form_of_y, form, ys = forms
    dys = pack(draw_cotangent(unpack(form_of_y, tuple(first.out_avals[:ys])), np.random.default_rng(0)))
    count = len(first.out_avals) - ys

    def backward(*given: Any) -> list[Any]:
        return bwd(unpack(form, given[:count]), unpack(dys.form, given[count:]))

    second = jax.make_jaxpr(backward)(*first.out_avals[ys:], *dys.arrays)
    taken = [False] * count + [True] * len(dys.arrays)
    second, read = pruned(second, [True] * len(second.out_avals), taken)
    kept, whole = [True] * ys + read[:count], _opened(first)
    there = {*whole.inputs, *whole.outputs[:ys], *whole.constants}
    pairs = zip(whole.outputs, kept, strict=True)
    unread = tuple(whole.types[n] for n, is_read in pairs if not is_read and n not in there)
    first, _ = pruned(first, kept)

    def run(arrays: Sequence[Any], dys: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        outs = core.jaxpr_as_fun(first)(*arrays)
        return outs[:ys], core.jaxpr_as_fun(second)(*outs[ys:], *dys)

    return Passes(_opened(first), _opened(second), run, dys.arrays, ys, unread, ())


def _opened(closed: Any) -> Program:
    return flattened(closed, CALLS | CUSTOM, LOOPS, file=None)
