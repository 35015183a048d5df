"""Mistakes planted in published functions: the forward is the package's own, the backward is wrong in one place.

python -m tests.world --planted

Each row is a function below ``plant``: it takes the published function, and returns a wrong backward for it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.gradcheck.report import Report
from tests.world.functions import GPU, attention
from tests.world.published import Published, Random, blamed


class Planted(NamedTuple):
    """A published function, and a wrong backward for it.

    ``makes_backward`` takes the function. The backward takes what that of the published rule takes, or (arguments, dy)
    if the function has no rule for reverse mode. ``mistakes`` are the ids that may be named first, and ``row.wrong``
    the cotangents that may be blamed.
    """

    name: str
    row: Published
    mistakes: tuple[str, ...]
    makes_backward: Callable[[Any], Callable[..., Any]]

    @property
    def distribution(self) -> str:
        return self.row.distribution

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.row.settings

    def as_expected(self, report: Report) -> bool:
        """Whether the mistake was named, and no right cotangent blamed."""
        named = bool(report.mistakes) and report.mistakes[0] in self.mistakes
        return report.verdict == "wrong" and named and blamed(report) <= set(self.row.wrong)

    def load(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function with the wrong backward, and its arguments."""
        f, arguments = self.row.load()
        if isinstance(f, jax.custom_vjp):
            spoiled = jax.custom_vjp(f.fun, nondiff_argnums=f.nondiff_argnums)
            spoiled.defvjp(f.fwd, self.makes_backward(f))
        else:
            spoiled = jax.custom_vjp(f)
            spoiled.defvjp(lambda *args: (f(*args), args), self.makes_backward(f))
        return spoiled, arguments


PLANTED: list[Planted] = []


def plant(
    path: str,
    arguments: Callable[[Random], tuple[Any, ...]],
    wrong: str,
    *mistakes: str,
    settings: Mapping[str, Any] | None = None,
) -> Callable[[Callable[[Any], Callable[..., Any]]], None]:
    """Adds the function below it to ``PLANTED``, on the forward at ``path``. ``wrong`` holds names of cotangents."""

    def planted(makes_backward: Callable[[Any], Callable[..., Any]]) -> None:
        row = Published(path, arguments, settings=settings or {}, wrong=tuple(wrong.split()))
        PLANTED.append(Planted(makes_backward.__name__, row, mistakes, makes_backward))

    return planted


# ott: softmin, a matrix square root, a fixed point


def on_softmin(*mistakes: str) -> Callable[[Callable[[Any], Callable[..., Any]]], None]:
    return plant("ott.math.utils:softmin", lambda r: (r.normal(5, 7), 0.7, 1), "dx", *mistakes, settings={"argnums": 0})


@on_softmin("ignores-cotangent")
def softmin_forgets_the_cotangent(f):
    def bwd(axis, residuals, g):
        return jax.nn.softmax(residuals[0], axis=axis), None

    return bwd


@on_softmin("sign-flipped")
def softmin_with_the_sign_of_softmax(f):
    def bwd(axis, residuals, g):
        return -f.bwd(axis, residuals, g)[0], None

    return bwd


@on_softmin("wrong-axis")
def softmin_over_the_other_axis(f):
    def bwd(axis, residuals, g):
        return jax.nn.softmax(residuals[0], axis=0) * g[:, None], None

    return bwd


@plant("ott.math.matrix_square_root:sqrtm_only", lambda r: (r.definite(5, 5),), "dx", "transposed")
def square_root_transposed(f):
    def bwd(*saved):
        return (f.bwd(*saved)[0].T,)

    return bwd


# korvax: a recurrence v[t] = A v[t − 1] + z[t]


@plant("korvax.filter.lti:_recurrence", lambda r: (r.normal(3, 3, scale=0.3), r.normal(11, 3)), "dz", "reversed-axis")
def recurrence_without_the_last_flip(f):
    def bwd(residuals, g):
        da, dz = f.bwd(residuals, g)
        return da, jnp.flip(dz, axis=0)

    return bwd


