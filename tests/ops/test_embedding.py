import jax
import jax.numpy as jnp
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
        with pytest.raises(ShapeError, match=r"expects a table \(V, D\) and integer tokens"):
            ops.embedding.fwd(table, tokens)
