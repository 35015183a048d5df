"""The networks that are trained, and their work: data in MNIST's shapes and the order of the examples, by a seed."""

import dataclasses
from typing import Any

import jax
import numpy as np

import funcnet
from funcnet import models, training
from funcnet.types import Layer

from .work import Work

HEIGHT = 28
CONTEXT, VOCABULARY = 128, 256


@dataclasses.dataclass(frozen=True)
class Network:
    """One row of the table."""

    net: Layer
    shape: tuple[int, ...]
    """Of an example."""
    batch: int
    steps: int
    """To a timed epoch."""
    peers: tuple[str, ...]
    differing: tuple[str, ...] = ()
    """Peers that do as much work and not the same: weights of their own, or PyTorch's padding at stride 2."""

    copies: int = 1
    """How many such networks are trained at once."""

    @property
    def copied(self) -> bool:
        """Whether peers begin from our weights."""
        return self.peers != self.differing


TORCH = ("torch", "torch compiled")
JAX = ("flax", "equinox", "keras")
TOGETHER = ("funcnet, one after another", "torch.func", "torch, one after another")
MLP = ("numpy", *TORCH, *JAX, "scikit-learn")
GPT = models.GPTConfig(vocabulary=VOCABULARY, context=CONTEXT, width=128, depth=4, heads=4)


def _last() -> Layer:
    """The state after the last row."""
    rule = funcnet.Rule(
        lambda x: (x[:, -1], x[:, :, :0]),
        lambda r, dy: (jax.numpy.zeros((*r.shape[:2], dy.shape[1])).at[:, -1].set(dy),),
    )
    return funcnet.lift(rule, "last")


def _mlp(*hidden: int, batch: int, steps: int) -> Network:
    return Network(models.mlp(hidden, 10), (HEIGHT * HEIGHT,), batch, steps, MLP, differing=("scikit-learn",))


NETWORKS = {
    "784-128-10, batch 32": _mlp(128, batch=32, steps=1875),
    "784-128-10, batch 128": _mlp(128, batch=128, steps=468),
    "784-512-512-10, batch 128": _mlp(512, 512, batch=128, steps=234),
    "784-1024-1024-10, batch 512": _mlp(1024, 1024, batch=512, steps=30),
    "LeNet-5, batch 64": Network(models.lenet(), (HEIGHT, HEIGHT, 1), 64, 100, (*TORCH, "flax", "equinox", "keras")),
    "ResNet-8, batch 64": Network(
        models.resnet(blocks=1), (HEIGHT, HEIGHT, 1), 64, 16, (*TORCH, "flax", "keras"), differing=TORCH
    ),
    "LSTM of 128 over 28 rows, batch 64": Network(
        funcnet.serial(funcnet.lstm(128), _last(), funcnet.dense(10)), (HEIGHT, HEIGHT), 64, 60, TORCH, differing=TORCH
    ),
    "GPT of 0.84 million, 16 × 128 tokens": Network(models.gpt(GPT), (CONTEXT,), 16, 6, TORCH, differing=TORCH),
}
ENSEMBLES = {
    f"{copies} of 784-128-10, batch 32": dataclasses.replace(
        _mlp(128, batch=32, steps=400), copies=copies, peers=TOGETHER, differing=()
    )
    for copies in (8, 32)
}
OURS = ("funcnet", "jax.grad of the same")
SEED = 0


def make(name: str, steps: int | None = None) -> Work:
    """The data are random: the time of a step does not depend on them."""
    network = {**NETWORKS, **ENSEMBLES}[name]
    examples = network.batch * (steps or network.steps)
    rng = np.random.default_rng(SEED)
    if network.shape == (CONTEXT,):
        x = rng.integers(VOCABULARY, size=(examples, CONTEXT)).astype(np.int32)
        labels = rng.integers(VOCABULARY, size=(examples, CONTEXT)).astype(np.int32)
    else:
        x = rng.random((examples, *network.shape), np.float32)
        labels = rng.integers(10, size=examples).astype(np.int32)
    settings = {"net": network.net, "batch": network.batch, "copied": network.copied, "copies": network.copies}
    return Work(x, labels, initial(network, SEED), **settings)


def initial(network: Network, seed: int) -> Any:
    """The weights that everyone begins from."""
    key, init = jax.random.key(seed), lambda key: network.net.init(key, network.shape)[0]
    params = (
        jax.jit(init)(key) if network.copies == 1 else jax.jit(jax.vmap(init))(jax.random.split(key, network.copies))
    )
    return jax.tree.map(np.asarray, params)


def order_of(work: Work, epoch: int) -> np.ndarray:
    return training.epoch_order(jax.random.key(SEED), epoch, len(work.x), work.batch)
