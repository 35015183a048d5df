"""What a backward computes again that its forward has computed: found by giving equal values equal names."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..engine.jaxprs import Line, Program, Step, counts
from .count import Count, Taken, bytes_of, count_step, steps_of
from .passes import Passes

COMMUTE = {"add", "mul", "max", "min"}


class Twice(NamedTuple):
    """``work``: what is computed again. ``bytes``: of those results that the rest of the backward reads, which the
    forward would have to keep instead. ``lines``: where it is computed again."""

    work: Count
    bytes: int
    lines: tuple[Line, ...]


class Named(NamedTuple):
    """A step, and the name of what it computes."""

    taken: Taken
    name: int


def computed_twice(passes: Passes) -> Twice:
    """What the backward computes with the same operands as the forward: in every turn, if it is in a loop."""
    names = _Names()
    known: dict[int, int] = {}
    first = names.of_program(passes.fwd, [names.of("argument", i) for i in range(len(passes.fwd.inputs))], known)
    done = {name for _, name in first}
    saved = [known[n] for n in passes.fwd.outputs[passes.ys :]]
    second = names.of_program(passes.bwd, [*saved, *(names.of("dy", i) for i in range(len(passes.dys)))], {})
    again = [taken for taken, name in second if name in done and _has_cost(count_step(taken, passes.bwd))]
    own = {n for taken in again for n in taken.step.outs}
    others = [taken.step for taken, name in second if name not in done]
    read = own & ({n for step in others for n in step.ins} | set(passes.bwd.outputs))
    lines = {taken.step.line[:2]: taken.step.line for taken in again}
    total = sum((count_step(taken, passes.bwd) for taken in again), Count())
    turns = {n: taken.times for taken in again for n in taken.step.outs}
    return Twice(total, sum(turns[n] * bytes_of(passes.bwd.types[n]) for n in read), tuple(lines.values()))


def _has_cost(counted: Count) -> bool:
    return bool(counted.products or counted.operations or counted.opaque)


class _Names:
    """Equal names for values that are computed by equal steps from values of equal names."""

    def __init__(self) -> None:
        self.known: dict[Hashable, int] = {}
        self.rows: dict[int, int] = {}
        """The name of one row, by the name of the array that a loop stacks it into."""

    def of(self, *key: Hashable) -> int:
        return self.known.setdefault(key, len(self.known))

    def of_program(self, program: Program, inputs: Sequence[int], known: dict[int, int], times: int = 1) -> list[Named]:
        """Every step, also in the bodies of scans. ``known`` takes the names of all values."""
        known.update(zip(program.inputs, inputs, strict=True))
        known.update((n, self.of_constant(value)) for n, value in program.constants.items())
        return [named for step in program.steps for named in self.of_step(step, known, times)]

    def of_constant(self, value: Any) -> int:
        try:
            array = np.asarray(value)
            return self.of("constant", array.dtype.str, array.shape, array.tobytes())
        except TypeError:  # a random key
            return self.of("constant", id(value))

    def of_step(self, step: Step, known: dict[int, int], times: int) -> Iterator[Named]:
        ins = [known[n] for n in step.ins]
        operands = tuple(sorted(ins) if step.primitive in COMMUTE else ins)
        name = self.of(step.primitive, str(sorted(step.params.items(), key=lambda item: item[0])), operands)
        known.update((n, self.of("result", name, i)) for i, n in enumerate(step.outs))
        if step.primitive == "scan":
            yield from self.of_turns(step, name, ins, known, times)
        elif step.bodies:
            yield from (Named(taken, name) for taken in steps_of(Program((), (), {}, [step], {}), times))
        else:
            yield Named(Taken(step, times, False), name)

    def of_turns(self, step: Step, name: int, ins: list[int], known: dict[int, int], times: int) -> list[Named]:
        """The steps of a scan's body: what a turn makes of its row is the same in any scan of these rows."""
        (body,) = step.bodies
        fixed, carried = counts(step)
        carry = [self.of("carried", name, i) for i in range(carried)]
        rows = [self.rows.get(array, self.of("row", array)) for array in ins[fixed + carried :]]
        inside = self.of_program(body, [*ins[:fixed], *carry, *rows], known, times * step.params["length"])
        stacked = zip(step.outs[carried:], body.outputs[carried:], strict=True)
        self.rows.update((known[whole], known[row]) for whole, row in stacked)
        return inside
