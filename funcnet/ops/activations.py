"""Activations: elementwise maps φ with dx = dy · φ′(x), and softmax over the last axis."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ..types import Rule, ShapeError

# ---------------------------------------------------------------- relu


def relu_fwd(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Bool[Array, "*B"]]:
    """y = max(x, 0); NaN stays NaN."""
    return jnp.maximum(x, 0), x > 0


def relu_bwd(positive: Bool[Array, "*B"], dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"]]:
    """dx = dy where x > 0, else 0. The slope at 0 is 0. Saves the mask x > 0: a byte an element."""
    return (jnp.where(positive, dy, jnp.zeros_like(dy)),)


relu = Rule(relu_fwd, relu_bwd)

# ---------------------------------------------------------------- leaky_relu


def leaky_relu(slope: float = 0.01) -> Rule:
    """y = x where x > 0, else ``slope``·x (Maas, Hannun & Ng 2013)."""

    def fwd(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Bool[Array, "*B"]]:
        """y = x where x > 0, else slope·x."""
        positive = x > 0
        return jnp.where(positive, x, slope * x), positive

    def bwd(positive: Bool[Array, "*B"], dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"]]:
        """dx = dy where x > 0, else slope·dy. At 0 the slope is that of the left side. Saves the mask x > 0."""
        return (jnp.where(positive, dy, slope * dy),)

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- elu


def elu(alpha: float = 1.0) -> Rule:
    """y = x where x > 0, else α(eˣ − 1) (Clevert, Unterthiner & Hochreiter 2016)."""

    def fwd(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """y = x where x > 0, else α(eˣ − 1). The branch not taken is held at 0, so that it cannot overflow."""
        return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0))), x

    def bwd(x: Float[Array, "*B"], dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"]]:
        """dx = dy where x > 0, else α eˣ dy. At 0 the slope is α, that of the left side (for α = 1 both agree).

        Saves x: from y it would be y + α, which cancels in the tail.
        """
        return (jnp.where(x > 0, dy, dy * (alpha * jnp.exp(jnp.minimum(x, 0)))),)

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- sigmoid


def sigmoid_fwd(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
    """y = σ(x) = 1 / (1 + e⁻ˣ)."""
    return jax.nn.sigmoid(x), x


def sigmoid_bwd(x: Float[Array, "*B"], dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"]]:
    """dx = dy · σ(x) σ(−x).

    The familiar y(1 − y) is the same number, and is 0 as soon as y rounds to 1 (at x = 40 in float64, where the
    slope is 4.2e-18); σ(−x) is exact there. So x is saved, not y.
    """
    return (dy * (jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)),)


sigmoid = Rule(sigmoid_fwd, sigmoid_bwd)

# ---------------------------------------------------------------- tanh


def tanh_fwd(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
    """y = tanh(x)."""
    return jnp.tanh(x), x


def tanh_bwd(x: Float[Array, "*B"], dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"]]:
    """dx = dy / cosh²(x) = dy · 4 σ(2x) σ(−2x).

    1 − y² is the same number and loses the tail, as for the sigmoid: tanh(x) = 2σ(2x) − 1. Saves x.
    """
    return (dy * (4 * jax.nn.sigmoid(2 * x) * jax.nn.sigmoid(-2 * x)),)


tanh = Rule(tanh_fwd, tanh_bwd)

# ---------------------------------------------------------------- gelu


def _normal_cdf(x: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Φ(x) by the complementary error function, which keeps its digits in the left tail."""
    return 0.5 * lax.erfc(x * -math.sqrt(0.5))


