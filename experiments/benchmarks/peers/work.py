"""What every peer is given and gives back. It imports NumPy alone, so that no peer pays for another's start."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np


class Peer(NamedTuple):
    epoch: Callable[[np.ndarray], None]
    """Trains on the batches whose examples are the rows of an order (steps, batch), and waits until it is done."""
    logits: Callable[[np.ndarray], np.ndarray]
    """Of some x, by the weights so far, as training computes them."""


class Work(NamedTuple):
    x: np.ndarray
    labels: np.ndarray
    params: Any
    """Our initial weights."""
    rate: float = 0.05
    """Of plain gradient descent."""
    decay: int = 0
    """Steps in which the rate falls to nothing by half a cosine; with 0 it stays."""
    net: Any = None
    """Our layer."""
    batch: int = 0
    """Examples to a step."""
    copied: bool = True
    """Whether peers begin from our weights."""
    copies: int = 1
    """How many networks learn from the same batches; if more than one, the leaves of ``params`` have it first."""

    @property
    def tokens(self) -> bool:
        return self.x.dtype == np.int32

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example."""
        return self.x.shape[1:]

    @property
    def units(self) -> tuple[int, ...]:
        """Of a perceptron: the sizes of its dense layers."""
        return tuple(layer["w"].shape[-1] for layer in parametric(self.params))


def parametric(params: Any) -> Iterator[dict[str, np.ndarray]]:
    """The parts that have weights or gains, in the order of the forward."""
    if isinstance(params, dict) and ("w" in params or "gamma" in params):
        yield params
    elif isinstance(params, dict | tuple):
        for part in params.values() if isinstance(params, dict) else params:
            yield from parametric(part)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean over logits (..., K) and the labels that belong to the last axes before K."""
    z = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    rows = np.broadcast_to(labels, z.shape[:-1]).astype(int)[..., None]
    return float(-np.take_along_axis(log_p, rows, -1).mean())
