"""Two-dimensional convolution and its transpose: images (N, H, W, C), kernels (R, S, C, O) with R by S taps.

As everywhere in the field, "convolution" here is a correlation: the kernel is not flipped. With ``groups``, each group
makes O/groups channels from C/groups others, and the kernel's third axis holds C/groups (Krizhevsky, Sutskever & Hinton
2012, section 3.5).

Three sums carry both rules: y of x and w (``_correlated``) and its transposes in x and in w (``_dx``, ``_dw``). As
matrices: a row of u holds the window of one output ("im2col", Chellapilla, Puri & Simard 2006), y = u w, and the
transposes are those of ``dense``. Products are summed in float32 or wider.

How much of u exists at a time depends on the channels, as measured on a CPU (docs/measured.md): a tap of the kernel, a
row of it, or all. With enough channels XLA's own convolution is faster, if it is one that its fast path takes, in loops
too: y always, dx at stride 1. What autodiff makes of it is not, and takes up to fifty times as long.
"""

import functools
import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..types import Residuals, Rule, ShapeError, at_least_float32, require_arrays
from .windows import Padding, Pair, Span, cut, put_back, reach, spans, spread, steps, whole

Images = Float[Array, "N H W C"]
Outputs = Float[Array, "N P Q O"]
Bias = Float[Array, "O"] | None
Kernel = Float[Array, "R=2 S=3 C O"]
"""A kernel of any R and S; the checker draws R = 2 and S = 3, as its own sizes would exceed the image."""


def conv2d(stride: Pair = 1, padding: Padding = "SAME", dilation: Pair = 1, groups: int = 1) -> Rule:
    """Two-dimensional convolution; depthwise if ``groups`` = C. Raises ValueError for invalid settings.

    ``padding`` is "VALID" (none), "SAME" (⌈H / stride⌉ rows come out), or ((top, bottom), (left, right)).
    """
    moves = steps("conv2d", stride, padding, dilation)
    groups = whole("conv2d's groups", groups)

    def fwd(x: Images, w: Kernel, b: Bias = None) -> tuple[Outputs, Residuals]:
        """y[n,p,q,o] = Σ_rsi x[n,h,v,i] w[r,s,i,o] + b[o], with h = p·stride + r·dilation − top, v likewise of q, s.

        x is 0 outside the image; i runs over the channels of o's group. As matrices, y = Σ_r u_r w_r + b.
        Raises ShapeError.
        """
        _check("conv2d", x, w, b, groups)
        windows = spans("conv2d", x.shape[1:3], w.shape[:2], moves)
        return _with_bias(_correlated(x, w, windows, groups), b).astype(x.dtype), (x, w, _empty(b))

    def bwd(residuals: Residuals, dy: Outputs) -> tuple[Images, Kernel, Bias]:
        """dx[n,h,v,i] = Σ dy[n,p,q,o] w[r,s,i,o] over the p, q, r, s for which the forward reads x at (h, v), and o;
        dw[r,s,i,o] = Σ_npq x[n,h,v,i] dy[n,p,q,o], with h and v as in the forward;  db = Σ_npq dy.

        As matrices: du = dy wᵀ and dw = uᵀ dy, as in ``dense_bwd``. Cutting copies an element of x to every tap that
        meets it, so its transpose, ``put_back``, adds du up into dx. Saves x and w, not the larger u, which is cut
        again (or just once, if XLA compiles both passes together).
        """
        x, w, b = residuals
        windows = spans("conv2d", x.shape[1:3], w.shape[:2], moves)
        dx, dw = _dx(dy, w, windows, groups), _dw(x, dy, windows, groups)
        return dx.astype(x.dtype), dw.astype(w.dtype), _bias_bwd(b, dy)

    return Rule(fwd, bwd)


