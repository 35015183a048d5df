import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from funcnet.types import ShapeError
from tests.cases import normal


def test_a_token_that_comes_often_gathers_all_its_cotangents():
    table, tokens = jnp.asarray(normal(0, 5, 3)), jnp.array([[4, 1, 4], [4, 0, 1]])
    y, residuals = ops.embedding.fwd(table, tokens)
    assert y[1, 0].tolist() == table[4].tolist()
    dtable, dtokens = ops.embedding.bwd(residuals, jnp.ones((2, 3, 3)))
    assert dtokens is None
    assert dtable[:, 0].tolist() == [1, 2, 0, 0, 3]


def test_cotangents_are_added_in_float32():
    """In bfloat16 a sum of ones stays at 256."""
    _, residuals = ops.embedding.fwd(jnp.zeros((2, 1), jnp.bfloat16), jnp.ones(3001, int))
    dtable, _ = jax.jit(ops.embedding.bwd)(residuals, jnp.ones((3001, 1), jnp.bfloat16))
    assert dtable.dtype == jnp.bfloat16
    assert dtable[:, 0].tolist() == [0, float(jnp.bfloat16(3001))]


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8], ids=str)
def test_a_token_without_a_row_gives_nan_and_moves_no_row(dtype):
    """Also a negative one, which indexing would count from the end."""
    wrong = 250 if dtype == jnp.uint8 else -1
    y, residuals = jax.jit(ops.embedding.fwd)(jnp.ones((7, 2)), jnp.array([6, wrong, 7, 0], dtype))
    assert jnp.isnan(y).all(axis=-1).tolist() == [False, True, True, False]
    dtable, _ = jax.jit(ops.embedding.bwd)(residuals, jnp.ones((4, 2)))
    assert dtable[:, 0].tolist() == [1, 0, 0, 0, 0, 0, 1]


def test_tokens_are_integers_and_the_table_has_rows():
    for table, tokens in ((jnp.ones((7, 2)), jnp.ones(3)), (jnp.ones(7), jnp.ones(3, int))):
        with pytest.raises(ShapeError, match=r"wants a table \(V, D\) and integer tokens"):
            ops.embedding.fwd(table, tokens)


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
    """257 is no number of bfloat16: the angle is computed in float32."""
    rule, x = ops.rotary(), jnp.ones((1, 7))
    narrow, wide = jax.jit(
        lambda: [rule.fwd(a, jnp.array([257]))[0].astype(float) for a in (x.astype(jnp.bfloat16), x)]
    )()
    np.testing.assert_allclose(narrow, wide, atol=0.01)
    assert np.asarray(narrow)[0, 6] == 1


def test_rotary_says_what_it_wants():
    with pytest.raises(ShapeError, match=r"x \(3, 8\), positions \(2,\); it wants"):
        ops.rotary().fwd(jnp.ones((3, 8)), jnp.arange(2))
    with pytest.raises(ValueError, match="base above 1; got 0"):
        ops.rotary(0.0)
