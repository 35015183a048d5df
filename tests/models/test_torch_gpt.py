"""Attention of many heads, a block and a whole GPT beside PyTorch's modules: forward and all gradients, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet
from funcnet import ops
from funcnet.models import GPTConfig, gpt
from tests.trees import draw

try:
    import torch
except ImportError as error:
    pytestmark = pytest.mark.skip(f"could not import 'torch': {error}")

CONFIG = GPTConfig(vocabulary=11, context=9, width=8, depth=3, heads=2)


def tensor(array):
    return torch.tensor(np.asarray(array), requires_grad=True)


def drawn(net, shape):
    return draw(1, jax.eval_shape(lambda key: net.init(key, shape)[0], jax.random.key(0)))


def attended(p, x):
    """The function behind torch.nn.MultiheadAttention, which has its weights as (O, I)."""
    later = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), diagonal=1)
    module = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    weights = {
        "in_proj_weight": p["qkv"]["w"].T,
        "in_proj_bias": p["qkv"]["b"],
        "out_proj.weight": p["out"]["w"].T,
        "out_proj.bias": p["out"]["b"],
    }
    return torch.func.functional_call(module, weights, (x, x, x), {"attn_mask": later, "need_weights": False})[0]


def normed(p, x):
    return torch.nn.functional.layer_norm(x, (8,), p["gamma"], p["beta"])


def block(p, x):
    """torch.nn.TransformerEncoderLayer, norm first."""
    layer = torch.nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, norm_first=True, batch_first=True, dtype=torch.float64,
        activation=lambda a: torch.nn.functional.gelu(a, approximate="tanh"),
    )  # fmt: skip
    attending, feeding = p["attention"], p["feed_forward"]
    attention, feed_forward = attending["attention"], feeding["feed_forward"]
    weights = {
        "self_attn.in_proj_weight": attention["qkv"]["w"].T,
        "self_attn.in_proj_bias": attention["qkv"]["b"],
        "self_attn.out_proj.weight": attention["out"]["w"].T,
        "self_attn.out_proj.bias": attention["out"]["b"],
        "linear1.weight": feed_forward["hidden"]["w"].T,
        "linear1.bias": feed_forward["hidden"]["b"],
        "linear2.weight": feed_forward["out"]["w"].T,
        "linear2.bias": feed_forward["out"]["b"],
        "norm1.weight": attending["norm"]["gamma"],
        "norm1.bias": attending["norm"]["beta"],
        "norm2.weight": feeding["norm"]["gamma"],
        "norm2.bias": feeding["norm"]["beta"],
    }
    later = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), diagonal=1)
    return torch.func.functional_call(layer, weights, (x,), {"src_mask": later})


def whole(p, tokens):
    table = p["tokens"]["table"]
    x = torch.nn.functional.embedding(tokens, table) + p["positions"]["table"][: tokens.shape[1]]
    for i in range(CONFIG.depth):
        x = block(jax.tree.map(lambda leaf, i=i: leaf[i], p["blocks"]), x)
    return normed(p["norm"], x) @ table.T


def close(got, expected):
    got, expected = np.asarray(got), expected.detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())


BLOCK = funcnet.transformer_block(
    funcnet.multi_head_attention(2, causal=True),
    funcnet.serial(hidden=funcnet.dense(32), gelu=funcnet.gelu_tanh(), out=funcnet.dense(8)),
)
NETS = {
    "multi-head attention": (funcnet.multi_head_attention(2, causal=True), attended),
    "multi-head attention in blocks": (funcnet.multi_head_attention(2, causal=True, block=3), attended),
    "block": (BLOCK, block),
}


@pytest.mark.parametrize("name", NETS)
def test_a_layer_as_pytorch(name):
    net, theirs = NETS[name]
    params, x, dy = drawn(net, (7, 8)), draw(2, np.zeros((3, 7, 8))), draw(3, np.zeros((3, 7, 8)))
    y, residuals = jax.jit(net.fwd)(params, x)
    dparams, dx = jax.jit(net.bwd)(residuals, jnp.asarray(dy))
    tensors, tx = jax.tree.map(tensor, params), tensor(x)
    expected = theirs(tensors, tx)
    expected.backward(torch.tensor(dy))
    close(y, expected)
    close(dx, tx.grad)
    jax.tree.map(lambda got, wanted: close(got, wanted.grad), dparams, tensors)


@pytest.mark.parametrize("fused", [False, True])
def test_a_gpt_and_its_loss_as_pytorch(fused):
    net = gpt(CONFIG, fused=fused)
    loss = ops.linear_softmax_cross_entropy(0.1, 5) if fused else ops.sparse_softmax_cross_entropy(0.1)
    params, tokens = drawn(net, (7,)), np.random.default_rng(0).integers(11, size=(3, 8))
    x, labels = tokens[:, :-1], tokens[:, 1:]
    value, grads = jax.jit(lambda p: funcnet.value_and_grad(net, loss)(p, x, labels, None))(params)
    tensors = jax.tree.map(tensor, params)
    logits = whole(tensors, torch.tensor(x))
    expected = torch.nn.functional.cross_entropy(
        logits.reshape(-1, 11), torch.tensor(labels).reshape(-1), label_smoothing=0.1
    )
    expected.backward()
    close(value, expected)
    jax.tree.map(lambda got, wanted: close(got, wanted.grad), grads, tensors)
