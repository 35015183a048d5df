"""Vectorisation, from single numbers to jit.

The same steps of gradient descent on a 784-128-10 network, written seven times: every neuron by itself in plain Python,
a sample at a time, a batch at a time in NumPy and in eager JAX, the step compiled, many steps in one scan, and many
networks at once by vmap. First all are shown to arrive at the same weights; then the median time for a sample, forward,
backward and update, is compared. Writes metrics.json and vectorisation.png.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import funcnet
from funcnet import ops, optimizers
from funcnet.progress import step_progress

from . import harness
from .pictures import bars

RATE = 0.1
INPUTS, CLASSES, EXAMPLES = 784, 10, 2048
TOLERANCE = 1e-12  # of the weights, in float64

Params = list[tuple[Any, Any]]  # (w, b) of each layer, w (I, O)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The work. The data are random in MNIST's shapes: speed does not depend on them. Only the first seed is used."""

    hidden: tuple[int, ...] = (128,)
    """The units of each hidden layer, with relu."""
    batch_size: int = 32
    """Examples to a step."""
    ensemble: int = 8
    """How many networks vmap trains at once."""
    rounds: int = 7
    """How often each is timed; once more comes first and is not timed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, hidden=min(self.hidden, default=1), ensemble=self.ensemble, rounds=self.rounds)
        harness.at_least(1, batch_size=self.batch_size)
        if self.batch_size > EXAMPLES:
            raise harness.InputError(f"--batch-size is at most {EXAMPLES}; got {self.batch_size}")


# ---------------------------------------------------------------- every neuron by itself


def neuron_gradients(neurons: list, x: list[float], label: int) -> list:
    """[(dw, db)] of one sample: a neuron is its list of weights and its bias, and every number a Python float."""
    activations = [x]
    for layer in neurons:
        z = [sum(map(operator.mul, w, activations[-1])) + b for w, b in layer]
        activations.append([max(value, 0.0) for value in z])
    shifted = [value - max(z) for value in z]
    log_total = math.log(sum(map(math.exp, shifted)))
    deltas = [math.exp(value - log_total) - (k == label) for k, value in enumerate(shifted)]
    gradients: list = []
    for layer, below in zip(reversed(neurons), reversed(activations[:-1]), strict=True):
        gradients.append([([delta * a for a in below], delta) for delta in deltas])
        if layer is not neurons[0]:
            outgoing = zip(*(w for w, _ in layer), strict=True)  # the weights that leave each unit below
            deltas = [sum(map(operator.mul, deltas, w)) if a > 0 else 0.0 for a, w in zip(below, outgoing, strict=True)]
    return gradients[::-1]


def plus(layers: list, others: list, scale: float) -> list:
    """layers + scale · others."""
    return [
        [([v + scale * d for v, d in zip(w, dw, strict=True)], b + scale * db)
         for (w, b), (dw, db) in zip(layer, other, strict=True)]
        for layer, other in zip(layers, others, strict=True)
    ]  # fmt: skip


def by_neuron(params: Params, x: np.ndarray, labels: np.ndarray, order: np.ndarray) -> Params:
    neurons = [[(column.tolist(), float(bias)) for column, bias in zip(w.T, b, strict=True)] for w, b in params]
    for rows in order:
        of_samples = (neuron_gradients(neurons, x[i].tolist(), int(labels[i])) for i in rows)
        total = functools.reduce(functools.partial(plus, scale=1.0), of_samples)
        neurons = plus(neurons, total, -RATE / len(rows))
    return [(np.array([w for w, _ in layer]).T, np.array([b for _, b in layer])) for layer in neurons]


# ---------------------------------------------------------------- NumPy: a sample, or a batch, at a time


def numpy_gradients(params: Params, x: np.ndarray, labels: np.ndarray) -> Params:
    """Σ over the samples (rows of x) of the gradients; of one sample the products are of a vector and a matrix."""
    activations = [x]
    for w, b in params:
        z = activations[-1] @ w + b
        activations.append(np.maximum(z, 0))
    e = np.exp(z - z.max(axis=1, keepdims=True))
    delta = e / e.sum(axis=1, keepdims=True)
    delta[np.arange(len(x)), labels] -= 1
    gradients = []
    for i in reversed(range(len(params))):
        gradients.append((activations[i].T @ delta, delta.sum(axis=0)))
        if i:
            delta = (delta @ params[i][0].T) * (activations[i] > 0)
    return gradients[::-1]


def by_numpy(at_a_time: int, params: Params, x: np.ndarray, labels: np.ndarray, order: np.ndarray) -> Params:
    """With one thread: in matrices of this size a second costs more than it brings, most of all on a busy machine."""
    scale = np.asarray(RATE / order.shape[1], x.dtype)
    with threadpool_limits(1):
        for rows in order:
            parts = (rows[i : i + at_a_time] for i in range(0, len(rows), at_a_time))
            gradients = (numpy_gradients(params, x[some], labels[some]) for some in parts)
            total = functools.reduce(functools.partial(jax.tree.map, np.add), gradients)
            params = jax.tree.map(lambda p, g: p - scale * g, params, total)
    return params


# ---------------------------------------------------------------- JAX: one step, and what is made of it


def jax_forms(config: Config) -> dict[str, Callable]:
    """Eager, compiled, scanned and mapped: the same step, ``(params, x, labels) -> params``, by funcnet's rules."""
    net = funcnet.models.mlp(config.hidden, CLASSES)
    gradient = funcnet.value_and_grad(net, ops.sparse_softmax_cross_entropy())

    def step(params, x, labels):
        _, grads = gradient(params, x, labels, None)
        return jax.tree.map(lambda p, g: p - RATE * g, params, grads)

    def loop(one_step, params, x, labels, order):
        for rows in order:
            params = one_step(params, x[rows], labels[rows])
        return params

    def scan(params, x, labels, order):
        return lax.scan(lambda params, rows: (step(params, x[rows], labels[rows]), None), params, order)[0]

    return {
        "eager": functools.partial(loop, step),
        "jit": functools.partial(loop, jax.jit(step)),
        "scan": jax.jit(scan),
        "vmap": jax.jit(jax.vmap(scan, in_axes=(0, None, None, None))),
    }


