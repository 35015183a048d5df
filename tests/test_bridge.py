"""The bridge: our rules as JAX functions, by every transformation; and JAX functions as our rules."""

import jax
import jax.numpy as jnp
import pytest

from funcnet import bridge
from tests.cases import RULES, case_id
from tests.trees import assert_close, differentiable, draw


def of_floats(f, args):
    """``f`` as a function of the arguments that are differentiable alone, and those arguments."""
    chosen = [i for i, arg in enumerate(args) if differentiable(arg)]

    def with_floats(*floats):
        return f(*(floats[chosen.index(i)] if i in chosen else arg for i, arg in enumerate(args)))

    return with_floats, tuple(args[i] for i in chosen)


def first_and_second(f, floats, dy, directions):
    """y, the gradient of y·dy, and the gradient of its product with ``directions``: reverse over reverse."""

    def gradient(*floats):
        return jax.vjp(f, *floats)[1](dy)

    return f(*floats), gradient(*floats), jax.vjp(gradient, *floats)[1](directions)


@pytest.mark.parametrize("case", RULES, ids=case_id)
def test_value_gradient_and_second_derivative(case):
    """Beside the rule's own backward, and beside autodiff of the plain forward, twice."""
    args = jax.tree.map(jnp.asarray, case.args((3,)))
    y = jax.eval_shape(lambda *args: case.rule.fwd(*args)[0], *args)
    dy = draw(1, y)

    @jax.jit
    def all_of_them(args):
        bridged, floats = of_floats(bridge.function(case.rule), args)
        plain, _ = of_floats(lambda *args: case.rule.fwd(*args)[0], args)
        directions = draw(2, jax.eval_shape(lambda *floats: floats, *floats))
        value, residuals = case.rule.fwd(*args)
        own = tuple(d for d, arg in zip(case.rule.bwd(residuals, dy), args, strict=False) if differentiable(arg))
        got = first_and_second(bridged, floats, dy, directions)
        return got, (value, own, first_and_second(plain, floats, dy, directions)[2])

    (value, first, second), (own_value, own_first, expected_second) = all_of_them(args)
    assert_close(value, own_value, 1e-13, 1e-13)
    assert_close(first, own_first, 1e-13, 1e-13)
    assert_close(second, expected_second, 1e-9, 1e-11)
