"""Memory of attention and loss beside jax.grad.

Forward and backward are compiled as one program, and the compiler says how many temporary bytes it will hold at once:
what is neither an input nor a result. The forms written by hand, block by block, stand beside what jax.grad makes of
the plain forward on the same shapes; the time of each stands beside that. First all must give the same gradients.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from funcnet import ops
from funcnet.types import Rule

from .. import harness
from ..examples import plain

LIMIT = 1 / 4  # of the plain form's bytes
PLAIN = "jax.grad of the plain forward"

Program = Callable[..., Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The shapes. The numbers are random: neither bytes nor time depend on them."""

    tokens: int = 2048
    """Queries, and keys, of the attention, which is causal."""
    features: int = 64
    """Features of each head."""
    heads: int = 8
    """Heads of the attention."""
    block: int = 128
    """Keys in a block."""
    rows: int = 2048
    """Examples of the loss."""
    classes: int = 32_768
    """Classes of the loss."""
    width: int = 512
    """Features of each example."""
    chunk: int = 256
    """Examples in a chunk."""
    rounds: int = 5
    """Timed runs of each program."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, tokens=self.tokens, features=self.features, heads=self.heads, block=self.block)
        harness.at_least(1, rows=self.rows, classes=self.classes, width=self.width, chunk=self.chunk)
        harness.at_least(1, rounds=self.rounds)


def by_hand(rule: Rule) -> Program:
    """(dy, *args) -> y and the cotangents, by the rule's own backward."""

    def both(dy, *args):
        y, residuals = rule.fwd(*args)
        return y, jax.tree.leaves(rule.bwd(residuals, dy))

    return both


def gradient_alone(program: Program) -> Program:
    """As in an epoch of training: nobody reads the loss, so it is not computed."""
    return lambda *args: program(*args)[1]


def by_autodiff(forward: Callable[..., Any], floats: int) -> Program:
    """The same by JAX, of a forward whose first so many arguments have gradients."""

    def both(dy, *args):
        y, pullback = jax.vjp(lambda *first: forward(*first, *args[floats:]), *args[:floats])
        return y, jax.tree.leaves(pullback(dy))

    return both


def plain_attention(q, k, v):
    """Causal attention as it is usually written."""
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    seen = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    return jax.nn.softmax(jnp.where(seen, scores, -jnp.inf)) @ v


def unembedded_loss() -> Rule:
    """funcnet's loss on logits that are made first, all of them."""
    loss = ops.sparse_softmax_cross_entropy()

    def fwd(predictions, labels):
        logits, outer = ops.unembedding.fwd(*predictions)
        value, inner = loss.fwd(logits, labels)
        return value, (outer, inner)

    def bwd(residuals, dy):
        outer, inner = residuals
        return ops.unembedding.bwd(outer, loss.bwd(inner, dy)[0]), None

    return Rule(fwd, bwd)


def tasks(config: Config) -> dict[str, tuple[dict[str, Program], tuple]]:
    """Of each task the programs, by name, and their arguments, dy first."""
    rng = np.random.default_rng(config.seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    heads = config.heads, config.tokens, config.features
    chunks = ops.linear_softmax_cross_entropy(chunk=config.chunk)
    table = 0.05 * normal(config.classes, config.width)
    labels = jnp.asarray(rng.integers(config.classes, size=config.rows), jnp.int32)
    return {
        "attention": (
            {
                PLAIN: by_autodiff(plain_attention, 3),
                "plain, by hand": by_hand(ops.attention(causal=True)),
                "in blocks, by hand": by_hand(ops.flash_attention(causal=True, block=config.block)),
            },
            tuple(normal(*heads) for _ in range(4)),
        ),
        "linear map and cross-entropy": (
            {
                PLAIN: by_autodiff(plain.cross_entropy, 1),
                "plain, by hand": by_hand(unembedded_loss()),
                "in chunks, gradient alone": gradient_alone(by_hand(chunks)),
                "in chunks, by hand": by_hand(chunks),
            },
            (jnp.ones(()), (normal(config.rows, config.width), table), labels),
        ),
    }


def measured(name: str, programs: dict[str, Program], args: tuple, rounds: int) -> dict[str, dict[str, float]]:
    """Of each program its temporary bytes and its median time; they run in turn, so that all meet the same machine."""
    compiled = {form: jax.jit(program).lower(*args).compile() for form, program in programs.items()}
    expected = jax.tree.leaves(compiled[PLAIN](*args))
    seconds: dict[str, list[float]] = {form: [] for form in compiled}
    apart = {}
    for form, program in compiled.items():
        found = jax.tree.leaves(program(*args))
        pairs = zip(found, expected[-len(found) :], strict=True)  # the gradient comes last
        apart[form] = max(float(jnp.abs(got - wanted).max() / jnp.abs(wanted).max()) for got, wanted in pairs)
        if not apart[form] < 1e-4:
            raise SystemExit(f"{name}, {form}: off by {apart[form]:.1e} of the largest; nothing is compared")
    for _ in track(range(rounds), description=name):
        for form, program in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*args))
            seconds[form].append(time.perf_counter() - start)
    figures = {}
    for form, program in compiled.items():
        analysis = program.memory_analysis()
        if analysis is None:
            raise harness.InputError(f"the compiler for {jax.default_backend()} does not say what memory it takes")
        figures[form] = {
            "temporary_bytes": analysis.temp_size_in_bytes,
            "seconds": statistics.median(seconds[form]),
            "apart": apart[form],
        }
    return figures


def main(config: Config, out: Path) -> None:
    if config.quick:
        config = dataclasses.replace(config, tokens=512, rows=512, classes=4096, width=64, chunk=64, block=64, rounds=1)
    scores, logits = config.heads * config.tokens**2, config.rows * config.classes
    arrays = 4 * config.heads * config.tokens * config.features + config.width * (config.rows + config.classes)
    harness.require_memory(4 * (arrays + 4 * max(scores, logits)))  # the plain forms hold some four of that size
    figures, start = {}, time.perf_counter()
    for name, (programs, args) in tasks(config).items():
        figures[name] = measured(name, programs, args, config.rounds)
        table = Table("form", "temporary MiB", "share", "ms (median)", "share", title=name)
        for column in table.columns[1:]:
            column.justify = "right"
        plain = figures[name][PLAIN]
        for form, found in figures[name].items():
            shares = [found[what] / plain[what] for what in ("temporary_bytes", "seconds")]
            found |= dict(zip(("memory_share", "time_share"), shares, strict=True))
            table.add_row(
                form,
                f"{found['temporary_bytes'] / 2**20:,.1f}",
                f"{shares[0]:.3f}",
                f"{1e3 * found['seconds']:,.0f}",
                f"{shares[1]:.2f}",
            )
        Console().print(table)
        verdict = "within" if shares[0] <= LIMIT else "over"
        print(f"{name}, {form}: {shares[0]:.3f} of the plain form's bytes, {verdict} the {LIMIT} aimed at\n")
    metrics = {"seed": config.seed, "seconds": time.perf_counter() - start, "limit": LIMIT, **figures}
    harness.finish(out, "benchmarks.memory", config, metrics)


if __name__ == "__main__":
    harness.run("benchmarks.memory", main, Config, __doc__)
