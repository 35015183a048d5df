"""Forward and every gradient of norms, embeddings and attention against PyTorch's, in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from tests.cases import normal


def norm_args(channels, vectors=2):
    return (2 * normal(0, 3, 5, channels) + 1, *(normal(i + 1, channels) for i in range(vectors)))


def heads(seed, queries, keys, features=8):
    return (normal(seed, 2, queries, 5, features), *(normal(seed + i, 2, keys, 7, features) for i in (1, 2)))


def sdpa(f, q, k, v, mask=None):
    return f.scaled_dot_product_attention(q, k, v, mask, enable_gqa=q.shape[1] != k.shape[1])


MASK = np.random.default_rng(0).random((2, 1, 5, 7)) < 0.7
MASK[..., 0] = True  # for a query that sees no key, PyTorch returns NaN

CASES = {
    "unembedding": (ops.unembedding, (normal(0, 3, 5), normal(1, 7, 5)), lambda f, x, table: f.linear(x, table)),
    "gelu_tanh": (ops.gelu_tanh, (3 * normal(0, 3, 7),), lambda f, x: f.gelu(x, approximate="tanh")),
    "swiglu": (ops.swiglu, (normal(0, 3, 7), normal(1, 3, 7)), lambda f, a, g: a * f.silu(g)),
    "embedding": (
        ops.embedding, (normal(0, 7, 5), np.array([[3, 1, 3], [0, 3, 6]])),
        lambda f, table, tokens: f.embedding(tokens, table),
    ),
    "attention": (ops.attention(), heads(0, 3, 3), sdpa),
    "attention of grouped heads with a mask": (ops.attention(), (*heads(0, 6, 3), MASK), sdpa),
    "flash attention": (ops.flash_attention(block=3), (*heads(0, 6, 3), MASK), sdpa),
    "layer_norm": (
        ops.layer_norm(1e-3), norm_args(7), lambda f, x, gamma, beta: f.layer_norm(x, (7,), gamma, beta, 1e-3)
    ),
    "rms_norm": (ops.rms_norm(1e-3), norm_args(7, 1), lambda f, x, gamma: f.rms_norm(x, (7,), gamma, 1e-3)),
    "group_norm": (
        ops.group_norm(3, 1e-3), norm_args(9),
        lambda f, x, gamma, beta: f.group_norm(x.mT, 3, gamma, beta, 1e-3).mT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_pytorch(name):
    torch = pytest.importorskip("torch")
    rule, args, theirs = CASES[name]
    tensors = [torch.tensor(arg, requires_grad=arg.dtype == float) for arg in args]
    expected = theirs(torch.nn.functional, *tensors)
    dy = normal(9, *expected.shape)
    expected.backward(torch.tensor(dy))
    y, residuals = rule.fwd(*map(jnp.asarray, args))
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    cotangents = rule.bwd(residuals, jnp.asarray(dy))
    assert len(cotangents) >= len(tensors)
    for got, tensor in zip(cotangents, tensors, strict=False):
        if tensor.requires_grad:
            np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=1e-10, atol=1e-12)
