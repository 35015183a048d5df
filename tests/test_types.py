import pytest

from funcnet.types import named


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
