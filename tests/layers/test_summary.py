import jax.numpy as jnp
import pytest

import funcnet
from funcnet import dense, parallel, relu, residual, serial
from funcnet.types import ShapeError


def test_a_line_for_every_layer_with_shapes_and_counts():
    net = serial(dense(5), residual(serial(relu(), dense(5))), parallel(dense(3), relu(), merge="concatenate"))
    lines = [line for line in funcnet.summary(net, (2, 7)).splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line.strip("│").split("│")] for line in lines] == [
        ["serial", "(N, 2, 8)", "", "88"],
        ["dense(5)", "(N, 2, 5)", "b (5,), w (7, 5)", "40"],
        ["residual", "(N, 2, 5)", "", "30"],
        ["serial", "(N, 2, 5)", "", "30"],
        ["relu", "(N, 2, 5)", "", "0"],
        ["dense(5)", "(N, 2, 5)", "b (5,), w (5, 5)", "30"],
        ["parallel(concatenate)", "(N, 2, 8)", "", "18"],
        ["dense(3)", "(N, 2, 3)", "b (3,), w (5, 3)", "18"],
        ["relu", "(N, 2, 5)", "", "0"],
    ]


def test_counts_have_thousands_separators():
    assert " 1,234,000 │" in funcnet.summary(dense(1000), (1233,))


def test_parts_without_parameters_or_with_nested_ones():
    nested = dense(3)._replace(init=lambda key, shape: ({"gate": {"w": jnp.ones((7, 3))}}, (3,)), name="nested")
    assert "gate.w (7, 3)" in funcnet.summary(serial(serial(), nested), (7,))


def test_a_network_that_does_not_fit_is_an_error():
    with pytest.raises(ShapeError, match="residual"):
        funcnet.summary(residual(dense(3)), (7,))
