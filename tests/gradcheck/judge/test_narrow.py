"""Kernels that are right on normals, and err on inputs like activations: each beside its right form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl

from funcnet.gradcheck import check
from tests.gradcheck.users import as_users_have_it, rule  # noqa: F401

R = np.random.default_rng(0)


@functools.partial(jax.jit, static_argnums=0)
def kernel(f, *arrays):
    """``f`` of whole arrays as one program of Pallas, which the checker cannot widen."""
    outs = jax.eval_shape(f, *arrays)

    def body(*refs):
        for ref, value in zip(refs[len(arrays) :], f(*(ref[...] for ref in refs[: len(arrays)])), strict=True):
            ref[...] = value

    return pl.pallas_call(body, out_shape=outs, interpret=True)(*arrays)


def of_kernels(forward, backward):
    """A custom_vjp; ``forward`` gives y and residuals, ``backward`` the cotangents, each as a tuple of arrays."""

    def fwd(*args):
        y, *residuals = kernel(forward, *args)
        return y, residuals

    return rule(lambda *args: fwd(*args)[0], fwd, lambda residuals, dy: tuple(kernel(backward, *residuals, dy)))


def added_up(x, axis):
    """The sum along an axis, in the dtype of x from first to last: ``jnp.sum`` adds bfloat16 in float32."""
    rows = jnp.moveaxis(x, axis, 0)
    return jax.lax.fori_loop(0, len(rows), lambda i, total: total + rows[i], jnp.zeros_like(rows[0]))


def wide(*arrays):
    return tuple(a.astype(jnp.float32) for a in arrays)


# ---------------------------------------------------------------- norms


def normalized(variance, compute=jnp.float32):
    """Layer norm without gain, the variance by ``variance(x, mean)``, in the dtype ``compute``."""

    def forward(x):
        z = x.astype(compute)
        mean = z.mean(axis=-1, keepdims=True)
        rstd = jax.lax.rsqrt(variance(z, mean) + jnp.asarray(1e-5, compute))
        y = (z - mean) * rstd
        return y.astype(x.dtype), y, rstd

    def backward(y, rstd, dy):
        g = dy.astype(compute)
        dx = rstd * (g - g.mean(axis=-1, keepdims=True) - y * (g * y).mean(axis=-1, keepdims=True))
        return (dx.astype(dy.dtype),)

    return of_kernels(forward, backward)


def two_pass(z, mean):
    return ((z - mean) ** 2).mean(axis=-1, keepdims=True)


def of_squares(z, mean):
    return (z * z).mean(axis=-1, keepdims=True) - mean * mean


def plain_norm(x):
    z = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = z.mean(axis=-1, keepdims=True)
    return ((z - mean) / jnp.sqrt(two_pass(z, mean) + 1e-5)).astype(x.dtype)


# ---------------------------------------------------------------- softmax


def softmax(shift):
    def forward(x):
        e = jnp.exp(x - shift * x.max(axis=-1, keepdims=True))
        y = e / e.sum(axis=-1, keepdims=True)
        return y, y

    return of_kernels(forward, lambda y, dy: (y * (dy - (dy * y).sum(axis=-1, keepdims=True)),))


def log_sum_exp(stored):
    """Of bfloat16; the backward takes the result as it was ``stored``."""

    def forward(z):
        lse = jax.nn.logsumexp(z.astype(jnp.float32), axis=-1)
        return lse, z, lse.astype(stored)

    def backward(z, lse, dy):
        p = jnp.exp(z.astype(jnp.float32) - lse.astype(jnp.float32)[:, None])
        return ((p * dy[:, None]).astype(z.dtype),)

    return of_kernels(forward, backward)


def plain_log_sum_exp(z):
    return jax.nn.logsumexp(z.astype(jnp.promote_types(z.dtype, jnp.float32)), axis=-1)


def log_partition(bits):
    """The log-sum-exp of x w, the logits with so many ``bits`` (bfloat16 has 7); the backward has them in float32."""

    def forward(x, w):
        x32, w32 = wide(x, w)
        lse = jax.nn.logsumexp(jax.lax.reduce_precision(x32 @ w32, 8, bits), axis=-1)
        return lse, x, w, lse

    def backward(x, w, lse, dy):
        a, b = wide(x, w)
        dz = jnp.exp(a @ b - lse[:, None]) * dy[:, None]
        return (dz @ b.T).astype(x.dtype), (a.T @ dz).astype(w.dtype)

    return of_kernels(forward, backward)


def plain_log_partition(x, w):
    x, w = (a.astype(jnp.promote_types(a.dtype, jnp.float32)) for a in (x, w))
    return jax.nn.logsumexp(x @ w, axis=-1)


# ---------------------------------------------------------------- sums, and functions of one number


def pooled(total):
    """The mean over all rows but one axis, the sum by ``total``."""

    def forward(x):
        return (total(x, 0) / len(x)).astype(x.dtype), x

    return of_kernels(forward, lambda x, dy: (jnp.broadcast_to(dy / len(x), x.shape).astype(x.dtype),))


def product(total):
    """x w, whose products are added up by ``total``."""

    def forward(x, w):
        return total(x[:, :, None] * w, 1).astype(x.dtype), x, w

    def backward(x, w, dy):
        a, b, g = wide(x, w, dy)
        return (g @ b.T).astype(x.dtype), (a.T @ g).astype(w.dtype)

    return of_kernels(forward, backward)


def plain_pooled(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean(axis=0).astype(x.dtype)


def plain_product(x, w):
    a, b = (leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in (x, w))
    return (a @ b).astype(x.dtype)


def pointwise(phi, slope):
    return of_kernels(lambda x: (phi(x), x), lambda x, dy: (dy * slope(x),))


def by_quotient(x):
    return jnp.exp(x) / (1 + jnp.exp(x))


def clipped_slope(x):
    """The slope of tanh(x/8) on its way to saturation, which the mistake takes for a table that ends at 5."""
    return jnp.where(jnp.abs(x) < 5, (1 - jnp.tanh(x / 8) ** 2) / 8, 0.0)


in_float32 = lambda x, axis: x.astype(jnp.float32).sum(axis=axis)  # noqa: E731
LOW, F32 = jnp.bfloat16, jnp.float32


def normal(dtype, *shape, scale=1.0):
    return jnp.asarray(scale * R.normal(size=shape), dtype)


X = normal(F32, 5, 33)
# the right kernel, the one with a mistake, the plain form, arguments, and what is found
PLANTED = {
    "variance by E[x²] − E[x]²": (normalized(two_pass), normalized(of_squares), plain_norm, (X,), "imprecise"),
    "softmax without the shift": (softmax(1.0), softmax(0.0), jax.nn.softmax, (X,), "wrong"),
    "log-sum-exp stored in bfloat16": (
        log_sum_exp(F32), log_sum_exp(LOW), plain_log_sum_exp, (normal(LOW, 17, 33),), "imprecise"
    ),
    "logits in bfloat16, again in float32": (
        log_partition(23), log_partition(7), plain_log_partition, (normal(LOW, 5, 7), normal(LOW, 7, 33)), "wrong"
    ),
    "a mean added up in bfloat16": (
        pooled(in_float32), pooled(added_up), plain_pooled, (normal(LOW, 300, 7),), "imprecise"
    ),
    "products added up in bfloat16": (
        product(in_float32), product(added_up), plain_product,
        (normal(LOW, 5, 400), 1 + normal(LOW, 400, 3, scale=0.1)),
        "imprecise",
    ),
    "sigmoid by a quotient": (
        pointwise(jax.nn.sigmoid, lambda x: jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)),
        pointwise(by_quotient, lambda x: by_quotient(x) * (1 - by_quotient(x))), jax.nn.sigmoid, (X,), "wrong",
    ),
    "(exp(x) − 1)/x": (
        pointwise(lambda x: jnp.expm1(x) / x, lambda x: (jnp.exp(x) - jnp.expm1(x) / x) / x),
        pointwise(lambda x: (jnp.exp(x) - 1) / x, lambda x: (jnp.exp(x) - (jnp.exp(x) - 1) / x) / x),
        lambda x: jnp.expm1(x) / x, (X + 0.7 * jnp.sign(X),), "wrong",
    ),
    "a slope that ends too early": (
        pointwise(lambda x: jnp.tanh(x / 8), lambda x: (1 - jnp.tanh(x / 8) ** 2) / 8),
        pointwise(lambda x: jnp.tanh(x / 8), clipped_slope), lambda x: jnp.tanh(x / 8), (X,), "wrong",
    ),
}  # fmt: skip


QUICK = ("variance by E[x²] − E[x]²", "log-sum-exp stored in bfloat16")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in PLANTED])
def test_what_errs_on_activations_alone_is_found(name):
    right, wrong, plain, args, verdict = PLANTED[name]
    report = check(right, *args, reference=plain, dtype="as-is")
    assert report, report
    assert len(report.probes) > 1
    report = check(wrong, *args, reference=plain, dtype="as-is")
    assert report.verdict == verdict, report
    assert report.findings[0].explanation.startswith("with ")
