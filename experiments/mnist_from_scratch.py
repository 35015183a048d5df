"""MNIST as two notes have it: layers, neurons.

First note 004: a network of 784, 10 and 10 units with relu and softmax, weights and biases from U(−0.5, 0.5), 100 steps
of gradient descent on the cross-entropy of all 60,000 images, learning rate 1; the note gives about 85 %. Ten seeds are
trained together: a step is a function, and vmap makes of it a step of ten networks. The rate is high, and the accuracy
leaps; so the best step is given too, as the note says "can reach". Then note 001: a network written neuron by
neuron, shown to be its matrix form to 1e-12, and what it costs in time. Prints the figures of both; writes metrics.json
and mnist_from_scratch.png: the learning curves, and what the neurons have learned to look for.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from rich.console import Console
from rich.table import Table

import funcnet
from funcnet import data, initializers, ops, optimizers, training
from funcnet.checkpoint import saving
from funcnet.progress import step_progress

from . import harness, rundir
from .pictures import neurons

NOTE_004 = 0.85  # "around 85% accuracy for both training and test dataset"
TOLERANCE = 1e-12  # of the network by neurons against its matrix form, in float64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """Note 004's network by default, and how note 001's is trained."""

    seeds: int = 10
    """How many sets of initial weights of note 004's network are trained."""
    hidden: int = 10
    """The hidden units of both networks."""
    epochs: int = 100
    """Steps of note 004's network, each on all images."""
    learning_rate: float = 1.0
    """Of note 004's network."""
    neuron_images: int = 5000
    """The images that note 001's network is trained on."""
    neuron_epochs: int = 5
    """How many times it goes through them."""
    neuron_learning_rate: float = 0.5
    """Of note 001's network. Its mean squared error has a mean over the outputs too: in the note this would be 0.05."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, hidden=self.hidden, epochs=self.epochs, neuron_epochs=self.neuron_epochs)
        harness.positive(learning_rate=self.learning_rate, neuron_learning_rate=self.neuron_learning_rate)
        if self.hidden > 1000:
            raise harness.InputError(f"--hidden is at most 1000, as every neuron is compiled; got {self.hidden}")
        if not 32 <= self.neuron_images <= 60_000:
            raise harness.InputError(f"--neuron-images lies between 32 and 60000; got {self.neuron_images}")


# ---------------------------------------------------------------- note 004: the matrix form, full batch


def note_004(config: Config, dataset: data.Dataset, out: Path | None = None) -> list[dict[str, Any]]:
    """Full-batch gradient descent from the weights of every seed, all at once; what each seed gave.

    ``out``: the run's directory, to go on from there.
    """
    uniform = initializers.uniform(-0.5, 0.5)
    net = funcnet.serial(
        funcnet.flatten(),
        funcnet.dense(config.hidden, uniform, uniform),
        funcnet.relu(),
        funcnet.dense(10, uniform, uniform),
    )
    loss = ops.sparse_softmax_cross_entropy()  # softmax is in it; its backward is the note's δᴸ = a − y
    optimizer = optimizers.sgd(config.learning_rate)
    sizes = {"batch_size": len(dataset.x_train), "networks": config.seeds}
    harness.require_room(net, (28, 28), optimizer, **sizes)
    seeds = range(config.seed, config.seed + config.seeds)
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])

    def start(key):
        return training.init_state(net.init(key, (28, 28))[0], optimizer, key)

    def scores(params, x, labels):
        return funcnet.accuracy(net.fwd(params, x)[0], labels)

    step = jax.jit(jax.vmap(funcnet.train_step(net, loss, optimizer), in_axes=(0, None)), donate_argnums=0)
    accuracy = jax.jit(jax.vmap(scores, in_axes=(0, None, None)))
    train, test = jax.tree.map(jnp.asarray, (dataset[:2], dataset[2:]))
    state, spent = jax.jit(jax.vmap(start))(keys), 0.0
    curves: list[list[float]] = []  # for each epoch and network
    with saving(rundir.checkpoints(out, "note_004"), {}) as saved:
        if found := saved.restore(state):
            state, (curves, spent) = found
        begin = time.perf_counter() - spent
        with step_progress("epoch", config.epochs, lines=10, done=len(curves)) as report:
            for epoch in range(len(curves) + 1, config.epochs + 1):
                state, _ = step(state, train)
                curves.append(accuracy(state.params, *test).tolist())
                if epoch % 10 == 0:
                    saved.save(epoch, state, (curves, time.perf_counter() - begin))
                report(f"{config.seeds} networks: test accuracy {np.mean(curves[-1]):.4f}")
    harness.require_finite(state.params, learning_rate=config.learning_rate)
    seconds = (time.perf_counter() - begin) / config.seeds
    on_train, by_seed = accuracy(state.params, *train), np.array(curves).T.tolist()
    return [
        {
            "seed": seed,
            "seconds": seconds,
            "test_accuracy": curve[-1],
            "best_test_accuracy": max(curve),
            "train_accuracy": float(right),
            "curve": curve,
        }
        for seed, curve, right in zip(seeds, by_seed, on_train, strict=True)
    ]


# ---------------------------------------------------------------- note 001: neuron by neuron


class NeuronResiduals(NamedTuple):
    x: Float[Array, "N I"]
    w: Float[Array, " I"]
    z: Float[Array, " N"]


def neuron() -> funcnet.Layer:
    """One neuron: (N, I) to (N, 1)."""

    def init(key, in_shape):
        return {"w": initializers.normal(0.01)(key, in_shape), "b": jnp.zeros(())}, (1,)

    def fwd(params, x: Float[Array, "N I"], key=None) -> tuple[Float[Array, "N 1"], NeuronResiduals]:
        """z_n = Σ_i x_ni w_i + b,  a = max(z, 0)."""
        z = x @ params["w"] + params["b"]
        return jnp.maximum(z, 0)[:, None], NeuronResiduals(x, params["w"], z)

    def bwd(residuals: NeuronResiduals, da: Float[Array, "N 1"]):
        """∂C/∂w = ∂C/∂a · ∂a/∂z · ∂z/∂w, the note's chain rule, summed over the examples, as all share w and b:

        dz = da · [z > 0],  dw_i = Σ_n x_ni dz_n,  db = Σ_n dz_n,  dx_ni = dz_n w_i.

        The w of dx is the one that the forward used. The note's Neuron updates its weights first and sends dC_dz · w of
        the new ones to the layer below, which errs by −η·dz·dw. Here it cannot happen: nothing is updated in a
        backward.
        """
        x, w, z = residuals
        dz = jnp.where(z > 0, da[:, 0], 0)
        return {"w": dz @ x, "b": dz.sum()}, jnp.outer(dz, w)

    return funcnet.Layer(init, fwd, bwd, "neuron")


def layer(neurons: int) -> funcnet.Layer:
    """The outputs of its neurons side by side. An input went to all of them, so its cotangent is the sum of theirs."""
    return funcnet.parallel(*[neuron()] * neurons, merge="concatenate")


def neural_network(sizes: tuple[int, ...]) -> funcnet.Layer:
    """``sizes`` are the neurons of each layer after the input."""
    return funcnet.serial(*(layer(neurons) for neurons in sizes))


@functools.cache  # so that the timing compiles nothing again
def compiled_step(net: funcnet.Layer, learning_rate: float):
    """``(state, (X, y)) -> (state, loss)``."""
    return jax.jit(funcnet.train_step(net, ops.mean_squared_error(), optimizers.sgd(learning_rate)))


def first_state(params) -> training.TrainState:
    return training.init_state(params, optimizers.sgd(1.0), jax.random.key(0))  # neither rate nor key comes into it


def train(net: funcnet.Layer, params, X, y, epochs: int, learning_rate: float, batch_size: int = 32):
    """The note's loop: batches in the order of the data, the last one smaller; prints the loss; returns the parameters.

    The loss is the note's, the mean over all N·K elements, and so is its gradient here, 2(a − y)/(N·K). The note's own
    derivative divides by N alone: K times as much, as if its learning rate were K times what it says.
    """
    step, state = compiled_step(net, learning_rate), first_state(params)
    for epoch in range(epochs):
        total_loss = 0.0
        for i in range(0, len(X), batch_size):
            X_batch, y_batch = X[i : i + batch_size], y[i : i + batch_size]
            state, loss = step(state, (X_batch, y_batch))
            total_loss += loss * len(X_batch)
        print(f"Epoch {epoch + 1}/{epochs}, Loss: {total_loss / len(X)}")
    return state.params


def predict(net: funcnet.Layer, params, X) -> np.ndarray:
    return np.asarray(jax.jit(net.fwd)(params, X)[0])


# ---------------------------------------------------------------- the same in matrices


def matrix_form(sizes: tuple[int, ...]) -> funcnet.Layer:
    return funcnet.serial(*(part for neurons in sizes for part in (funcnet.dense(neurons), funcnet.relu())))


def as_matrices(params):
    """The parameters of ``matrix_form``: the weights of a layer's neurons are the columns of one matrix."""
    dense = [{name: jnp.stack([neuron[name] for neuron in layer], axis=-1) for name in ("w", "b")} for layer in params]
    return tuple(part for layer in dense for part in (layer, {}))


