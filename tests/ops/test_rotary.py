import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from funcnet.types import ShapeError
from tests.cases import normal


def test_rotary_is_a_rotation_of_pairs_as_complex_numbers():
    x = normal(0, 2, 3, 8)
    y, _ = jax.jit(ops.rotary(100.0).fwd)(jnp.asarray(x))
    turn = np.exp(1j * np.arange(3)[:, None] * 100.0 ** (-np.arange(4) / 4))
    expected = (x[..., :4] + 1j * x[..., 4:]) * turn
    np.testing.assert_allclose(y, np.concatenate([expected.real, expected.imag], -1), rtol=1e-13, atol=1e-14)


def test_rotary_scores_know_the_distance_alone():
    rule, q, k = ops.rotary(), *(jnp.asarray(normal(seed, 1, 8)) for seed in (0, 1))

    @jax.jit
    def score(t, s):
        return (rule.fwd(q, t[None])[0] * rule.fwd(k, s[None])[0]).sum()

    here, there, nearer = (float(score(*map(jnp.asarray, pair))) for pair in ((9, 4), (105, 100), (9, 5)))
    assert here == pytest.approx(there, rel=1e-12)
    assert abs(here - nearer) > 1e-3


def test_rotary_keeps_far_positions_in_bfloat16_and_the_last_of_an_odd_number_of_features():
    """bfloat16 cannot represent 257, so the angle is computed in float32."""
    rule, x = ops.rotary(), jnp.ones((1, 7))
    narrow, wide = jax.jit(
        lambda: [rule.fwd(a, jnp.array([257]))[0].astype(float) for a in (x.astype(jnp.bfloat16), x)]
    )()
    np.testing.assert_allclose(narrow, wide, atol=0.01)
    assert np.asarray(narrow)[0, 6] == 1


def test_rotary_says_what_it_expects():
    with pytest.raises(ShapeError, match=r"x \(3, 8\), positions \(2,\); it expects"):
        ops.rotary().fwd(jnp.ones((3, 8)), jnp.arange(2))
    with pytest.raises(ValueError, match="base above 1; got 0"):
        ops.rotary(0.0)