# ---------------------------------------------------------------- the comparison


class Form(NamedTuple):
    """One way to write it: ``run(params, x, labels, order)``, from parameters as it takes them, and steps to time."""

    name: str
    what: str
    run: Callable
    params: Any
    steps: int
    networks: int = 0  # how many at once; 0 for a single one, without an axis of networks


def forms(config: Config, dtype: Any) -> list[Form]:
    """All forms start from the same weights; the vmap forms have more networks, whose first is the same."""
    net, sizes = funcnet.models.mlp(config.hidden, CLASSES), {"batch_size": config.batch_size}
    harness.require_room(net, (INPUTS,), optimizers.sgd(RATE), networks=config.ensemble, **sizes)
    many = [net.init(jax.random.key(config.seed + i), (INPUTS,))[0] for i in range(config.ensemble)]
    many = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), many)
    one: Any = many[0]
    plain = [(layer["w"], layer["b"]) for layer in one if layer]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *many)
    by_jax = jax_forms(config)
    return [
        Form("neuron by neuron", "plain Python", by_neuron, plain, 1),
        Form("sample by sample", "NumPy, vectors", functools.partial(by_numpy, 1), plain, 10),
        Form("batch by batch", "NumPy, matrices", functools.partial(by_numpy, config.batch_size), plain, 200),
        Form("eager", "JAX, uncompiled", by_jax["eager"], one, 40),
        Form("jit", "a call a step", by_jax["jit"], one, 400),
        Form("scan", "a call for all", by_jax["scan"], one, 400),
        Form(f"vmap of {config.ensemble}", "networks at once", by_jax["vmap"], stacked, 100, config.ensemble),
    ]  # fmt: skip


