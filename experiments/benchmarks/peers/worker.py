"""One peer in a process, ``python -m experiments.benchmarks.peers.worker PEER NETWORK STEPS``: an epoch for every line.

It answers each with a line of JSON.
"""

import importlib
import json
import os
import sys
import time

from .work import cross_entropy

WHERE = {
    "funcnet": "ours.by_hand",
    "funcnet, one after another": "ours.in_turn",
    "jax.grad of the same": "ours.by_autodiff",
    "numpy": "numpy_.prepare",
    "products alone": "numpy_.products",
    "torch": "torch_.eager",
    "torch compiled": "torch_.compiled",
    "torch.func": "torch_.together",
    "torch, one after another": "torch_.in_turn",
    "flax": "flax_.prepare",
    "equinox": "equinox_.prepare",
    "keras": "keras_.prepare",
    "scikit-learn": "sklearn_.prepare",
}
JUDGED = 256
EQUAL = 20
"""Steps after which the losses of peers that began from the same weights are compared."""


def main(name: str, network: str, steps: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # frameworks print too
    os.dup2(2, 1)
    from . import networks

    made = networks.make(network, int(steps) or None)

    def order(epoch: int):
        return networks.order_of(made, epoch)

    module, _, function = WHERE[name].partition(".")
    start = time.perf_counter()
    peer = getattr(importlib.import_module(f".{module}", __package__), function)(made)
    peer.epoch(order(0)[:EQUAL])
    print(
        json.dumps(
            {
                "first": time.perf_counter() - start,
                "loss": cross_entropy(peer.logits(made.x[:JUDGED]), made.labels[:JUDGED]),
            }
        ),
        file=answers,
    )
    peer.epoch(order(0))  # the whole epoch's shape compiles now
    print(json.dumps({}), file=answers)
    for number, _ in enumerate(sys.stdin, start=1):
        rows = order(number)
        start = time.perf_counter()
        peer.epoch(rows)
        print(json.dumps({"seconds": time.perf_counter() - start}), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
