"""Training speed beside PyTorch in eager mode.

The same work in one sitting: a multilayer perceptron from the same weights, the same batches in the same order, from
arrays that are already loaded; the script first shows that both arrive at the same weights. Then each trains an epoch
in turn, and medians are compared: PyTorch with one thread and with two, at its better one.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import funcnet
from funcnet import ops, optimizers, training

from .. import harness

Epoch = Callable[[np.ndarray], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The network and the amount of work. The data are random in MNIST's shapes: speed does not depend on them."""

    hidden: tuple[int, ...] = (128,)
    """The units of each hidden layer."""
    batch_size: int = 32
    """Examples to a step."""
    examples: int = 60_000
    """Examples to an epoch."""
    rounds: int = 7
    """Timed epochs of each; one more comes first and is not timed."""
    learning_rate: float = 0.1
    """Of plain gradient descent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, batch_size=self.batch_size, rounds=self.rounds)
        harness.at_least(self.batch_size, examples=self.examples)


def funcnet_epoch(config: Config, params, x: np.ndarray, labels: np.ndarray) -> tuple[Epoch, Callable[[], list]]:
    """An epoch in one call to the device, and the weights so far."""
    net = funcnet.models.mlp(config.hidden, 10)
    optimizer = optimizers.sgd(config.learning_rate)
    run_epoch = training.train_epoch(training.train_step(net, ops.sparse_softmax_cross_entropy(), optimizer))
    epoch = jax.jit(lambda *arguments: run_epoch(*arguments)[0], donate_argnums=0)  # the losses are not computed
    state = training.init_state(params, optimizer, jax.random.key(config.seed))
    data = jnp.asarray(x), jnp.asarray(labels)

    def run(order: np.ndarray) -> None:
        nonlocal state
        state = jax.block_until_ready(epoch(state, data, order))

    return run, lambda: [np.asarray(layer[name]) for layer in state.params if layer for name in ("w", "b")]


def torch_epoch(config: Config, params, x: np.ndarray, labels: np.ndarray) -> tuple[Epoch, Callable[[], list]]:
    """The loop that PyTorch's own tutorials teach, on preloaded tensors, without a DataLoader."""
    import torch

    sizes = (x.shape[1], *config.hidden, 10)
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out, layer in zip(sizes, sizes[1:], (p for p in params if p), strict=False):
        linear = torch.nn.Linear(fan_in, fan_out)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(np.asarray(layer["w"]).T))
            linear.bias.copy_(torch.tensor(np.asarray(layer["b"])))
        layers += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=config.learning_rate)
    loss = torch.nn.CrossEntropyLoss()
    inputs, targets = torch.tensor(x), torch.tensor(labels, dtype=torch.int64)

    def run(order: np.ndarray) -> None:
        for rows in torch.tensor(order, dtype=torch.int64):
            optimizer.zero_grad()
            loss(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()

    return run, lambda: [p.detach().numpy().T for p in model.parameters()]


def main(config: Config, out: Path) -> None:
    try:
        import torch
    except ImportError as error:
        raise harness.InputError('this compares with PyTorch; run: pip install "funcnet[bench]"') from error
    examples, rounds = (4_000, 2) if config.quick else (config.examples, config.rounds)
    harness.require_memory(2 * 4 * 784 * examples)  # in both frameworks
    net, optimizer = funcnet.models.mlp(config.hidden, 10), optimizers.sgd(config.learning_rate)
    harness.require_room(net, (784,), optimizer, batch_size=config.batch_size, networks=2)
    params, _ = net.init(jax.random.key(config.seed), (784,))
    rng = np.random.default_rng(config.seed)
    x = rng.random((examples, 784), np.float32)
    labels = rng.integers(10, size=examples).astype(np.int32)
    order = training.epoch_order(jax.random.key(config.seed), 0, examples, config.batch_size)

    ours, our_weights = funcnet_epoch(config, params, x, labels)
    theirs, their_weights = torch_epoch(config, params, x, labels)
    ours(order[:20]), theirs(order[:20])
    apart = max(float(np.abs(a - b).max()) for a, b in zip(our_weights(), their_weights(), strict=True))
    print(f"after 20 equal steps the weights differ by {apart:.1e} at most")
    if not apart < 1e-4:
        raise SystemExit("these two do not do the same work; nothing is compared")

    cores = sorted({1, min(2, os.cpu_count() or 1)})
    seconds: dict[str, list[float]] = {"funcnet": [], **{f"torch, threads: {n}": [] for n in cores}}
    for timed in track([False] + [True] * rounds, description="epochs of each"):
        for name, epoch in {"funcnet": ours, **dict.fromkeys(list(seconds)[1:], theirs)}.items():
            if epoch is theirs:
                torch.set_num_threads(int(name.split()[-1]))
            start = time.perf_counter()
            epoch(order)
            if timed:
                seconds[name].append(time.perf_counter() - start)

    speed = {name: order.size / statistics.median(times) for name, times in seconds.items()}
    ratio = speed["funcnet"] / max(rate for name, rate in speed.items() if name != "funcnet")
    shape = "-".join(map(str, (784, *config.hidden, 10)))
    table = Table("what", "samples/s (median)", "slowest", "fastest", title=f"{shape}, batch {config.batch_size}, SGD")
    for name, times in seconds.items():
        table.add_row(name, *(f"{order.size / t:,.0f}" for t in (statistics.median(times), max(times), min(times))))
    Console().print(table)
    print(f"funcnet trains {ratio:.2f} times as many samples a second as PyTorch {torch.__version__}")
    figures = {
        "seed": config.seed,
        "seconds": sum(sum(times) for times in seconds.values()),
        "ratio": ratio,
        "samples_per_second": speed,
        "epoch_seconds": seconds,
        "torch": str(torch.__version__),
    }
    harness.finish(out, "benchmarks.train_speed", config, figures)


if __name__ == "__main__":
    harness.run("benchmarks.train_speed", main, Config, __doc__)
