"""One command for a GPU or a TPU.

Every rule by the checker at full precision of products and in bfloat16; MNIST from the first step to a test accuracy of
0.99, compilation apart; GPT-2 small at 1,024 tokens in bfloat16, by hand and by jax.grad of the same; the last product
with its cross-entropy at 32,768 × 2,560 × 128,256; add with RMS norm, and SwiGLU, at shapes that others publish. Times
are medians; bytes are what the compiled program holds besides arguments and results. Without an accelerator it runs
with --quick alone, at small sizes: to see that all works, not how fast.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from funcnet import computed_in, data, models, ops, optimizers, training
from funcnet.types import Rule

from .. import harness

PARTS = ("checker", "mnist", "gpt2", "loss", "norms")
FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12, "TPU v5 lite": 197e12, "TPU v4": 275e12}
"""Published dense bfloat16 operations a second, by a part of the device's name."""

Figures = dict[str, float | str | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """Which parts."""

    parts: tuple[str, ...] = PARTS
    """Of checker, mnist, gpt2, loss and norms."""
    rounds: int = 20
    """Timed runs of each program."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, rounds=self.rounds)
        if unknown := set(self.parts) - set(PARTS):
            raise harness.InputError(f"--parts are of {', '.join(PARTS)}; got {', '.join(sorted(unknown))}")
        if jax.default_backend() == "cpu" and not self.quick:
            raise harness.InputError("no accelerator: JAX sees the CPU alone; --quick runs all at small sizes")


def timed(program: Callable[..., Any], *arguments: Any, rounds: int) -> Figures:
    """The median seconds of a call, the seconds of compilation, and the temporary MiB. Nothing is donated."""
    start = time.perf_counter()
    compiled = jax.jit(program).lower(*arguments).compile()
    built = time.perf_counter() - start
    jax.block_until_ready(compiled(*arguments))
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - start)
    memory = compiled.memory_analysis()
    temporary = None if memory is None else memory.temp_size_in_bytes / 2**20
    return {"ms": 1e3 * statistics.median(seconds), "compilation, s": built, "temporary MiB": temporary}


def pulled(rule: Rule) -> Callable[..., Any]:
    """(dy, *arguments) to the value and the cotangents, by the rule's own backward."""

    def both(dy, *arguments):
        y, residuals = rule.fwd(*arguments)
        return y, rule.bwd(residuals, dy)

    return both


def by_autodiff(forward: Callable[..., Any], floats: int) -> Callable[..., Any]:
    """The same by JAX, for the first ``floats`` arguments."""

    def both(dy, *arguments):
        y, pullback = jax.vjp(lambda *first: forward(*first, *arguments[floats:]), *arguments[:floats])
        return y, pullback(dy.astype(y.dtype))

    return both


def normal(*shape: int, dtype: Any = jnp.float32, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def usual_cross_entropy(predictions, labels):
    """The loss as it is usually written: products in the given dtype, logits in float32."""
    x, table = predictions
    logits = jnp.matmul(x, table.T, preferred_element_type=jnp.float32)
    at_label = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits, axis=-1) - at_label).mean()


# ---------------------------------------------------------------- the parts


