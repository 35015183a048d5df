"""Pooling beside PyTorch's; ties, padding, NaN and narrow dtypes."""

import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from funcnet.types import ShapeError
from tests.cases import normal


@pytest.mark.parametrize("ties", [False, True], ids=["all differ", "ties"])
@pytest.mark.parametrize(("window", "stride", "pad"), [(2, None, 0), ((3, 2), 1, 1), (3, (2, 3), 1)])
@pytest.mark.parametrize("name", ["max_pool", "average_pool"])
def test_agrees_with_torch(name, window, stride, pad, ties):
    torch = pytest.importorskip("torch")
    x = normal(0, 3, 7, 8, 5)
    x = np.round(x) if ties else x
    rule = getattr(ops, name)(window, stride, ((pad, pad), (pad, pad)))
    given = torch.tensor(x, requires_grad=True)
    pool = {
        "max_pool": torch.nn.functional.max_pool2d,
        "average_pool": lambda *args: torch.nn.functional.avg_pool2d(*args, count_include_pad=False),
    }[name]
    theirs = pool(given.permute(0, 3, 1, 2), window, stride, pad).permute(0, 2, 3, 1)
    dy = normal(1, *theirs.shape)
    theirs.backward(torch.tensor(dy))
    y, residuals = rule.fwd(jnp.asarray(x))
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(rule.bwd(residuals, jnp.asarray(dy))[0], given.grad.numpy(), rtol=1e-10, atol=1e-10)


def test_at_a_tie_the_first_of_the_equals_gets_the_cotangent():
    x = jnp.array([[1.0, 3.0], [3.0, 3.0]]).reshape(1, 2, 2, 1)
    y, residuals = ops.max_pool().fwd(x)
    (dx,) = ops.max_pool().bwd(residuals, 5 * y)
    assert dx.ravel().tolist() == [0, 15, 0, 0]


def test_padding_neither_wins_nor_counts():
    x = jnp.full((1, 3, 3, 1), -2.0)
    for rule in (ops.max_pool(2, padding="SAME"), ops.average_pool(2, padding="SAME")):
        y, residuals = rule.fwd(x)
        assert y.shape == (1, 2, 2, 1)
        assert (y == -2).all()
        assert float(rule.bwd(residuals, jnp.ones_like(y))[0].sum()) == 4  # nothing is lost in the padding


@pytest.mark.parametrize("place", range(4))
def test_nan_stays_nan(place):
    x = jnp.arange(4.0).at[place].set(jnp.nan).reshape(1, 2, 2, 1)
    for rule in (ops.max_pool(), ops.average_pool(), ops.global_average_pool):
        assert jnp.isnan(rule.fwd(x)[0]).all()


def test_sums_do_not_overflow_in_float16():
    """9 · 8000 is more than float16 holds."""
    x = jnp.full((1, 3, 3, 1), 8000, jnp.float16).at[0, 2, 1].set(8008)
    for rule, expected, share in (
        (ops.max_pool(3), 8008, 1),
        (ops.average_pool(3), 8000, 1 / 9),
        (ops.global_average_pool, 8000, 1 / 9),
    ):
        y, residuals = rule.fwd(x)
        (dx,) = rule.bwd(residuals, jnp.ones_like(y))
        assert y.dtype == dx.dtype == jnp.float16
        assert float(y.item()) == expected
        assert float(dx[0, 2, 1, 0]) == pytest.approx(share, rel=1e-3)


def test_global_average_pool_is_average_pool_of_one_window():
    x = jnp.asarray(normal(0, 3, 2, 3, 2))
    np.testing.assert_allclose(
        ops.global_average_pool.fwd(x)[0], ops.average_pool((2, 3)).fwd(x)[0][:, 0, 0], rtol=1e-13
    )


@pytest.mark.parametrize("make", [ops.max_pool, ops.average_pool])
def test_what_does_not_fit(make):
    with pytest.raises(ShapeError, match=rf"{make.__name__} got x \(5, 5, 3\); it wants an image"):
        make().fwd(jnp.ones((5, 5, 3)))
    with pytest.raises(ShapeError, match=rf"{make.__name__} got an image of \(5, 1\) and a window of \(2, 2\)"):
        make().fwd(jnp.ones((1, 5, 1, 3)))
    with pytest.raises(ValueError, match=rf"{make.__name__}'s padding is smaller than its window \(2, 2\)"):
        make(padding=((2, 0), (0, 0)))
    with pytest.raises(ValueError, match=rf"{make.__name__}'s window is a whole number"):
        make(0)


def test_global_average_pool_wants_an_image():
    with pytest.raises(ShapeError, match=r"global_average_pool got x \(5, 3\)"):
        ops.global_average_pool.fwd(jnp.ones((5, 3)))
