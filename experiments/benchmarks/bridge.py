"""Our attention and loss in Flax and Equinox.

A language model of one GPT block, its loss and its gradient in one program: with the framework's attention and the
cross-entropy of all logits, and with funcnet's attention in blocks and its loss in chunks, by ``funcnet.bridge``. The
compiler says how many temporary bytes each program holds at once; the two take turns, and medians are compared. First
they must give the same gradient from the same parameters.
"""

from __future__ import annotations

import dataclasses
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from funcnet import bridge, ops

from .. import harness
from ..examples import plain

CHOSEN = ("Flax Linen", "Equinox")
FORMS = {"their own": False, "ours": True}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The shapes. Tokens are random: neither bytes nor time depend on them."""

    examples: int = 2
    """Sequences in a batch."""
    tokens: int = 2048
    """Tokens in each."""
    vocabulary: int = 16_384
    """Classes of the loss."""
    width: int = 256
    """Features of each token."""
    heads: int = 4
    """Heads of the attention, which is causal."""
    block: int = 128
    """Keys in a block of our attention."""
    chunk: int = 256
    """Rows of logits in a chunk of our loss."""
    rounds: int = 7
    """Timed runs of each program."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, examples=self.examples, tokens=self.tokens, vocabulary=self.vocabulary, heads=self.heads)
        harness.at_least(1, block=self.block, chunk=self.chunk, rounds=self.rounds)
        if self.width < self.heads or self.width % self.heads:
            raise harness.InputError(f"--heads divide --width; got {self.heads} and {self.width}")


def program(config: Config, framework: str, by_hand: bool) -> tuple[Callable[..., Any], Any]:
    """(arrays, tokens, labels) -> the loss and its gradient, and the arrays of the model."""
    try:
        import equinox as eqx

        from ..examples import blocks
    except ImportError as error:
        raise harness.InputError('this compares with Flax and Equinox; run: pip install "funcnet[bench]"') from error
    loss = bridge.function(ops.linear_softmax_cross_entropy(chunk=config.chunk)) if by_hand else plain.cross_entropy
    sizes = blocks.Sizes(config.vocabulary, config.width, config.heads, by_hand, config.block)
    model, forward = blocks.FRAMEWORKS[framework](sizes, jax.random.key(config.seed))
    arrays, others = eqx.partition(model, eqx.is_array)

    def value(arrays, tokens, labels):
        return loss(forward(eqx.combine(arrays, others), tokens), labels)

    return jax.value_and_grad(value), arrays


def measured(config: Config, framework: str) -> dict[str, dict[str, float]]:
    """Of each form its temporary bytes, its median time, and how far the gradients are apart."""
    x = np.random.default_rng(config.seed).integers(config.vocabulary, size=(config.examples, config.tokens + 1))
    batch = jnp.asarray(x[:, :-1], jnp.int32), jnp.asarray(x[:, 1:], jnp.int32)
    compiled, models = {}, {}
    for form, by_hand in FORMS.items():
        value_and_grad, models[form] = program(config, framework, by_hand)
        compiled[form] = jax.jit(value_and_grad).lower(models[form], *batch).compile()
    theirs, ours = (jax.tree.leaves(run(models[form], *batch)[1]) for form, run in compiled.items())
    largest = max(float(abs(leaf).max()) for leaf in theirs)
    apart = max(float(abs(a - b).max()) for a, b in zip(theirs, ours, strict=True)) / largest
    if not apart < 1e-4:
        raise SystemExit(f"{framework}: the gradients are apart by {apart:.1e} of the largest; nothing is compared")
    seconds: dict[str, list[float]] = {form: [] for form in compiled}
    for _ in track(range(config.rounds), description=framework):
        for form, run in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(run(models[form], *batch))
            seconds[form].append(time.perf_counter() - start)
    figures = {}
    for form, run in compiled.items():
        analysis = run.memory_analysis()
        if analysis is None:
            raise harness.InputError(f"the compiler for {jax.default_backend()} does not say what memory it takes")
        figures[form] = {
            "temporary_bytes": analysis.temp_size_in_bytes,
            "seconds": statistics.median(seconds[form]),
            "apart": apart,
        }
    return figures


def main(config: Config, out: Path) -> None:
    if config.quick:
        config = dataclasses.replace(config, tokens=256, vocabulary=2048, width=32, rounds=1)
    scores, logits = config.heads * config.tokens**2, config.tokens * config.vocabulary
    harness.require_memory(4 * 4 * (config.examples * max(scores, logits) + 4 * config.vocabulary * config.width))
    start, figures = time.perf_counter(), {}
    table = Table("framework", "attention and loss", "temporary MiB", "share", "ms (median)", "share")
    for column in table.columns[2:]:
        column.justify = "right"
    for framework in CHOSEN:
        figures[framework] = found = measured(config, framework)
        for form, figure in found.items():
            shares = [figure[what] / found["their own"][what] for what in ("temporary_bytes", "seconds")]
            figure |= dict(zip(("memory_share", "time_share"), shares, strict=True))
            mebibytes, milliseconds = figure["temporary_bytes"] / 2**20, 1e3 * figure["seconds"]
            cells = f"{mebibytes:,.1f}", f"{shares[0]:.3f}", f"{milliseconds:,.0f}", f"{shares[1]:.2f}"
            table.add_row(framework, form, *cells)
    Console().print(table)
    versions = {name: version(name) for name in ("flax", "equinox")}
    print(f"on {platform.processor() or platform.machine()}, {versions}")
    metrics = {"seed": config.seed, "seconds": time.perf_counter() - start, "versions": versions, **figures}
    harness.finish(out, "benchmarks.bridge", config, metrics)


if __name__ == "__main__":
    harness.run("benchmarks.bridge", main, Config, __doc__)
