"""Activations: elementwise maps φ with dx = dy · φ′(x), gated units, and softmax over the last axis."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ..types import Residuals, Rule, ShapeError, require_arrays

# ---------------------------------------------------------------- elementwise maps

Elements = Float[Array, "*B"]


def elementwise(phi: Callable[[Elements], Elements], slope: Callable[[Elements], Elements]) -> Rule:
    """y = φ(x),  dx = dy · φ′(x), from φ and its ``slope`` φ′. The rule takes the name and the docstring of ``phi``,
    and its annotation: with ``x: Float[Array, "*B"]`` the checker draws inputs by itself.

    Saves x alone. The slope is a function of x, not of y: once y has rounded to its limit, only x has the digits.
    """

    @functools.wraps(phi)
    def fwd(x):
        require_arrays(phi.__name__, x)
        return phi(x), x

    def bwd(x, dy):
        return (dy * slope(x),)

    return Rule(fwd, bwd)


def sigmoid_slope(x: Elements) -> Elements:
    """σ′(x) = σ(x) σ(−x) = e / (1 + e)² with e = e^−|x|, as σ′ is even: one exponential, which cannot overflow.

    The usual y(1 − y) is 0 once y rounds to 1: in float64 at x = 40, where σ′ is 4.2e-18.
    """
    e = jnp.exp(-jnp.abs(x))
    return e / jnp.square(1 + e)


@functools.partial(elementwise, slope=sigmoid_slope)
def sigmoid(x: Elements) -> Elements:
    """y = σ(x) = 1 / (1 + e⁻ˣ),  dx = dy · σ(x) σ(−x)."""
    return jax.nn.sigmoid(x)


def tanh_slope(x: Elements) -> Elements:
    """tanh′(x) = 1/cosh²(x) = 4 σ′(2x), as tanh(x) = 2σ(2x) − 1. The usual 1 − y² loses the tail, as for σ."""
    return 4 * sigmoid_slope(2 * x)


@functools.partial(elementwise, slope=tanh_slope)
def tanh(x: Elements) -> Elements:
    """y = tanh(x),  dx = dy / cosh²(x) = dy · 4 σ′(2x)."""
    return jnp.tanh(x)


@functools.partial(elementwise, slope=jax.nn.sigmoid)
def softplus(x: Elements) -> Elements:
    """y = log(1 + eˣ),  dx = dy · σ(x). Computed as max(x, 0) + log1p(e^−|x|): no overflow, and an exact left tail."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@functools.partial(elementwise, slope=lambda x: jax.nn.sigmoid(x) * (1 + x * jax.nn.sigmoid(-x)))
def silu(x: Elements) -> Elements:
    """y = x σ(x),  dx = dy · σ(x) (1 + x σ(−x)). Also called swish (Elfwing, Uchibe & Doya 2018)."""
    return x * jax.nn.sigmoid(x)


def _normal_cdf(x: Elements) -> Elements:
    """Φ(x) by the complementary error function, which keeps its digits in the left tail."""
    return 0.5 * lax.erfc(x * -math.sqrt(0.5))


def _normal_density(x: Elements) -> Elements:
    return jnp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))


@functools.partial(elementwise, slope=lambda x: _normal_cdf(x) + x * _normal_density(x))
def gelu(x: Elements) -> Elements:
    """y = x Φ(x),  dx = dy · (Φ(x) + x φ(x)), with Φ the normal distribution function and φ = Φ′ its density.

    The exact form (Hendrycks & Gimpel 2016).
    """
    return x * _normal_cdf(x)


def _gelu_exponent(x: Elements) -> tuple[Elements, Elements]:
    """2u = √(8/π) (x + 0.044715 x³), and its derivative.

    x is clipped to ±30: farther out σ(2u) is 0 or 1 in every dtype, and in float16 x³ would be infinite.
    """
    near, c = jnp.clip(x, -30, 30), math.sqrt(8 / math.pi)
    return c * (near + 0.044715 * near * near * near), c * (1 + 3 * 0.044715 * near * near)


def _gelu_tanh_slope(x: Elements) -> Elements:
    z, dz = _gelu_exponent(x)
    return jax.nn.sigmoid(z) * (1 + x * jax.nn.sigmoid(-z) * dz)


@functools.partial(elementwise, slope=_gelu_tanh_slope)
def gelu_tanh(x: Elements) -> Elements:
    """y = ½ x (1 + tanh u), u = √(2/π) (x + 0.044715 x³);  dx = dy · σ(2u) (1 + x σ(−2u) (2u)′).

    GPT-2's gelu, within 5e-4 of the exact one (Hendrycks & Gimpel 2016). Computed as x σ(2u): ½(1 + tanh u) is σ(2u),
    which keeps its digits in the left tail. dx is the product rule with σ′ = σ(z)σ(−z).
    """
    return x * jax.nn.sigmoid(_gelu_exponent(x)[0])