def gelu_fwd(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
    """y = x Φ(x), with Φ the standard normal distribution function (Hendrycks & Gimpel 2016); the exact form."""
    return x * _normal_cdf(x), x


def gelu_bwd(x: Float[Array, "*B"], dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"]]:
    """dx = dy · (Φ(x) + x φ(x)), with φ = Φ′ the normal density. Saves x and recomputes Φ."""
    density = jnp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return (dy * (_normal_cdf(x) + x * density),)


gelu = Rule(gelu_fwd, gelu_bwd)

# ---------------------------------------------------------------- gelu_tanh


def _gelu_exponent(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
    """2u = √(8/π) (x + 0.044715 x³), and its derivative.

    Beyond ±30 x is held there: e^{2u} has left every dtype, and in float16 x³ would be infinite.
    """
    near, c = jnp.clip(x, -30, 30), math.sqrt(8 / math.pi)
    return c * (near + 0.044715 * near * near * near), c * (1 + 3 * 0.044715 * near * near)


def gelu_tanh_fwd(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
    """y = ½ x (1 + tanh u), u = √(2/π) (x + 0.044715 x³): the gelu of GPT-2 (Hendrycks & Gimpel 2016).

    It is the exact one to 5e-4, and computed as x σ(2u), since ½(1 + tanh u) = σ(2u) keeps its digits in the left tail.
    """
    return x * jax.nn.sigmoid(_gelu_exponent(x)[0]), x


def gelu_tanh_bwd(x: Float[Array, "*B"], dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"]]:
    """dx = dy · σ(2u) (1 + x σ(−2u) (2u)′), from the product rule and σ′ = σ(z)σ(−z). Saves x."""
    z, slope = _gelu_exponent(x)
    return (dy * (jax.nn.sigmoid(z) * (1 + x * jax.nn.sigmoid(-z) * slope)),)


gelu_tanh = Rule(gelu_tanh_fwd, gelu_tanh_bwd)

# ---------------------------------------------------------------- silu


def silu_fwd(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
    """y = x σ(x), also called swish (Elfwing, Uchibe & Doya 2018)."""
    return x * jax.nn.sigmoid(x), x


def silu_bwd(x: Float[Array, "*B"], dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"]]:
    """dx = dy · σ(x) (1 + x σ(−x)), from the product rule and σ′ = σ(x)σ(−x). Saves x."""
    return (dy * (jax.nn.sigmoid(x) * (1 + x * jax.nn.sigmoid(-x))),)


silu = Rule(silu_fwd, silu_bwd)

# ---------------------------------------------------------------- gated linear units


class GatedResiduals(NamedTuple):
    a: Float[Array, "*B"]
    gate: Float[Array, "*B"]  # φ(g)
    phi: Any  # the residuals of φ


def gated(phi: Rule = sigmoid) -> Rule:
    """y = a ∘ φ(g) (Dauphin et al. 2017; Shazeer 2020).

    φ is any elementwise rule: the sigmoid makes it the GLU, relu ReGLU, gelu GEGLU, silu SwiGLU.
    """

    def fwd(a: Float[Array, "*B"], g: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], GatedResiduals]:
        """y = a ∘ φ(g), both in one shape. Raises ShapeError."""
        if a.shape != g.shape:
            raise ShapeError(f"a gated unit wants a and its gate in one shape; got {a.shape} and {g.shape}")
        gate, residuals = phi.fwd(g)
        return a * gate, GatedResiduals(a, gate, residuals)

    def bwd(residuals: GatedResiduals, dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """da = dy ∘ φ(g),  dg = what the backward of φ makes of dy ∘ a. Saves a, φ(g) and what φ saves."""
        a, gate, inner = residuals
        (dg,) = phi.bwd(inner, dy * a)
        return dy * gate, dg

    return Rule(fwd, bwd)


glu = gated(sigmoid)
reglu = gated(relu)
geglu = gated(gelu)
swiglu = gated(silu)

# ---------------------------------------------------------------- softplus


def softplus_fwd(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
    """y = log(1 + eˣ), computed as max(x, 0) + log1p(e^−|x|), which neither overflows nor loses the left tail."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x))), x


def softplus_bwd(x: Float[Array, "*B"], dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"]]:
    """dx = dy · σ(x). Saves x."""
    return (dy * jax.nn.sigmoid(x),)


softplus = Rule(softplus_fwd, softplus_bwd)

# ---------------------------------------------------------------- softmax


def softmax_fwd(x: Float[Array, "*B K"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
    """y_k = e^{x_k} / Σ_j e^{x_j} over the last axis, shifted by the largest x so that no exponential overflows."""
    e = jnp.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, y


def softmax_bwd(y: Float[Array, "*B K"], dy: Float[Array, "*B K"]) -> tuple[Float[Array, "*B K"]]:
    """dx = y ⊙ (dy − Σ_j dy_j y_j).

    The Jacobian ∂y_k/∂x_j = y_k(δ_kj − y_j) is symmetric: diag(y) − y yᵀ. The shift cancels
    and carries no gradient. Saves y.
    """
    return (y * (dy - (dy * y).sum(axis=-1, keepdims=True)),)


softmax = Rule(softmax_fwd, softmax_bwd)

# ---------------------------------------------------------------- log_softmax


def log_softmax_fwd(x: Float[Array, "*B K"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
    """y_k = x_k − log Σ_j e^{x_j} over the last axis, shifted by the largest x."""
    shifted = x - x.max(axis=-1, keepdims=True)
    y = shifted - jnp.log(jnp.exp(shifted).sum(axis=-1, keepdims=True))
    return y, y


def log_softmax_bwd(y: Float[Array, "*B K"], dy: Float[Array, "*B K"]) -> tuple[Float[Array, "*B K"]]:
    """dx = dy − softmax(x) Σ_j dy_j, where softmax(x) = e^y. Saves y."""
    return (dy - jnp.exp(y) * dy.sum(axis=-1, keepdims=True),)


log_softmax = Rule(log_softmax_fwd, log_softmax_bwd)