def conv2d_transpose(stride: Pair = 1, padding: Padding = "SAME", dilation: Pair = 1, groups: int = 1) -> Rule:
    """Transposed convolution: its forward is the input gradient of ``conv2d`` with the same settings.

    It enlarges an image by ``stride`` (Dumoulin & Visin 2016, chapter 4). ``padding`` means the convolution's: "SAME"
    gives H·stride rows, "VALID" (H − 1)·stride + (R − 1)·dilation + 1, and pairs crop as many as they pad there.
    The kernel maps this map's C channels to its O: it is the convolution's with both exchanged in every group.
    Raises ValueError for invalid settings.
    """
    moves = steps("conv2d_transpose", stride, padding, dilation)
    groups = whole("conv2d_transpose's groups", groups)

    def windows_on_y(x: Array, w: Array) -> tuple[Span, Span]:
        """The windows of the convolution from y's shape to x's."""

        def size(i: int) -> int:
            if moves.padding == "SAME":
                return x.shape[i + 1] * moves.stride[i]
            cropped = 0 if isinstance(moves.padding, str) else sum(moves.padding[i])
            return (x.shape[i + 1] - 1) * moves.stride[i] + reach(w.shape[i], moves.dilation[i]) - cropped

        return spans("conv2d_transpose", (size(0), size(1)), w.shape[:2], moves)

    def fwd(x: Images, w: Kernel, b: Bias = None) -> tuple[Outputs, Residuals]:
        """y[n,p,q,o] = Σ x[n,h,v,i] w[r,s,i,o] + b[o], over p = h·stride + r·dilation − top, q likewise of v, s, and i.

        Each element of x lays down a copy of the kernel, scaled by itself; overlapping copies add up, and anything
        outside y is dropped: ``_dx`` of the convolution from y to x, whose kernel t is w with I and O exchanged.
        Raises ShapeError.
        """
        _check("conv2d_transpose", x, w, b, groups)
        y = _dx(x, _exchanged(w, groups), windows_on_y(x, w), groups)
        return _with_bias(y, b).astype(x.dtype), (x, w, _empty(b))

    def bwd(residuals: Residuals, dy: Outputs) -> tuple[Images, Kernel, Bias]:
        """dx[n,h,v,i] = Σ_rso dy[n,p,q,o] w[r,s,i,o], a ``conv2d``;  dw[r,s,i,o] = Σ_nhv x[n,h,v,i] dy[n,p,q,o].

        p and q are as in the forward; db = Σ_npq dy. The transpose of a transpose is the map itself, so dx is that
        convolution of dy by t, and x and dy change places in dt. Saves x and w.
        """
        x, w, b = residuals
        windows = windows_on_y(x, w)
        dx = _correlated(dy, _exchanged(w, groups), windows, groups)
        dw = _exchanged(_dw(dy, x, windows, groups), groups)
        return dx.astype(x.dtype), dw.astype(w.dtype), _bias_bwd(b, dy)

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- the three sums

FEW = 8
"""With fewer channels on either side, XLA's own convolution is slower than matrix products on a CPU."""


def _correlated(x: Images, w: Kernel, windows: tuple[Span, Span], groups: int) -> Outputs:
    """y[n,p,q,o] = Σ_rsi x[n,h,v,i] w[r,s,i,o] = Σ u w, over all taps at once; tap by tap if there is one channel."""
    if _many(w, groups):
        return _convolution(x, w, windows, strides=(windows[0].stride, windows[1].stride))
    channels = w.shape[2]
    taps = 1 if channels == 1 else w.shape[0] * w.shape[1] if channels < FEW else w.shape[1]
    u, ws = _cut(x, windows, groups, taps), _kernel_rows(w, groups, taps)
    y = functools.reduce(jnp.add, (_product("gmk,gko->gmo", u_t, w_t) for u_t, w_t in zip(u, ws, strict=True)))
    return _image(y, windows, x.shape[0])


def _dx(dy: Outputs, w: Kernel, windows: tuple[Span, Span], groups: int) -> Images:
    """dx[n,h,v,i] = Σ_pqrso dy[n,p,q,o] w[r,s,i,o]: the transpose of ``_correlated`` in x.

    At stride 1 it is itself a correlation, of dy with the kernel turned round (r → R − 1 − r, s likewise) and its
    channels exchanged, as dx at h takes dy from p = h + top − r·dilation. Otherwise du_r = dy w_rᵀ is put back.
    """
    rows, columns = windows
    if _many(w, groups) and rows.stride == columns.stride == 1:
        around = []
        for span in windows:
            before = (span.window - 1) * span.dilation - span.low
            around.append((before, span.size - span.out + (span.window - 1) * span.dilation - before))
        return _convolution(dy, jnp.flip(w, (0, 1)).swapaxes(2, 3), windows, around=around)
    dy_rows = _pixel_rows(dy, groups)
    du = [_product("gmo,gko->gmk", dy_rows, w_r) for w_r in _kernel_rows(w, groups, w.shape[1])]
    return _put_back(du, windows, dy.shape[0])


def _dw(x: Images, dy: Outputs, windows: tuple[Span, Span], groups: int) -> Kernel:
    """dw[r,s,i,o] = Σ_npq x[n,h,v,i] dy[n,p,q,o] = uᵀ dy: the transpose of ``_correlated`` in w.

    If columns have stride 1, a tap's column is moved in dy and not in x: for all r and s at once, it is one product of
    x, cut into rows (r, i) for every n, p and v, and dy, spread to (s, o) there. Half as much is copied as by cutting x
    into the rows of u for one r after the other, which is what larger strides, with zeros between, are left to.
    """
    rows, columns = windows
    channels, outputs = x.shape[3] // groups, dy.shape[3] // groups
    if columns.stride == 1:
        u = jnp.concatenate(cut(_grouped(x, groups), 2, rows), axis=4)
        v = jnp.concatenate(spread(_grouped(dy, groups), 3, columns), axis=4)
        dw = _product("gmk,gml->gkl", *(a.reshape(groups, math.prod(a.shape[1:4]), a.shape[4]) for a in (u, v)))
        dw = dw.reshape(groups, rows.window, channels, columns.window, outputs).transpose(1, 3, 2, 0, 4)
    else:
        dys, us = _pixel_rows(dy, groups), _cut(x, windows, groups, columns.window)
        dw = jnp.stack([_product("gmk,gmo->kgo", u_r, dys) for u_r in us])
    return dw.reshape(rows.window, columns.window, channels, dy.shape[3])


