"""The parameters of an instance, and the gradients that it keeps of them."""

import numpy as np
import pytest

from funcnet.gradcheck.trial.instances import made, output, parameters


class Part:
    def __init__(self):
        self.w = np.ones(2)
        self.dw = None

    def forward(self, x):
        return x


class Whole:
    def __init__(self):
        self.weights, self.dweights = np.ones((2, 3)), 5
        self.bias, self.grad_bias = np.ones(3), np.zeros(3)  # a gradient that is an array from the start
        self.params, self.grads = {"W": np.ones(4)}, {"dW": 6}
        self.listed, self.dlisted = [np.ones(5), np.ones(6)], [7, 8]
        self.parts = [Part(), Part()]
        self.size, self.name, self.labels, self.empty = 3, "whole", np.arange(3), np.zeros((0, 2))
        self.again = self


NAMES = ["weights", "bias", "params['W']", "listed[0]", "listed[1]", "parts[0].w", "parts[1].w"]


def test_the_floating_arrays_of_an_instance_are_its_parameters():
    whole = Whole()
    found = parameters(whole)
    assert [parameter.name for parameter in found] == NAMES
    for i, parameter in enumerate(found):
        parameter.put(whole, i)
    assert [parameter.get(whole) for parameter in found] == list(range(7))
    assert whole.parts[1].w == 6


def test_gradients_are_found_beside_them_or_in_grads():
    whole = Whole()
    whole.grad_bias = 9
    whole.parts[1].dw = 10
    found = {parameter.name: parameter.gradient(whole) for parameter in parameters(Whole())}
    assert {name: found[name] for name in NAMES if name in found} == dict(
        zip(NAMES, [5, 9, 6, 7, 8, None, 10], strict=True)
    )


class Asks:
    def __init__(self, n_in, n_out, dropout_rate, bias=True):
        self.asked = n_in, n_out, dropout_rate, bias


def test_a_constructor_gets_small_numbers():
    assert made(Asks).asked == (5, 7, 0.5, True)
    with pytest.raises(TypeError):
        made(type("Odd", (), {"__init__": lambda self, size: size["w"]}))


def test_the_result_may_be_kept():
    part = Part()
    assert output(part) is None
    part.output = 3
    assert output(part) == 3
