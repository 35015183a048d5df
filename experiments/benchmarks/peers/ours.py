"""funcnet, and ``jax.grad`` of its own forward: an epoch in one call to the device."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import ops, optimizers, training

from .work import JUDGED, RATE, Peer, Work

LOSS = ops.sparse_softmax_cross_entropy()


def by_hand(work: Work) -> Peer:
    return _peer(work, training.train_step(work.network.net, LOSS, optimizers.sgd(RATE), aux=None))


def by_autodiff(work: Work) -> Peer:
    net = work.network.net

    def gradient(params, x, labels, key):
        return jax.value_and_grad(lambda p: LOSS.fwd(net.fwd(p, x, key)[0], labels)[0])(params)

    return _peer(work, training.gradient_step(gradient, optimizers.sgd(RATE), aux=None))


def _peer(work: Work, step: training.Step) -> Peer:
    run = training.train_epoch(step)
    epoch = jax.jit(lambda *arguments: run(*arguments)[0], donate_argnums=0)
    state = training.init_state(jax.tree.map(jnp.asarray, work.params), optimizers.sgd(RATE), jax.random.key(0))
    data = jnp.asarray(work.x), jnp.asarray(work.labels)
    judge = jax.jit(lambda p, x, t: LOSS.fwd(work.network.net.fwd(p, x, jax.random.key(0))[0], t)[0])

    def train(order: np.ndarray) -> None:
        nonlocal state
        state = jax.block_until_ready(epoch(state, data, order))

    return Peer(train, lambda: float(judge(state.params, data[0][:JUDGED], data[1][:JUDGED])))
