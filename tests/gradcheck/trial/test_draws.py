"""The inputs that ``check`` tries, for others to use."""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int

from funcnet import gradcheck
from funcnet.types import Below, Rule


def scaled(x: Float[Array, "N D"], g: Float[Array, "D"]):
    return x * g[None], (x, g)


def scaled_bwd(residuals, dy):
    x, g = residuals
    return dy * g[None], (dy * x).sum(axis=0)


def test_draws_are_the_inputs_and_the_first_cotangent_of_check():
    seen = []

    def bwd(residuals, dy):
        if not isinstance(dy, jax.core.Tracer):
            seen.append((*residuals, dy))
        return scaled_bwd(residuals, dy)

    gradcheck.check(Rule(scaled, bwd), quick=True, dtypes=(), seed=3)
    (x, g), dy = gradcheck.draws(Rule(scaled, scaled_bwd), seed=3)[0]
    for got, expected in zip((x, g, dy), seen[0], strict=True):
        np.testing.assert_array_equal(got, expected)


def test_every_draw_has_sizes_of_its_own_and_the_dtype_that_is_asked_for():
    drawn = gradcheck.draws((scaled, scaled_bwd), sizes={"N": 3}, dtype=jnp.bfloat16)
    assert [args[0].shape for args, _ in drawn] == [(3, 7), (3, 9), (3, 130)]
    assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {jnp.dtype(jnp.bfloat16)}


def test_arrays_of_the_caller_are_kept():
    ((args, dy),) = gradcheck.draws((scaled, scaled_bwd), np.ones((2, 5)), np.arange(5.0))
    np.testing.assert_array_equal(args[1], np.arange(5.0))
    assert dy.shape == (2, 5)


def test_a_wrong_call_is_an_input_error():
    with pytest.raises(gradcheck.InputError, match="sizes is for the axes N, D; got K"):
        gradcheck.draws((scaled, scaled_bwd), sizes={"K": 3})


@pytest.mark.parametrize("x64", [False, True])
def test_the_dtype_is_by_default_the_one_that_jax_has(x64):
    def gather(table: Float[Array, "V D"], tokens: Annotated[Int[Array, "N"], Below("V")]):
        return table[tokens], tokens

    with jax.enable_x64(x64):
        (table, tokens), dy = gradcheck.draws((gather, lambda tokens, dy: (dy, None)))[0]
        dtypes = jnp.ones(1).dtype, jnp.arange(1).dtype, jnp.ones(1).dtype
    assert (table.dtype, tokens.dtype, dy.dtype) == dtypes
