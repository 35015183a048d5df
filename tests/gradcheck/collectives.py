"""Sums over devices in backwards with ``shard_map``, right and wrong: python -m tests.gradcheck.collectives tries all.

Each forward has its backward with points at which something is summed over axes of the mesh; a mistake is another set
of axes at one point.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec as P

from funcnet import gradcheck
from funcnet.devices import mesh
from funcnet.types import Rule

N, I, O = 4, 6, 8  # noqa: E741
RNG = np.random.default_rng(7)
X, W, Z = RNG.normal(size=(N, I)), RNG.normal(size=(I, O)), RNG.normal(size=(N, O))
TABLE, TOKENS = RNG.normal(size=(8, 3)), np.array([1, 6, 3, 6], np.int32)
DATA, MODEL, BOTH = ("data",), ("model",), ("data", "model")


def over(f, in_specs, out_specs):
    return jax.shard_map(f, mesh=mesh(data=2, model=2), in_specs=in_specs, out_specs=out_specs, check_vma=False)


def total(x, axes):
    return lax.psum(x, axes) if axes else x


def columns(at):
    """y = x w with the columns of w apart."""
    specs = P("data", None), P(None, "model")

    def fwd(x, w):
        return over(lambda x, w: x @ w, specs, P("data", "model"))(x, w), (x, w)

    def bwd(r, dy):
        back = lambda x, w, dy: (total(dy @ w.T, at["dx"]), total(x.T @ dy, at["dw"]))  # noqa: E731
        return over(back, (*specs, P("data", "model")), specs)(*r, dy)

    return Rule(fwd, bwd), (X, W)


def rows(at):
    """y = x w with the rows of w apart, so that the forward sums."""
    specs = P("data", "model"), P("model", None)

    def fwd(x, w):
        return over(lambda x, w: lax.psum(x @ w, "model"), specs, P("data", None))(x, w), (x, w)

    def bwd(r, dy):
        back = lambda x, w, dy: (total(dy @ w.T, at["dx"]), total(x.T @ dy, at["dw"]))  # noqa: E731
        return over(back, (*specs, P("data", None)), specs)(*r, dy)

    return Rule(fwd, bwd), (X, W)


def bias(at):
    def fwd(x, b):
        return over(lambda x, b: x + b[None], (P("data", None), P()), P("data", None))(x, b), ()

    def bwd(r, dy):
        return over(lambda dy: (dy, total(dy.sum(axis=0), at["db"])), P("data", None), (P("data", None), P()))(dy)

    return Rule(fwd, bwd), (X, X[0])


def gain(at):
    specs = P("data", None), P()

    def fwd(x, g):
        return over(lambda x, g: x * g[None], specs, P("data", None))(x, g), (x, g)

    def bwd(r, dy):
        back = lambda x, g, dy: (dy * g[None], total((dy * x).sum(axis=0), at["dg"]))  # noqa: E731
        return over(back, (*specs, P("data", None)), specs)(*r, dy)

    return Rule(fwd, bwd), (X, X[0])


def embedding(at):
    """Rows of a table that is split along its vocabulary."""

    def own(tokens, size):
        at_home = tokens - lax.axis_index("model").astype(np.int32) * np.int32(size)
        return jnp.where((at_home >= 0) & (at_home < size), at_home, np.int32(size))

    def look(table, tokens):
        found = jnp.take(table, own(tokens, len(table)), axis=0, mode="fill", fill_value=0)
        return lax.psum(found, "model")

    def fwd(table):
        return over(look, (P("model", None), P("data")), P("data", None))(table, jnp.asarray(TOKENS)), None

    def bwd(r, dy):
        def back(tokens, dy):
            return total(jnp.zeros((4, 3)).at[own(tokens, 4)].add(dy, mode="drop"), at["dtable"])

        return (over(back, (P("data"), P("data", None)), P("model", None))(jnp.asarray(TOKENS), dy),)

    return Rule(fwd, bwd), (TABLE,)


def softmax(at):
    """Along an axis that is split."""
    spec = P("data", "model")

    def soft(z):
        e = jnp.exp(z - lax.pmax(lax.stop_gradient(z.max(axis=1, keepdims=True)), "model"))
        return e / lax.psum(e.sum(axis=1, keepdims=True), "model")

    def fwd(z):
        y = over(soft, spec, spec)(z)
        return y, y

    def bwd(y, dy):
        back = lambda y, dy: y * (dy - total((dy * y).sum(axis=1, keepdims=True), at["inner"]))  # noqa: E731
        return (over(back, (spec, spec), spec)(y, dy),)

    return Rule(fwd, bwd), (Z,)


def centred(at):
    spec = P("data", None)

    def fwd(x):
        return over(lambda x: x - lax.psum(x.sum(axis=0, keepdims=True), "data") / N, spec, spec)(x), None

    def bwd(r, dy):
        return (over(lambda dy: dy - total(dy.sum(axis=0, keepdims=True), at["inner"]) / N, spec, spec)(dy),)

    return Rule(fwd, bwd), (X,)


def linear_attention(at):
    """Keys and values in blocks on the devices: y = Σ q kᵀ v."""
    specs = P(), P("data", None), P("data", None)

    def fwd(q, k, v):
        return over(lambda q, k, v: lax.psum(q @ k.T @ v, "data"), specs, P())(q, k, v), (q, k, v)

    def bwd(r, dy):
        def back(q, k, v, dy):
            dp = dy @ v.T
            return total(dp @ k, at["dq"]), total(dp.T @ q, at["dk"]), (q @ k.T).T @ dy

        return over(back, (*specs, P()), specs)(*r, dy)

    return Rule(fwd, bwd), (X[:3], X, X[::-1].copy())


def norm(at):
    """The sum of all squares, over all devices."""
    spec = P("data", "model")

    def fwd(z):
        return over(lambda z: lax.psum((z * z).sum(), BOTH), spec, P())(z), z

    def bwd(z, dy):
        return (over(lambda z, dy: total(2 * z * dy, at["dz"]), (spec, P()), spec)(z, dy),)

    return Rule(fwd, bwd), (Z,)


RIGHT = {
    columns: {"dx": MODEL, "dw": DATA},
    rows: {"dx": (), "dw": DATA},
    bias: {"db": DATA},
    gain: {"dg": DATA},
    embedding: {"dtable": DATA},
    softmax: {"inner": MODEL},
    centred: {"inner": DATA},
    linear_attention: {"dq": DATA, "dk": ()},
    norm: {"dz": ()},
}
MISSING, EXTRA, WRONG = "missing-all-reduce", "extra-all-reduce", "wrong-axis-all-reduce"
PLANTED = [
    (columns, "dx", (), MISSING, "model"),
    (columns, "dw", (), MISSING, "data"),
    (columns, "dx", DATA, WRONG, "data"),
    (columns, "dw", MODEL, WRONG, "model"),
    (columns, "dx", BOTH, EXTRA, "data"),
    (rows, "dw", (), MISSING, "data"),
    (rows, "dw", MODEL, WRONG, "model"),
    (rows, "dx", MODEL, EXTRA, "model"),
    (bias, "db", (), MISSING, "data"),
    (bias, "db", BOTH, EXTRA, "model"),
    (gain, "dg", (), MISSING, "data"),
    (gain, "dg", MODEL, WRONG, "model"),
    (embedding, "dtable", (), MISSING, "data"),
    (softmax, "inner", (), MISSING, "model"),
    (softmax, "inner", DATA, WRONG, "data"),
    (centred, "inner", (), MISSING, "data"),
    (centred, "inner", MODEL, WRONG, "model"),
    (linear_attention, "dq", (), MISSING, "data"),
    (linear_attention, "dk", DATA, EXTRA, "data"),
    (norm, "dz", DATA, EXTRA, "data"),
]


def report_of(forward, changed=None):
    """The checker's report on a backward, right or with other axes at one point."""
    rule, args = forward(RIGHT[forward] | (changed or {}))
    return gradcheck.check(rule, *map(jnp.asarray, args), dtypes=(), progress=False)


def main():
    right = sum(bool(report_of(forward)) for forward in RIGHT)
    print(f"{right} of {len(RIGHT)} right backwards are correct")
    caught = named = 0
    for forward, point, axes, mistake, axis in PLANTED:
        report = report_of(forward, {point: axes})
        found = [(finding.mistake, finding.axis) for finding in report.findings]
        caught += report.verdict == "wrong"
        named += found == [(mistake, axis)]
        print(f"{forward.__name__:16} {point:6} over {' and '.join(axes) or 'none':14} {found}", flush=True)
    print(f"of {len(PLANTED)} planted mistakes {caught} caught, {named} named with their axis")
    return int(right < len(RIGHT) or named < len(PLANTED))


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 4)
    jax.config.update("jax_enable_x64", True)
    sys.exit(main())