def checker(config: Config) -> dict[str, Figures]:
    target = ["funcnet.ops.pooling", "--quick"] if config.quick else ["funcnet.ops", "--dtypes", "float32,bfloat16"]
    command = [sys.executable, "-m", "funcnet", "check", *target, "--allow-unchecked"]
    environment = os.environ | {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    said = ended.stdout.strip().splitlines() or ended.stderr.strip().splitlines() or ["nothing"]
    figures: Figures = {"exit status": ended.returncode, "said": said[-1]}
    return {"every rule at full precision, and in bfloat16": figures}


def mnist(config: Config) -> dict[str, Figures]:
    """Training alone; the accuracy is evaluated after each epoch, and that is not timed."""
    if config.quick:
        digits, net, batch, target = data.digits(), models.mlp((32,), 10), 32, 0.9
        shape: tuple[int, ...] = (64,)
    else:
        digits, net, batch, target, shape = data.mnist(config.data_dir), models.lenet(), 128, 0.99, (28, 28, 1)
    x, x_test = (jnp.asarray(part.reshape(len(part), *shape)) for part in (digits.x_train, digits.x_test))
    pair = x, jnp.asarray(digits.y_train)
    optimizer = optimizers.adam(2e-3)
    params, _ = net.init(jax.random.key(config.seed), shape)
    state = training.init_state(params, optimizer, jax.random.key(config.seed + 1))
    step = training.train_step(net, ops.sparse_softmax_cross_entropy(), optimizer)
    order = training.epoch_order(state.key, 0, len(x), batch)
    start = time.perf_counter()
    run = jax.jit(training.train_epoch(step)).lower(state, pair, order).compile()
    built, seconds = time.perf_counter() - start, 0.0
    right = jax.jit(lambda params: (net.fwd(params, x_test)[0].argmax(-1) == digits.y_test).mean())
    for epoch in range(1, 41):
        order = training.epoch_order(state.key, epoch, len(x), batch)
        start = time.perf_counter()
        state, _ = jax.block_until_ready(run(state, pair, order))
        seconds += time.perf_counter() - start
        accuracy = float(right(state.params))
        if accuracy >= target:
            break
    figures: Figures = {"s": seconds, "epochs": epoch, "accuracy": accuracy, "compilation, s": built}
    return {f"MNIST to {target}" if not config.quick else f"digits to {target}": figures}


def gpt2(config: Config) -> dict[str, Figures]:
    """GPT-2 small (124 million parameters) with AdamW, eight sequences to a step."""
    sizes = models.GPTConfig(50_304, 1024, 768, 12, 12) if not config.quick else models.GPTConfig(61, 24, 16, 2, 2)
    batch = 2 if config.quick else 8
    net, loss = (
        computed_in(models.gpt(sizes, fused=True), jnp.bfloat16, jnp.bfloat16),
        ops.linear_softmax_cross_entropy(),
    )
    optimizer = optimizers.adamw(3e-4, weight_decay=0.1)
    params, _ = net.init(jax.random.key(config.seed), (sizes.context,))
    state = training.init_state(params, optimizer, jax.random.key(1))
    tokens = jax.random.randint(jax.random.key(2), (batch, sizes.context + 1), 0, sizes.vocabulary)
    pair = tokens[:, :-1], tokens[:, 1:]

    def gradient(params, x, labels, key):
        return jax.value_and_grad(lambda p: usual_cross_entropy(net.fwd(p, x, key)[0], labels))(params)

    weights = sum(leaf.size for leaf in jax.tree.leaves(params))
    work = 6 * weights * batch * sizes.context  # operations of a step: two a weight and token, three times
    name = jax.devices()[0].device_kind
    peak = next((flops for part, flops in FLOPS.items() if part in name), None)
    found = {}
    steps = {
        "by hand": training.train_step(net, loss, optimizer),
        "jax.grad of the same": training.gradient_step(gradient, optimizer),
    }
    for way, step in steps.items():
        figures = timed(step, state, pair, rounds=config.rounds)
        seconds = float(figures["ms"] or 0) / 1e3
        figures |= {"tokens/s": batch * sizes.context / seconds}
        figures |= {"share of peak": work / seconds / peak if peak else None}
        found[f"GPT of {weights / 1e6:.3g} million parameters, T = {sizes.context}, bfloat16, {way}"] = figures
    return found


def loss(config: Config) -> dict[str, Figures]:
    rows, width, classes = (64, 16, 128) if config.quick else (32_768, 2_560, 128_256)
    x, table = normal(rows, width, dtype=jnp.bfloat16), normal(classes, width, dtype=jnp.bfloat16, seed=1)
    labels = jax.random.randint(jax.random.key(2), (rows,), 0, classes)
    arguments = jnp.ones(()), (x, 0.02 * table), labels
    ways = {f"chunks of {n}, by hand": pulled(ops.linear_softmax_cross_entropy(chunk=n)) for n in (256, 1024, 4096)}
    ways["jax.grad of the plain form"] = by_autodiff(usual_cross_entropy, 1)
    return {
        f"cross-entropy {rows} × {width} × {classes}, {way}": _safely(config, f, *arguments) for way, f in ways.items()
    }


def norms(config: Config) -> dict[str, Figures]:
    rows, width = (32, 48) if config.quick else (2_048, 16_384)
    x, gamma = normal(rows, width), jnp.ones(width)
    norm, gate = ops.rms_norm(), ops.swiglu

    def added(x, skipped, gamma):
        return norm.fwd(x + skipped, gamma)[0]

    def added_by_hand(dy, x, skipped, gamma):
        y, residuals = norm.fwd(x + skipped, gamma)
        dx, dgamma = norm.bwd(residuals, dy)
        return y, (dx, dx, dgamma)

    three, dy = (x, normal(rows, width, seed=1), gamma), normal(rows, width, seed=2)
    a, g, cotangent = (normal(4, rows, width, dtype=jnp.bfloat16, seed=seed) for seed in (3, 4, 5))
    name, gated = f"add and RMS norm, float32, {rows} × {width}", f"SwiGLU, bfloat16, 4 × {rows} × {width}"
    return {
        f"{name}: forward": _safely(config, added, *three),
        f"{name}: with its gradient, by hand": _safely(config, added_by_hand, dy, *three),
        f"{name}: with its gradient, jax.grad": _safely(config, by_autodiff(added, 3), dy, *three),
        f"{gated}: backward": _safely(config, gate.bwd, gate.fwd(a, g)[1], cotangent),
        f"{gated}: with its gradient, jax.grad": _safely(
            config, by_autodiff(lambda *ag: gate.fwd(*ag)[0], 2), cotangent, a, g
        ),
    }


def _safely(config: Config, program: Callable[..., Any], *arguments: Any) -> Figures:
    """What is measured; or that it did not fit, which is a figure too."""
    try:
        return timed(program, *arguments, rounds=config.rounds)
    except jax.errors.JaxRuntimeError as error:
        return {"said": f"{type(error).__name__}: {str(error).splitlines()[0]:.100}"}


def main(config: Config, out: Path) -> None:
    device = jax.devices()[0]
    found: dict[str, Figures] = {}
    if config.quick:
        config = dataclasses.replace(config, rounds=2)
    print(f"{device.platform}: {device.device_kind}; jax {jax.__version__}")
    for part in config.parts:
        print(f"{part} …", flush=True)
        found |= globals()[part](config)
    table = Table("what", "measured")
    for what, figures in found.items():
        known = ((name, value) for name, value in figures.items() if value is not None)
        shown = (f"{name}: {value:,.4g}" if isinstance(value, float) else f"{name}: {value}" for name, value in known)
        table.add_row(what, ", ".join(shown))
    Console().print(table)
    metrics = {"seed": config.seed, "device": device.device_kind, "jax": jax.__version__, "measured": found}
    harness.finish(out, "benchmarks.accelerator", config, metrics)


if __name__ == "__main__":
    harness.run("benchmarks.accelerator", main, Config, __doc__)
