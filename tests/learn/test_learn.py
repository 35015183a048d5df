"""``funcnet learn``: the command, from the list to the derivation."""

import json
import re
from pathlib import Path

import pytest

from funcnet.__main__ import main
from funcnet.learn.answers import AUTODIFF
from funcnet.learn.index import exercise, names

RIGHT = "    return dy * (x > 0)\n"
EMPTY = "    raise NotImplementedError  # your derivation, then: return dx\n"


@pytest.fixture
def learn(tmp_path, monkeypatch, capsys):
    """Runs ``funcnet learn`` in an empty directory; returns its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        status = main(["learn", *words])
        return status, *capsys.readouterr()

    return run


def write(name, body):
    path = Path(f"{name}.py")
    text = exercise(name).template
    assert text.count("    raise NotImplementedError") == 1
    start, _, _ = text.partition("    raise NotImplementedError")
    path.write_text(start + body, "utf-8")


def test_it_lists_the_exercises_and_says_what_is_next(learn):
    status, out, _ = learn()
    assert status == 0
    assert all(f"   {name} " in out for name in names())
    assert out.endswith(f"0 of {len(names())} done. Next: funcnet learn neuron\n")
    Path("funcnet-learn.json").write_text('{"neuron": {"tries": 2, "hints": 0, "seen": "", "done": true}, "tanh": {}}')
    _, out, _ = learn()
    assert " ✓ neuron " in out
    assert " … tanh " in out
    assert out.endswith("Next: funcnet learn mean_squared_error\n")
    document = json.loads(learn("--json")[1])
    assert [entry["name"] for entry in document["exercises"]] == list(names())
    assert document["next"] == "mean_squared_error"


def test_from_an_empty_file_by_hints_to_a_right_answer(learn):
    status, out, _ = learn("relu")
    assert (status, Path("relu.py").read_text("utf-8")) == (0, exercise("relu").template)
    assert EMPTY in exercise("relu").template
    assert "run this again: funcnet learn relu" in out
    status, out, _ = learn("relu", "--hint")
    assert status == 1
    assert "still to be written" in out
    assert "1  the formula:\n        dx = dy [x > 0]" in out
    write("relu", "    return dy * (x < 0)\n")
    _, out, _ = learn("relu")  # the hint that was asked for, and that of a try
    assert "1  dx is wrong: dx[" in out
    assert "2  dx has the condition of one line of the forward the wrong way round (wrong-mask)\nFor a hint" in out
    document = json.loads(learn("relu", "--hint", "--json")[1])  # the file is as it was: no try
    assert (document["verdict"], document["tries"], len(document["hints"])) == ("wrong", 1, 3)
    assert document["hints"][2][0] == "dx: look at relu.py:16: y = np.maximum(x, 0)"
    write("relu", RIGHT)
    status, out, _ = learn("relu")
    assert status == 0
    assert "relu: right, after 2 tries\ndx agrees with autodiff in float64 on N=5 D=7" in out
    assert "Next: funcnet learn leaky_relu" in out


REFUSED = {
    "    return dy +\n": "relu.py cannot be imported: relu.py:22: SyntaxError: invalid syntax",
    "    return dy * nothing\n": "relu.py:22: NameError: name 'nothing' is not defined",
    "    return dy, dy\n": "relu.py:20: relu_backward: it returns dx; got 2 values",
    "    return None\n": "relu.py:20: relu_backward: dx is an array of numbers; got None",
    "    import jax\n    return jax.vjp(lambda x: x * x, x)[1](dy)\n": f"relu.py:23 {AUTODIFF}",
    "    import os\n    os._exit(3)\n": "its process ended itself, with status 3",
}


@pytest.mark.parametrize("body", REFUSED, ids=lambda body: body.split("return")[-1].strip()[:20])
def test_what_cannot_be_judged_is_one_line_and_no_try(body, learn):
    learn("relu")
    write("relu", body)
    status, out, err = learn("relu")
    assert (status, out) == (2, "")
    assert err == f"funcnet learn: {REFUSED[body]}\n"
    assert json.loads(Path("funcnet-learn.json").read_text())["relu"]["tries"] == 0


def test_the_forward_may_save_more_and_be_of_jax_and_must_give_the_same(learn):
    learn("relu")
    write("relu", RIGHT)
    text = Path("relu.py").read_text()
    of_jax = text.replace("import numpy as np", "import jax.numpy as jnp\nimport numpy as np")
    of_jax = of_jax.replace("np.maximum", "jnp.maximum").replace("y, x", "y, (x, y)").replace("x = c", "x, _ = c")
    Path("relu.py").write_text(of_jax)
    assert learn("relu")[0] == 0
    Path("relu.py").write_text(text.replace("np.maximum(x, 0)", "np.maximum(x, 1)"))
    status, _, err = learn("relu")
    assert status == 2
    assert "relu.py:15: relu_forward gives another value than the exercise's forward; put it back" in err


def test_bad_input_is_one_line_and_nothing_is_lost(learn):
    for words, said in {
        ("sofmax",): "there is no exercise 'sofmax'; funcnet learn lists them",
        ("soft",): "there is no exercise 'soft'; perhaps softplus or softmax or log_softmax",
        ("--hint",): "--hint and --again need the name of an exercise",
        ("--out", "nowhere"): "--out nowhere is no directory",
        ("rnn",): None,
    }.items():
        status, _, err = learn(*words)
        assert (status, err) == ((2, f"funcnet learn: {said}\n") if said else (0, ""))
    status, _, err = learn("rnn")
    assert (status, err) == (2, "funcnet learn: rnn is made of your rnn_step, which is not solved yet: "
                                "funcnet learn rnn_step\n")  # fmt: skip
    Path("rnn.py").write_text("mine")
    assert learn("rnn", "--again")[0] == 0
    assert Path("rnn_1.py").read_text() == "mine"
    for damaged in ("{", "[]", '{"rnn": {"tries": "two"}}', '{"rnn": 3}', "[" * 10**5):
        Path("funcnet-learn.json").write_text(damaged)
        status, _, err = learn("rnn")
        assert status == 2
        assert err.startswith("funcnet learn: funcnet-learn.json is damaged: ")
        assert err.count("\n") == 1
        assert Path("funcnet-learn.json").read_text() == damaged


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("perceptron", 0.9), ("convnet", 0.9), ("recurrent", 0.9)])
def test_a_network_of_ones_own_rules_is_trained(name, least, learn, monkeypatch):
    monkeypatch.delenv("FUNCNET_DATA_DIR", raising=False)
    order = [need for need in names() if need in (*exercise(name).needs, "lstm_step")]
    for need in (*order, name):
        learn(need)
        Path(f"{need}.py").write_text(exercise(need).text, "utf-8")
        status, out, err = learn(need)
        assert status == 0, err
    assert "trained on scikit-learn's digits by your gradients alone" in out
    assert float(out.split("it knows ")[1].split("%")[0]) > 100 * least


@pytest.mark.slow
def test_the_page_shows_what_is_printed(learn):
    page = (Path(__file__).parents[2] / "docs" / "learn.md").read_text("utf-8")
    assert f"lists {len(names())} exercises" in page
    blocks = re.findall(r"^```(python|console)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for language, block in blocks:
        if language == "python":
            start, _, _ = exercise("softmax").template.partition("def softmax_backward")
            Path("softmax.py").write_text(start + block, "utf-8")
        else:
            for words, printed in re.findall(r"^\$ funcnet learn (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE):
                assert learn(*words.split())[1] == printed
