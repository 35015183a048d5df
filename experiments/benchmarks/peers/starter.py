"""One peer from its start on, ``python -m experiments.benchmarks.peers.starter SETTINGS``: a line of JSON an epoch.

SETTINGS is a JSON object: peer, network, data, weights, seed, rate, decay, batch, epochs. A peer that is not ours
imports nothing of funcnet or JAX here.
"""

import importlib
import json
import os
import sys
import time
from typing import Any

import numpy as np

from .work import Work
from .worker import WHERE


def main(
    peer: str, network: str, data: str, weights: str, seed: int, rate: float, decay: int, batch: int, epochs: int
) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # frameworks print too
    os.dup2(2, 1)
    arrays = np.load(data)
    x, x_test = (arrays[name].astype(np.float32) / 255 for name in ("x_train", "x_test"))
    labels, labels_test = (arrays[name].astype(np.int32) for name in ("y_train", "y_test"))
    module, _, function = WHERE[peer].partition(".")
    if module == "ours":
        from .networks import NETWORKS, initial

        net, params = NETWORKS[network].net, initial(NETWORKS[network], seed)
    else:
        net, params = None, unpacked(np.load(weights))
    prepare = getattr(importlib.import_module(f".{module}", __package__), function)
    made = prepare(Work(x, labels, params, rate, decay * (len(x) // batch), net, batch))
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(x)).astype(np.int32)
        made.epoch(order[: len(x) // batch * batch].reshape(-1, batch))
        start = time.perf_counter()
        accuracy = float((made.logits(x_test).argmax(-1) == labels_test).mean())
        print(json.dumps({"accuracy": accuracy, "testing": time.perf_counter() - start}), file=answers)


def packed(layers) -> dict[str, Any]:
    """Layers' weights under names that a file can have."""
    return {f"{i}.{name}": leaf for i, layer in enumerate(layers) for name, leaf in layer.items()}


def unpacked(arrays) -> tuple[dict[str, np.ndarray], ...]:
    layers: dict[int, dict[str, np.ndarray]] = {}
    for key in arrays:
        number, name = key.split(".")
        layers.setdefault(int(number), {})[name] = arrays[key]
    return tuple(layers[i] for i in range(len(layers)))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
