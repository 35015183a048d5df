"""funcnet, and ``jax.grad`` of its own forward: an epoch in one call to the device; several networks by vmap."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import ops, optimizers, schedules, training

from .work import Peer, Work

LOSS = ops.sparse_softmax_cross_entropy()


def by_hand(work: Work) -> Peer:
    return _peer(work, training.train_step(work.net, LOSS, _descent(work), aux=None))


def by_autodiff(work: Work) -> Peer:
    net = work.net

    def gradient(params, x, labels, key):
        return jax.value_and_grad(lambda p: LOSS.fwd(net.fwd(p, x, key)[0], labels)[0])(params)

    return _peer(work, training.gradient_step(gradient, _descent(work), aux=None))


def in_turn(work: Work) -> Peer:
    """The networks of an ensemble, one after another."""
    step = training.train_step(work.net, LOSS, _descent(work), aux=None)
    return _peer(work, step, in_turn=True)


def _descent(work: Work) -> optimizers.Optimizer:
    return optimizers.sgd(schedules.cosine(work.rate, work.decay) if work.decay else work.rate)


def _peer(work: Work, step: training.Step, in_turn: bool = False) -> Peer:
    run, forward = training.train_epoch(step), lambda p, x: work.net.fwd(p, x, jax.random.key(0))[0]
    begin = functools.partial(training.init_state, optimizer=_descent(work), key=jax.random.key(0))
    params = jax.tree.map(jnp.asarray, work.params)
    if in_turn:
        states = [begin(jax.tree.map(lambda leaf, i=i: leaf[i], params)) for i in range(work.copies)]
    elif work.copies > 1:
        run, forward = jax.vmap(run, in_axes=(0, None, None)), jax.vmap(forward, in_axes=(0, None))
        states = [jax.vmap(begin)(params)]
    else:
        states = [begin(params)]
    epoch, judge = jax.jit(lambda *arguments: run(*arguments)[0], donate_argnums=0), jax.jit(forward)
    data = jnp.asarray(work.x), jnp.asarray(work.labels)

    def train(order: np.ndarray) -> None:
        for i, state in enumerate(states):
            states[i] = epoch(state, data, order)
        jax.block_until_ready(states)

    return Peer(train, lambda x: np.squeeze(np.stack([judge(state.params, x) for state in states])))
