"""Two-dimensional convolution and its transpose: images (N, H, W, C), kernels (R, S, C, O) with R by S taps.

As everywhere in the field, "convolution" here is a correlation: the kernel is not flipped. With ``groups``, each group
makes O/groups channels from C/groups others, and the kernel's third axis holds C/groups (Krizhevsky, Sutskever & Hinton
2012, section 3.5).

The image is cut into windows ("im2col", Chellapilla, Puri & Simard 2006); the rest is matrix products, summed in
float32 or wider. Only the columns are copied: the matrix u_r, everything that any window sees in its row r,
is then a slice of rows, and y = Σ_r u_r w_r. So the image is held S times instead of R S times. XLA runs this as fast
inside a loop as outside; on a CPU its own convolution is slower there.
"""

import functools
from collections.abc import Iterable

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..types import Residuals, Rule, ShapeError, at_least_float32, require_arrays
from .windows import Padding, Pair, Span, cut, put_back, reach, spans, steps, whole

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
        u, w_rows = _cut(x, windows, groups), _kernel_rows(w, groups)
        y = _sum(_product("gmk,gko->gmo", u_r, w_r) for u_r, w_r in zip(u, w_rows, strict=True))
        return _with_bias(_image(y, windows, x.shape[0]), b).astype(x.dtype), (x, w, _empty(b))

    def bwd(residuals: Residuals, dy: Outputs) -> tuple[Images, Kernel, Bias]:
        """dx[n,h,v,i] = Σ dy[n,p,q,o] w[r,s,i,o] over the p, q, r, s for which the forward reads x at (h, v), and o;
        dw[r,s,i,o] = Σ_npq x[n,h,v,i] dy[n,p,q,o], with h and v as in the forward;  db = Σ_npq dy.

        As matrices: du_r = dy w_rᵀ and dw_r = u_rᵀ dy, as in ``dense_bwd``. Cutting copies an element of x to every tap
        that meets it, so its transpose, ``put_back``, adds du up into dx. Saves x and w, not the larger u, which is cut
        again (or just once, if XLA compiles both passes together).
        """
        x, w, b = residuals
        windows = spans("conv2d", x.shape[1:3], w.shape[:2], moves)
        dy_rows = _pixel_rows(dy, groups)
        du = [_product("gmo,gko->gmk", dy_rows, w_r) for w_r in _kernel_rows(w, groups)]
        dw = jnp.stack([_product("gmk,gmo->kgo", u_r, dy_rows) for u_r in _cut(x, windows, groups)])
        dx = _put_back(du, windows, len(x))
        return dx.astype(x.dtype), dw.reshape(w.shape).astype(w.dtype), _bias_bwd(b, dy)

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
        outside y is dropped. As matrices: u_r = x t_rᵀ, put back, where t is w with I and O exchanged.
        Raises ShapeError.
        """
        _check("conv2d_transpose", x, w, b, groups)
        x_rows = _pixel_rows(x, groups)
        u = [_product("gmo,gko->gmk", x_rows, t_r) for t_r in _kernel_rows(_exchanged(w, groups), groups)]
        return _with_bias(_put_back(u, windows_on_y(x, w), len(x)), b).astype(x.dtype), (x, w, _empty(b))

    def bwd(residuals: Residuals, dy: Outputs) -> tuple[Images, Kernel, Bias]:
        """dx[n,h,v,i] = Σ_rso dy[n,p,q,o] w[r,s,i,o], a ``conv2d``;  dw[r,s,i,o] = Σ_nhv x[n,h,v,i] dy[n,p,q,o].

        p and q are as in the forward; db = Σ_npq dy. As matrices, cutting is the transpose of putting back: du is dy,
        cut;  dx = Σ_r du_r t_r,  dt_r = du_rᵀ x. Saves x and w.
        """
        x, w, b = residuals
        windows = windows_on_y(x, w)
        t = _exchanged(w, groups)
        du, x_rows = _cut(dy, windows, groups), _pixel_rows(x, groups)
        dx = _sum(_product("gmk,gko->gmo", du_r, t_r) for du_r, t_r in zip(du, _kernel_rows(t, groups), strict=True))
        dt = jnp.stack([_product("gmk,gmo->kgo", du_r, x_rows) for du_r in du]).reshape(t.shape)
        dx, dw = _image(dx, windows, len(x)), _exchanged(dt, groups)
        return dx.astype(x.dtype), dw.astype(w.dtype), _bias_bwd(b, dy)

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- images and kernels as matrices

# Every operand is a matrix, with the groups on an axis in front, which costs nothing if there is one group. Given more
# axes, XLA would transpose them first, which takes longer than the product.


def _product(indices: str, a: Array, b: Array) -> Array:
    return jnp.einsum(indices, a, b, preferred_element_type=at_least_float32(a.dtype))


def _sum(terms: Iterable[Array]) -> Array:
    return functools.reduce(jnp.add, terms)


def _pixel_rows(x: Array, groups: int) -> Array:
    """(N, H, W, C) to (G, N H W, C/G)."""
    n, h, w, c = x.shape
    return jnp.moveaxis(x.reshape(n * h * w, groups, c // groups), 1, 0)


def _kernel_rows(w: Array, groups: int) -> Array:
    """w_r: (R, S, C/G, O) to (R, G, S C/G, O/G)."""
    r, s, i, o = w.shape
    return jnp.moveaxis(w.reshape(r, s * i, groups, o // groups), 2, 1)


def _exchanged(w: Array, groups: int) -> Array:
    """(R, S, C/G, O) to (R, S, O/G, C): input and output channels exchanged in every group."""
    r, s, i, o = w.shape
    return w.reshape(r, s, i, groups, o // groups).swapaxes(2, 4).reshape(r, s, o // groups, i * groups)


def _cut(x: Array, windows: tuple[Span, Span], groups: int) -> list[Array]:
    """u_r: (N, H, W, C) to (G, N P Q, S C/G), for each of the R taps."""
    rows, columns = windows
    n, h, w, c = x.shape
    taps = cut(_pixel_rows(x, groups).reshape(groups, n, h, w, c // groups), 3, columns)
    u = jnp.concatenate(taps, axis=4)
    return [u_r.reshape(groups, n * rows.out * columns.out, u.shape[4]) for u_r in cut(u, 2, rows)]


def _put_back(u: list[Array], windows: tuple[Span, Span], n: int) -> Array:
    """The transpose of ``_cut``: R times (G, N P Q, S C/G) to (N, H, W, C)."""
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
