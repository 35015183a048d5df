"""Convolution in two dimensions, and its transpose: images (N, H, W, C), kernels (R, S, C, O) of R by S taps.

What is called convolution here is, as in all of the field, a correlation: the kernel is not flipped. Each of ``groups``
makes its own O/groups channels from its own C/groups, which is then what the kernel's third axis holds (Krizhevsky,
Sutskever & Hinton 2012, section 3.5).

The image is cut into what the windows see, and the rest is matrix products: "im2col" (Chellapilla, Puri & Simard 2006).
Here only the columns are cut: what all windows have in their row r is a slice of the rows of that, the matrix u_r, and
R products u_r w_r add up. So the image is held S times, not R S times. XLA runs this as fast in a loop as outside of
it, which on a CPU is not so for its own convolution. Products are summed in float32 at least.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..types import Rule, ShapeError, at_least_float32
from .windows import Padding, Pair, Span, cut, put_back, reach, spans, steps, whole

Kernel = Float[Array, "R=2 S=3 C O"]
"""Of any R and S: these are what the checker draws, as its own sizes would be larger than the image."""


class ConvResiduals(NamedTuple):
    x: Float[Array, "N H W C"]
    w: Kernel
    b: Float[Array, "0"] | None  # no elements: it says by being there that there is a bias


def conv2d(stride: Pair = 1, padding: Padding = "SAME", dilation: Pair = 1, groups: int = 1) -> Rule:
    """Convolution in two dimensions; with ``groups`` = C it is depthwise. Raises ValueError for settings that are none.

    ``padding`` is "VALID" (none), "SAME" (⌈H / stride⌉ rows come out), or ((top, bottom), (left, right)).
    """
    moves = steps("conv2d", stride, padding, dilation)
    groups = whole("conv2d's groups", groups)

    def fwd(
        x: Float[Array, "N H W C"], w: Kernel, b: Float[Array, "O"] | None = None
    ) -> tuple[Float[Array, "N P Q O"], ConvResiduals]:
        """y[n,p,q,o] = Σ_rsi x[n, p·stride + r·dilation − top, q·stride + s·dilation − left, i] w[r,s,i,o] + b[o].

        x is 0 outside of the image; i runs over the channels of o's group. In matrices, y = Σ_r u_r w_r + b.
        Raises ShapeError where the arguments do not fit.
        """
        _fits("conv2d", x, w, b, groups)
        y = _convolve(x, w, spans("conv2d", x.shape[1:3], w.shape[:2], moves), groups)
        return _with_bias(y, b, x), _residuals(x, w, b)

    def bwd(
        residuals: ConvResiduals, dy: Float[Array, "N P Q O"]
    ) -> tuple[Float[Array, "N H W C"], Kernel, Float[Array, "O"] | None]:
        """du_r = dy w_rᵀ,  dw_r = u_rᵀ dy,  db = Σ_npq dy: as for a dense map, see ``dense_bwd``, of what was cut.

        An element of x stands in u once for each tap that meets it, and dx is the sum of du over these: cutting is
        linear, so its backward is its transpose, ``put_back``. Saves x and w, and not u, which is larger: it is cut
        again (once in all, where XLA compiles both passes together).
        """
        x, w, b = residuals
        windows = spans("conv2d", x.shape[1:3], w.shape[:2], moves)
        dx = _convolve_transposed(dy, w, windows, groups)
        return dx.astype(x.dtype), _kernel_bwd(x, dy, windows, groups).astype(w.dtype), _bias_bwd(b, dy)

    return Rule(fwd, bwd)


def conv2d_transpose(stride: Pair = 1, padding: Padding = "SAME", dilation: Pair = 1, groups: int = 1) -> Rule:
    """Transposed convolution: its forward is the input gradient of ``conv2d`` with the same settings.

    It makes an image larger by ``stride`` (Dumoulin & Visin 2016, chapter 4). ``padding`` is that of the convolution:
    "SAME" gives H·stride rows, "VALID" (H − 1)·stride + (R − 1)·dilation + 1, and pairs take from that what they pad.
    The kernel has this map's own channels, C in and O out: the convolution's, exchanged in every group.
    Raises ValueError for settings that are none.
    """
    moves = steps("conv2d_transpose", stride, padding, dilation)
    groups = whole("conv2d_transpose's groups", groups)

    def windows_on_y(x: Array, w: Array) -> tuple[Span, Span]:
        """The windows of the convolution that leads from y's shape to x's."""

        def size(i: int) -> int:
            if moves.padding == "SAME":
                return x.shape[i + 1] * moves.stride[i]
            cropped = 0 if isinstance(moves.padding, str) else sum(moves.padding[i])
            return (x.shape[i + 1] - 1) * moves.stride[i] + reach(w.shape[i], moves.dilation[i]) - cropped

        return spans("conv2d_transpose", (size(0), size(1)), w.shape[:2], moves)

    def fwd(
        x: Float[Array, "N H W C"], w: Kernel, b: Float[Array, "O"] | None = None
    ) -> tuple[Float[Array, "N P Q O"], ConvResiduals]:
        """y[n, h·stride + r·dilation − top, v·stride + s·dilation − left, o] = Σ_hvrsi x[n,h,v,i] w[r,s,i,o] + b[o].

        Every element of x lays down the kernel, times itself; where copies meet they add up, and what falls outside of
        y is dropped. In matrices: u_r = x v_rᵀ, put back, where v is w with I and O exchanged.
        Raises ShapeError where the arguments do not fit.
        """
        _fits("conv2d_transpose", x, w, b, groups)
        y = _convolve_transposed(x, _exchanged(w, groups), windows_on_y(x, w), groups)
        return _with_bias(y, b, x), _residuals(x, w, b)

    def bwd(
        residuals: ConvResiduals, dy: Float[Array, "N P Q O"]
    ) -> tuple[Float[Array, "N H W C"], Kernel, Float[Array, "O"] | None]:
        """du = dy, cut,  dx = Σ_r du_r v_r,  dv_r = du_rᵀ x,  db = Σ_npq dy.

        y is u put back, and the transpose of that is cutting: dx is the convolution of dy. Saves x and w.
        """
        x, w, b = residuals
        windows = windows_on_y(x, w)
        dx = _convolve(dy, _exchanged(w, groups), windows, groups)
        dw = _exchanged(_kernel_bwd(dy, x, windows, groups), groups)
        return dx.astype(x.dtype), dw.astype(w.dtype), _bias_bwd(b, dy)

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- what both are made of


# Three products are both rules: y = Σ_r u_r w_r is linear in x and in w, and the other two are its transposes. Nothing
# but matrices is multiplied, each group's in front, where a single one costs nothing: XLA turns around what has more
# axes, and that takes longer than the product.


def _convolve(x: Array, w: Array, windows: tuple[Span, Span], groups: int) -> Array:
    """y = Σ_r u_r w_r: (N, H, W, C) and (R, S, C/G, O) to (N, P, Q, O)."""
    products = map(functools.partial(_product, "gmk,gko->gmo"), _cut(x, windows, groups), _kernel(w, groups))
    y = jnp.moveaxis(functools.reduce(jnp.add, products), 0, 1)
    return y.reshape(len(x), windows[0].out, windows[1].out, w.shape[3])


def _convolve_transposed(y: Array, w: Array, windows: tuple[Span, Span], groups: int) -> Array:
    """u_r = y w_rᵀ, put back where it was cut: (N, P, Q, O) and (R, S, C/G, O) to (N, H, W, C)."""
    rows, columns = windows
    y_groups = _groups(y, groups)
    u = [_product("gmo,gko->gmk", y_groups, w_r) for w_r in _kernel(w, groups)]
    image = (groups, len(y), rows.out, columns.out, columns.window, w.shape[2])
    taps = put_back([u_r.reshape(image) for u_r in u], 2, rows)
    x = put_back([taps[:, :, :, :, s] for s in range(columns.window)], 3, columns)
    return jnp.moveaxis(x, 0, 3).reshape(*x.shape[1:4], groups * w.shape[2])


def _kernel_bwd(x: Array, y: Array, windows: tuple[Span, Span], groups: int) -> Array:
    """dw_r = u_rᵀ y: (N, H, W, C) and (N, P, Q, O) to (R, S, C/G, O)."""
    y_groups = _groups(y, groups)
    dw = jnp.stack([_product("gmk,gmo->kgo", u_r, y_groups) for u_r in _cut(x, windows, groups)])
    return dw.reshape(len(dw), windows[1].window, x.shape[3] // groups, y.shape[3])


def _product(indices: str, a: Array, b: Array) -> Array:
    return jnp.einsum(indices, a, b, preferred_element_type=at_least_float32(a.dtype))


def _groups(x: Array, groups: int) -> Array:
    """(N, H, W, C) to (G, N H W, C/G)."""
    n, h, w, c = x.shape
    return jnp.moveaxis(x.reshape(n * h * w, groups, c // groups), 1, 0)


def _kernel(w: Array, groups: int) -> Array:
    """(R, S, C/G, O) to (R, G, S C/G, O/G)."""
    r, s, i, o = w.shape
    return jnp.moveaxis(w.reshape(r, s * i, groups, o // groups), 2, 1)


def _exchanged(w: Array, groups: int) -> Array:
    """(R, S, C/G, O) to (R, S, O/G, C): the channels that come in and go out, in every group."""
    r, s, i, o = w.shape
    return w.reshape(r, s, i, groups, o // groups).swapaxes(2, 4).reshape(r, s, o // groups, i * groups)


def _cut(x: Array, windows: tuple[Span, Span], groups: int) -> list[Array]:
    """u: (N, H, W, C) to (G, N P Q, S C/G), for each of R taps."""
    rows, columns = windows
    n, h, w, c = x.shape
    taps = cut(_groups(x, groups).reshape(groups, n, h, w, c // groups), 3, columns)
    u = jnp.concatenate(taps, axis=4)
    return [u_r.reshape(groups, n * rows.out * columns.out, u.shape[4]) for u_r in cut(u, 2, rows)]


def _residuals(x: Array, w: Array, b: Array | None) -> ConvResiduals:
    return ConvResiduals(x, w, None if b is None else b[:0])


def _with_bias(y: Array, b: Array | None, x: Array) -> Array:
    y = y if b is None else y + jnp.broadcast_to(b.astype(y.dtype), y.shape)
    return y.astype(x.dtype)


def _bias_bwd(b: Array | None, dy: Array) -> Array | None:
    return None if b is None else dy.sum((0, 1, 2))


def _fits(name: str, x: Array, w: Array, b: Array | None, groups: int) -> None:
    ranks = x.ndim == 4 and w.ndim == 4
    channels = ranks and x.shape[3] == w.shape[2] * groups and w.shape[3] % groups == 0
    if not channels or (b is not None and b.shape != w.shape[3:]):
        bias = "no b" if b is None else f"b {b.shape}"
        raise ShapeError(
            f"{name} got x {x.shape}, w {w.shape}, {bias}; with groups={groups} it expects x (N, H, W, C), "
            "w (R, S, C/groups, O) and b (O,), O a multiple of groups"
        )
