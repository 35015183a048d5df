"""Cross-entropy, −Σ t log p, of logits, of probabilities and of the linear map that makes the logits.

Prefer logits if you have them: the loss and the softmax or sigmoid before it are then one, and finite for every logit.
``linear_softmax_cross_entropy`` takes the last linear map in as well, and never holds all logits.

On probabilities nothing is clipped to avoid log 0. If a probability and its target are both 0, t log p is 0, with the
slope 0 that it has for every p > 0. If the target is above 0, the loss is infinite and the slope −∞: training stops
with an error instead of going on with a number that an epsilon made up. The cotangent is for each probability on its
own; the softmax before the loss accounts for their sum of one.

Targets are integer labels ("sparse"), or floats in the shape of the predictions. A label outside [0, K) has no class to
compare with: it gives NaN in the loss and in the gradient. Unless they are binary, losses average over examples.
"""

import math
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ...types import Below, Residuals, Rule, ShapeError, at_least_float32, memoized, require_arrays
from ..activations import log_softmax, softmax, softplus
from .reduction import Reduction, at_label, check_reduction, integer_labels, reduced, same_shape, spread, valid

Labels = Annotated[Int[Array, "*B"], Below("K")]

# ---------------------------------------------------------------- of logits


@memoized
def sparse_softmax_cross_entropy(label_smoothing: float = 0.0, *, reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of softmax(logits) with integer labels.

    With smoothing ε the target is 1 − ε on the label plus ε/K everywhere (Szegedy et al. 2016). Raises ValueError for
    an ε outside [0, 1] and for an unknown reduction.
    """
    _check_settings(reduction, label_smoothing)

    def fwd(logits: Float[Array, "*B K"], labels: Labels) -> tuple[Float[Array, "*R"], Residuals]:
        """L = reduce −Σ_k t_k log p_k, with p = softmax(z): logits z (*B, K) and labels (*B), without ε −log p_label.

        log p = z − log Σ eᶻ is finite even if p underflows. Raises ShapeError.
        """
        labels = integer_labels("sparse_softmax_cross_entropy", logits, labels)
        log_p, _ = log_softmax.fwd(logits)
        terms = -(1 - label_smoothing) * at_label(log_p, labels)
        if label_smoothing:
            terms -= label_smoothing * log_p.mean(axis=-1)
        return reduced(terms, reduction), (logits, labels)

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], None]:
        """dz = (p − t) dy/n.

        ∂(−Σ t_k log p_k)/∂z_j = p_j Σ_k t_k − t_j, and t sums to one. Saves z and recomputes p.
        """
        logits, labels = residuals
        p, _ = softmax.fwd(logits)
        target = _smooth(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), label_smoothing)
        scale = jnp.where(valid(logits, labels), spread(dy, labels.shape, reduction), jnp.nan)
        return (p - target) * scale[..., None], None

    return Rule(fwd, bwd)


@memoized
def softmax_cross_entropy(label_smoothing: float = 0.0, *, reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of softmax(logits) with one-hot or soft labels.

    With smoothing ε the target is (1 − ε)t + ε/K (Szegedy et al. 2016). Raises ValueError as
    ``sparse_softmax_cross_entropy`` does.
    """
    _check_settings(reduction, label_smoothing)

    def fwd(logits: Float[Array, "*B K"], labels: Float[Array, "*B K"]) -> tuple[Float[Array, "*R"], Residuals]:
        """L = reduce −Σ_k t_k log p_k, with p = softmax(z): logits z and labels t both (*B, K). Raises ShapeError."""
        same_shape("softmax_cross_entropy", logits, labels)
        log_p, _ = log_softmax.fwd(logits)
        target = _smooth(labels, label_smoothing)
        impossible = (target == 0) & jnp.isneginf(log_p)  # 0 log 0 = 0
        terms = -(target * jnp.where(impossible, jnp.zeros_like(log_p), log_p)).sum(axis=-1)
        return reduced(terms, reduction), (logits, labels)

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
        """dz = (p Σ_k t_k − t) dy/n,  dt = −(1 − ε) log p · dy/n.

        The labels need not sum to one: their sum weights the example. Saves z and t, recomputes p.
        """
        logits, labels = residuals
        log_p, _ = log_softmax.fwd(logits)
        target = _smooth(labels, label_smoothing)
        scale = spread(dy, logits.shape[:-1], reduction)[..., None]
        dz = (jnp.exp(log_p) * target.sum(axis=-1, keepdims=True) - target) * scale
        return dz, -(1 - label_smoothing) * log_p * scale

    return Rule(fwd, bwd)


@memoized
def sigmoid_binary_cross_entropy(reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of σ(logits) with targets in [0, 1], elementwise; the mean is over all elements."""
    check_reduction(reduction)

    def fwd(logits: Float[Array, "*B"], targets: Float[Array, "*B"]) -> tuple[Float[Array, "*R"], Residuals]:
        """L = reduce −t log σ(z) − (1 − t) log σ(−z) = reduce (softplus(z) − t z), finite for every z.

        Logits z and targets t have the same shape. Raises ShapeError.
        """
        same_shape("sigmoid_binary_cross_entropy", logits, targets)
        return reduced(softplus.fwd(logits)[0] - targets * logits, reduction), (logits, targets)

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """dz = (σ(z) − t) dy/n,  dt = −z dy/n."""
        logits, targets = residuals
        scale = spread(dy, logits.shape, reduction)
        return (jax.nn.sigmoid(logits) - targets) * scale, -logits * scale

    return Rule(fwd, bwd)


def _check_settings(reduction: Reduction, label_smoothing: float) -> None:
    check_reduction(reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must lie in [0, 1]; got {label_smoothing}")


def _smooth(target: Float[Array, "*B K"], smoothing: float) -> Float[Array, "*B K"]:
    return (1 - smoothing) * target + smoothing / target.shape[-1] if smoothing else target


# ---------------------------------------------------------------- of the linear map that makes the logits

Linear = tuple[Float[Array, "*B D"], Float[Array, "K D"], Float[Array, "K"]]
"""x, a table with one row per class, and an optional bias."""


@memoized
def linear_softmax_cross_entropy(
    label_smoothing: float = 0.0, chunk: int = 256, *, reduction: Reduction = "mean"
) -> Rule:
    """``sparse_softmax_cross_entropy`` of the logits x tableᵀ + b, of which only ``chunk`` rows exist at a time.

    Predictions are (x, table, b) or (x, table), as ``gpt(config, fused=True)`` returns them; the weights of a dense
    layer are a table transposed. Raises ValueError for invalid settings.
    """
    if chunk < 1:
        raise ValueError(f"linear_softmax_cross_entropy expects at least one row in a chunk; got {chunk}")
    terms = sparse_softmax_cross_entropy(label_smoothing, reduction="none")
    check_reduction(reduction)

    def fwd(predictions: Linear, labels: Labels) -> tuple[Float[Array, "*R"], Residuals]:
        """L = reduce ℓ(x tableᵀ + b, labels), for x (*B, D), table (K, D), b (K,) and integer labels (*B).

        Logits and loss are computed in float32 or wider. If the loss is one number, the gradient of its sum is found in
        the same pass, while the logits of a chunk exist; under jit, an unused gradient is never computed.
        Raises ShapeError.
        """
        x, table, *bias = predictions
        labels, wide = _checked(x, table, bias, labels), at_least_float32(x.dtype)
        if reduction == "none":
            chunks = _chunks(x, chunk, 1), _chunks(labels, chunk, 0)
            losses = lax.map(lambda rows: terms.fwd(_logits(rows[0], table, bias), rows[1])[0], chunks)
            return losses.reshape(-1)[: labels.size].reshape(labels.shape).astype(x.dtype), (predictions, labels)
        losses, gradient = value_and_grad(predictions, labels, jnp.ones(labels.shape, wide))
        likeness = [a[:0] for a in predictions]  # tells the backward the dtypes, at no bytes
        return reduced(losses, reduction).astype(x.dtype), (gradient, likeness, labels)

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[Linear, None]:
        """dx = dz table,  dtable = Σ dzᵀ x,  db = Σ dz, with dz the loss's own cotangent of the logits z of a chunk.

        The logits of a row affect no other row, so dx comes chunk by chunk; dtable and db are summed over the chunks,
        in float32 or wider. If all rows share one dy, the gradient is dy or dy/n times that of the sum, which the
        forward saved: three products in all. If each row has its own, the logits are recomputed: four.
        """
        dy = dy.astype(at_least_float32(dy.dtype))
        if reduction == "none":
            predictions, labels = residuals
            gradient = value_and_grad(predictions, labels, dy)[1]
            return tuple(d.astype(a.dtype) for d, a in zip(gradient, predictions, strict=True)), None
        gradient, likeness, labels = residuals
        share = dy * (1 / max(labels.size, 1)) if reduction == "mean" else dy
        return tuple(
            (d.astype(dy.dtype) * share).astype(a.dtype) for d, a in zip(gradient, likeness, strict=True)
        ), None

    def value_and_grad(predictions: Linear, labels: Int[Array, "*B"], dterms: Float[Array, "*B"]):
        """The loss of each row, and the cotangent of the predictions for a cotangent of each."""
        x, table, *bias = predictions
        wide = at_least_float32(x.dtype)

        def part(sums, rows):
            xs, at, d = rows
            value, of_terms = terms.fwd(_logits(xs, table, bias), at)
            dz, _ = terms.bwd(of_terms, d)
            narrow = dz.astype(x.dtype)
            dtable = sums[0] + jnp.matmul(narrow.T, xs, preferred_element_type=wide)
            dx = jnp.matmul(narrow, table, preferred_element_type=wide).astype(x.dtype)
            return (dtable, *(db + dz.sum(axis=0) for db in sums[1:])), (value, dx)

        start = tuple(jnp.zeros_like(a, wide) for a in (table, *bias))
        rows = _chunks(x, chunk, 1), _chunks(labels, chunk, 0), _chunks(dterms, chunk, 0)
        sums, (losses, dx) = lax.scan(part, start, rows)
        dx = dx.reshape(-1, x.shape[-1])[: labels.size].reshape(x.shape)
        return losses.reshape(-1)[: labels.size].reshape(labels.shape), (dx, *sums)

    return Rule(fwd, bwd)


def _logits(x: Float[Array, "C D"], table: Float[Array, "K D"], bias: list[Array]) -> Float[Array, "C K"]:
    z = jnp.matmul(x, table.T, preferred_element_type=at_least_float32(x.dtype))
    return z + jnp.broadcast_to(bias[0].astype(z.dtype), z.shape) if bias else z


def _chunks(rows: Array, chunk: int, features: int) -> Array:
    """Cut rows into chunks, on a new first axis, and pad the last one with zeros; the last ``features`` axes stay."""
    batch = rows.shape[: rows.ndim - features]
    rows = rows.reshape(math.prod(batch), *rows.shape[len(batch) :])
    chunk = min(chunk, max(len(rows), 1))
    rows = jnp.pad(rows, [(0, -len(rows) % chunk), *[(0, 0)] * features])
    return rows.reshape(len(rows) // chunk, chunk, *rows.shape[1:])


def _checked(x: Array, table: Array, bias: list[Array], labels: Array) -> Int[Array, "*B"]:
    require_arrays("linear_softmax_cross_entropy", x, table, *bias)
    if table.ndim != 2 or x.shape[-1:] != table.shape[1:] or any(b.shape != table.shape[:1] for b in bias):
        shapes = ", ".join(str(a.shape) for a in (x, table, *bias))
        raise ShapeError(
            f"linear_softmax_cross_entropy got {shapes}; it expects x (*B, D), a table (K, D) and, if any, b (K,)"
        )
    return integer_labels("linear_softmax_cross_entropy", x, labels)


# ---------------------------------------------------------------- of probabilities


@memoized
def sparse_categorical_cross_entropy(reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of probabilities with integer labels."""
    check_reduction(reduction)

    def fwd(probabilities: Float[Array, "*B K"], labels: Labels) -> tuple[Float[Array, "*R"], Residuals]:
        """L = reduce −log p_label, for probabilities p (*B, K) and labels (*B); infinite if p_label is 0.

        Raises ShapeError.
        """
        labels = integer_labels("sparse_categorical_cross_entropy", probabilities, labels)
        return reduced(-jnp.log(at_label(probabilities, labels)), reduction), (probabilities, labels)

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], None]:
        """dp = −1/p · dy/n at the label, and 0 elsewhere."""
        p, labels = residuals
        dlabel = -spread(dy, labels.shape, reduction) / at_label(p, labels)
        elsewhere = jnp.broadcast_to(jnp.where(valid(p, labels), 0, jnp.nan).astype(p.dtype)[..., None], p.shape)
        at = labels[..., None]
        return jnp.put_along_axis(elsewhere, at, dlabel[..., None], -1, inplace=False, mode="clip"), None

    return Rule(fwd, bwd)


