"""Convolution in two dimensions, and its transpose: images (N, H, W, C), kernels (R, S, C, O) of R by S taps.

What is called convolution here is, as in all of the field, a correlation: the kernel is not flipped. Each of ``groups``
makes its own O/groups channels from its own C/groups, which is then what the kernel's third axis holds (Krizhevsky,
Sutskever & Hinton 2012, section 3.5).

The image is cut into the patches u that the windows see, and the rest is a matrix product: "im2col" (Chellapilla, Puri
& Simard 2006). XLA runs this as fast in a loop as outside it, which on a CPU is not so for its own convolution. In the
products, which are summed in float32 at least, k counts the taps, g the groups, and i and o the channels of a group.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..types import Rule, ShapeError
from .windows import Padding, Pair, Span, pair, put_back, reach, slices, spans, steps, wide

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
    groups, _ = pair("conv2d's groups", groups)

    def fwd(
        x: Float[Array, "N H W C"], w: Kernel, b: Float[Array, "O"] | None = None
    ) -> tuple[Float[Array, "N P Q O"], ConvResiduals]:
        """y[n,p,q,o] = Σ_rsi x[n, p·stride + r·dilation − top, q·stride + s·dilation − left, i] w[r,s,i,o] + b[o].

        x is 0 outside of the image; i runs over the channels of o's group. In patches, y = u w + b.
        Raises ShapeError where the arguments do not fit.
        """
        _fits("conv2d", x, w, b, groups)
        u = _patches(x, *spans("conv2d", x.shape[1:3], w.shape[:2], moves), groups)
        y = _product("npqkgi,kigo->npqgo", u, _kernel(w, groups))
        return _with_bias(y.reshape(*y.shape[:3], -1), b, x), _residuals(x, w, b)

    def bwd(
        residuals: ConvResiduals, dy: Float[Array, "N P Q O"]
    ) -> tuple[Float[Array, "N H W C"], Kernel, Float[Array, "O"] | None]:
        """du = dy wᵀ,  dw = uᵀ dy,  db = Σ_npq dy: as for a dense map, see ``dense_bwd``, of the patches.

        An element of x stands in several patches, once for each tap that meets it, and dx is the sum of du over them:
        cutting is linear, so its backward is its transpose, ``put_back``. Saves x and w, and not the patches, which
        are R S times as large as x: they are cut again (once in all, where XLA compiles both passes together).
        """
        x, w, b = residuals
        windows = spans("conv2d", x.shape[1:3], w.shape[:2], moves)
        dy_groups = _groups(dy, groups)
        du = _product("npqgo,kigo->npqkgi", dy_groups, _kernel(w, groups))
        dw = _product("npqkgi,npqgo->kigo", _patches(x, *windows, groups), dy_groups)
        dx = _put_back(du, windows)
        return dx.astype(x.dtype), dw.reshape(w.shape).astype(w.dtype), _bias_bwd(b, dy)

    return Rule(fwd, bwd)


def conv2d_transpose(stride: Pair = 1, padding: Padding = "SAME", dilation: Pair = 1, groups: int = 1) -> Rule:
    """Transposed convolution: its forward is the input gradient of ``conv2d`` with the same settings.

    It makes an image larger by ``stride`` (Dumoulin & Visin 2016, chapter 4). ``padding`` is that of the convolution:
    "SAME" gives H·stride rows, "VALID" (H − 1)·stride + (R − 1)·dilation + 1, and pairs take from that what they pad.
    The kernel has this map's own channels, C in and O out: the convolution's, exchanged in every group.
    Raises ValueError for settings that are none.
    """
    moves = steps("conv2d_transpose", stride, padding, dilation)
    groups, _ = pair("conv2d_transpose's groups", groups)

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
        y is dropped. In patches: u = x w, put back. Raises ShapeError where the arguments do not fit.
        """
        _fits("conv2d_transpose", x, w, b, groups)
        u = _product("nhvgi,kigo->nhvkgo", _groups(x, groups), _kernel(w, groups))
        return _with_bias(_put_back(u, windows_on_y(x, w)), b, x), _residuals(x, w, b)

    def bwd(
        residuals: ConvResiduals, dy: Float[Array, "N P Q O"]
    ) -> tuple[Float[Array, "N H W C"], Kernel, Float[Array, "O"] | None]:
        """du = the patches of dy,  dx = du wᵀ,  dw = xᵀ du,  db = Σ_npq dy.

        y is u put back, and the transpose of that is the cutting: du is dy wherever it was put, and dx the convolution
        of dy. Saves x and w.
        """
        x, w, b = residuals
        du = _patches(dy, *windows_on_y(x, w), groups)
        dx = _product("nhvkgo,kigo->nhvgi", du, _kernel(w, groups))
        dw = _product("nhvgi,nhvkgo->kigo", _groups(x, groups), du)
        return dx.reshape(x.shape).astype(x.dtype), dw.reshape(w.shape).astype(w.dtype), _bias_bwd(b, dy)

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- what both are made of


def _product(indices: str, a: Array, b: Array) -> Array:
    return jnp.einsum(indices, a, b, preferred_element_type=wide(a.dtype))


def _groups(x: Array, groups: int) -> Array:
    """(N, H, W, C) to (N, H, W, G, C/G)."""
    return x.reshape(*x.shape[:3], groups, -1)


def _kernel(w: Array, groups: int) -> Array:
    """(R, S, C/G, O) to (R S, C/G, G, O/G)."""
    r, s, i, o = w.shape
    return w.reshape(r * s, i, groups, o // groups)


def _patches(x: Array, rows: Span, columns: Span, groups: int) -> Array:
    """(N, H, W, C) to (N, P, Q, taps, G, C/G)."""
    u = jnp.stack(slices(x, rows, columns), axis=3)
    return u.reshape(*u.shape[:4], groups, -1)


def _put_back(u: Array, windows: tuple[Span, Span]) -> Array:
    """The transpose of ``_patches``: (N, P, Q, taps, G, C/G) to (N, H, W, C)."""
    u = u.reshape(*u.shape[:4], -1)
    return put_back([u[:, :, :, k] for k in range(u.shape[3])], *windows)


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
            f"{name} got x {x.shape}, w {w.shape}, {bias}; with groups={groups} it wants x (N, H, W, C), "
            "w (R, S, C/groups, O) and b (O,), O a multiple of groups"
        )
