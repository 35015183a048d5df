"""Sums over the devices of a mesh that a backward lacks, has once too often, or takes over another axis.

The backward is traced and run again with one edit: a sum more at a result of a ``shard_map`` or at a reduction in it, a
sum less, or a sum over another axis of the mesh. If the edit makes a wrong gradient right, it is the remedy.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax

from ..engine.jaxprs import CALLS, CUSTOM, equations, line_of
from ..engine.leaves import close
from ..judge.form import run_backward
from ..judge.probe import Probe
from ..report import Finding
from ..trial.subject import Subject
from .evidence import finding_at

SUMS = frozenset({"psum", "psum_invariant"})
COLLECTIVES = SUMS | {"all_gather", "all_to_all", "ppermute", "reduce_scatter", "pmax", "pmin", "all_gather_invariant"}
REDUCTIONS = frozenset({"reduce_sum", "dot_general", "reduce_max"})
TEXTS = {
    "missing-all-reduce": "lacks a sum over the axis {} of the mesh: each device has its own part",
    "extra-all-reduce": "is summed over the axis {} of the mesh, along which it is whole already",
    "wrong-axis-all-reduce": "is summed over the axis {} of the mesh instead of {}",
}


class Edit(NamedTuple):
    """Exchanges the result ``out`` of an equation for what ``change`` makes of its operands' and its own values."""

    mistake: str
    axes: tuple[str, ...]
    equation: Any
    out: int
    change: Callable[[Any, Any], Any]


def in_devices(subject: Subject, args: Any, residuals: Any, dy: Any) -> Any:
    """The backward's jaxpr, if there is a ``shard_map`` in it."""
    try:
        closed = jax.make_jaxpr(lambda r, d: run_backward(subject, args, r, d))(residuals, dy)
    except Exception:  # it looks at values
        return None
    return closed if any(eqn.primitive.name == "shard_map" for eqn in equations(closed.jaxpr)) else None


def explain(subject: Subject, probes: Sequence[Probe], wrong: Sequence[int]) -> tuple[list[Finding], list[int]]:
    """Findings of the edits that make wrong leaves right on every probe, and the leaves that are left."""
    p, found, left = probes[0], list[Finding](), list(wrong)
    closed = in_devices(subject, p.draw.args, p.residuals, p.dys[0])
    if closed is None:
        return [], left
    for edit in _edits(closed.jaxpr):
        try:
            gots = [_edited(closed, edit, [p.residuals, dy]) for dy in p.dys]
        except Exception:  # no such sum is possible there
            continue
        right = {i for i in range(len(p.leaves)) if all(close(g[i], r[i]) for g, r in zip(gots, p.refs, strict=True))}
        mended = [i for i in left if i in right]
        if mended and right >= set(range(len(p.leaves))) - set(wrong):
            text, leaves = TEXTS[edit.mistake].format(*edit.axes), [p.leaves[i] for i in mended]
            found.append(finding_at(line_of(edit.equation), leaves, edit.mistake, text, axis=edit.axes[0]))
            left = [i for i in left if i not in mended]
    return found, left


def notes(subject: Subject, args: Any, residuals: Any, dy: Any) -> list[str]:
    """What a rule with a ``shard_map`` in its backward sends between devices; nothing for any other."""
    closed = in_devices(subject, args, residuals, dy)
    if closed is None:
        return []
    sides = {"forward": jax.make_jaxpr(lambda *args: subject.fwd(*args)[0])(*args), "backward": closed}
    return [f"{side}: {'; '.join(listed(traced)) or 'nothing is sent'}" for side, traced in sides.items()]


def listed(closed: Any) -> list[str]:
    """Each collective of a jaxpr with its axes and the bytes of a device's operands."""
    found = []
    for eqn in equations(closed.jaxpr):
        if eqn.primitive.name in COLLECTIVES:
            axes = eqn.params.get("axes", eqn.params.get("axis_name", ()))
            named = ", ".join(map(str, axes if isinstance(axes, tuple) else (axes,)))
            size = sum(math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in eqn.invars)
            found.append(f"{eqn.primitive.name} over {named} of {size:,} bytes")
    return found


