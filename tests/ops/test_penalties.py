import jax.numpy as jnp
import pytest

from funcnet import ops
from funcnet.ops.penalties import named

PARAMS = ({"w": jnp.array([[1.0, -2.0]]), "b": jnp.array([9.0, 9.0])}, {"table": jnp.array([[0.0, 3.0]])})


@pytest.mark.parametrize(
    ("rule", "value", "dw"), [(ops.l1(0.5), 3.0, [[0.5, -0.5]]), (ops.l2(0.5), 3.5, [[0.5, -1.0]])], ids=["l1", "l2"]
)
def test_value_and_gradient_touch_weights_and_tables_only(rule, value, dw):
    got, residuals = rule.fwd(PARAMS)
    assert float(got) == pytest.approx(value)
    (gradient,) = rule.bwd(residuals, jnp.ones_like(got))
    assert jnp.allclose(gradient[0]["w"], jnp.array(dw))
    assert not gradient[0]["b"].any()
    assert gradient[1]["table"][0, 0] == 0


def test_finding_nothing_to_penalise_is_an_error():
    with pytest.raises(ValueError, match="no leaf called w or table"):
        ops.l2(0.1).fwd({"kernel": jnp.ones((2, 2))})


@pytest.mark.parametrize(
    ("params", "chosen"),
    [
        ({"w": 0.0, "b": 0.0}, {"w": True, "b": False}),
        ({"w": {"b": 0.0}, "b": {"w": 0.0}}, {"w": {"b": False}, "b": {"w": True}}),  # the last key names the leaf
        ({"w": (0.0, 0.0), "b": (0.0, 0.0)}, {"w": (True, True), "b": (False, False)}),
        (({"b": 0.0}, {}, [{"w": 0.0}, 0.0]), ({"b": False}, {}, [{"w": True}, False])),
        (0.0, False),  # outside of any dict a leaf has no name
    ],
)
def test_leaves_are_chosen_by_their_own_name(params, chosen):
    assert named(params, ("w",)) == chosen
