"""The forward as a graph, run again with the gradient through any edge scaled. The one module that touches jaxprs.

An edge is an operand of an equation. Scaling what flows back through it, and nothing of what flows forward, tells
which part of the derivative goes that way.
"""

from __future__ import annotations

import linecache
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

# Calls whose inside is part of the graph; custom derivatives are, where that leaves the derivative as it is.
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "checkpoint": "jaxpr", "remat2": "jaxpr"}
REACH = 8  # how far back a bridge goes: a sigmoid that is written out has four steps
CUSTOM = {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


class Edge(NamedTuple):
    """One operand of one equation of the forward, in program order, with the line that wrote it."""

    primitive: str
    operand: int
    file: str | None
    line: int | None
    source: str | None
    literal: float | None
    in_loop: bool


class Graph(NamedTuple):
    """A traced forward: its edges, and ``run(scales, *floats)``, which scales the gradient through each.

    ``bridges`` are the results of equations that an earlier value of the same shape leads to, and
    ``run_bridged(switches, *floats)`` lets the gradient jump over what lies between: as if its slope were 1.
    """

    edges: list[Edge]
    run: Callable[..., Any]
    bridges: list[Edge]
    run_bridged: Callable[..., Any]


@jax.custom_jvp
def _scaled(v, c):
    """v, with a gradient c times its own. (v + c·(v − stop_gradient(v)) would make NaN of infinity.)"""
    return v


@_scaled.defjvp
def _scaled_jvp(primals, tangents):
    v, c = primals
    return v, tangents[0] * c.astype(v.dtype)


@jax.custom_jvp
def _bridged(v, u, s):
    """v, with the gradient of u instead of its own where s is 1."""
    return v


@_bridged.defjvp
def _bridged_jvp(primals, tangents):
    v, _, s = primals
    s = s.astype(v.dtype)
    return v, (1 - s) * tangents[0] + s * tangents[1]


def traced_once(f: Callable[..., Any], args: list[Any]) -> Callable[..., Any]:
    """``f`` as its jaxpr, still run op by op: a loop inside is then compiled once, and not at every call.

    A function that cannot be traced, as it looks at values, comes back as it is.
    """
    try:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
    except jax.errors.JAXTypeError:
        return f
    run, structure = core.jaxpr_as_fun(closed), jax.tree.structure(shape)
    return lambda *values: jax.tree.unflatten(structure, run(*values))


def trace(f: Callable[..., Any], floats: list[Any], file: str | None, inline_custom: bool = True) -> Graph:
    """The graph of ``f(*floats)``; lines are those of ``file`` where there are any."""
    closed, shape = jax.make_jaxpr(f, return_shape=True)(*floats)
    out_tree = jax.tree.structure(shape)
    edges: dict[int, Edge] = {}
    bridges: dict[int, Edge] = {}

    def interpret(values, scale=None, bridge=None):
        walk = _Walk(scale, bridge, inline_custom)
        return jax.tree.unflatten(out_tree, walk.run(closed.jaxpr, closed.consts, values, in_loop=False))

    def record_edge(index, eqn, operand, value, in_loop):
        edges[index] = _edge(eqn, operand, in_loop, file)
        return value

    def record_bridge(index, eqn, value, earlier):
        bridges[index] = _edge(eqn, 0, False, file)
        return value

    jax.eval_shape(lambda *values: interpret(values, record_edge, record_bridge), *floats)

    def run(scales, *values):
        return interpret(values, lambda index, eqn, operand, value, in_loop: _scaled(value, scales[index]))

    def run_bridged(switches, *values):
        return interpret(values, None, lambda index, eqn, value, earlier: _bridged(value, earlier, switches[index]))

    return Graph(list(_in_order(edges)), run, list(_in_order(bridges)), run_bridged)


def _in_order(found: dict[int, Edge]) -> list[Edge]:
    return [found[i] for i in range(len(found))]


class _Walk:
    """Evaluates a jaxpr, passing every differentiable operand through ``scale`` and every result through ``bridge``
    with each of the values before it; both are numbered as they are met."""

    def __init__(self, scale: Callable[..., Any] | None, bridge: Callable[..., Any] | None, inline_custom: bool):
        self.scale, self.next = scale, 0
        self.bridge, self.next_bridge = bridge, 0
        self.calls = CALLS | CUSTOM if inline_custom else CALLS

    def run(self, jaxpr, consts, args, in_loop: bool) -> list[Any]:
        env: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
        before: dict[Any, list[Any]] = {}
        for eqn in jaxpr.eqns:
            values = [v.val if isinstance(v, core.Literal) else env[v] for v in eqn.invars]
            outs = self.equation(eqn, values, in_loop)
            if len(outs) == 1:
                outs = [self.bridged(eqn, outs[0], env, before)]
            env.update(zip(eqn.outvars, outs, strict=True))
        return [v.val if isinstance(v, core.Literal) else env[v] for v in jaxpr.outvars]

    def equation(self, eqn, values, in_loop: bool) -> list[Any]:
        name = eqn.primitive.name
        if name in self.calls:
            inner = eqn.params[self.calls[name]]
            return self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), values, in_loop)
        if name == "scan":
            return self.scan(eqn, values)
        values = self.scaled_operands(eqn, values, in_loop)
        outs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
        return list(outs) if eqn.primitive.multiple_results else [outs]

    def scaled_operands(self, eqn, values, in_loop: bool) -> list[Any]:
        """Identical operands (c·c) are one edge; literals and integers are none."""
        scale = self.scale
        if scale is None:
            return values
        scaled: dict[Any, Any] = {}
        result = []
        for operand, (v, value) in enumerate(zip(eqn.invars, values, strict=True)):
            if isinstance(v, core.Literal) or not jnp.issubdtype(v.aval.dtype, jnp.floating):
                result.append(value)
                continue
            if v not in scaled:
                scaled[v] = scale(self.next, eqn, operand, value, in_loop)
                self.next += 1
            result.append(scaled[v])
        return result

    def bridged(self, eqn, value, env, before) -> Any:
        """The result, with a bridge from each value of its shape that led to it, the nearest first, REACH at most."""
        out, bridge = eqn.outvars[0], self.bridge
        if bridge is None or not jnp.issubdtype(out.aval.dtype, jnp.floating):
            return value
        near = [v for v in eqn.invars if not isinstance(v, core.Literal) and v.aval.shape == out.aval.shape]
        near = [v for v in near if v.aval.dtype == out.aval.dtype]
        reached = list(dict.fromkeys([*near, *(u for v in near for u in before.get(v, []))]))[:REACH]
        before[out] = reached
        for earlier in reached:
            value = bridge(self.next_bridge, eqn, value, env[earlier])
            self.next_bridge += 1
        return value

    def scan(self, eqn, values) -> list[Any]:
        """The loop again, with one scale for each edge of its body, the same in every turn."""
        p = eqn.params
        inner = getattr(p["jaxpr"], "jaxpr", p["jaxpr"])
        # what is scanned over has an axis more outside than inside; the names of the counts differ among versions
        carried = sum(v.aval.ndim == b.aval.ndim for v, b in zip(eqn.outvars, inner.outvars, strict=True))
        fixed = sum(v.aval.ndim == b.aval.ndim for v, b in zip(eqn.invars, inner.invars, strict=True)) - carried
        consts, carry, xs = values[:fixed], values[fixed : fixed + carried], values[fixed + carried :]
        first, first_bridge = self.next, self.next_bridge

        def body(carry, x):
            self.next, self.next_bridge = first, first_bridge  # a body may be traced more than once
            outs = self.run(inner, getattr(p["jaxpr"], "consts", ()), [*consts, *carry, *x], in_loop=True)
            return outs[:carried], outs[carried:]

        carry, ys = lax.scan(body, list(carry), list(xs), length=p["length"], reverse=p["reverse"])
        return [*carry, *ys]


def _edge(eqn, operand: int, in_loop: bool, file: str | None) -> Edge:
    frames = getattr(eqn.source_info.traceback, "frames", None) or []
    own = [f for f in frames if f.file_name == file] or [f for f in frames if "/jax/" not in f.file_name]
    file, line = (own[0].file_name, own[0].line_num) if own else (None, None)
    source = linecache.getline(own[0].file_name, own[0].line_num).strip() if own else None
    return Edge(eqn.primitive.name, operand, file, line, source, _literal(eqn), in_loop)


def _literal(eqn) -> float | None:
    """The constant by which a product, a quotient or a power scales the gradient; NaN where its value is not known."""
    if eqn.primitive.name == "integer_pow":
        return float(eqn.params["y"])
    if eqn.primitive.name not in ("mul", "div"):
        return None
    known = [float(v.val) for v in eqn.invars if isinstance(v, core.Literal) and np.ndim(v.val) == 0]
    return known[0] if known else math.nan if any(not v.aval.shape for v in eqn.invars) else None
