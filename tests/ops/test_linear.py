import jax.numpy as jnp
import pytest

from funcnet import ops
from funcnet.types import ShapeError
from tests.cases import normal


def test_dense_is_the_weighted_sum_of_the_notes():
    x, w = jnp.array([[1, 2, 3, 2.5]]), jnp.array([[0.2], [0.8], [-0.5], [1.0]])
    y, _ = ops.dense.fwd(x, w, jnp.array([2.0]))
    assert jnp.allclose(y, 4.8, rtol=1e-15)


@pytest.mark.parametrize(
    "shapes", [((3, 5), (7, 2), (2,)), ((3, 7), (7, 2), (3,)), ((), (7, 2), (2,)), ((3, 7), (7,), ())]
)
def test_dense_names_the_shapes_that_do_not_fit(shapes):
    arrays = [normal(i, *shape) for i, shape in enumerate(shapes)]
    with pytest.raises(ShapeError, match=r"dense got x .* w .* b .* expects"):
        ops.dense.fwd(*arrays)
