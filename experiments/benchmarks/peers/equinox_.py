"""Equinox with optax: a jitted step in a Python loop, of a model of one example under vmap, as it teaches."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from .work import Peer, Work, parametric


def prepare(work: Work) -> Peer:
    rate = optax.cosine_decay_schedule(work.rate, work.decay) if work.decay else work.rate
    model, optimizer = _model(work), optax.sgd(rate)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    images = work.x.ndim == 4

    def inputs(x):
        return jnp.asarray(x.transpose(0, 3, 1, 2) if images else x)

    x = inputs(work.x)
    labels = jnp.asarray(work.labels)

    def loss_of(model, x, labels):
        return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), labels).mean()

    @eqx.filter_jit
    def step(model, state, x, labels, rows):
        grads = eqx.filter_grad(loss_of)(model, x[rows], labels[rows])
        updates, state = optimizer.update(grads, state)
        return eqx.apply_updates(model, updates), state

    judge = eqx.filter_jit(lambda model, x: jax.vmap(model)(x))

    def epoch(order: np.ndarray) -> None:
        nonlocal model, state
        for rows in order:
            model, state = step(model, state, x, labels, rows)
        jax.block_until_ready(eqx.filter(model, eqx.is_array))

    return Peer(epoch, lambda x: np.asarray(judge(model, inputs(x))))


def _model(work: Work) -> eqx.Module:
    key, ours = jax.random.key(0), iter(parametric(work.params))

    def filled(module, weight, bias):
        wanted = jnp.asarray(weight), jnp.asarray(bias).reshape(module.bias.shape)
        return eqx.tree_at(lambda m: (m.weight, m.bias), module, wanted)

    def linear(i, o, images=False):
        layer = next(ours)
        w = layer["w"].reshape(4, 4, 16, -1).transpose(2, 0, 1, 3).reshape(i, o) if images else layer["w"]
        return filled(eqx.nn.Linear(i, o, key=key), w.T, layer["b"])

    def convolution(i, o, size):
        layer = next(ours)
        return filled(eqx.nn.Conv2d(i, o, size, key=key), layer["w"].transpose(3, 2, 0, 1), layer["b"])

    relu = eqx.nn.Lambda(jax.nn.relu)
    if len(work.shape) == 1:
        sizes = (work.x.shape[1], *work.units)
        layers = [part for i, o in itertools.pairwise(sizes) for part in (linear(i, o), relu)][:-1]
    else:
        layers = [convolution(1, 6, 5), eqx.nn.MaxPool2d(2, 2), relu, convolution(6, 16, 5), eqx.nn.MaxPool2d(2, 2)]
        layers += [relu, eqx.nn.Lambda(jnp.ravel), linear(256, 120, images=True), relu, linear(120, 84), relu]
        layers += [linear(84, 10)]
    return eqx.nn.Sequential(layers)
