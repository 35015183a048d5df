"""What people's own code meets: their settings of JAX and not the suite's, and a rule in one line."""

import jax
import pytest


@pytest.fixture(autouse=True)
def as_users_have_it():
    """For every test of a module that imports it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def rule(primal, fwd, bwd, nondiff=()):
    f = jax.custom_vjp(primal, nondiff_argnums=nondiff)
    f.defvjp(fwd, bwd)
    return f