def work(seed: int, batch_size: int, steps: int, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, labels, and the examples of every step."""
    rng = np.random.default_rng(seed)
    x, labels = rng.random((EXAMPLES, INPUTS)).astype(dtype), rng.integers(CLASSES, size=EXAMPLES)
    return x, labels.astype(np.int32), rng.integers(EXAMPLES, size=(steps, batch_size)).astype(np.int32)


def weights(form: Form, params: Any) -> list[np.ndarray]:
    """The parameters that a form arrived at, in one order; for an ensemble, its first network's."""
    if isinstance(params, list):
        return [np.asarray(leaf) for w, b in params for leaf in (w, b)]
    leaves = [np.asarray(layer[name]) for layer in params if layer for name in ("w", "b")]
    return [leaf[0] for leaf in leaves] if form.networks else leaves


def differences(config: Config, steps: int = 2) -> dict[str, float]:
    """Of each form from NumPy's batches after a few steps in float64, beside how far the weights moved in them."""
    with jax.enable_x64(True):
        given = work(config.seed, config.batch_size, steps, np.float64)
        tried = forms(config, np.float64)
        found = {form.name: weights(form, form.run(form.params, *given)) for form in tried}
    reference, start = found["batch by batch"], weights(tried[0], tried[0].params)
    moved = largest_difference(reference, start)
    return {name: largest_difference(arrays, reference) / moved for name, arrays in found.items()}


def largest_difference(arrays: list[np.ndarray], others: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(arrays, others, strict=True))


def time_all(config: Config, tried: list[Form]) -> dict[str, list[float]]:
    """Seconds a sample, of each form and round; the forms take turns, so that a busy machine is busy for all."""
    seconds: dict[str, list[float]] = {form.name: [] for form in tried}
    with step_progress("round", config.rounds + 1) as report:
        for i in range(config.rounds + 1):
            for form in tried:
                given = work(config.seed, config.batch_size, form.steps, np.float32)
                start = time.perf_counter()
                jax.block_until_ready(form.run(form.params, *given))
                if i:
                    taken = time.perf_counter() - start
                    seconds[form.name].append(taken / (form.steps * config.batch_size * max(1, form.networks)))
            report("warm" if not i else f"{tried[-1].name}: {1e6 * seconds[tried[-1].name][-1]:.2f} µs a sample")
    return seconds


def main(config: Config, out: Path) -> None:
    if config.quick:
        config = dataclasses.replace(config, rounds=1, hidden=(16,), batch_size=min(config.batch_size, 8))
    apart = differences(config)
    print(f"after two steps in float64 the weights differ by {max(apart.values()):.1e} of how far they moved, at most")
    if not max(apart.values()) < TOLERANCE:
        raise SystemExit(f"these do not do the same work, and are not compared: {apart}")
    tried = forms(config, np.float32)
    if config.quick:
        tried = [form._replace(steps=max(1, form.steps // 10)) for form in tried]
    seconds = time_all(config, tried)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    table = Table("form", "", box=None, pad_edge=False)
    for heading in ("µs a sample", "fastest", "slowest", "faster"):
        table.add_column(heading, justify="right")
    slowest = max(medians.values())
    for form in tried:
        times = [1e6 * t for t in (medians[form.name], min(seconds[form.name]), max(seconds[form.name]))]
        table.add_row(form.name, form.what, *(f"{t:,.2f}" for t in times), f"{slowest / medians[form.name]:,.0f}")
    Console().print(table)
    shape = "-".join(map(str, (INPUTS, *config.hidden, CLASSES)))
    picture = out / "vectorisation.png"
    best = min(tried, key=lambda form: medians[form.name]).name
    title = (
        f"One sample through {shape}, forward, backward and update, in batches of {config.batch_size}:\n"
        f"from “{tried[0].name}” to “{best}” is a factor of {slowest / medians[best]:,.0f}"
    )
    bars.draw(picture, title, [(f"{form.name}\n{form.what}", [1e6 * t for t in seconds[form.name]]) for form in tried])
    figures = {
        "seed": config.seed,
        "seconds": sum(map(sum, seconds.values())),
        "largest_difference": max(apart.values()),
        "microseconds_a_sample": {name: 1e6 * t for name, t in medians.items()},
        "seconds_a_sample": seconds,
    }
    harness.finish(out, "vectorisation", config, figures, picture)


if __name__ == "__main__":
    harness.run("vectorisation", main, Config, __doc__)
