import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from tests.cases import normal

NONE = "none"


def dp_of(rule, *args):
    y, residuals = rule.fwd(*args)
    return rule.bwd(residuals, jnp.ones_like(y))[0]


def test_squared_hinge():
    p, t = jnp.array([2.0, 1.0, 0.0, -1.0]), jnp.array([1.0, 1.0, 1.0, 1.0])
    for sign in (1, -1):
        assert ops.squared_hinge(NONE).fwd(sign * p, sign * t)[0].tolist() == [0, 0, 1, 4]
        assert (sign * dp_of(ops.squared_hinge(NONE), sign * p, sign * t)).tolist() == [0, 0, -2, -4]


def test_contrastive_on_a_3_4_5_triangle():
    u, v = jnp.array([[3.0, 0.0]] * 4), jnp.array([[0.0, 4.0]] * 4)  # 5 apart
    alike = jnp.array([1.0, 0.0, 1.0, 0.0])
    for margin, unlike in [(7.0, 2.0), (5.0, 0.0), (4.0, 0.0)]:
        rule = ops.contrastive(margin, reduction=NONE)
        assert rule.fwd((u, v), alike)[0].tolist() == [12.5, unlike, 12.5, unlike]
        du, dv = dp_of(rule, (u, v), alike)
        np.testing.assert_allclose(du[:2], [[3, -4], [-0.6 * (2 * unlike) ** 0.5, 0.8 * (2 * unlike) ** 0.5]])
        assert jnp.array_equal(dv, -du)


def test_an_unlike_pair_at_one_point_has_no_direction():
    """Nor is there a NaN, as in autodiff, which divides 0 by 0."""
    u = jnp.asarray(normal(0, 2, 3))
    rule = ops.contrastive(2.0, reduction=NONE)
    assert rule.fwd((u, u), jnp.array([0.0, 1.0]))[0].tolist() == [2, 0]
    for d in dp_of(rule, (u, u), jnp.array([0.0, 1.0])):
        assert not d.any()
    assert jnp.isnan(jax.grad(lambda v: rule.fwd((u, v), jnp.array([0.0, 1.0]))[0].sum())(u)).any()


def test_triplet_is_satisfied_by_its_margin():
    anchor, positive = jnp.zeros((3, 2)), jnp.array([[1.0, 0.0]] * 3)
    negative = jnp.array([[0.0, 2.0], [0.0, 1.5], [0.0, 1.0]])  # squared: 4, 2.25 and 1, against 1 + the margin
    rule = ops.triplet(3.0, reduction=NONE)
    assert rule.fwd((anchor, positive, negative), None)[0].tolist() == [0, 1.75, 3]
    da, dp, dn = dp_of(rule, (anchor, positive, negative), None)
    assert da.tolist() == [[0, 0], [-2, 3], [-2, 2]]  # nothing at the kink
    assert dp.tolist() == [[0, 0], [2, 0], [2, 0]]
    assert dn.tolist() == [[0, 0], [0, -3], [0, -2]]


@pytest.mark.parametrize(
    ("rule", "predictions", "targets"),
    [
        (ops.contrastive(3.0), (normal(0, 11, 5), normal(1, 11, 5)), np.arange(11) % 2.0),
        (ops.triplet(1.0), tuple(normal(i, 11, 5) for i in range(3)), np.arange(11)),
    ],
    ids=["contrastive", "triplet"],
)
def test_a_few_steps_bring_like_together(rule, predictions, targets):
    before = float(rule.fwd(predictions, targets)[0])
    for _ in range(200):
        predictions = jax.tree.map(lambda x, d: x - d, predictions, dp_of(rule, predictions, targets))
    assert float(rule.fwd(predictions, targets)[0]) < 0.05 * before
    if len(predictions) == 2:
        distance = np.linalg.norm(predictions[0] - predictions[1], axis=-1)
        assert distance[1::2].max() < 0.1
        assert distance[::2].min() > 2.8