@plant("korvax.filter.lti:_recurrence", lambda r: (r.normal(3, 3, scale=0.3), r.normal(11, 3)), "dA", "transposed")
def recurrence_with_its_matrix_transposed(f):
    def bwd(residuals, g):
        da, dz = f.bwd(residuals, g)
        return da.T, dz

    return bwd


# attention: one derivation, spoiled in several places


def attention_backward(residuals, do, *, jacobian=True, rows=True, scale_k=True, masked=True, q_for_k=False):
    """The backward of softmax(mask, q kᵀ/√d) v from what ``flash_attention`` saves, with steps that can be left out."""
    q, k, v, mask, o, lse = residuals
    scale = q.shape[-1] ** -0.5
    p = jnp.exp(jnp.einsum("bhid,bhjd->bhij", q, k) * scale - lse[..., None])
    p = jnp.where(mask[:, None, None, :], p, 0) if masked else p
    dv = jnp.einsum("bhij,bhid->bhjd", p, do)
    dp = jnp.einsum("bhid,bhjd->bhij", do, v)
    ds = (p if jacobian else 1) * (dp - jnp.sum(do * o, axis=-1, keepdims=True) * (jacobian and rows))
    dq = jnp.einsum("bhij,bhjd->bhid", ds, k) * scale
    dk = jnp.einsum("bhij,bhid->bhjd", ds, k if q_for_k else q) * (scale if scale_k else 1)
    return dq, dk, dv, None


def of_attention(**left_out: bool) -> Callable[[Any], Callable[..., Any]]:
    return lambda f: lambda residuals, do: attention_backward(residuals, do, **left_out)


def square_attention(r: Random) -> tuple[Any, ...]:
    """q, k and v of one length, so that one can stand for another."""
    return r.normal(2, 3, 7, 5), r.normal(2, 3, 7, 5), r.normal(2, 3, 7, 5), r.mask(2, 7)


FLASH = "flash_attention_jax:flash_attention"
BOTH = Published(FLASH, attention, wrong=("dq", "dk"))
ALL = BOTH._replace(wrong=("dq", "dk", "dv"))
DK = BOTH._replace(wrong=("dk",))
PLANTED += [
    Planted("attention_without_the_softmax", BOTH, ("missing-factor",),
            of_attention(jacobian=False)),
    Planted("attention_without_the_sum_over_a_row", BOTH, ("path-lost", "jacobian-diagonal-only"),
            of_attention(rows=False)),
    Planted("attention_with_dk_not_scaled", DK, ("wrong-scale",), of_attention(scale_k=False)),
    Planted("attention_not_masked", ALL, ("wrong-mask",), of_attention(masked=False)),
    Planted("attention_with_dk_from_k", DK._replace(arguments=square_attention), ("wrong-operand",),
            of_attention(q_for_k=True)),
]  # fmt: skip


# jax-cce: a linear layer and its cross-entropy at once


def on_cross_entropy(wrong: str, *mistakes: str) -> Callable[[Callable[[Any], Callable[..., Any]]], None]:
    def arguments(r: Random) -> tuple[Any, ...]:
        return r.normal(7, 5), r.normal(23, 5), r.below(23, 7), 9, None

    return plant("jax_cce.core:_fused_linear_cross_entropy", arguments, wrong, *mistakes)


@on_cross_entropy("dx dw", "missing-mean-divisor", "wrong-scale")  # on arrays given, one size may be an axis by chance
def cross_entropy_not_divided_by_the_batch(f):
    def bwd(chunk, eps, residuals, g):
        dx, dw, _ = f.bwd(chunk, eps, residuals, g)
        return dx * dx.shape[0], dw * dx.shape[0], None

    return bwd


@on_cross_entropy("dx dw", "path-lost")
def cross_entropy_without_the_targets(f):
    def bwd(chunk, eps, residuals, g):
        x, w, _, lse, _ = residuals
        dlogits = jnp.exp(x @ w.T - lse[:, None]) * g / x.shape[0]
        return dlogits @ w, dlogits.T @ x, None

    return bwd


