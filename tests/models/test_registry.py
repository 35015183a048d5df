"""Models by name, and the settings that are refused before anything is built from them."""

import jax
import numpy as np
import pytest

from funcnet import models
from funcnet.models import ModelError, build
from tests.trees import assert_equal

GPT = {"vocabulary": 11, "context": 6, "width": 8, "depth": 2, "heads": 2}
SETTINGS = {
    "mlp": ({"hidden": [7, 5], "outputs": 3, "activation": "tanh"}, (4, 3)),
    "lenet": ({"channels": [3], "hidden": [5], "kernel_size": 3, "padding": "SAME"}, (8, 8, 1)),
    "resnet": ({"stages": [2, 3], "blocks": 1}, (6, 6, 1)),
    "gpt": (GPT, (6,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", models.MODELS)
def test_a_name_and_settings_are_the_network(name):
    settings, shape = SETTINGS[name]
    direct = {
        "mlp": lambda: models.mlp((7, 5), 3, activation=__import__("funcnet").tanh),
        "lenet": lambda: models.lenet(channels=(3,), hidden=(5,), kernel_size=3, padding="SAME"),
        "resnet": lambda: models.resnet(stages=(2, 3), blocks=1),
        "gpt": lambda: models.gpt(models.GPTConfig(**GPT)),
    }[name]()
    one, other = (net.init(jax.random.key(0), shape)[0] for net in (build(name, settings), direct))
    assert_equal(one, other)
    x = np.zeros((2, *shape), np.int32 if name == "gpt" else float)
    assert_equal(build(name, settings).fwd(one, x)[0], direct.fwd(other, x)[0])


BAD = [
    ("perceptron", {}, "there is no model 'perceptron'; expected one of mlp, lenet, resnet, gpt, or FILE.py:NAME"),
    ("mlp", {"hidden": [7]}, "mlp with these settings: TypeError: "),
    (
        "mlp",
        {"hidden": [7], "outputs": 3, "activation": "os"},
        "mlp with these settings: ValueError: activation is one of",
    ),
    ("mlp", {"hidden": [1] * 1000, "outputs": 3}, "hidden has 1000 parts; expected no more than 256"),
    ("mlp", {"hidden": [2**40], "outputs": 3}, "hidden is 1099511627776; expected no more than 1048576"),
    ("mlp", {"hidden": {}, "outputs": 3}, "hidden is {}; expected numbers and names"),
    ("mlp", {"hidden": [float("nan")], "outputs": 3}, "hidden is nan; expected"),
    ("resnet", {"blocks": 10**6}, "resnet with these settings: ValueError: blocks is at most 256"),
    ("gpt", {**GPT, "heads": 3}, "gpt with these settings: ValueError: gpt expects"),
    ("gpt", {**GPT, "fast": True}, "gpt with these settings: TypeError"),
]


@pytest.mark.parametrize(("name", "settings", "message"), BAD, ids=[message[:30] for *_, message in BAD])
def test_what_is_no_model_is_one_line(name, settings, message):
    with pytest.raises(ModelError) as caught:
        build(name, settings)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_network_of_ones_own(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(
        "from funcnet import dense\nlayer = dense(3)\ndef make(width):\n    return dense(width)\n"
        "def wrong():\n    return 3\nnumber = 3\n"
    )
    assert build(f"{path}:layer", {}).name == "dense(3)"
    assert build(f"{path}:make", {"width": 5}).name == "dense(5)"
    for name, settings, message in (
        ("layer", {"width": 5}, "is a Layer and takes no settings; got width"),
        ("wrong", {}, "returned int; expected a Layer"),
        ("number", {}, "has no Layer and no function 'number'"),
        ("make", {}, "TypeError: make"),
    ):
        with pytest.raises(ModelError, match=message):
            build(f"{path}:{name}", settings)
    with pytest.raises(ModelError, match=r"nowhere\.py is no file"):
        build("nowhere.py:make", {})
    path.write_text("1 / 0\n")
    with pytest.raises(ModelError, match="cannot be imported: ZeroDivisionError"):
        build(f"{path}:layer", {})
