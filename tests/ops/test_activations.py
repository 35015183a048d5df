import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import gradcheck, ops
from funcnet.ops.activations import Elements, elementwise
from funcnet.types import ShapeError
from tests.cases import RULES

EXTREMES = np.array([-1e4, -750.0, -40.0, 0.0, 40.0, 750.0, 1e4])
ELEMENTWISE = ["elu", "gelu", "gelu_tanh", "leaky_relu", "relu", "sigmoid", "silu", "softplus", "tanh"]


def slope(rule, x):
    x = jnp.asarray(x)
    _, residuals = rule.fwd(x)
    return rule.bwd(residuals, jnp.ones_like(x))[0]


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", [*ELEMENTWISE, "softmax", "log_softmax"])
def test_finite_at_extremes(name, dtype):
    rule = next(case.rule for case in RULES if case.name == name)
    x = jnp.asarray(EXTREMES, dtype)
    assert jnp.isfinite(rule.fwd(x)[0]).all()
    assert jnp.isfinite(slope(rule, x)).all()


def logistic_slope(x):
    """e^−|x| / (1 + e^−|x|)², which has no cancellation."""
    return math.exp(-abs(x)) / (1 + math.exp(-abs(x))) ** 2


# φ′ far in a tail, by formulas that do not cancel there
TAILS = [
    (ops.sigmoid, 40.0, logistic_slope(40)),
    (ops.sigmoid, -40.0, logistic_slope(40)),
    (ops.tanh, 25.0, 4 * logistic_slope(50)),
    (ops.tanh, -25.0, 4 * logistic_slope(50)),
    (ops.softplus, -40.0, 1 / (1 + math.exp(40))),
    (ops.silu, -40.0, math.exp(-40) * (1 - 40 / (1 + math.exp(-40))) / (1 + math.exp(-40))),
    (ops.elu(), -40.0, math.exp(-40)),
    (ops.gelu, -9.0, math.erfc(9 / math.sqrt(2)) / 2 - 9 * math.exp(-40.5) / math.sqrt(2 * math.pi)),
]


@pytest.mark.parametrize(("rule", "x", "expected"), TAILS)
def test_slope_keeps_its_digits_in_the_tail(rule, x, expected):
    assert float(slope(rule, x)) == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize(("x", "dtype"), [(-40.0, jnp.float64), (-20.0, jnp.float32), (1e4, jnp.float32)])
def test_softplus_keeps_its_digits_in_the_tail(x, dtype):
    y, _ = ops.softplus.fwd(jnp.asarray(x, dtype))
    expected = max(x, 0) + math.log1p(math.exp(-abs(x)))
    assert float(y) == pytest.approx(expected, rel=4 * float(jnp.finfo(dtype).eps), abs=0)


@pytest.mark.parametrize("name", [*ELEMENTWISE, "softmax", "log_softmax"])
def test_nan_stays_nan(name):
    rule = next(case.rule for case in RULES if case.name == name)
    assert jnp.isnan(rule.fwd(jnp.full(3, jnp.nan))[0]).all()


@pytest.mark.parametrize(
    ("rule", "at_zero"),
    [(ops.relu, 0.0), (ops.leaky_relu(0.03), 0.03), (ops.elu(1.7), 1.7)],
    ids=["relu", "leaky", "elu"],
)
def test_convention_at_the_kink(rule, at_zero):
    assert float(slope(rule, 0.0)) == at_zero


def test_a_wrong_slope_is_reported_under_the_name_and_at_the_line_of_phi():
    def swish(x: Elements) -> Elements:
        """y = x σ(x)."""
        gate = jax.nn.sigmoid(x)
        return x * gate

    rule = elementwise(swish, slope=jax.nn.sigmoid)
    report = gradcheck.check(rule, quick=True)
    assert (report.name.rpartition(".")[2], rule.fwd.__doc__) == ("swish", swish.__doc__)
    assert [(finding.mistake, finding.source) for finding in report.findings] == [
        ("path-lost", "gate = jax.nn.sigmoid(x)")
    ]
    assert [gradcheck.check(r, dtypes=(), quick=True).name for r in (ops.sigmoid, ops.elu())] == ["sigmoid", "elu"]


def test_softmax_of_two_is_the_sigmoid():
    x = jnp.linspace(-30, 30, 41)
    y, _ = ops.softmax.fwd(jnp.stack([x, jnp.zeros_like(x)], axis=-1))
    assert jnp.allclose(y[:, 0], ops.sigmoid.fwd(x)[0], rtol=1e-14)


def test_softmax_does_not_move_under_a_shift():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)))
    assert jnp.allclose(ops.softmax.fwd(x)[0], ops.softmax.fwd(x + 1e3)[0], rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32, jnp.float64], ids=str)
def test_gelu_tanh_is_finite_far_out_and_keeps_its_left_tail(dtype):
    """In float16 x³ is infinite beyond 41."""
    x = jnp.asarray([-300, -50, -4, 0, 50, 300], dtype)
    y, residuals = jax.jit(ops.gelu_tanh.fwd)(x)
    (dx,) = jax.jit(ops.gelu_tanh.bwd)(residuals, jnp.ones_like(x))
    expected = -4 / (1 + math.exp(2 * math.sqrt(2 / math.pi) * (4 + 0.044715 * 64)))  # -7.0e-5
    np.testing.assert_allclose(
        np.asarray(y, float), [0, 0, expected, 0, 50, 300], rtol=20 * float(jnp.finfo(dtype).eps)
    )
    np.testing.assert_allclose(np.asarray(dx, float)[[0, 1, 3, 4, 5]], [0, 0, 0.5, 1, 1])


def test_a_gate_fits_what_it_gates():
    with pytest.raises(ShapeError, match=r"in one shape; got \(2, 3\) and \(3,\)"):
        ops.swiglu.fwd(jnp.ones((2, 3)), jnp.ones(3))