@on_cross_entropy("dw", "single-example")
def cross_entropy_of_the_first_example(f):
    def bwd(chunk, eps, residuals, g):
        x, w, labels, lse, _ = residuals
        dlogits = jnp.exp(x @ w.T - lse[:, None]) - jax.nn.one_hot(labels, w.shape[0])
        return f.bwd(chunk, eps, residuals, g)[0], dlogits[:1].T @ x[:1] * g / x.shape[0], None

    return bwd


# normalisation, by Pallas kernels in interpret mode and by flax


def normed(r: Random) -> tuple[Any, ...]:
    """x, weight and bias, and the static arguments of the two Pallas rules."""
    return r.normal(2, 5, 7), r.normal(7), r.normal(7), None, 3, 1e-5, "triton", True


def layer_norm_reference(x, weight, bias, *static):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


def rms_norm_reference(x, weight, bias, *static):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5) * weight + bias


@plant(GPU + "layer_norm:layer_norm", normed, "dx", "missing-factor", settings={"reference": layer_norm_reference})
def layer_norm_with_its_gain_forgotten(f):
    def bwd(*saved):
        *static, (x, weight, bias, mean, rstd), dy = saved
        dx, _, _ = f.bwd(*static, (x, jnp.ones_like(weight), bias, mean, rstd), dy)
        return dx, *f.bwd(*saved)[1:]

    return bwd


@plant(
    GPU + "layer_norm:layer_norm",
    normed,
    "dbias",
    "extra-mean-divisor",
    "wrong-scale",
    settings={"reference": layer_norm_reference},
)
def layer_norm_with_the_mean_of_dbias(f):
    def bwd(*saved):
        dx, dweight, dbias = f.bwd(*saved)
        return dx, dweight, dbias / dx.shape[1]

    return bwd


@plant(GPU + "rms_norm:rms_norm", normed, "dx", "path-lost", settings={"reference": rms_norm_reference})
def rms_norm_with_a_constant_root(f):
    def bwd(*saved):
        *_, (_, weight, _, rstd), dy = saved
        return dy * weight * rstd[..., None], *f.bwd(*saved)[1:]

    return bwd


@plant("tests.world.uses:flax_layer_norm", lambda r: (r.normal(5, 7), r.normal(7), r.normal(7)), "dx", "path-lost")
def flax_layer_norm_with_a_constant_mean(f):
    def bwd(saved, dy):
        x, scale, _ = saved
        rstd = jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-6)
        normal = (x - x.mean(-1, keepdims=True)) * rstd
        dn = dy * scale
        dx = rstd * (dn - normal * jnp.mean(dn * normal, -1, keepdims=True))
        return dx, (dy * normal).sum(0), dy.sum(0)

    return bwd


# functions with a rule for forward mode, given a backward


@plant(
    "optax.losses._classification:weighted_logsoftmax",
    lambda r: (r.normal(5, 7), r.uniform(0.1, 1, 5, 7)),
    "dx",
    "path-lost",
    "jacobian-diagonal-only",
)
def log_softmax_without_its_sum(f):
    def bwd(saved, dy):
        x, weights = saved
        return dy * weights, dy * jax.nn.log_softmax(x)

    return bwd


@plant("jax.numpy:logaddexp", lambda r: (r.normal(7), r.normal(7)), "dargs[0] dargs[1]", "swapped-cotangents")
def logarithm_of_a_sum_with_its_cotangents_swapped(f):
    def bwd(saved, dy):
        x1, x2 = saved
        return dy * jax.nn.sigmoid(x2 - x1), dy * jax.nn.sigmoid(x1 - x2)

    return bwd


@plant(
    "jaxopt._src.projection:_projection_unit_simplex",
    lambda r: (r.normal(7, scale=0.2),),
    "dx",
    "path-lost",
    "jacobian-diagonal-only",
)
def projection_without_its_threshold(f):
    def bwd(saved, dy):
        return (jnp.where(f(*saved) > 0, dy, 0),)

    return bwd


@plant("jax.nn:log1mexp", lambda r: (r.uniform(0.1, 2, 7),), "dx", "missing-factor", "derivative-at-output")
def log1mexp_without_the_inner_slope(f):
    def bwd(saved, dy):
        (x,) = saved
        return (-dy / jnp.expm1(-x),)  # the right one has exp(−x) as a factor

    return bwd