def _many(w: Kernel, groups: int) -> bool:
    return groups == 1 and min(w.shape[2:]) >= FEW


def _convolution(x: Array, w: Array, windows: tuple[Span, Span], strides=(1, 1), around=None) -> Array:
    """XLA's own."""
    return lax.conv_general_dilated(
        x,
        w,
        strides,
        around or [(span.low, span.high) for span in windows],
        rhs_dilation=[span.dilation for span in windows],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=at_least_float32(x.dtype),
    )


# ---------------------------------------------------------------- images and kernels as matrices

# Every operand is a matrix, with the groups on an axis in front, which costs nothing if there is one group. Given more
# axes, XLA would transpose them first, which takes longer than the product.


def _product(indices: str, a: Array, b: Array) -> Array:
    return jnp.einsum(indices, a, b, preferred_element_type=at_least_float32(a.dtype))


def _pixel_rows(x: Array, groups: int) -> Array:
    """(N, H, W, C) to (G, N H W, C/G)."""
    n, h, w, c = x.shape
    return jnp.moveaxis(x.reshape(n * h * w, groups, c // groups), 1, 0)


def _grouped(x: Array, groups: int) -> Array:
    """(N, H, W, C) to (G, N, H, W, C/G)."""
    return _pixel_rows(x, groups).reshape(groups, *x.shape[:3], x.shape[3] // groups)


def _kernel_rows(w: Array, groups: int, taps: int) -> Array:
    """w_t: (R, S, C/G, O) to (R S / taps, G, taps C/G, O/G)."""
    r, s, i, o = w.shape
    return jnp.moveaxis(w.reshape(r * s // taps, taps * i, groups, o // groups), 2, 1)


def _exchanged(w: Array, groups: int) -> Array:
    """(R, S, C/G, O) to (R, S, O/G, C): input and output channels exchanged in every group."""
    r, s, i, o = w.shape
    return w.reshape(r, s, i, groups, o // groups).swapaxes(2, 4).reshape(r, s, o // groups, i * groups)


def _cut(x: Array, windows: tuple[Span, Span], groups: int, taps: int) -> list[Array]:
    """u_t: (N, H, W, C) to (G, N P Q, taps C/G), for ``taps`` at a time: one, a row of the kernel, or all.

    Only the columns are copied; what any window sees in its row r is then a slice of rows.
    """
    rows, columns = windows
    n = x.shape[0]  # of an export it may be a symbol, which len() refuses
    cuts = cut(_grouped(x, groups), 3, columns)
    each = [jnp.concatenate(cuts, axis=4)] if taps > 1 else cuts
    u = [[u_r.reshape(groups, n * rows.out * columns.out, u_r.shape[4]) for u_r in cut(part, 2, rows)] for part in each]
    if taps > columns.window:
        return [jnp.concatenate(u[0], axis=2)]
    return [part[r] for r in range(rows.window) for part in u]


def _put_back(u: list[Array], windows: tuple[Span, Span], n: int) -> Array:
    """The transpose of ``_cut`` by rows of the kernel: R times (G, N P Q, S C/G) to (N, H, W, C)."""
    rows, columns = windows
    groups = len(u[0])
    image = (groups, n, rows.out, columns.out, columns.window, u[0].shape[2] // columns.window)
    taps = put_back([u_r.reshape(image) for u_r in u], 2, rows)
    x = jnp.moveaxis(put_back([taps[:, :, :, :, s] for s in range(columns.window)], 3, columns), 0, 3)
    return x.reshape(*x.shape[:3], x.shape[3] * x.shape[4])


def _image(y: Array, windows: tuple[Span, Span], n: int) -> Array:
    """(G, N P Q, O/G) to (N, P, Q, O)."""
    rows, columns = windows
    return jnp.moveaxis(y, 0, 1).reshape(n, rows.out, columns.out, len(y) * y.shape[2])


# ---------------------------------------------------------------- bias and shapes


def _with_bias(y: Array, b: Array | None) -> Array:
    return y if b is None else y + jnp.broadcast_to(b.astype(y.dtype), y.shape)


def _empty(b: Array | None) -> Array | None:
    """Tells the backward whether there is a bias, at no bytes."""
    return None if b is None else b[:0]


def _bias_bwd(b: Array | None, dy: Array) -> Array | None:
    return None if b is None else dy.sum((0, 1, 2))


def _check(name: str, x: Array, w: Array, b: Array | None, groups: int) -> None:
    require_arrays(name, x, w, b)
    ranks = x.ndim == 4 and w.ndim == 4
    channels = ranks and x.shape[3] == w.shape[2] * groups and w.shape[3] % groups == 0
    if not channels or (b is not None and b.shape != w.shape[3:]):
        bias = "no b" if b is None else f"b {b.shape}"
        raise ShapeError(
            f"{name} got x {x.shape}, w {w.shape}, {bias}; with groups={groups} it expects x (N, H, W, C), "
            "w (R, S, C/groups, O) and b (O,), O a multiple of groups"
        )
