"""Pooling: the maximum or the mean of each channel in every window of an image (N, H, W, C)."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..types import Residuals, Rule, ShapeError, at_least_float32, require_arrays
from .windows import Padding, Pair, Span, Steps, cut, pair, put_back, spans, steps


def max_pool(window: Pair = 2, stride: Pair | None = None, padding: Padding = "VALID") -> Rule:
    """The maximum of every window. ``stride`` defaults to the window's size, so that windows do not overlap.

    Raises ValueError for invalid settings.
    """
    taps, moves = _settings("max_pool", window, stride, padding)

    def fwd(x: Float[Array, "N H W C"]) -> tuple[Float[Array, "N P Q C"], Residuals]:
        """y[n,p,q,c] = max over the window's taps (i, j) of x[n, p·stride + i − top, q·stride + j − left, c].

        The padding is −∞. A NaN in the window gives NaN. Raises ShapeError, also if no window fits.
        """
        y, *others = _slices(x, _windows("max_pool", x, taps, moves), fill=-jnp.inf)
        winner = jnp.zeros(y.shape, jnp.uint16)
        for k, tap in enumerate(others, start=1):
            better = (tap > y) | jnp.isnan(tap)
            y = jnp.where(better, tap, y)
            winner = jnp.where(better, jnp.asarray(k, winner.dtype), winner)
        return y, (winner, x[:0])

    def bwd(residuals: Residuals, dy: Float[Array, "N P Q C"]) -> tuple[Float[Array, "N H W C"]]:
        """dx = Σ dy over the windows in which the element is the maximum, and 0 if there are none.

        At a tie the first of the equals, row by row, gets all of dy, as in PyTorch. In a window of −∞ alone the padding
        may come first, and then no element gets dy. Saves the index of the winning tap in two bytes, and not x.
        """
        winner, empty = residuals
        high = dy.astype(at_least_float32(dy.dtype))
        count = taps[0] * taps[1]
        shares = [jnp.where(winner == jnp.asarray(k, winner.dtype), high, jnp.zeros_like(high)) for k in range(count)]
        return (_put_back(shares, _windows("max_pool", empty, taps, moves)).astype(dy.dtype),)

    return Rule(fwd, bwd)


def average_pool(window: Pair = 2, stride: Pair | None = None, padding: Padding = "VALID") -> Rule:
    """The mean of every window, over its elements inside the image. ``stride`` defaults to the window's size.

    Raises ValueError for invalid settings.
    """
    taps, moves = _settings("average_pool", window, stride, padding)

    def weights(windows: tuple[Span, Span], shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """1 / m, with m = rows times columns of the window inside the image. Computed from shapes alone."""
        rows, columns = (
            sum(
                np.isin(np.arange(span.out) * span.stride + tap - span.low, np.arange(span.size)).astype(int)
                for tap in range(span.window)
            )
            for span in windows
        )
        return jnp.broadcast_to(jnp.asarray(1 / np.multiply.outer(rows, columns), dtype)[:, :, None], shape)

    def fwd(x: Float[Array, "N H W C"]) -> tuple[Float[Array, "N P Q C"], Float[Array, "0 H W C"]]:
        """y[n,p,q,c] = (1/m) Σ_ij x[n, p·stride + i − top, q·stride + j − left, c], over the m inside the image.

        Raises ShapeError, also if no window fits.
        """
        windows = _windows("average_pool", x, taps, moves)
        total = functools.reduce(jnp.add, _slices(x.astype(at_least_float32(x.dtype)), windows))
        return (total * weights(windows, total.shape, total.dtype)).astype(x.dtype), x[:0]

    def bwd(empty: Float[Array, "0 H W C"], dy: Float[Array, "N P Q C"]) -> tuple[Float[Array, "N H W C"]]:
        """dx = Σ dy / m over the windows that hold the element. Saves an empty array with the shape of x."""
        windows = _windows("average_pool", empty, taps, moves)
        high = dy.astype(at_least_float32(dy.dtype))
        share = high * weights(windows, high.shape, high.dtype)
        return (_put_back([share] * (taps[0] * taps[1]), windows).astype(dy.dtype),)

    return Rule(fwd, bwd)


def global_average_pool_fwd(x: Float[Array, "N H W C"]) -> tuple[Float[Array, "N C"], Float[Array, "0 H W C"]]:
    """y[n,c] = the mean of x over H and W (Lin, Chen & Yan 2014, section 3.2). Raises ShapeError."""
    _is_image("global_average_pool", x)
    return x.astype(at_least_float32(x.dtype)).mean((1, 2)).astype(x.dtype), x[:0]


def global_average_pool_bwd(empty: Float[Array, "0 H W C"], dy: Float[Array, "N C"]) -> tuple[Float[Array, "N H W C"]]:
    """dx = dy / (H W) at every place, as a product with 1/(H W), since float16 ends before 256². Saves x's shape."""
    _, h, w, c = empty.shape
    return (jnp.broadcast_to((dy * (1 / (h * w)))[:, None, None], (dy.shape[0], h, w, c)),)


global_average_pool = Rule(global_average_pool_fwd, global_average_pool_bwd)


def _settings(name: str, window: Pair, stride: Pair | None, padding: Padding) -> tuple[tuple[int, int], Steps]:
    """The window's size and its moves. Raises ValueError, also if padding could fill a whole window."""
    taps = pair(f"{name}'s window", window)
    moves = steps(name, taps if stride is None else stride, padding)
    if not isinstance(moves.padding, str) and any(
        max(sides) >= size for sides, size in zip(moves.padding, taps, strict=True)
    ):
        raise ValueError(f"{name}'s padding must be smaller than its window {taps}; got {padding!r}")
    return taps, moves


def _is_image(name: str, x: Array) -> None:
    require_arrays(name, x)
    if x.ndim != 4 or not x.shape[1] * x.shape[2]:
        raise ShapeError(f"{name} got x {x.shape}; it expects an image (N, H, W, C)")


def _windows(name: str, x: Array, taps: tuple[int, int], moves: Steps) -> tuple[Span, Span]:
    _is_image(name, x)
    return spans(name, x.shape[1:3], taps, moves)


def _slices(x: Array, windows: tuple[Span, Span], fill: float = 0.0) -> list[Array]:
    """For each tap, row by row, its element in every window."""
    rows, columns = windows
    return [tap for row in cut(x, 1, rows, fill) for tap in cut(row, 2, columns, fill)]


def _put_back(taps: list[Array], windows: tuple[Span, Span]) -> Array:
    """The transpose of ``_slices``."""
    rows, columns = windows
    each = columns.window
    return put_back([put_back(taps[i * each : (i + 1) * each], 2, columns) for i in range(rows.window)], 1, rows)
