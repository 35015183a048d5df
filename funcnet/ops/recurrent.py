"""Recurrent cells over whole sequences: the forward is a scan, the backward an explicit scan from the last step back.

All cells work alike. x (*B, T, I) is multiplied by its weights ``w`` for all times at once, before the scan; each step
adds the state times ``u``. The backward computes the slopes of all gates before its scan, which returns the cotangent
dz of every pre-activation; one product each then gives dx, dw and du. Gates have an axis of their own: w (I, 4, H)
holds the four of an LSTM. States and pre-activations are float32 or wider; the state that is multiplied by ``u`` is
rounded to the dtype of u.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid
from jaxtyping import Array, Float

from ..types import Rule, ShapeError, at_least_float32, require_arrays
from .activations import sigmoid_slope, tanh_slope

Inputs = Float[Array, "*B T I"]
States = Float[Array, "*B T H"]
State = Float[Array, "*B H"]

# ---------------------------------------------------------------- shared by the cells


def _check(name: str, x: Array, w: Array, u: Array, b: Array, gates: tuple[int, ...], **states: Array) -> None:
    require_arrays(name, x, w, u, b, *states.values())
    H = b.shape[-1] if b.ndim else None
    wanted = ((*x.shape[-1:], *gates, H), (H, *gates, H), (*gates, H))
    fits = x.ndim >= 2 and (w.shape, u.shape, b.shape) == wanted
    if not fits or any(state.shape != (*x.shape[:-2], H) for state in states.values()):
        got = ", ".join(f"{k} {v.shape}" for k, v in {"x": x, **states, "w": w, "u": u, "b": b}.items())
        G = "".join(f"{gate}, " for gate in gates)
        expects = ["x (*B, T, I)", *(f"{state} (*B, H)" for state in states), f"w (I, {G}H)", f"u (H, {G}H)"]
        raise ShapeError(f"{name} got {got}; it expects {', '.join(expects)}, b ({G}H{'' if G else ','})")


def _gates(z: Float[Array, "*B G H"]) -> list[Float[Array, "*B H"]]:
    return [z[..., gate, :] for gate in range(z.shape[-2])]


def _first(x: Float[Array, "*B T I"]) -> Float[Array, "T *B I"]:
    return jnp.moveaxis(x, -2, 0)


def _flat(w: Float[Array, "I *G H"]) -> Float[Array, "I GH"]:
    """All gates side by side; the sizes are spelt out, as reshape infers none of an empty array."""
    return w.reshape(len(w), math.prod(w.shape[1:]))


def _times(x: Float[Array, "*B I"], w: Float[Array, "I *G H"]) -> Float[Array, "*B *G H"]:
    """x w for all gates at once, in float32 or wider."""
    y = jnp.matmul(x.astype(w.dtype), _flat(w), preferred_element_type=at_least_float32(w.dtype))
    return y.reshape(*x.shape[:-1], *w.shape[1:])


def _times_bwd(
    x: Float[Array, "*B I"], w: Float[Array, "I *G H"], dy: Float[Array, "*B *G H"]
) -> tuple[Float[Array, "*B I"], Float[Array, "I *G H"]]:
    """dx = dy wᵀ summed over the gates, dw = Σ_B xᵀ dy: as in ``dense_bwd``."""
    batch = math.prod(x.shape[:-1])
    rows = dy.reshape(batch, math.prod(w.shape[1:])).astype(w.dtype)
    dw = jnp.matmul(x.astype(w.dtype).reshape(batch, len(w)).T, rows, preferred_element_type=at_least_float32(w.dtype))
    return _through(w, dy).astype(x.dtype), dw.reshape(w.shape).astype(w.dtype)


def _through(w: Float[Array, "I *G H"], dy: Float[Array, "*B *G H"]) -> Float[Array, "*B I"]:
    """dy wᵀ, summed over the gates."""
    rows = dy.reshape(*dy.shape[: dy.ndim - w.ndim + 1], math.prod(w.shape[1:])).astype(w.dtype)
    return jnp.matmul(rows, _flat(w).T, preferred_element_type=at_least_float32(w.dtype))


def _plus(z: Float[Array, "*S"], b: Float[Array, "*G H"]) -> Float[Array, "*S"]:
    return z + jnp.broadcast_to(b, z.shape).astype(z.dtype)


def _sum(dz: Float[Array, "*B *G H"], like: Float[Array, "*G H"]) -> Float[Array, "*G H"]:
    return dz.sum(tuple(range(dz.ndim - like.ndim))).astype(like.dtype)


def _before(h0: Float[Array, "*B H"], states: Float[Array, "T *B H"]) -> Float[Array, "T *B H"]:
    """The state before each step."""
    return jnp.concatenate([h0[None].astype(states.dtype), states])[: len(states)]


def _scan(step: Callable, state: Any, a: Float[Array, "T *B"]) -> tuple[Any, Any]:
    """``lax.scan``, but every step gets its row of ``a`` from the one before, with the state.

    XLA vectorises no arithmetic on a slice at a running index on a CPU: exponentials took three times as long there.
    """

    def ahead(carry, following):
        state, out = step(*carry)
        return (state, following), out

    first = a[0] if len(a) else jnp.zeros(a.shape[1:], a.dtype)
    (state, _), out = lax.scan(ahead, (state, first), jnp.roll(a, -1, axis=0))
    return state, out


# ---------------------------------------------------------------- the plain cell


class RNNResiduals(NamedTuple):
    x: Inputs
    h0: State
    w: Float[Array, "I H"]
    u: Float[Array, "H H"]
    b: Float[Array, "H"]
    y: States
    z: Float[Array, "T *B H"]


def rnn_fwd(
    x: Inputs, h0: State, w: Float[Array, "I H"], u: Float[Array, "H H"], b: Float[Array, "H"]
) -> tuple[tuple[States, State], RNNResiduals]:
    """h_t = tanh(z_t),  z_t = x_t w + h_{t−1} u + b: returns (y, h), all states (*B, T, H) and the last (*B, H).

    x (*B, T, I), h0 (*B, H), w (I, H), u (H, H), b (H,) (Elman 1990). Raises ShapeError.
    """
    _check("rnn", x, w, u, b, (), h0=h0)
    a = _plus(_times(_first(x), w), b)

    def step(h, a):
        z = a + _times(h, u)
        h = jnp.tanh(z)
        return h, (h, z)

    h, (states, z) = _scan(step, h0.astype(a.dtype), a)
    y = jnp.moveaxis(states, 0, -2).astype(x.dtype)
    return (y, h.astype(h0.dtype)), RNNResiduals(x, h0, w, u, b, y, z)


def rnn_bwd(
    residuals: RNNResiduals, dy: tuple[States, State]
) -> tuple[Inputs, State, Float[Array, "I H"], Float[Array, "H H"], Float[Array, "H"]]:
    """Backpropagation through time (Werbos 1990): from the last step to the first, starting from dh = dh_T,

    dz_t = (dy_t + dh) ∂h/∂z, with ∂h/∂z = tanh′(z_t),  then dh ← dz_t uᵀ; dh0 is left at the end.
    dx_t = dz_t wᵀ,  dw = Σ_t x_tᵀ dz_t,  du = Σ_t h_{t−1}ᵀ dz_t,  db = Σ_t dz_t.

    A state is used twice, in y and by the next step, so two cotangents add up. w, u and b are the same at every step,
    so theirs add up over time. Saves y, and z because tanh′ from h would lose the tail (see ``tanh_slope``).
    """
    x, h0, w, u, b, y, z = residuals
    dys, dh = dy

    def step(dh, parts):
        dy, dh_dz = parts
        dz = (dy + dh) * dh_dz
        return _through(u, dz), dz

    dh0, dz = lax.scan(step, dh.astype(z.dtype), (_first(dys).astype(z.dtype), tanh_slope(z)), reverse=True)
    dx, dw = _times_bwd(_first(x), w, dz)
    _, du = _times_bwd(_before(h0, _first(y)), u, dz)
    return jnp.moveaxis(dx, 0, -2), dh0.astype(h0.dtype), dw, du, _sum(dz, b)


rnn = Rule(rnn_fwd, rnn_bwd)

# ---------------------------------------------------------------- long short-term memory


class LSTMResiduals(NamedTuple):
    x: Inputs
    h0: State
    c0: State
    w: Float[Array, "I 4 H"]
    u: Float[Array, "H 4 H"]
    b: Float[Array, "4 H"]
    y: States
    c: Float[Array, "T *B H"]
    z: Float[Array, "T *B 4 H"]


def lstm_fwd(
    x: Inputs, h0: State, c0: State, w: Float[Array, "I 4 H"], u: Float[Array, "H 4 H"], b: Float[Array, "4 H"]
) -> tuple[tuple[States, State, State], LSTMResiduals]:
    """z_t = x_t w + h_{t−1} u + b, four gates:  i = σ(z_i),  f = σ(z_f),  g = tanh(z_g),  o = σ(z_o);
    c_t = f c_{t−1} + i g,  h_t = o tanh(c_t): returns (y, h, c), all h (*B, T, H), and the last h and c.

    Hochreiter & Schmidhuber (1997), with the forget gate of Gers, Schmidhuber & Cummins (2000). Gates are in the order
    i, f, g, o, as in PyTorch. Raises ShapeError.
    """
    _check("lstm", x, w, u, b, (4,), h0=h0, c0=c0)
    a = _plus(_times(_first(x), w), b)

    def step(state, a):
        h, c = state
        z = a + _times(h, u)
        zi, zf, zg, zo = _gates(z)
        i, f, g, o = sigmoid(zi), sigmoid(zf), jnp.tanh(zg), sigmoid(zo)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), (h, c, z)

    (h, c), (states, cells, z) = _scan(step, (h0.astype(a.dtype), c0.astype(a.dtype)), a)
    y = jnp.moveaxis(states, 0, -2).astype(x.dtype)
    return (y, h.astype(h0.dtype), c.astype(c0.dtype)), LSTMResiduals(x, h0, c0, w, u, b, y, cells, z)


def lstm_bwd(
    residuals: LSTMResiduals, dy: tuple[States, State, State]
) -> tuple[Inputs, State, State, Float[Array, "I 4 H"], Float[Array, "H 4 H"], Float[Array, "4 H"]]:
    """With the slopes at every step, known before the scan,

    ∂c/∂z_i = g σ′(z_i),  ∂c/∂z_f = c_{t−1} σ′(z_f),  ∂c/∂z_g = i tanh′(z_g),  ∂h/∂z_o = tanh(c_t) σ′(z_o),
    ∂h/∂c = o tanh′(c_t), go from the last step to the first, starting from dh = dh_T and dc = dc_T:

    dh ← dh + dy_t,  dc ← dc + dh ∂h/∂c,  dz_i, dz_f, dz_g = dc ∂c/∂z,  dz_o = dh ∂h/∂z_o,
    then dc ← dc f,  dh ← dz uᵀ; dh0 and dc0 are left at the end. dx, dw, du and db as in ``rnn_bwd``.

    c_t acts on h_t and on the next step, which keeps f of it: nothing squashes that product, so a gradient outlives
    many steps. Saves z, c and y.
    """
    x, h0, c0, w, u, b, y, c, z = residuals
    dys, dh, dc = dy
    zi, zf, zg, zo = _gates(z)
    i, f, g, o = sigmoid(zi), sigmoid(zf), jnp.tanh(zg), sigmoid(zo)
    dc_dzi, dc_dzf, dc_dzg = g * sigmoid_slope(zi), _before(c0, c) * sigmoid_slope(zf), i * tanh_slope(zg)
    dh_dzo, dh_dc = jnp.tanh(c) * sigmoid_slope(zo), o * tanh_slope(c)

    def step(state, parts):
        dh, dc = state
        dy, f, dc_dz, dh_dzo, dh_dc = parts
        dh = dh + dy
        dc = dc + dh * dh_dc
        dz = jnp.concatenate([dc[..., None, :] * dc_dz, (dh * dh_dzo)[..., None, :]], axis=-2)
        return (_through(u, dz), dc * f), dz

    start = (dh.astype(z.dtype), dc.astype(z.dtype))
    dc_dz = jnp.stack([dc_dzi, dc_dzf, dc_dzg], axis=-2)
    parts = (_first(dys).astype(z.dtype), f, dc_dz, dh_dzo, dh_dc)
    (dh0, dc0), dz = lax.scan(step, start, parts, reverse=True)
    dx, dw = _times_bwd(_first(x), w, dz)
    _, du = _times_bwd(_before(h0, _first(y)), u, dz)
    return jnp.moveaxis(dx, 0, -2), dh0.astype(h0.dtype), dc0.astype(c0.dtype), dw, du, _sum(dz, b)


lstm = Rule(lstm_fwd, lstm_bwd)

# ---------------------------------------------------------------- gated recurrent unit


class GRUResiduals(NamedTuple):
    x: Inputs
    h0: State
    w: Float[Array, "I 3 H"]
    u: Float[Array, "H 3 H"]
    b: Float[Array, "3 H"]
    h: Float[Array, "T *B H"]
    z: Float[Array, "T *B 3 H"]
    m: Float[Array, "T *B H"]


def gru_fwd(
    x: Inputs,
    h0: State,
    w: Float[Array, "I 3 H"],
    u: Float[Array, "H 3 H"],
    b: Float[Array, "3 H"],
    c: Float[Array, "H"],
) -> tuple[tuple[States, State], GRUResiduals]:
    """Three gates from a_t = x_t w + b and h_{t−1} u:  r = σ(a_r + h u_r),  s = σ(a_s + h u_s),
    n = tanh(a_n + r (h u_n + c)),  h_t = (1 − s) n + s h_{t−1}: returns (y, h), all states (*B, T, H) and the last.

    Cho et al. (2014) in the form of cuDNN and PyTorch: r acts on the product h u_n + c, not on h before the product as
    in the paper, so that one product serves all gates. That is why n has an inner bias ``c``. Gates are in the order
    r, s, n; s is often called z. Raises ShapeError.
    """
    _check("gru", x, w, u, b, (3,), h0=h0)
    require_arrays("gru", c)
    if c.shape != b.shape[1:]:
        raise ShapeError(f"gru got b {b.shape}, c {c.shape}; it expects b (3, H), c (H,)")
    a = _plus(_times(_first(x), w), b)

    def step(h, a):
        through = _times(h, u)
        m = _plus(through[..., 2, :], c)
        zr, zs, _ = _gates(a + through)
        zn = a[..., 2, :] + sigmoid(zr) * m
        s, n = sigmoid(zs), jnp.tanh(zn)
        h = sigmoid(-zs) * n + s * h
        return h, (h, jnp.stack([zr, zs, zn], axis=-2), m)

    h, (states, z, m) = _scan(step, h0.astype(a.dtype), a)
    y = jnp.moveaxis(states, 0, -2).astype(x.dtype)
    return (y, h.astype(h0.dtype)), GRUResiduals(x, h0, w, u, b, states, z, m)


def gru_bwd(
    residuals: GRUResiduals, dy: tuple[States, State]
) -> tuple[Inputs, State, Float[Array, "I 3 H"], Float[Array, "H 3 H"], Float[Array, "3 H"], Float[Array, "H"]]:
    """With m = h_{t−1} u_n + c, z the arguments of σ, σ and tanh, and the slopes, known before the scan,

    ∂h/∂z_s = (h_{t−1} − n) σ′(z_s),  ∂h/∂z_n = (1 − s) tanh′(z_n),  and with z_n = a_n + r m
    ∂h/∂z_r = ∂h/∂z_n m σ′(z_r),  ∂h/∂m = ∂h/∂z_n r,  go from the last step to the first, starting from dh = dh_T:

    dh ← dh + dy_t,  dz = dh ∂h/∂z,  dm = dh ∂h/∂m,  then dh ← dh s + (dz_r, dz_s, dm) uᵀ; dh0 is left at the end.
    dx_t = dz_t wᵀ,  dw = Σ_t x_tᵀ dz_t,  db = Σ_t dz_t;  du = Σ_t h_{t−1}ᵀ (dz_r, dz_s, dm)_t,  dc = Σ_t dm_t.

    r scales what n gets from the state, so u and c get r dz_n, and w and b get dz_n. 1 − s is computed as σ(−z_s),
    exact even if s rounds to 1. Saves z, m and the states.
    """
    x, h0, w, u, b, h, z, m = residuals
    dys, dh = dy
    zr, zs, zn = _gates(z)
    r, s, n = sigmoid(zr), sigmoid(zs), jnp.tanh(zn)
    dh_dzs, dh_dzn = (_before(h0, h) - n) * sigmoid_slope(zs), sigmoid(-zs) * tanh_slope(zn)
    dh_dzr, dh_dm = dh_dzn * m * sigmoid_slope(zr), dh_dzn * r
    dh_dz, into_u = (jnp.stack([dh_dzr, dh_dzs, last], axis=-2) for last in (dh_dzn, dh_dm))

    def step(dh, parts):
        dy, s, into_u = parts
        dh = dh + dy
        return dh * s + _through(u, dh[..., None, :] * into_u), dh

    dh0, dh = lax.scan(step, dh.astype(z.dtype), (_first(dys).astype(z.dtype), s, into_u), reverse=True)
    dz = dh[..., None, :] * dh_dz
    dx, dw = _times_bwd(_first(x), w, dz)
    _, du = _times_bwd(_before(h0, h), u, dh[..., None, :] * into_u)
    return jnp.moveaxis(dx, 0, -2), dh0.astype(h0.dtype), dw, du, _sum(dz, b), _sum(dh * dh_dm, b[0])


gru = Rule(gru_fwd, gru_bwd)
