import jax
import jax.numpy as jnp
import pytest

from funcnet import ops


@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_drops_the_share_that_it_names_and_keeps_the_mean(rate):
    x = jnp.ones((300, 301))
    y, _ = ops.dropout(rate).fwd(x, jax.random.key(3))
    assert float((y == 0).mean()) == pytest.approx(rate, abs=0.01)
    assert jnp.allclose(y[y != 0], 1 / (1 - rate))
    assert float(y.mean()) == pytest.approx(1, abs=0.02)


def test_inference_is_the_identity_and_keys_differ():
    x = jnp.ones((5, 7))
    rule = ops.dropout(0.5)
    assert jnp.array_equal(rule.fwd(x, None)[0], x)
    assert not jnp.array_equal(rule.fwd(x, jax.random.key(0))[0], rule.fwd(x, jax.random.key(1))[0])


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_a_rate_out_of_range(rate):
    with pytest.raises(ValueError, match="probability of dropping"):
        ops.dropout(rate)
