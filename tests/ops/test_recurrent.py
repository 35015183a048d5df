"""Recurrent cells against PyTorch's, in two parts, at saturation, and with wrong shapes; test_ops has jax.vjp."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from funcnet.types import ShapeError
from tests.cases import RULES, normal

CELLS = {case.name: case for case in RULES if case.name in ("rnn", "lstm", "gru")}
STATES = {"rnn": 1, "lstm": 2, "gru": 1}


def split(name, args):
    """(x, states, weights)."""
    return args[0], args[1 : 1 + STATES[name]], args[1 + STATES[name] :]


@pytest.mark.parametrize("name", CELLS)
def test_agrees_with_pytorch(name):
    """Forward and all gradients in float64. Gates on an axis of their own are PyTorch's, transposed."""
    torch = pytest.importorskip("torch")
    args = CELLS[name].args((2,))
    x, states, (w, u, b, *c) = split(name, args)
    module = getattr(torch.nn, name.upper())(3, 4, batch_first=True, dtype=torch.float64)
    inner = np.zeros(b.shape)
    if c:
        inner[2] = c[0]
    for parameter, value in zip(module.parameters(), (w.reshape(3, -1).T, u.reshape(4, -1).T, b, inner), strict=True):
        parameter.data = torch.tensor(value).reshape(parameter.shape)
    tensors = [torch.tensor(array, requires_grad=True) for array in (x, *(state[None] for state in states))]
    ys, last = module(tensors[0], tuple(tensors[1:]) if len(states) > 1 else tensors[1])
    expected = [ys, *(state[0] for state in (last if len(states) > 1 else [last]))]
    y, residuals = CELLS[name].rule.fwd(*map(jnp.asarray, args))
    dy = tuple(normal(9 + i, *part.shape) for i, part in enumerate(y))
    torch.autograd.backward(expected, [torch.tensor(d) for d in dy])
    grads = [t.grad.numpy().reshape(a.shape) for t, a in zip(tensors, (x, *states), strict=True)]
    of_w, of_u, of_b, of_inner = (parameter.grad.numpy() for parameter in module.parameters())
    grads += [of_w.T.reshape(w.shape), of_u.T.reshape(u.shape), of_b.reshape(b.shape)]
    grads += [of_inner.reshape(b.shape)[2]] if c else []
    got = CELLS[name].rule.bwd(residuals, tuple(map(jnp.asarray, dy)))
    for one, other in zip([*y, *got], [*(part.detach().numpy() for part in expected), *grads], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_a_sequence_in_two_parts_is_the_whole(name):
    x, states, weights = split(name, [jnp.asarray(arg) for arg in CELLS[name].args((2,))])

    @jax.jit
    def both():
        whole, _ = CELLS[name].rule.fwd(x, *states, *weights)
        (y, *between), _ = CELLS[name].rule.fwd(x[:, :2], *states, *weights)
        (rest, *last), _ = CELLS[name].rule.fwd(x[:, 2:], *between, *weights)
        nothing, _ = CELLS[name].rule.fwd(x[:, :0], *states, *weights)
        return whole, (jnp.concatenate([y, rest], axis=1), *last), nothing

    whole, parts, (none, *unmoved) = both()
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14)
    np.testing.assert_array_equal(whole[0][:, -1], whole[1])
    assert none.shape == (2, 0, 4)
    for one, other in zip(unmoved, states, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "biases", "into"),
    [("rnn", 40.0, 1), ("lstm", (40.0, 40.0, 40.0, 0.0), 0.5 / np.cosh(1) ** 2), ("gru", (0.0, -40.0, 40.0), 1)],
)
def test_a_saturated_gate_has_a_small_slope_not_zero(name, biases, into):
    """One step of one unit with weights 0: tanh′(40) = 4e⁻⁸⁰, where 1 − tanh²(40) would be 0."""
    b = jnp.asarray(biases)[..., None]
    w, state = jnp.zeros((1, *b.shape)), jnp.zeros((1, 1))
    rule, states, inner = CELLS[name].rule, [state] * STATES[name], [jnp.zeros(1)] * (name == "gru")

    @jax.jit
    def db():
        _, residuals = rule.fwd(state[None], *states, w, w, b, *inner)
        return rule.bwd(residuals, (state[None] + 1, *states))[3 + STATES[name]].reshape(-1)

    assert float(db()[0 if name == "rnn" else 2]) == pytest.approx(into * 4 * np.exp(-80), rel=1e-12)


def test_the_cell_of_an_lstm_carries_a_gradient_over_many_steps():
    """If f = 1, ∂c_T/∂c_0 = 1, however large T is: the constant error carousel."""
    w, zero, b = jnp.zeros((1, 4, 1)), jnp.zeros((1, 1)), jnp.array([[-40.0], [40.0], [0.0], [0.0]])

    @jax.jit
    def carried():
        (y, _, c), residuals = ops.lstm.fwd(jnp.zeros((1, 200, 1)), zero, zero + 0.3, w, w, b)
        return c, ops.lstm.bwd(residuals, (jnp.zeros_like(y), zero, zero + 1))[2]

    c, dc0 = carried()
    assert float(c[0, 0]) == pytest.approx(0.3, rel=1e-12)
    assert float(dc0[0, 0]) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("name", CELLS)
def test_dtypes_stay(name, dtype):
    args = [jnp.asarray(arg, dtype) for arg in CELLS[name].args((2,))]
    y, residuals = jax.eval_shape(CELLS[name].rule.fwd, *args)
    cotangents = jax.eval_shape(CELLS[name].rule.bwd, residuals, y)
    assert {leaf.dtype for leaf in jax.tree.leaves((y, cotangents))} == {jnp.dtype(dtype)}
    assert [c.shape for c in cotangents] == [arg.shape for arg in args]


@pytest.mark.parametrize("name", CELLS)
def test_shapes_that_do_not_fit(name):
    args = [jnp.asarray(arg) for arg in CELLS[name].args((2,))]
    for i, arg in enumerate(args):
        for wrong in (jnp.ones((*arg.shape[:-1], 6)), jnp.ones(()), arg[None]):
            if not (i == 0 and wrong.ndim == 4):
                with pytest.raises(ShapeError, match=rf"^{name} got .*; it expects .*"):
                    CELLS[name].rule.fwd(*args[:i], wrong, *args[i + 1 :])


def test_what_a_cell_got_and_expects_is_one_line():
    x, h0, *weights = (jnp.asarray(arg) for arg in CELLS["rnn"].args((2,)))
    wanted = "it expects x (*B, T, I), h0 (*B, H), w (I, H), u (H, H), b (H,)"
    with pytest.raises(
        ShapeError, match=re.escape(f"rnn got x (2, 5, 3), h0 (1, 4), w (3, 4), u (4, 4), b (4,); {wanted}")
    ):
        ops.rnn.fwd(x, h0[:1], *weights)
    with pytest.raises(ShapeError, match=re.escape("gru got b (3, 4), c (4, 1); it expects b (3, H), c (H,)")):
        ops.gru.fwd(*CELLS["gru"].args((2,))[:-1], jnp.ones((4, 1)))
