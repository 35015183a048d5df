"""Functions of jax.nn, jax.numpy and jax.scipy with right backwards that are computed another way than ``jax.vjp``.

Without a formula the backward is forward mode: the whole Jacobian, contracted with dy in the dtype of the arguments.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax, nn
from jax.scipy import special

from funcnet.gradcheck.engine.leaves import is_float
from funcnet.types import Rule


class Right(NamedTuple):
    """A function, a backward that is right, and three sets of shapes, each with the arguments' split by commas."""

    name: str
    rule: Rule
    shapes: tuple[str, ...]


def forward_mode(f: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The backward of ``f`` by ``jax.jacfwd``, compiled as one; the residuals are the arguments."""

    @jax.jit
    def bwd(args, dy):
        def cotangent(i):
            jacobian = jax.jacfwd(lambda arg: f(*args[:i], arg, *args[i + 1 :]))(args[i])
            return jnp.tensordot(dy, jacobian, dy.ndim)

        return tuple(cotangent(i) if is_float(arg) else None for i, arg in enumerate(args))

    return bwd


def right(name: str, f: Callable[..., Any], shapes: tuple[str, ...], bwd: Callable[..., Any] | None = None) -> Right:
    """``bwd(dy, y, *args)`` returns the cotangents of the float arguments that come first; of one, the array itself."""

    @functools.wraps(f)
    def fwd(*args):
        y = f(*args)
        return (y, (y, *args)) if bwd else (y, args)

    def closed_form(residuals, dy):
        found = bwd(dy, *residuals)
        found = found if isinstance(found, tuple) else (found,)
        return (*found, *[None] * (len(residuals) - 1 - len(found)))

    return Right(name, Rule(fwd, closed_form if bwd else forward_mode(f)), shapes)


def total(a):
    return a.sum(-1, keepdims=True)


UNARY = "N", "N D", "2 3 D"
BINARY = "N, N", "N D, N D", "2 3 D, 2 3 D"
ROWS = "3 N", "N D", "2 3 D"
SQUARE = "2 2", "3 3", "N N"
SQRT2PI = math.sqrt(2 * math.pi)

ELEMENTWISE = [
    right("abs", lambda x: jnp.abs(x), UNARY),
    right("cbrt", lambda x: jnp.cbrt(x), UNARY),
    right("celu", lambda x: nn.celu(x, 0.7), UNARY),
    right("clip", lambda x: jnp.clip(x, -0.5, 0.8), UNARY),
    right("digamma", lambda x: special.digamma(x), UNARY),
    right("elu", lambda x: nn.elu(x), UNARY, lambda dy, y, x: jnp.where(x > 0, dy, dy * (y + 1))),
    right("entr", lambda x: special.entr(x), UNARY, lambda dy, y, x: -dy * (1 + jnp.log(x))),
    right("erf", lambda x: special.erf(x), UNARY, lambda dy, y, x: dy * jnp.exp(-x * x) * (2 / math.sqrt(math.pi))),
    right("erfc", lambda x: special.erfc(x), UNARY),
    right("erfinv", lambda x: special.erfinv(x), UNARY),
    right("expit", lambda x: special.expit(x), UNARY, lambda dy, y, x: dy * y * (1 - y)),
    right("expm1", lambda x: jnp.expm1(x), UNARY, lambda dy, y, x: dy * y + dy),
    right("gammaln", lambda x: special.gammaln(x), UNARY),
    right("gelu_exact", lambda x: nn.gelu(x, approximate=False), UNARY,
          lambda dy, y, x: dy * ((1 + lax.erf(x / math.sqrt(2))) / 2 + x * jnp.exp(-x * x / 2) / SQRT2PI)),
    right("gelu_tanh", lambda x: nn.gelu(x, approximate=True), UNARY),
    right("hard_sigmoid", lambda x: nn.hard_sigmoid(x), UNARY),
    right("hard_silu", lambda x: nn.hard_silu(x), UNARY),
    right("hard_tanh", lambda x: nn.hard_tanh(x), UNARY),
    right("i0e", lambda x: special.i0e(x), UNARY),
    right("i1e", lambda x: special.i1e(x), UNARY),
    right("leaky_relu", lambda x: nn.leaky_relu(x), UNARY),
    right("log1p", lambda x: jnp.log1p(x), UNARY, lambda dy, y, x: dy * jnp.exp(-y)),
    right("log_ndtr", lambda x: special.log_ndtr(x), UNARY),
    right("log_sigmoid", lambda x: nn.log_sigmoid(x), UNARY, lambda dy, y, x: dy * -jnp.expm1(y)),
    right("logit", lambda x: special.logit(x), UNARY, lambda dy, y, x: dy / x + dy / (1 - x)),
    right("mish", lambda x: nn.mish(x), UNARY),
    right("ndtr", lambda x: special.ndtr(x), UNARY),
    right("ndtri", lambda x: special.ndtri(x), UNARY),
    right("relu", lambda x: nn.relu(x), UNARY),
    right("relu6", lambda x: nn.relu6(x), UNARY),
    right("selu", lambda x: nn.selu(x), UNARY),
    right("silu", lambda x: nn.silu(x), UNARY, lambda dy, y, x: dy * (y + nn.sigmoid(x) * (1 - y))),
    right("sinc", lambda x: jnp.sinc(x), UNARY),
    right("soft_sign", lambda x: nn.soft_sign(x), UNARY, lambda dy, y, x: dy * (1 - jnp.abs(y)) ** 2),
    right("softplus", lambda x: nn.softplus(x), UNARY, lambda dy, y, x: dy * (1 - jnp.exp(-y))),
    right("squareplus", lambda x: nn.squareplus(x, 4.0), UNARY, lambda dy, y, x: dy * y / jnp.sqrt(x * x + 4)),
    right("swish_beta", lambda x, beta: x * nn.sigmoid(beta * x), ("N, ", "N D, D", "2 3 D, 2 3 D")),
    right("tanh", lambda x: jnp.tanh(x), UNARY, lambda dy, y, x: dy * (1 - y) * (1 + y)),
    right("arctan2", lambda y, x: jnp.arctan2(y, x), BINARY,
          lambda dz, z, y, x: (dz * x / (x * x + y * y), -dz * y / (x * x + y * y))),
    right("betaln", lambda a, b: special.betaln(a, b), BINARY),
    right("gammainc", lambda x: special.gammainc(1.7, x), UNARY),
    right("hypot", lambda x, y: jnp.hypot(x, y), BINARY,
          lambda dz, z, x, y: (dz * x / jnp.where(z == 0, 1, z), dz * y / jnp.where(z == 0, 1, z))),
    right("logaddexp", lambda x, y: jnp.logaddexp(x, y), BINARY,
          lambda dz, z, x, y: (dz * nn.sigmoid(x - y), dz * nn.sigmoid(y - x))),
    right("maximum", lambda x, y: jnp.maximum(x, y), BINARY),
    right("mod", lambda x, y: jnp.mod(x, y), BINARY),
    right("power", lambda x, y: jnp.power(x, y), BINARY),
    right("where", lambda x, y, mask: jnp.where(mask, x * y, jnp.sin(y)),
          ("N, N, N:bool", "N D, N D, N D:bool", "2 3 D, 2 3 D, D:bool")),
    right("xlog1py", lambda x, y: special.xlog1py(x, y), BINARY),
    right("xlogy", lambda x, y: special.xlogy(x, y), BINARY, lambda dz, z, x, y: (dz * jnp.log(y), dz * x / y)),
]  # fmt: skip

REDUCTIONS = [
    right("corrcoef", lambda x: jnp.corrcoef(x), ("3 N", "N D", "2 D")),
    right("logsumexp", lambda x: special.logsumexp(x, axis=-1), ROWS,
          lambda dy, y, x: dy[..., None] * jnp.exp(x - y[..., None])),
    right("max", lambda x: x.max(axis=-1), ROWS),
    right("mean", lambda x: x.mean(axis=-1), ROWS,
          lambda dy, y, x: jnp.broadcast_to(dy[..., None], x.shape) / x.shape[-1]),
    right("median", lambda x: jnp.median(x, axis=-1), ROWS),
    right("min", lambda x: x.min(axis=0), ROWS),
    right("norm", lambda x: jnp.linalg.norm(x, axis=-1), ROWS, lambda dy, y, x: (dy / y)[..., None] * x),
    right("norm_1", lambda x: jnp.linalg.norm(x, ord=1, axis=-1), ROWS),
    right("norm_inf", lambda x: jnp.linalg.norm(x, ord=jnp.inf, axis=-1), ROWS),
    right("percentile", lambda x: jnp.percentile(x, 30.0, axis=-1), ROWS),
    right("prod", lambda x: x.prod(axis=-1), ROWS),  # dy · y/x would be 0/0 at zeros, and the checker says so
    right("ptp", lambda x: jnp.ptp(x, axis=-1), ROWS),
    right("segment_max", lambda x, ids: jax.ops.segment_max(x, ids, 3),
          ("20, 20:int<3", "12 2, 12:int<3", "15 2 3, 15:int<3")),
    right("segment_sum", lambda x, ids: jax.ops.segment_sum(x, ids, 4),
          ("N, N:int<4", "N D, N:int<4", "9 2 3, 9:int<4"), lambda dy, y, x, ids: dy[ids]),
    right("std", lambda x: x.std(axis=-1), ROWS,
          lambda dy, y, x: dy[..., None] * (x - x.mean(-1, keepdims=True)) / (x.shape[-1] * y[..., None])),
    right("trapezoid", lambda y, x: jnp.trapezoid(y, x, axis=-1), ("N, N", "N D, D", "2 3 D, D")),
    right("var", lambda x: x.var(axis=-1, ddof=1), ROWS,
          lambda dy, y, x: 2 / (x.shape[-1] - 1) * dy[..., None] * (x - x.mean(-1, keepdims=True))),
]  # fmt: skip

ROWWISE = [
    right("cumlogsumexp", lambda x: lax.cumlogsumexp(x, axis=x.ndim - 1), ROWS),
    right("cummax", lambda x: lax.cummax(x, axis=x.ndim - 1), ROWS),
    right("cumprod", lambda x: jnp.cumprod(x, axis=-1), ROWS),
    right("cumsum", lambda x: jnp.cumsum(x, axis=-1), ROWS, lambda dy, y, x: total(dy) - jnp.cumsum(dy, -1) + dy),
    right("glu", lambda x: nn.glu(x), ("N 6", "2 3 4", "14")),
    right("log_softmax", lambda x: nn.log_softmax(x), ROWS, lambda dy, y, x: dy - jnp.exp(y) * total(dy)),
    right(
        "interp",
        lambda x, fp: jnp.interp(x, jnp.linspace(-2, 2, fp.size, dtype=fp.dtype), fp),
        ("N, D", "N D, K", "7, 4"),
    ),
    right("polyval", lambda p, x: jnp.polyval(p, x), ("4, N", "3, N D", "K, N")),
    right("softmax", lambda x: nn.softmax(x), ROWS, lambda dy, y, x: y * dy - y * total(y * dy)),
    right("sort", lambda x: jnp.sort(x, axis=-1), ROWS),
    right("standardize", lambda x: nn.standardize(x), ROWS),
    right("top_k", lambda x: lax.top_k(x, 3)[0], ROWS),
]

GATHERED = [
    right("embedding", lambda table, ids: table[ids], ("V 2, 3 D:int<V", "V D, N:int<V", "V D, N T:int<V")),
    right("one_hot", lambda w, ids: nn.one_hot(ids, w.shape[0], dtype=w.dtype) @ w,
          ("V D, N:int<V", "V 2, N:int<V", "3 D, N T:int<3"), lambda dy, y, w, ids: jnp.zeros_like(w).at[ids].add(dy)),
    right("take", lambda x, ids: jnp.take(x, ids, axis=-1) ** 2, ("N, K:int<N", "N D, K:int<D", "2 3 D, K:int<D")),
    right("take_along_axis", lambda x, ids: jnp.take_along_axis(x, ids[:, None], -1)[:, 0],
          ("2 D, 2:int<D", "N D, N:int<D", "N 3, N:int<3")),
]  # fmt: skip

LINEAR = [
    right("cholesky", lambda a: jnp.linalg.cholesky(a @ a.T + jnp.eye(len(a), dtype=a.dtype)), SQUARE),
    right("convolve", lambda x, k: jnp.convolve(x, k, mode="same"), ("N, K", "9, 3", "N, N")),
    right("cross", lambda a, b: jnp.cross(a, b), ("3, 3", "N 3, N 3", "2 D 3, 3")),
    right("det", lambda a: jnp.linalg.det(a), SQUARE),
    right("einsum", lambda a, b, c: jnp.einsum("ij,jk,ik->i", a, b, c),
          ("N D, D K, N K", "2 D, D 3, 2 3", "D N, N N, D N")),
    right("inv", lambda a: jnp.linalg.inv(a), SQUARE, lambda dy, y, a: -(y.T @ dy @ y.T)),
    right("kron", lambda a, b: jnp.kron(a, b), ("2 3, 3 2", "N 2, D 1", "1 D, N 1")),
    right("logdet", lambda a: jnp.linalg.slogdet(a)[1], SQUARE),
    right("matmul", lambda a, b: a @ b, ("N D, D K", "2 3 D, D N", "D, D"),
          lambda dy, y, a, b: (jnp.tensordot(dy, b.T, 1) if b.ndim > 1 else dy * b,
                               jnp.einsum("...i,...k->ik", a, dy) if b.ndim > 1 else dy * a)),
    right("matrix_power", lambda a: jnp.linalg.matrix_power(a, 3), SQUARE),
    right("outer", lambda a, b: jnp.outer(a, b), ("N, D", "1, N", "D, 3"), lambda dy, y, a, b: (dy @ b, a @ dy)),
    right("solve", lambda a, b: jnp.linalg.solve(a, b), ("3 3, 3", "3 3, 3 N", "N N, N K")),
    right("vander", lambda x: jnp.vander(x, 4), ("N", "3", "11")),
]  # fmt: skip

RIGHT = [*ELEMENTWISE, *REDUCTIONS, *ROWWISE, *GATHERED, *LINEAR]
