"""NumPy homework as people write it: each file of ``homework/``, and what must be said of each thing in it."""

import re
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float, Int

from funcnet import gradcheck
from funcnet.__main__ import main
from funcnet.gradcheck.command.discovery import find, opened

HOME = Path(__file__).parent / "homework"
AFFINE = ("N D", "D M", "M")

# file, name: the inputs, if the file has no example, and for each wrong gradient the mistake and a part of the line
CASES = {
    ("affine", "affine"): (AFFINE, {}),
    ("affine", "relu"): (("N D",), {}),
    ("affine_wrong", "affine"): (AFFINE, {"dw": ("extra-mean-divisor", "out = x.reshape(N, -1).dot(w) + b")}),
    ("affine_wrong", "relu"): (("N D",), {"dx": ("nonlinear-in-cotangent", None)}),
    ("batch_norm", "batchnorm"): ((), {}),
    ("batch_norm_wrong", "batchnorm"): ((), {"dx": ("path-lost", "var = np.var(x, axis=0)")}),
    ("conv_loops", "conv_naive"): ((), {}),
    ("conv_loops_wrong", "conv_naive"): ((), {"dx": ("unexplained", None)}),
    ("max_pool", "max_pool_naive"): ((), {}),
    ("rnn", "rnn_step"): ((), {}),
    ("rnn", "rnn"): ((), {}),
    ("rnn", "lstm_step"): ((), {}),
    ("rnn_wrong", "lstm_step"): ((), {"dx": ("missing-factor", "next_h = o * np.tanh(next_c)")}),
    ("embedding", "word_embedding"): ((), {}),
    ("embedding_wrong", "word_embedding"): ((), {"dW": ("scatter-overwrites", "out = W[x]")}),
    ("dropout", "dropout"): ((), {}),
    ("dropout", "noisy_dropout"): ((), {}),
    ("losses", "softmax_loss"): ((), {}),
    ("losses", "svm_loss"): ((), {}),
    ("losses", "wrong_softmax_loss"): ((), {"dx": ("wrong-scale", "np.log(probs[np.arange(N), y])) / N")}),
    ("losses", "two_layer_loss"): ((), {}),
    ("swapped", "layernorm"): ((), {}),
    ("swapped", "forward"): ((), {}),
    ("swapped_wrong", "layernorm"): ((), {"dgain": ("wrong-scale", "return gain * xhat + shift")}),
    ("swapped_wrong", "forward"): ((), {"dW": ("sign-flipped", "Z = A @ W.T")}),
    ("dense_classes", "Layer_Dense"): ((), {}),
    ("dense_classes", "Activation_ReLU"): ((), {}),
    ("dense_classes", "Activation_Softmax"): ((), {}),
    ("dense_classes", "Layer_Dropout"): ((), {}),
    ("dense_classes", "Loss_MeanSquaredError"): ((), {}),
    ("dense_classes", "Loss_CategoricalCrossentropy"): ((), {}),
    ("dense_classes_wrong", "Layer_Dense"): ((), {"dbiases": ("extra-mean-divisor", "np.dot(inputs, self.weights)")}),
    ("dense_classes_wrong", "Activation_ReLU"): ((), {"dinputs": ("nonlinear-in-cotangent", None)}),
    ("dense_classes_wrong", "Activation_Softmax"): ((), {"dinputs": ("jacobian-diagonal-only", None)}),
    ("dense_classes_wrong", "Layer_Dropout"): ((), {"dinputs": ("missing-factor", "inputs * self.binary_mask")}),
    ("dense_classes_wrong", "Loss_MeanSquaredError"): ((), {"dy_pred": ("wrong-scale", "(y_true - y_pred) ** 2")}),
    ("dense_classes_wrong", "Loss_CategoricalCrossentropy"): ((), {"dy_pred": ("sign-flipped", "return -np.log(")}),
    ("cached_classes", "Affine"): ((), {}),
    ("cached_classes", "TwoLayerNet"): ((), {}),
    ("cached_classes", "Sigmoid"): ((), {}),
    ("cached_classes", "BatchNorm"): ((), {}),
    ("cached_classes", "SoftmaxLoss"): ((), {}),
    ("cached_classes_wrong", "Affine"): ((), {"dparams[1]": ("wrong-reduction-axis", "return np.dot(x, W) + b")}),
    ("cached_classes_wrong", "TwoLayerNet"): ((), {"dX": ("missing-factor", 'np.tanh(X @ self.params["W1"]')}),
    ("cached_classes_wrong", "Sigmoid"): ((), {"dx": ("ignores-cotangent", None)}),
    ("cached_classes_wrong", "BatchNorm"): ((), {"dx": ("path-lost", "self.std = np.sqrt(")}),
    ("cached_classes_wrong", "SoftmaxLoss"): ((), {"dscores": ("wrong-scale", "return -np.log(")}),
    ("neurons", "Neuron"): ((), {}),
    ("neurons", "Layer"): ((), {}),
    ("neurons_wrong", "Neuron"): ((), {"dactivations": ("updated-weights", None)}),
    ("neurons_wrong", "Layer"): ((), {"dactivations": ("nonlinear-in-cotangent", None)}),
}
LEFT_OUT = {
    ("neurons", "NeuralNetwork"): "it has a forward and no backward",
    ("neurons", "Activations"): "it has a derivative of sigmoid: write a class with forward(x) and backward(dout)",
    ("neurons", "mse_derivative"): "it looks like a derivative of mse: write mse_forward(...) -> (out, cache) and",
}


