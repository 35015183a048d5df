"""Flax NNX with optax: a jitted step in a Python loop, as its documentation teaches."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from .work import Peer, Work, parametric


def prepare(work: Work) -> Peer:
    rngs = nnx.Rngs(0)
    model, made = _model(work, rngs)
    for module, ours in zip(made, parametric(work.params), strict=True):
        if isinstance(module, nnx.BatchNorm):
            module.scale[...], module.bias[...] = jnp.asarray(ours["gamma"]), jnp.asarray(ours["beta"])
        else:
            module.kernel[...] = jnp.asarray(ours["w"])
            if "b" in ours:
                module.bias[...] = jnp.asarray(ours["b"])
    optimizer = nnx.Optimizer(
        model, optax.sgd(optax.cosine_decay_schedule(work.rate, work.decay) if work.decay else work.rate), wrt=nnx.Param
    )
    x, labels = jnp.asarray(work.x), jnp.asarray(work.labels)

    def loss_of(model, x, labels):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()

    @nnx.jit
    def step(model, optimizer, x, labels, rows):
        grads = nnx.grad(loss_of)(model, x[rows], labels[rows])
        optimizer.update(model, grads)

    judge = nnx.jit(lambda model, x: model(x))
    fast = nnx.cached_partial(step, model, optimizer, x, labels)

    def epoch(order: np.ndarray) -> None:
        for rows in order:
            fast(rows)
        jax.block_until_ready(nnx.state(model, nnx.Param))

    return Peer(epoch, lambda x: np.asarray(judge(model, x)))


def _model(work: Work, rngs: nnx.Rngs) -> tuple[nnx.Module, list[nnx.Module]]:
    made: list[nnx.Module] = []

    def keep(module):
        made.append(module)
        return module

    def linear(i, o):
        return keep(nnx.Linear(i, o, rngs=rngs))

    def convolution(i, o, size, stride=1, padding="VALID", bias=True):
        return keep(nnx.Conv(i, o, (size, size), stride, padding=padding, use_bias=bias, rngs=rngs))

    def normalised(i, o, size, stride):
        return convolution(i, o, size, stride, "SAME", False), keep(nnx.BatchNorm(o, rngs=rngs))

    class Block(nnx.Module):
        def __init__(self, before, features, stride):
            short = [] if before == features else normalised(before, features, 1, stride)
            self.short = nnx.Sequential(*short) if short else None
            first, second = normalised(before, features, 3, stride), normalised(features, features, 3, 1)
            self.f = nnx.Sequential(*first, nnx.relu, *second)

        def __call__(self, x):
            return nnx.relu((self.short(x) if self.short else x) + self.f(x))

    def pool(x):
        return nnx.max_pool(x, (2, 2), (2, 2))

    def flat(x):
        return x.reshape(len(x), -1)

    if len(work.shape) == 1:
        sizes = (work.x.shape[1], *work.units)
        layers = [layer for i, o in itertools.pairwise(sizes) for layer in (linear(i, o), nnx.relu)][:-1]
    elif any("gamma" in layer for layer in parametric(work.params)):
        layers = [*normalised(1, 16, 3, 1), nnx.relu, Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
        layers += [lambda x: x.mean((1, 2)), linear(64, 10)]
    else:
        layers = [convolution(1, 6, 5), pool, nnx.relu, convolution(6, 16, 5), pool, nnx.relu, flat]
        layers += [linear(256, 120), nnx.relu, linear(120, 84), nnx.relu, linear(84, 10)]
    return nnx.Sequential(*layers), made