def step_milliseconds(networks: list[tuple[Any, Any]], X, y, repeats: int) -> list[float]:
    """The median of a step on one batch, for each (compiled step, parameters); they take turns."""
    runs: list[tuple[Any, Any, list[float]]] = [(step, first_state(params), []) for step, params in networks]
    for _ in range(1 + repeats):
        for step, state, times in runs:
            start = time.perf_counter()
            jax.block_until_ready(step(state, (X, y)))
            times.append(1000 * (time.perf_counter() - start))
    return [statistics.median(times[1:]) for _, _, times in runs]  # the first warms up


def by_neuron(config: Config, dataset: data.Dataset) -> tuple[dict[str, Any], Any]:
    """Note 001's network and its matrix form, trained alike: (figures, the parameters of the first as matrices)."""
    sizes, images = (config.hidden, 10), 1000 if config.quick else config.neuron_images
    with jax.enable_x64(True):
        X, X_test = (x.reshape(len(x), -1).astype(float) for x in (dataset.x_train[:images], dataset.x_test))
        y = np.eye(10)[dataset.y_train[:images]]
        net, matrices = neural_network(sizes), matrix_form(sizes)
        params, _ = net.init(jax.random.key(config.seed), X.shape[1:])
        settings = X, y, config.neuron_epochs, config.neuron_learning_rate
        print("note 001, neuron by neuron:")
        learned = train(net, params, *settings)
        print("the same in matrices:")
        expected = train(matrices, as_matrices(params), *settings)
        outputs = predict(net, learned, X_test)
        harness.require_finite(outputs, neuron_learning_rate=config.neuron_learning_rate)
        got = (as_matrices(learned), outputs)
        wanted = (expected, predict(matrices, expected, X_test))
        apart = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), got, wanted)
        steps = [compiled_step(each, config.neuron_learning_rate) for each in (net, matrices)]
        networks = list(zip(steps, (params, as_matrices(params)), strict=True))
        neuron_time, matrix_time = step_milliseconds(networks, X[:32], y[:32], 20 if config.quick else 300)
    difference = float(np.max(jax.tree.leaves(apart)))  # NaN if any is NaN
    if not difference <= TOLERANCE:
        raise SystemExit(f"the two differ by {difference:.1e}, more than {TOLERANCE}: they are not the same network")
    figures = {
        "neuron_largest_difference": difference,
        "neuron_test_accuracy": float((outputs.argmax(axis=1) == dataset.y_test).mean()),
        "neuron_step_milliseconds": neuron_time,
        "matrix_step_milliseconds": matrix_time,
    }
    return figures, got[0]


