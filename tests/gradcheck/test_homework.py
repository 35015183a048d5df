"""NumPy homework as people write it: each file of ``homework/``, and what must be said of each thing in it."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from jaxtyping import Float, Int

from funcnet import gradcheck
from funcnet.__main__ import main
from funcnet.gradcheck.command.discovery import find, opened

HOME = Path(__file__).parent / "homework"
AFFINE = ("N D", "D M", "M")

# file and name of what is right; the inputs, if the file has no example
RIGHT = {
    ("affine", "affine"): AFFINE,
    ("affine", "relu"): ("N D",),
} | dict.fromkeys(
    [
        ("batch_norm", "batchnorm"), ("conv_loops", "conv_naive"), ("max_pool", "max_pool_naive"),
        ("rnn", "rnn_step"), ("rnn", "rnn"), ("rnn", "lstm_step"), ("embedding", "word_embedding"),
        ("dropout", "dropout"), ("dropout", "noisy_dropout"), ("losses", "softmax_loss"), ("losses", "svm_loss"),
        ("losses", "two_layer_loss"), ("swapped", "layernorm"), ("swapped", "forward"),
        ("dense_classes", "Layer_Dense"), ("dense_classes", "Activation_ReLU"),
        ("dense_classes", "Activation_Softmax"), ("dense_classes", "Layer_Dropout"),
        ("dense_classes", "Loss_MeanSquaredError"), ("dense_classes", "Loss_CategoricalCrossentropy"),
        ("cached_classes", "Affine"), ("cached_classes", "TwoLayerNet"), ("cached_classes", "Sigmoid"),
        ("cached_classes", "BatchNorm"), ("cached_classes", "SoftmaxLoss"), ("neurons", "Neuron"),
        ("neurons", "Layer"),
    ],
    (),
)  # fmt: skip


class Wrong(NamedTuple):
    """A file of homework with ``edits`` (what stands there once: what its author wrote), and what must be said of it.

    ``mistakes``: for each wrong gradient the mistake, and a part of the line.
    """

    file: str
    name: str
    edits: dict[str, str]
    mistakes: dict[str, tuple[str, str | None]]


UPDATED = {  # the gradient is taken at weights that were already updated
    "        gradient = np.dot(dC_dz, self.weights.T)\n": "",
    "return gradient\n": "return np.dot(dC_dz, self.weights.T)\n",
}
ASSIGNS = {"dx_pad[n, :, rows, cols] += w[f]": "dx_pad[n, :, rows, cols] = w[f]"}  # where it should add
WRONG = [
    Wrong("affine", "affine", {".T.dot(dout)": ".T.dot(dout) / x.shape[0]"},
          {"dw": ("extra-mean-divisor", "out = x.reshape(N, -1).dot(w) + b")}),
    Wrong("affine", "relu", {"dout * (x > 0)": "dout * (dout > 0)"}, {"dx": ("nonlinear-in-cotangent", None)}),
    Wrong("batch_norm", "batchnorm", {" - xhat * (dxhat * xhat).sum(axis=0)": ""},
          {"dx": ("path-lost", "var = np.var(x, axis=0)")}),
    Wrong("conv_loops", "conv_naive", ASSIGNS, {"dx": ("unexplained", None)}),
    Wrong("rnn", "lstm_step", {"dnext_h * o * (1 - tanh_c**2)": "dnext_h * o"},
          {"dx": ("missing-factor", "next_h = o * np.tanh(next_c)")}),
    Wrong("embedding", "word_embedding", {"np.add.at(dW, x, dout)": "dW[x] += dout"},
          {"dW": ("scatter-overwrites", "out = W[x]")}),
    Wrong("losses", "softmax_loss", {"    dx /= N\n": ""},
          {"dx": ("wrong-scale", "np.log(probs[np.arange(N), y])) / N")}),
    Wrong("swapped", "layernorm", {"(grad_out * xhat).sum(0)": "(grad_out * xhat).mean(0)"},
          {"dgain": ("wrong-scale", "return gain * xhat + shift")}),
    Wrong("swapped", "forward", {"return thing @ W, thing.T @ A": "return thing @ W, -thing.T @ A"},
          {"dW": ("sign-flipped", "Z = A @ W.T")}),
    Wrong("dense_classes", "Layer_Dense", {"self.dbiases = np.sum(": "self.dbiases = np.mean("},
          {"dbiases": ("extra-mean-divisor", "np.dot(inputs, self.weights)")}),
    Wrong("dense_classes", "Activation_ReLU", {"self.dinputs[self.inputs <= 0] = 0": "self.dinputs[dvalues <= 0] = 0"},
          {"dinputs": ("nonlinear-in-cotangent", None)}),
    Wrong("dense_classes", "Activation_Softmax",
          {"np.diagflat(single_output)": "np.diagflat(single_output * (1 - single_output))",
           " - np.dot(single_output, single_output.T)": ""},
          {"dinputs": ("jacobian-diagonal-only", None)}),
    Wrong("dense_classes", "Layer_Dropout", {"self.dinputs = dvalues * self.binary_mask": "self.dinputs = dvalues"},
          {"dinputs": ("missing-factor", "inputs * self.binary_mask")}),
    Wrong("dense_classes", "Loss_MeanSquaredError", {"-2 * (y_true - dvalues) / outputs": "-2 * (y_true - dvalues)"},
          {"dy_pred": ("wrong-scale", "(y_true - y_pred) ** 2")}),
    Wrong("dense_classes", "Loss_CategoricalCrossentropy", {"-one_hot / dvalues": "one_hot / dvalues"},
          {"dy_pred": ("sign-flipped", "return -np.log(")}),
    Wrong("cached_classes", "Affine", {"np.sum(dout, axis=0)": "np.sum(dout)"},
          {"dparams[1]": ("wrong-reduction-axis", "return np.dot(x, W) + b")}),
    Wrong("cached_classes", "TwoLayerNet", {"(1 - hidden**2)": "(1 - hidden)"},
          {"dX": ("missing-factor", 'np.tanh(X @ self.params["W1"]')}),
    Wrong("cached_classes", "Sigmoid", {"return dout * self.out *": "return self.out *"},
          {"dx": ("ignores-cotangent", None)}),
    Wrong("cached_classes", "BatchNorm", {" - self.xhat * (d * self.xhat).mean(axis=0)": ""},
          {"dx": ("path-lost", "self.std = np.sqrt(")}),
    Wrong("cached_classes", "SoftmaxLoss", {"dx * dout / len(self.t)": "dx * dout", " + 1e-7": ""},
          {"dscores": ("wrong-scale", "return -np.log(")}),
    Wrong("neurons", "Neuron", UPDATED, {"dactivations": ("updated-weights", None)}),
    Wrong("neurons", "Layer", UPDATED, {"dactivations": ("nonlinear-in-cotangent", None)}),
]  # fmt: skip
LEFT_OUT = {
    ("neurons", "NeuralNetwork"): "it has a forward and no backward",
    ("neurons", "Activations"): "it has a derivative of sigmoid: write a class with forward(x) and backward(dout)",
    ("neurons", "mse_derivative"): "it looks like a derivative of mse: write mse_forward(...) -> (out, cache) and",
}


def in_file(path):
    """What there is to check in a file of homework, by name."""
    with opened(str(path)) as (module, _):
        return {found.name: found for found in find(module)}


def right(file):
    return in_file(HOME / f"{file}.py")


def wrong(file, edits, folder):
    """The path of a file with mistakes; each stands at one place."""
    text = (HOME / f"{file}.py").read_text("utf-8")
    for old, new in edits.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / f"{file}.py"
    path.write_text(text, "utf-8")
    return path


def judged(homework, shapes):
    report = gradcheck.check(homework.target, *(shapes or homework.inputs), name=homework.name, quick=True)
    assert not report.ulps
    assert any("NumPy code" in note for note in report.notes)
    return report


# One of each style, and of each kind of mistake; the others take longer, and are run with -m slow.
QUICK = {"batch_norm", "losses", "neurons", "swapped", "dropout", "embedding", "affine"}


def speed(file, name):
    return () if file in QUICK or name == "Affine" else pytest.mark.slow


@pytest.mark.parametrize(("file", "name"), [pytest.param(*row, id="-".join(row), marks=speed(*row)) for row in RIGHT])
def test_what_is_right_is_correct(file, name):
    report = judged(right(file)[name], RIGHT[file, name])
    assert report.verdict == "correct", report


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row.file}-{row.name}", marks=speed(row.file, row.name)) for row in WRONG]
)
def test_a_mistake_is_named_with_its_line(row, tmp_path):
    homework = in_file(wrong(row.file, row.edits, tmp_path))[row.name]
    report = judged(homework, RIGHT[row.file, row.name])
    assert report.verdict == "wrong", report
    found = {f"d{f.argument}{f.leaf}": (f.mistake, f.source) for f in report.findings}
    assert found.keys() == row.mistakes.keys(), report
    for gradient, (mistake, line) in row.mistakes.items():
        assert found[gradient][0] == mistake, report
        assert line in found[gradient][1] if line else found[gradient][1] is None, report


def test_the_command_shows_what_was_tried_and_no_more(capsys, tmp_path):
    assert main(["check", str(wrong("neurons", UPDATED, tmp_path)), "--quick"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"name +verdict +seconds +mistake", out)
    assert re.search(r"Neuron +wrong +[\d.]+ +updated-weights", out)
    assert "left out: NeuralNetwork: it has a forward and no backward" in out


def test_everything_in_the_files_has_a_row():
    everything = {(path.stem, name): f for path in HOME.glob("*.py") for name, f in right(path.stem).items()}
    left = {row: found.left_out for row, found in everything.items() if found.left_out}
    assert everything.keys() - left.keys() == RIGHT.keys()
    assert {(row.file, row.name) for row in WRONG} <= RIGHT.keys()
    assert len({file for file, _ in RIGHT}) + len({str(row.edits) for row in WRONG}) >= 32  # files that are judged
    assert {row for row in left if row[0] == "neurons"} == LEFT_OUT.keys()
    assert all(left[row].startswith(text) for row, text in LEFT_OUT.items())


@pytest.mark.slow
def test_a_term_forgotten_in_every_step_of_a_loop_is_wrong(tmp_path):
    rnn = in_file(wrong("rnn", {"dh[:, t, :] + dprev_h, cache[t]": "dh[:, t, :], cache[t]"}, tmp_path))["rnn"]
    report = gradcheck.check(rnn.target, *rnn.inputs)
    assert report.verdict == "wrong"
    assert {"dh0", "dx"} <= {f"d{f.argument}" for f in report.findings}


@pytest.mark.parametrize(("edits", "verdict"), [({}, "correct"), (ASSIGNS, "wrong")])
def test_loops_over_elements_are_judged_by_differences(edits, verdict, tmp_path):
    conv = in_file(wrong("conv_loops", edits, tmp_path))["conv_naive"]
    report = gradcheck.check(conv.target, *conv.inputs)
    assert (report.verdict, report.reference) == (verdict, "differences")
    assert any("no line of it can be named" in note for note in report.notes)


# ---------------------------------------------------------------- how inputs are given

AFFINE_PAIR = right("affine")["affine"].target
BATCH_NORM = right("batch_norm")["batchnorm"].target


def test_inputs_may_be_given_by_name_and_as_lists():
    by_name = {"b": [1.0, 2.0], "x": np.ones((3, 1, 4)), "w": np.arange(8.0).reshape(4, 2)}
    assert gradcheck.check(AFFINE_PAIR, by_name).verdict == "correct"
    assert gradcheck.check(AFFINE_PAIR, dict(zip("xwb", AFFINE, strict=True)), quick=True).verdict == "correct"
    with pytest.raises(gradcheck.InputError, match=r"affine takes \(x, w, b\); w, b is not given"):
        gradcheck.check(AFFINE_PAIR, {"x": np.ones((3, 4))})


def test_settings_stand_beside_shapes_and_stay_as_they_are():
    setting = {"mode": "train", "eps": 1e-3, "running_mean": np.zeros(7)}
    report = gradcheck.check(BATCH_NORM, "N D=7", "D=7", "D=7", setting, quick=True)
    assert report.verdict == "correct"
    assert setting.keys() == {"mode", "eps", "running_mean"}
    assert not setting["running_mean"].any()


def rows_forward(x: Float[np.ndarray, "K D"], rows: Int[np.ndarray, "N"]):
    return x[rows], (x, rows)


def rows_backward(dout, cache):
    dx = np.zeros_like(cache[0])
    np.add.at(dx, cache[1], dout)
    return dx, None


def test_annotations_and_settings_of_the_check_hold_for_numpy_too():
    rows = rows_forward, rows_backward
    assert gradcheck.check(rows, ranges={"rows": "K"}).verdict == "correct"
    plain = gradcheck.check(rows, "K D", "N:int<K", reference=lambda x, rows: x[rows], quick=True)
    assert (plain.verdict, plain.reference) == ("correct", "autodiff of the function given as reference")
    fixed = gradcheck.check(AFFINE_PAIR, *AFFINE, argnums=(0, 1), quick=True)
    assert (fixed.verdict, fixed.worst.keys()) == ("correct", {"x", "w"})
    ((args, dy), *_) = gradcheck.draws(AFFINE_PAIR, *AFFINE)
    assert [np.shape(arg) for arg in (*args, dy)] == [(5, 7), (7, 11), (11,), (5, 11)]


def test_without_inputs_it_says_how_to_give_them():
    with pytest.raises(gradcheck.InputError, match=r"x has no array annotation .* or add affine_example\(\)"):
        gradcheck.check(AFFINE_PAIR)


def two_layers_forward(x, params):
    hidden = np.tanh(x @ params["W1"])
    return hidden @ params["W2"], (x, hidden, params)


def two_layers_backward(dout, cache):
    x, hidden, params = cache
    da = dout @ params["W2"].T * (1 - hidden**2)
    return da @ params["W1"].T, {"dW2": hidden.T @ dout, "dW1": x.T @ da}


def test_a_dict_of_parameters_has_a_dict_of_gradients():
    rng = np.random.default_rng(2)
    params = {"W1": rng.normal(size=(3, 4)), "W2": rng.normal(size=(4, 2))}
    report = gradcheck.check((two_layers_forward, two_layers_backward), rng.normal(size=(5, 3)), params)
    assert (report.verdict, report.conditions) == ("correct", ())
    assert report.worst.keys() == {"x", "params['W1']", "params['W2']"}


def cross_entropy_forward(z, y):
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return -np.mean(np.sum(y * np.log(p), axis=1)), (p, y)


def cross_entropy_backward(dout, cache):
    p, y = cache
    return dout * (p - y) / len(p)


@pytest.mark.slow
@pytest.mark.parametrize("inputs", [("N K", "N K"), (np.ones((2, 3)), np.eye(3)[[0, 2]])])
def test_a_derivation_that_assumes_one_hot_targets_is_right_for_these(inputs):
    report = gradcheck.check((cross_entropy_forward, cross_entropy_backward), *inputs, quick=True)
    assert report.verdict == "correct", report
    assumed = ("the rows of y sum to 1",) if isinstance(inputs[0], str) else ()
    assert report.conditions == ("y is not differentiated", *assumed)


# ---------------------------------------------------------------- what the code may do


def square_forward(x):
    return np.square(x), x


def double(dout, cache):
    return 2 * cache * dout


def writes_into_all(dout, cache):
    dout *= 2
    cache *= dout
    return cache


def moody(x):
    return np.square(x) * np.random.default_rng().random(), x


def narrow(x):
    return np.square(x).astype(np.float32), x


def float32_gradient(dout, cache):
    return (2 * cache * dout).astype(np.float32)


def by_values(x):
    return (np.square(x) if float(x.sum()) < 1e9 else x), x


X = np.linspace(0.5, 2, 6).reshape(2, 3)
DEEDS = [
    (square_forward, double, "correct", None),
    (square_forward, writes_into_all, "correct", None),
    (square_forward, lambda dout, cache: (2 * cache * dout,), "correct", None),
    (square_forward, lambda cache, dout: 2 * cache * dout, "correct", None),
    (square_forward, lambda this, that: {"x": 2 * this * that}, "correct", None),
    (lambda x: np.square(x), lambda dout, x: 2 * x * dout, "correct", None),
    (lambda x: np.exp(x), lambda dout, out: out * dout, "correct", None),
    (lambda x: (np.sin(x), x), lambda p, q: np.cos(p) * q, "correct", None),
    (lambda x: (np.sin(x), x), lambda p, q: np.cos(q) * p, "correct", None),
    (by_values, double, "correct", None),
    (square_forward, lambda dout, cache: cache * dout, "wrong", "wrong-scale"),
    (by_values, lambda dout, cache: cache * dout, "wrong", "wrong-scale"),
    (square_forward, lambda dout, cache: (cache, cache), "wrong", "wrong-structure"),
    (square_forward, lambda dout, cache: cache.nothing, "wrong", "wrong-structure"),
    (square_forward, lambda dout, cache: np.sum(2 * cache * dout), "wrong", "wrong-reduction-axis"),
    (square_forward, float32_gradient, "wrong", "wrong-dtype"),
    (moody, double, "wrong", "nondeterministic"),
]


@pytest.mark.parametrize(("forward", "backward", "verdict", "mistake"), DEEDS)
def test_whatever_homework_does_is_judged(forward, backward, verdict, mistake):
    here, before = X.copy(), np.random.get_state()[1].copy()
    report = gradcheck.check((forward, backward), here)
    assert report.verdict == verdict, report
    assert [f.mistake for f in report.findings] == ([mistake] if mistake else []), report
    np.testing.assert_array_equal(here, X)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_a_forward_in_float32_is_told():
    with pytest.raises(gradcheck.InputError, match="computes in less than float64"):
        gradcheck.check((narrow, double), X)


def with_a_gradient(x, weight=3.0):
    value = np.sum(weight * x**2)
    if value < 0:
        return value
    return value, 2 * weight * x


def without(x):
    return x * np.pi


def test_a_function_with_its_gradient_needs_no_backward():
    assert gradcheck.check(with_a_gradient, X).verdict == "correct"
    report = gradcheck.check(without, X)  # it runs in JAX too, and is no homework
    assert (report.verdict, report.notes) == ("correct", ())