@memoized
def categorical_cross_entropy(reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of probabilities with one-hot or soft labels. Probabilities are not divided by their sum."""
    check_reduction(reduction)

    def fwd(probabilities: Float[Array, "*B K"], labels: Float[Array, "*B K"]) -> tuple[Float[Array, "*R"], Residuals]:
        """L = reduce −Σ_k t_k log p_k, with 0 log 0 = 0: probabilities p and labels t (*B, K). Raises ShapeError."""
        same_shape("categorical_cross_entropy", probabilities, labels)
        terms = -(labels * _log(probabilities, labels)).sum(axis=-1)
        return reduced(terms, reduction), (probabilities, labels)

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
        """dp = −t/p · dy/n, with 0/0 = 0;  dt = −log p · dy/n."""
        p, t = residuals
        scale = spread(dy, p.shape[:-1], reduction)[..., None]
        return -t / _possible(t, p) * scale, -_or_minus_infinity(_log(p, t), p == 0) * scale

    return Rule(fwd, bwd)


@memoized
def binary_cross_entropy(reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of probabilities with targets in [0, 1], elementwise; the mean is over all elements."""
    check_reduction(reduction)

    def fwd(probabilities: Float[Array, "*B"], targets: Float[Array, "*B"]) -> tuple[Float[Array, "*R"], Residuals]:
        """L = reduce −t log p − (1 − t) log(1 − p), with 0 log 0 = 0, for p and t of one shape. Raises ShapeError."""
        same_shape("binary_cross_entropy", probabilities, targets)
        terms = -targets * _log(probabilities, targets) - (1 - targets) * _log1m(probabilities, targets)
        return reduced(terms, reduction), (probabilities, targets)

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """dp = ((1 − t)/(1 − p) − t/p) dy/n,  dt = (log(1 − p) − log p) dy/n.

        With 0/0 = 0: at p = t = 0 the slope is 1, from −log(1 − p). If p is 0 or 1 and t is not, it is ∓∞.
        """
        p, t = residuals
        scale = spread(dy, p.shape, reduction)
        dp = (1 - t) / _possible(1 - t, 1 - p) - t / _possible(t, p)
        log_q, log_p = _or_minus_infinity(_log1m(p, t), p == 1), _or_minus_infinity(_log(p, t), p == 0)
        return dp * scale, (log_q - log_p) * scale

    return Rule(fwd, bwd)


@memoized
def kl_divergence(reduction: Reduction = "mean") -> Rule:
    """D(t ‖ p), the cost of taking p for the distribution t (Kullback & Leibler 1951).

    It is the cross-entropy minus the entropy of the targets, so its minimum is 0, at p = t.
    """
    check_reduction(reduction)

    def fwd(probabilities: Float[Array, "*B K"], targets: Float[Array, "*B K"]) -> tuple[Float[Array, "*R"], Residuals]:
        """L = reduce Σ_k t_k (log t_k − log p_k), with 0 log 0 = 0: p and t both (*B, K). Raises ShapeError."""
        same_shape("kl_divergence", probabilities, targets)
        log_ratio = _log(targets, targets) - _log(probabilities, targets)
        return reduced((targets * log_ratio).sum(axis=-1), reduction), (probabilities, targets)

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
        """dp = −t/p · dy/n, with 0/0 = 0;  dt = (log t − log p + 1) dy/n, which is −∞ at t = 0 < p."""
        p, t = residuals
        scale = spread(dy, p.shape[:-1], reduction)[..., None]
        log_t, log_p = _or_minus_infinity(_log(t, t), t == 0), _or_minus_infinity(_log(p, t), p == 0)
        return -t / _possible(t, p) * scale, (log_t - log_p + 1) * scale

    return Rule(fwd, bwd)


def _possible(t: Float[Array, "*B"], p: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """p, but 1 if t and p are both 0: then t log p is 0, and so is its slope t/p."""
    return jnp.where((t == 0) & (p == 0), jnp.ones_like(p), p)


def _log(p: Float[Array, "*B"], t: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """log p, but 0 if t and p are both 0."""
    return jnp.log(_possible(t, p))


def _log1m(p: Float[Array, "*B"], t: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """log(1 − p), but 0 if t and p are both 1."""
    return jnp.log1p(-jnp.where((t == 1) & (p == 1), jnp.zeros_like(p), p))


def _or_minus_infinity(log: Float[Array, "*B"], at: Bool[Array, "*B"]) -> Float[Array, "*B"]:
    """A logarithm of the forward without its exception: so the backward needs no logarithm of its own."""
    return jnp.where(at, -jnp.inf, log)
