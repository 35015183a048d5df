"""Normalisation: x brought to mean 0 and variance 1 over some axes, then scaled by γ and shifted by β.

The rules differ in the axes that they average over; the backward through the statistics is the same for all, in
``_standardise_bwd``. Statistics are computed in float32 or wider, the variance in two passes.

Batch normalisation has parts in three files: ``batch_norm`` (training) and ``batch_norm_inference`` are the rules here;
``layers.batch_norm`` chooses between them and keeps the ``Population`` among its parameters; ``training.calibrate``
fills it.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..types import Residuals, Rule, ShapeError, at_least_float32, require_arrays

Channels = Float[Array, "*B C"]
Examples = Float[Array, "N *S C"]
Vector = Float[Array, "C"]


class Population(NamedTuple):
    """The mean and the variance of every channel over all data, by which inference normalises."""

    mean: Vector
    var: Vector


def _total(x: Float[Array, "*S"], axes: tuple[int, ...]) -> Float[Array, "*R"]:
    """Σ over ``axes``, with axes of size 1: over the last of them after the others, which XLA vectorises better."""
    return x.sum(axes[:-1], keepdims=True).sum(axes[-1:], keepdims=True)


def _mean(x: Float[Array, "*S"], axes: tuple[int, ...]) -> Float[Array, "*R"]:
    return _total(x, axes) / math.prod(x.shape[axis] for axis in axes)


def _statistics(x: Float[Array, "*S"], axes: tuple[int, ...], eps: float) -> tuple[Array, ...]:
    """(μ, rstd, σ²) over ``axes``, with axes of size 1: μ = mean x, σ² = mean (x − μ)², rstd = 1/√(σ² + eps).

    Two passes, so that nothing cancels.
    """
    mean = _mean(_wide(x, axes), axes)
    var = _mean(jnp.square(x.astype(mean.dtype) - mean), axes)
    return mean, 1 / jnp.sqrt(var + eps), var


def _wide(x: Float[Array, "*S"], axes: tuple[int, ...]) -> Float[Array, "*S"]:
    if not all(x.shape[axis] for axis in axes):
        raise ShapeError(f"the statistics of no values are asked for: x has shape {x.shape}, averaged over axes {axes}")
    return x.astype(at_least_float32(x.dtype))


def _standardised(x: Float[Array, "*S"], mean: Float[Array, "*R"], rstd: Float[Array, "*R"]) -> Float[Array, "*S"]:
    """x̂ = (x − μ) rstd. Both passes compute it: it costs less than to write it and read it again."""
    return ((x.astype(rstd.dtype) - mean) * rstd).astype(x.dtype)


def _standardise_bwd(
    xhat: Float[Array, "*S"],
    rstd: Float[Array, "*R"],
    dxhat: Float[Array, "*S"],
    axes: tuple[int, ...],
    centre: bool = True,
) -> Float[Array, "*S"]:
    """dx = rstd (dx̂ − mean dx̂ − x̂ mean(dx̂ x̂)), the means over ``axes``; without ``centre`` there is no mean dx̂.

    Three paths lead from x to x̂ = c·rstd, c = x − μ. The direct one gives rstd·dx̂. Through σ²: drstd = Σ dx̂ c,
    ∂rstd/∂σ² = −½ rstd³ and ∂σ²/∂c = 2c/m, so dc gains −rstd·x̂·mean(dx̂ x̂). Through μ: dx = dc − mean dc, to which
    the second term adds nothing, since mean x̂ = 0.
    """
    wide, hat = dxhat.astype(rstd.dtype), xhat.astype(rstd.dtype)
    direct = wide - _mean(wide, axes) if centre else wide
    return (rstd * (direct - hat * _mean(wide * hat, axes))).astype(dxhat.dtype)


def _along_channels(vector: Vector, x: Channels) -> Channels:
    return jnp.broadcast_to(vector, x.shape)


def _leading(x: Array) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1))


def _sum(x: Channels) -> Vector:
    return _total(x, _leading(x)).reshape(x.shape[-1:])


def _fits(name: str, x: Array, *vectors: Array) -> None:
    require_arrays(name, x, *vectors)
    if any(x.shape[-1:] != vector.shape for vector in vectors):
        shapes = ", ".join(str(vector.shape) for vector in vectors)
        raise ShapeError(f"{name} got x {x.shape} and vectors {shapes}; it expects x (*B, C) and vectors (C,)")


# ---------------------------------------------------------------- batch normalisation


class BatchNormResiduals(NamedTuple):
    x: Channels
    mean: Vector
    rstd: Vector
    gamma: Vector
    population: Population  # this batch's estimate: for ``calibrate``, not for the backward


def batch_norm(eps: float = 1e-5) -> Rule:
    """Batch normalisation in training: each channel by the statistics of its batch (Ioffe & Szegedy 2015)."""

    def fwd(x: Channels, gamma: Vector, beta: Vector) -> tuple[Channels, BatchNormResiduals]:
        """y = γ x̂ + β, x̂ = (x − μ) / √(σ² + eps), with the mean μ and the variance σ² over all axes but the last:
        ``x`` (*B, C), ``gamma`` (C,), ``beta`` (C,) to ``y`` (*B, C). Raises ShapeError.

        The residuals also hold the batch's estimate of the population: μ, and the unbiased σ² m/(m − 1) over m values
        (algorithm 2). If m = 1, the variance is 0, and y = β.
        """
        _fits("batch_norm", x, gamma, beta)
        mean, rstd, var = _statistics(x, _leading(x), eps)
        m = math.prod(x.shape[:-1])
        population = Population(mean.reshape(-1), var.reshape(-1) * (m / max(m - 1, 1)))
        y = _standardised(x, mean, rstd) * _along_channels(gamma, x) + _along_channels(beta, x)
        return y, BatchNormResiduals(x, mean, rstd, gamma, population)

    def bwd(residuals: BatchNormResiduals, dy: Channels) -> tuple[Channels, Vector, Vector]:
        """dx = γ rstd (dy − mean dy − x̂ mean(dy x̂)),  dγ = Σ_B dy x̂,  dβ = Σ_B dy.

        Each x of a channel moves its μ and σ², and so every y; see ``_standardise_bwd``, to which γ is a constant. The
        means are dβ and dγ by the number of values. Saves x, μ and rstd.
        """
        x, mean, rstd, gamma, _ = residuals
        xhat = _standardised(x, mean, rstd)
        dx = _along_channels(gamma, dy) * _standardise_bwd(xhat, rstd, dy, _leading(dy))
        return dx, _sum(dy * xhat), _sum(dy)

    return Rule(fwd, bwd)


def batch_norm_inference(eps: float = 1e-5) -> Rule:
    """Batch normalisation in inference: by the population, so that an example does not depend on its batch.

    ``training.calibrate`` finds the population.
    """

    def rstd(population: Population) -> Vector:
        return 1 / jnp.sqrt(population.var + eps)

    def fwd(x: Channels, gamma: Vector, beta: Vector, population: Population) -> tuple[Channels, Residuals]:
        """y = γ (x − mean) rstd + β,  rstd = 1/√(var + eps): an affine map of each channel. Raises ShapeError."""
        _fits("batch_norm_inference", x, gamma, beta, *population)
        centred = x - _along_channels(population.mean, x)
        y = centred * _along_channels(gamma * rstd(population), x) + _along_channels(beta, x)
        return y, (x, gamma, population)

    def bwd(residuals: Residuals, dy: Channels) -> tuple[Channels, Vector, Vector, Population]:
        """dx = γ rstd dy,  dβ = Σ_B dy,  dγ = rstd Σ_B dy (x − mean),
        dmean = −γ rstd Σ_B dy,  dvar = −½ γ rstd³ Σ_B dy (x − mean), as d(v^−½) = −½ v^(−3/2) dv. Saves x.
        """
        x, gamma, population = residuals
        scale = rstd(population)
        dbeta = dy.sum(_leading(dy))
        along = (dy * (x - _along_channels(population.mean, x))).sum(_leading(dy))
        dpopulation = Population(-gamma * scale * dbeta, -0.5 * scale * (scale * (gamma * scale * along)))
        return dy * _along_channels(gamma * scale, dy), scale * along, dbeta, dpopulation

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- layer, RMS and group normalisation


def layer_norm(eps: float = 1e-5) -> Rule:
    """Layer normalisation: each example, or each of its tokens, by its own statistics (Ba, Kiros & Hinton 2016)."""

    def fwd(x: Channels, gamma: Vector, beta: Vector) -> tuple[Channels, Residuals]:
        """y = γ x̂ + β, x̂ = (x − μ) / √(σ² + eps), μ and σ² over the last axis: ``x`` (*B, C). Raises ShapeError."""
        _fits("layer_norm", x, gamma, beta)
        mean, rstd, _ = _statistics(x, (-1,), eps)
        y = _standardised(x, mean, rstd) * _along_channels(gamma, x) + _along_channels(beta, x)
        return y, (x, mean, rstd, gamma)

    def bwd(residuals: Residuals, dy: Channels) -> tuple[Channels, Vector, Vector]:
        """dx = rstd (dx̂ − mean dx̂ − x̂ mean(dx̂ x̂)), dx̂ = γ dy;  dγ = Σ_B dy x̂,  dβ = Σ_B dy.

        γ varies along the axis of the means, so it is inside them. See ``_standardise_bwd``. Saves x, μ and rstd.
        """
        x, mean, rstd, gamma = residuals
        xhat = _standardised(x, mean, rstd)
        dx = _standardise_bwd(xhat, rstd, dy * _along_channels(gamma, dy), (-1,))
        return dx, _sum(dy * xhat), _sum(dy)

    return Rule(fwd, bwd)


def rms_norm(eps: float = 1e-5) -> Rule:
    """Root-mean-square normalisation: layer norm without a mean and without β (Zhang & Sennrich 2019)."""

    def fwd(x: Channels, gamma: Vector) -> tuple[Channels, Residuals]:
        """y = γ x̂, x̂ = x / √(mean x² + eps), the mean over the last axis: ``x`` (*B, C). Raises ShapeError."""
        _fits("rms_norm", x, gamma)
        rstd = 1 / jnp.sqrt(_mean(jnp.square(_wide(x, (-1,))), (-1,)) + eps)
        return _scaled(x, rstd) * _along_channels(gamma, x), (x, rstd, gamma)

    def bwd(residuals: Residuals, dy: Channels) -> tuple[Channels, Vector]:
        """dx = rstd (dx̂ − x̂ mean(dx̂ x̂)), dx̂ = γ dy;  dγ = Σ_B dy x̂. Saves x and rstd.

        Two paths lead from x to x̂ = x·rstd: the direct one, and through the mean square; see ``_standardise_bwd``.
        """
        x, rstd, gamma = residuals
        xhat = _scaled(x, rstd)
        dx = _standardise_bwd(xhat, rstd, dy * _along_channels(gamma, dy), (-1,), centre=False)
        return dx, _sum(dy * xhat)

    def _scaled(x: Channels, rstd: Float[Array, "*R"]) -> Channels:
        return (x.astype(rstd.dtype) * rstd).astype(x.dtype)

    return Rule(fwd, bwd)


def group_norm(groups: int = 1, eps: float = 1e-5) -> Rule:
    """Group normalisation: each group of C/``groups`` channels of an example by its own statistics (Wu & He 2018).

    With one group it is the layer norm of images; with C groups it is instance normalisation.
    Raises ValueError unless ``groups`` is at least 1.
    """
    if groups < 1:
        raise ValueError(f"group_norm expects at least one group; got {groups}")

    def split(x: Examples) -> tuple[Float[Array, "N *S G D"], tuple[int, ...]]:
        """x with its channels as (groups, C/groups), and the axes to average over."""
        x = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
        return x, (*range(1, x.ndim - 2), x.ndim - 1)

    def fwd(x: Examples, gamma: Vector, beta: Vector) -> tuple[Examples, Residuals]:
        """y = γ x̂ + β, x̂ = (x − μ) / √(σ² + eps), with μ and σ² over *S and the channels of a group: ``x`` (N, *S, C).

        Raises ShapeError, also if ``groups`` does not divide C.
        """
        _fits("group_norm", x, gamma, beta)
        if x.ndim < 2 or x.shape[-1] % groups:
            raise ShapeError(f"group_norm got x {x.shape}; it expects x (N, *S, C), with C a multiple of {groups}")
        grouped, axes = split(x)
        mean, rstd, _ = _statistics(grouped, axes, eps)
        xhat = _standardised(grouped, mean, rstd).reshape(x.shape)
        return xhat * _along_channels(gamma, x) + _along_channels(beta, x), (x, mean, rstd, gamma)

    def bwd(residuals: Residuals, dy: Examples) -> tuple[Examples, Vector, Vector]:
        """dx = rstd (dx̂ − mean dx̂ − x̂ mean(dx̂ x̂)), dx̂ = γ dy;  dγ = Σ dy x̂,  dβ = Σ dy, over N and *S.

        The means are over *S and a group, as in the forward; γ varies within a group, so it is inside them.
        See ``_standardise_bwd``. Saves x, μ and rstd.
        """
        x, mean, rstd, gamma = residuals
        xhat = _standardised(split(x)[0], mean, rstd)
        dxhat, axes = split(dy * _along_channels(gamma, dy))
        dx = _standardise_bwd(xhat, rstd, dxhat, axes).reshape(dy.shape)
        return dx, _sum(dy * xhat.reshape(dy.shape)), _sum(dy)

    return Rule(fwd, bwd)
