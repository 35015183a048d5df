"""Whether a backward calls autodiff, told by its trace."""

import jax
import jax.numpy as jnp
import pytest

from funcnet import gradcheck
from funcnet.gradcheck.engine.inspection import calls_autodiff

A = jnp.eye(3) * 2 + 0.1
COMPILED = jax.jit(lambda r, dy: jax.vjp(jnp.sin, r)[1](dy))
COMPILED(jnp.ones(3), jnp.ones(3))  # it is not traced again
BY_AUTODIFF = {
    "grad": lambda r, dy: jax.grad(lambda x: jnp.sin(x).sum())(r) * dy,
    "vjp": lambda r, dy: jax.vjp(jnp.sin, r)[1](dy),
    "vjp, compiled before": COMPILED,
    "jvp": lambda r, dy: jax.jvp(jnp.sin, (r,), (dy,))[1],
    "linear_transpose": lambda r, dy: jax.linear_transpose(lambda x: 2 * x, r)(dy),
    "in a loop": lambda r, dy: jax.lax.map(lambda x: jax.grad(jnp.sin)(x), r) * dy,
}
BY_HAND = {
    "cos": lambda r, dy: jnp.cos(r) * dy,
    "solve": lambda r, dy: jnp.linalg.solve(A, dy),
    "inverse": lambda r, dy: jnp.linalg.inv(A) @ dy,
    "transpose": lambda r, dy: A.T @ dy,
    "activation": lambda r, dy: jax.nn.relu(r) * dy,
    "iteration": lambda r, dy: jax.scipy.sparse.linalg.cg(lambda v: A @ v, dy)[0],
}


@pytest.mark.parametrize("name", BY_AUTODIFF | BY_HAND)
def test_autodiff_in_a_backward_is_seen(name):
    f = (BY_AUTODIFF | BY_HAND)[name]
    assert calls_autodiff(f, jnp.arange(3.0), jnp.ones(3)) == (name in BY_AUTODIFF)


@pytest.mark.parametrize("name", ["vjp", "cos"])
def test_check_says_so_in_a_note(name):
    bwd = (BY_AUTODIFF | BY_HAND)[name]
    by_tuple = lambda r, dy: (*bwd(r, dy),) if name == "vjp" else (bwd(r, dy),)  # noqa: E731
    report = gradcheck.check((lambda x: (jnp.sin(x), x), by_tuple), "N", quick=True)
    assert report.verdict == "correct"
    assert any(note.startswith("by-autodiff") for note in report.notes) == (name == "vjp")
    assert not gradcheck.check(jnp.sin, "N", quick=True).notes  # nobody says that JAX's own is by hand
