"""What is found of NumPy homework, under which name, with which example; and what is left out, with what to change."""

import textwrap

import pytest

from funcnet.gradcheck.command.discovery import TargetError, find, find_named, opened

LAYER = """
class Layer:
    def __init__(self{arguments}):
        self.w = np.ones(3)
    def forward(self, x):
        return np.sin(x) * self.w
    def backward(self, dout):
        return dout
"""
PAIR = "def {0}(x): return np.sin(x), x\ndef {1}(dout, cache): return dout * np.cos(cache)\n"


def in_text(tmp_path, text):
    """{name: (left out, inputs)} of all that is found in a file."""
    (tmp_path / "homework.py").write_text("import numpy as np\n" + textwrap.dedent(text), "utf-8")
    with opened(str(tmp_path / "homework.py")) as (module, _):
        return {item.name: (item.left_out, item.inputs) for item in find(module)}


@pytest.mark.parametrize(
    ("forward", "backward", "name"),
    [
        ("sine_forward", "sine_backward", "sine"),
        ("sine_fwd", "sine_bwd", "sine"),
        ("_sine_fwd", "_sine_bwd", "_sine"),
        ("forward_sine", "backward_sine", "sine"),
        ("sine_forward_naive", "sine_backward_naive", "sine_naive"),
        ("sineForward", "sineBackward", "sine"),
        ("forward", "backward", "forward"),
    ],
)
def test_a_pair_has_many_names(tmp_path, forward, backward, name):
    assert in_text(tmp_path, PAIR.format(forward, backward)) == {name: ("", ())}


@pytest.mark.parametrize(
    ("example", "inputs"),
    [
        ("def sine_example(): return 1.0, 2", (1.0, 2)),
        ("def example_sine(): return {'x': 1.0}", ({"x": 1.0},)),
        ("sine_forward_example = [1.0]", ([1.0],)),
        ("def other_example(): return 5", ()),
    ],
)
def test_an_example_gives_the_inputs(tmp_path, example, inputs):
    assert in_text(tmp_path, PAIR.format("sine_forward", "sine_backward") + example) == {"sine": ("", inputs)}


LEFT_OUT = {
    "def f_example(): raise ValueError('no data')\n" + PAIR.format("f_fwd", "f_bwd"): {
        "f_fwd": "f_example() raised ValueError: no data"
    },
    PAIR.format("sine_forward", "sine_back"): {},
    PAIR.format("_sine_forward", "_sine_back"): {},
    PAIR.format("sine_back", "sine_backward"): {"sine_backward": "there is no sine_forward beside it"},
    PAIR.format("a_fwd", "a_bwd") + "def b_fwd(x): return x, ()": {"a": "", "b_fwd": "there is no b_bwd beside it"},
    "def sine(x): return np.sin(x)\ndef sine_grad(x): return np.cos(x)": {
        "sine_grad": "it looks like a derivative of sine: write sine_forward(...) -> (out, cache) and "
        "sine_backward(dout, cache)"
    },
    LAYER.format(arguments="") + LAYER.format(arguments="").replace("Layer", "Half").replace("backward", "learn"): {
        "Layer": "",
        "Half": "it has a forward and no backward",
    },
    LAYER.format(arguments=", table: dict"): {"Layer": ""},
    LAYER.format(arguments=", size").replace("np.ones(3)", "size['w']"): {
        "Layer": "Layer(...) raised TypeError: 'int' object is not subscriptable; give an instance and its input: "
        "def Layer_example(): return Layer(...), x"
    },
    "class Slopes:\n    def relu(self, x): return np.maximum(x, 0)\n    def drelu(self, x): return np.sign(x)": {
        "Slopes": "it has a derivative of relu: write a class with forward(x) and backward(dout), which multiplies by "
        "dout"
    },
    "def total_loss(x): return np.sum(x)": {},
    "def total_loss(x):\n    loss = np.sum(x)\n    return loss, np.ones_like(x)": {"total_loss": ""},
}


@pytest.mark.parametrize("text", LEFT_OUT)
def test_what_is_half_of_something_is_named_with_what_to_change(tmp_path, text):
    assert {name: left_out for name, (left_out, _) in in_text(tmp_path, text).items()} == LEFT_OUT[text]


def test_an_instance_of_the_file_stands_for_its_class(tmp_path):
    text = LAYER.format(arguments=", size=3")
    assert in_text(tmp_path, text + "mine = Layer()") == {"mine": ("", ())}
    assert in_text(tmp_path, text + "Layer_example = (Layer(), 5)") == {"Layer": ("", (5,))}


def test_jax_code_is_no_homework(tmp_path):
    text = (
        "import jax.numpy as jnp\ndef sine(x): return jnp.sin(x)\ndef sine_grad(x): return np.float64(1) * jnp.cos(x)"
    )
    assert in_text(tmp_path, text) == {}


def test_half_of_something_asked_for_by_name_is_told(tmp_path):
    (tmp_path / "f.py").write_text("import numpy as np\ndef sine_forward(x): return np.sin(x), x\n")
    with opened(str(tmp_path / "f.py")) as (module, _):
        with pytest.raises(TargetError, match="cannot be checked: there is no sine_backward beside it"):
            find_named(module, "sine_forward")
        with pytest.raises(TargetError, match="there is no rule called cosine; there are: none"):
            find_named(module, "cosine")
