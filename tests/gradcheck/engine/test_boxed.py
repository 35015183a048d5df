"""NumPy code, run by JAX: the same values as NumPy's, and JAX's derivative of them."""

import copy

import jax
import numpy as np
import pytest

from funcnet.gradcheck.engine.boxed import Box, UntraceableError, by_jax

X = np.random.default_rng(0).normal(size=(3, 5))
LABELS = np.array([1, 4, 1])


def filled(x):
    out = np.zeros((3, 2))
    for i in range(3):
        out[i, 0] = x[i].sum()
        out[i, 1] += np.prod(x[i, 1:3])
    return out


def masked(x):
    out = x.copy()
    out[out < 0] = 0
    out[range(3), LABELS] -= 1
    return out


def scattered(x):
    out = np.zeros((6, 5))
    np.add.at(out, LABELS, x)
    np.maximum.at(out, [0, 1], np.ones(5))
    return out


def in_place(x):
    total = np.zeros(5)
    for row in x:
        total += row * row
    shifted = x - np.max(x, axis=1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=1, keepdims=True)
    return total, shifted


def assembled(x):
    rows = np.array([[row.mean(), row.std()] for row in x])
    return np.hstack([rows, np.asarray(x)[:, ::2]]), np.concatenate([x, x[::-1]]), np.einsum("ij,kj->ik", x, x)


def operators(x):
    counts = np.arange(1, 6)
    return 2 - x, 1.5 * x / counts, x**2 @ x.T, np.where(x > 0, x, 0.1 * x), -abs(x), np.add.reduce(x, axis=1)


def by_methods(x):
    return x.reshape(5, -1).T.dot(x.ravel()[:5]), x.astype(float).clip(-1, 1), np.linalg.norm(x, axis=0), len(x) * x


def of_a_dict(x):
    return {"a": np.tanh(x), "b": [np.logaddexp(x, 0), np.pad(x, ((1, 0), (0, 2)), "constant")]}


GOOD = [filled, masked, scattered, in_place, assembled, operators, by_methods, of_a_dict]


@pytest.mark.parametrize("f", GOOD, ids=lambda f: f.__name__)
def test_values_and_derivatives_are_those_of_numpy(f):
    run = by_jax(f, lambda: [globals()])
    value, pushed = jax.jvp(run, (jax.numpy.asarray(X),), (direction := np.ones((3, 5)) * np.arange(5) - 1.3,))
    assert jax.tree.structure(value) == jax.tree.structure(f(X.copy()))
    jax.tree.map(np.testing.assert_allclose, value, f(X.copy()))
    step = 1e-6
    ahead, behind = f(X + step * direction), f(X - step * direction)
    slopes = jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), pushed, slopes)
    assert globals()["np"] is np


def test_a_copy_of_a_box_is_none_of_it():
    box = Box(np.ones(3))
    shallow, deep = copy.copy(box), copy.deepcopy(box)
    box[0] = 5
    assert [other.value[0] for other in (shallow, deep)] == [5, 1]


def into_numpys_array(x):
    out = np.random.default_rng(0).normal(size=(3, 5))
    out[0] = x[0]
    return out


def without_end(x):
    for _ in range(1000):
        x = x * 1.1
    return x


BAD = [
    (lambda x: float(x.sum()), jax.errors.JAXTypeError),
    (lambda x: x if x.sum() > 0 else -x, jax.errors.JAXTypeError),
    (into_numpys_array, UntraceableError),
    (lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=0), UntraceableError),
    (without_end, UntraceableError),
]


@pytest.mark.parametrize(("f", "error"), BAD)
def test_what_needs_numbers_raises_and_leaves_nothing_behind(f, error):
    with pytest.raises(error):
        jax.make_jaxpr(by_jax(f, lambda: [globals()]))(X)
    assert globals()["np"] is np