def elu(alpha: float = 1.0) -> Rule:
    """y = x if x > 0, else α(eˣ − 1) (Clevert, Unterthiner & Hochreiter 2016)."""

    def slope(x: Elements) -> Elements:
        return jnp.where(x > 0, jnp.ones_like(x), alpha * jnp.exp(jnp.minimum(x, 0)))

    @functools.partial(elementwise, slope=slope)
    def fwd(x: Elements) -> Elements:
        """y = x if x > 0, else α(eˣ − 1);  dx = dy if x > 0, else dy · α eˣ, so the slope at 0 is α.

        eˣ comes from x, as y/α + 1 cancels in the tail. The exponent is clipped at 0, so that it cannot overflow.
        """
        return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0)))

    return fwd


# ---------------------------------------------------------------- rectifiers


def relu_fwd(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Bool[Array, "*B"]]:
    """y = max(x, 0); NaN stays NaN."""
    require_arrays("relu", x)
    return jnp.maximum(x, 0), x > 0


def relu_bwd(positive: Bool[Array, "*B"], dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"]]:
    """dx = dy if x > 0, else 0. The slope at 0 is 0. Saves the mask x > 0, one byte per element."""
    return (jnp.where(positive, dy, jnp.zeros_like(dy)),)


relu = Rule(relu_fwd, relu_bwd)


def leaky_relu(slope: float = 0.01) -> Rule:
    """y = x if x > 0, else ``slope``·x (Maas, Hannun & Ng 2013)."""

    def fwd(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Bool[Array, "*B"]]:
        """y = x if x > 0, else slope·x."""
        require_arrays("leaky_relu", x)
        positive = x > 0
        return jnp.where(positive, x, slope * x), positive

    def bwd(positive: Bool[Array, "*B"], dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"]]:
        """dx = dy if x > 0, else slope·dy. The slope at 0 is ``slope``. Saves the mask x > 0."""
        return (jnp.where(positive, dy, slope * dy),)

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- gated linear units


def gated(phi: Rule = sigmoid) -> Rule:
    """y = a ∘ φ(g) for any elementwise rule φ: the sigmoid makes GLU, relu ReGLU, gelu GEGLU, silu SwiGLU.

    Dauphin et al. (2017); Shazeer (2020).
    """

    def fwd(a: Float[Array, "*B"], g: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Residuals]:
        """y = a ∘ φ(g). Raises ShapeError unless both have the same shape."""
        require_arrays("a gated unit", a, g)
        if a.shape != g.shape:
            raise ShapeError(f"a gated unit expects a and its gate in one shape; got {a.shape} and {g.shape}")
        gate, inner = phi.fwd(g)
        return a * gate, (a, gate, inner)

    def bwd(residuals: Residuals, dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """da = dy ∘ φ(g),  dg = φ's backward of dy ∘ a. Saves a, φ(g) and the residuals of φ."""
        a, gate, inner = residuals
        (dg,) = phi.bwd(inner, dy * a)
        return dy * gate, dg

    return Rule(fwd, bwd)


glu = gated(sigmoid)
reglu = gated(relu)
geglu = gated(gelu)
swiglu = gated(silu)

# ---------------------------------------------------------------- softmax


def softmax_fwd(x: Float[Array, "*B K"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
    """y_k = e^{x_k} / Σ_j e^{x_j} over the last axis, shifted by the largest x so that no exponential overflows."""
    require_arrays("softmax", x)
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


def log_softmax_fwd(x: Float[Array, "*B K"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
    """y_k = x_k − log Σ_j e^{x_j} over the last axis, shifted by the largest x."""
    require_arrays("log_softmax", x)
    shifted = x - x.max(axis=-1, keepdims=True)
    y = shifted - jnp.log(jnp.exp(shifted).sum(axis=-1, keepdims=True))
    return y, y


def log_softmax_bwd(y: Float[Array, "*B K"], dy: Float[Array, "*B K"]) -> tuple[Float[Array, "*B K"]]:
    """dx = dy − softmax(x) Σ_j dy_j, where softmax(x) = e^y. Saves y."""
    return (dy - jnp.exp(y) * dy.sum(axis=-1, keepdims=True),)


log_softmax = Rule(log_softmax_fwd, log_softmax_bwd)