# ---------------------------------------------------------------- the edits


def _edits(jaxpr: Any) -> Iterator[Edit]:
    """Sums less and over other axes first: they are there to be seen."""
    maps = [eqn for eqn in equations(jaxpr) if eqn.primitive.name == "shard_map"]
    for eqn in maps:
        names = [name for name, size in eqn.params["mesh"].shape.items() if size > 1]
        for inner in equations(eqn.params["jaxpr"]):
            if inner.primitive.name in SUMS:
                axes = tuple(inner.params["axes"])
                others = [name for name in names if name not in axes]
                for n in range(len(inner.outvars)):
                    for kept in itertools.chain([()], ([name] for name in axes if len(axes) == 2)):
                        dropped = tuple(name for name in axes if name not in kept)
                        yield Edit("extra-all-reduce", dropped, inner, n, _summed(kept))
                    for other in others:
                        yield Edit("wrong-axis-all-reduce", (axes[0], other), inner, n, _summed([other]))
    for eqn in maps:
        names = [name for name, size in eqn.params["mesh"].shape.items() if size > 1]
        for n, spec in enumerate(eqn.params["out_specs"]):
            split = {part for parts in spec for part in (parts if isinstance(parts, tuple) else (parts,))}
            for name in (name for name in names if name not in split):
                yield Edit("missing-all-reduce", (name,), eqn, n, _joined(lax.psum, name))
        for inner in equations(eqn.params["jaxpr"]):
            if inner.primitive.name in REDUCTIONS:
                total = lax.pmax if inner.primitive.name == "reduce_max" else lax.psum
                for name in names:
                    yield Edit("missing-all-reduce", (name,), inner, 0, _joined(total, name))


def _joined(total: Callable[..., Any], axis: str) -> Callable[[Any, Any], Any]:
    return lambda operand, out: total(out, axis)


def _summed(axes: Sequence[str]) -> Callable[[Any, Any], Any]:
    return lambda operand, out: lax.psum(operand, tuple(axes)) if axes else operand


# ---------------------------------------------------------------- run again


def _edited(closed: Any, edit: Edit, inputs: Any) -> list[np.ndarray]:
    run = jax.jit(lambda *leaves: _run(closed.jaxpr, closed.consts, leaves, edit))
    return [np.asarray(leaf) for leaf in run(*jax.tree.leaves(inputs))]


def _run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], edit: Edit) -> list[Any]:
    """The jaxpr on ``args``, with the edit in force at its equation."""
    env: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def value(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else env[atom]

    for eqn in jaxpr.eqns:
        values = [value(atom) for atom in eqn.invars]
        outs = _performed(eqn, values, edit)
        if eqn is edit.equation and eqn.primitive.name != "shard_map":
            outs[edit.out] = edit.change(values[min(edit.out, len(values) - 1)], outs[edit.out])
        env.update(zip(eqn.outvars, outs, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _performed(eqn: Any, values: list[Any], edit: Edit) -> list[Any]:
    name = eqn.primitive.name
    if name == "shard_map":
        return _mapped(eqn, values, edit)
    if (key := (CALLS | CUSTOM).get(name)) is not None:
        called = eqn.params[key]
        return _run(getattr(called, "jaxpr", called), getattr(called, "consts", ()), values, edit)
    outs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return list(outs) if eqn.primitive.multiple_results else [outs]


def _mapped(eqn: Any, values: list[Any], edit: Edit) -> list[Any]:
    """A ``shard_map`` whose body has the edit, or whose result ``edit.out`` has it at the end of the body."""

    def body(*args: Any) -> list[Any]:
        outs = _run(eqn.params["jaxpr"], (), args, edit)
        if eqn is edit.equation:
            outs[edit.out] = edit.change(None, outs[edit.out])
        return outs

    ins, outs = tuple(eqn.params["in_specs"]), list(eqn.params["out_specs"])
    mapped = jax.shard_map(body, mesh=eqn.params["mesh"], in_specs=ins, out_specs=outs, check_vma=False)
    return list(mapped(*values))