def main(config: Config, out: Path) -> None:
    dataset = data.mnist(config.data_dir)
    if config.quick:
        config = dataclasses.replace(config, epochs=min(config.epochs, 10), seeds=min(config.seeds, 3), neuron_epochs=1)
        dataset = data.Dataset(*(array[:5000] for array in dataset))
    results = note_004(config, dataset, out)
    figures = harness.summarise(results)
    table = Table(f"note 004, {config.seeds} seeds", "mean", "± std", "least", "most", box=None, pad_edge=False)
    for name in ("test_accuracy", "best_test_accuracy", "train_accuracy"):
        values = [result[name] for result in results]
        spread = f"{figures[f'{name}_std']:.4f}" if config.seeds > 1 else "–"
        table.add_row(
            name.replace("_", " "), f"{figures[name]:.4f}", spread, f"{min(values):.4f}", f"{max(values):.4f}"
        )
    Console().print(table)

    neuron_figures, learned = by_neuron(config, dataset)
    apart, accuracy, by_neurons, by_matrices = neuron_figures.values()
    print(
        f"they differ by {apart:.1e} at most; a step takes {by_neurons:.2f} ms by neuron, {by_matrices:.2f} ms in "
        f"matrices; test accuracy {accuracy:.4f}"
    )
    picture = out / "mnist_from_scratch.png"
    first = np.asarray(learned[0]["w"]).T.reshape(-1, 28, 28)
    neurons.draw(picture, [result["curve"] for result in results], NOTE_004, first, accuracy)
    harness.finish(out, "mnist_from_scratch", config, figures | neuron_figures, picture)


if __name__ == "__main__":
    harness.run("mnist_from_scratch", main, Config, __doc__)
