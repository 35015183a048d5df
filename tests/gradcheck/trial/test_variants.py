import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.gradcheck.trial.draws import Draw
from funcnet.gradcheck.trial.variants import ACTIVATIONS, activations

R = np.random.default_rng(0)
LEAVES = {
    "x": R.normal(size=(5, 7)),
    "scale": R.uniform(1, 2, 7),
    "a number": np.float64(0.3),
    "probabilities": R.uniform(size=(5, 7)),
    "their logarithms": np.log(R.uniform(size=(5, 7))),
    "a mask to add": np.where(R.random((5, 7)) < 0.5, 0.0, -1e9),
    "sorted": np.sort(R.normal(size=(5, 7)), axis=-1),
    "whole": R.integers(-5, 5, (5, 7)).astype(float),
    "infinite": np.where(R.random((5, 7)) < 0.5, -np.inf, 1.0),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_only_what_may_be_an_activation_is_made_like_one(kind):
    args = tuple(jnp.asarray(leaf, jnp.bfloat16) for leaf in LEAVES.values())
    made = list(activations(Draw(args, {}, "given arrays", 0), kind, 1))
    assert [i for i, _ in made] == [0, 1]
    for i, changed in made:
        assert all((a is b) == (i != j) for j, (a, b) in enumerate(zip(args, changed, strict=True)))
        assert changed[i].dtype == jnp.bfloat16
    assert (made[1][1][1] > 0).all()  # positive as before
    assert not list(activations(Draw(args[:1], {}, "given arrays", 0, frozenset([0])), kind, 1))
