import jax
import pytest

import funcnet
from funcnet import initializers
from funcnet.models import mlp


@pytest.mark.parametrize(
    ("hidden", "settings", "names"),
    [
        ((), {}, "flatten dense(5)"),
        ((13, 11), {}, "flatten dense(13) relu dense(11) relu dense(5)"),
        ((13,), {"activation": funcnet.tanh}, "flatten dense(13) tanh dense(5)"),
        ((13, 11), {"dropout_rate": 0.3}, "flatten dense(13) relu dropout(0.3) dense(11) relu dropout(0.3) dense(5)"),
        (
            (13,),
            {"normalised": True, "dropout_rate": 0.3},
            "flatten dense(13) batch_norm relu dropout(0.3) dense(5)",
        ),
    ],
)
def test_the_layers_in_their_order(hidden, settings, names):
    assert " ".join(part.name for part in mlp(hidden, 5, **settings).parts) == names


def test_hidden_weights_are_he_normal_and_the_last_lecun_normal():
    params, _ = mlp((301, 151), 303).init(jax.random.key(0), (3, 67))
    variances = [p["w"].var() for p in params if p]
    assert variances == pytest.approx([2 / 201, 2 / 301, 1 / 151], rel=0.04)


def test_all_weights_are_drawn_by_the_initializer_that_is_given():
    params, _ = mlp((31, 29), 37, w_init=initializers.uniform(2.0, 3.0)).init(jax.random.key(0), (41,))
    assert all((p["w"] >= 2).all() and (p["w"] < 3).all() and not p["b"].any() for p in params if p)