def in_file(stem):
    """What there is to check in a file of homework, by name."""
    with opened(str(HOME / f"{stem}.py")) as (module, _):
        return {found.name: found for found in find(module)}


# One of each style, and of each kind of mistake; the others take longer, and are run with -m slow.
QUICK = {
    "affine_wrong", "batch_norm", "conv_loops_wrong", "embedding_wrong", "losses", "neurons", "swapped", "dropout",
}  # fmt: skip
ROWS = [
    pytest.param(file, name, id=f"{file}-{name}", marks=() if file in QUICK or name == "Affine" else pytest.mark.slow)
    for file, name in CASES
]


@pytest.mark.parametrize(("file", "name"), ROWS)
def test_homework_is_judged_rightly(file, name):
    shapes, mistakes = CASES[file, name]
    homework = in_file(file)[name]
    report = gradcheck.check(homework.target, *(shapes or homework.inputs), name=name, quick=True)
    assert report.verdict == ("wrong" if mistakes else "correct"), report
    found = {f"d{f.argument}{f.leaf}": (f.mistake, f.source) for f in report.findings}
    assert found.keys() == mistakes.keys(), report
    for gradient, (mistake, line) in mistakes.items():
        assert found[gradient][0] == mistake, report
        assert line in found[gradient][1] if line else found[gradient][1] is None, report
    assert not report.ulps
    assert any("NumPy code" in note for note in report.notes)


def test_the_command_shows_what_was_tried_and_no_more(capsys):
    assert main(["check", str(HOME / "neurons_wrong.py"), "--quick"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"name +verdict +seconds +mistake", out)
    assert re.search(r"Neuron +wrong +[\d.]+ +updated-weights", out)
    assert "left out: NeuralNetwork: it has a forward and no backward" in out


def test_everything_in_the_files_has_a_row():
    everything = {(path.stem, name): f for path in HOME.glob("*.py") for name, f in in_file(path.stem).items()}
    untold = {("rnn_wrong", name) for name in ("rnn", "rnn_step")}
    left = {row: found.left_out for row, found in everything.items() if found.left_out}
    assert everything.keys() - left.keys() == CASES.keys() | untold
    assert len({file for file, _ in everything}) >= 16
    assert {row for row in left if row[0] == "neurons"} == LEFT_OUT.keys()
    assert all(left[row].startswith(text) for row, text in LEFT_OUT.items())


@pytest.mark.slow
def test_a_term_forgotten_in_every_step_of_a_loop_is_wrong():
    rnn = in_file("rnn_wrong")["rnn"]
    report = gradcheck.check(rnn.target, *rnn.inputs)
    assert report.verdict == "wrong"
    assert {"dh0", "dx"} <= {f"d{f.argument}" for f in report.findings}


@pytest.mark.parametrize("file", ["conv_loops", "conv_loops_wrong"])
def test_loops_over_elements_are_judged_by_differences(file):
    conv = in_file(file)["conv_naive"]
    report = gradcheck.check(conv.target, *conv.inputs)
    assert report.reference == "differences"
    assert any("no line of it can be named" in note for note in report.notes)


# ---------------------------------------------------------------- how inputs are given

AFFINE_PAIR = in_file("affine")["affine"].target
BATCH_NORM = in_file("batch_norm")["batchnorm"].target


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
