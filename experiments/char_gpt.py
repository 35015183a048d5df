"""A GPT on bytes, beside n-grams and xz.

A small GPT with rotary positions, every gradient derived by hand, learns to say which byte comes next: of the running
Python's own standard library (a tenth of its files is held out), of any file, or of names, one a line. Its bits per
byte on what was held out stand beside those of baselines on the same split: uniform, unigram, trigram and 5-gram
models with Witten-Bell smoothing, and xz, which compresses the held-out part alone. While it learns it is judged on 256
windows that lie evenly in the held-out part; at the end on all of that part (of more than a mebibyte, on the first).
Either way no byte counts that has less than half of the context before it, but for the first of the text. Prints the
table and samples; writes metrics.json and char_gpt.png: the curve, and held-out text with the surprise of every byte.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8
from rich.console import Console
from rich.table import Table

from funcnet import ops, optimizers, schedules, training
from funcnet.checkpoint import saving
from funcnet.data import text
from funcnet.devices import TENSOR
from funcnet.models import GPTConfig, Spec, Text, generate, generate_bytes, gpt
from funcnet.progress import step_progress

from . import harness, ngrams, rundir
from .pictures import language

LOSS = ops.sparse_softmax_cross_entropy()
EACH = ops.sparse_softmax_cross_entropy(reduction="none")
STRIDE = 20  # steps to a call
JUDGED = 1 << 20  # bytes of the held-out part at most
WINDOWS = 256  # of them, while it learns; and to a call, at the end
SHOWN = 400  # bytes of text that are sampled
NAMES = 24  # names that are sampled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Mixed):
    """The text, the network, and how it is trained."""

    data: Literal["text", "names"] = "text"
    """Running text, or a list of names, one a line."""
    file: Path | None = harness.optional("FILE")
    """The text or the list; if not given, the standard library's sources, or the names defined in them."""
    context: int = 128
    """The bytes that are seen at most."""
    width: int = 128
    """The features of each byte; hidden layers have four times as many."""
    depth: int = 4
    """The number of blocks."""
    heads: int = 4
    """The heads of attention; they divide the width."""
    steps: int | None = harness.optional("N")
    """Updates; if not given, 3000, ten minutes on two quiet cores with all the rest, and for names 800."""
    batch_size: int = 16
    """Windows of text to a step."""
    learning_rate: float = 3e-3
    """Of AdamW at its highest; it rises over a twentieth of the steps and falls to 0 along half a cosine."""
    weight_decay: float = 0.1
    """Of AdamW, times the learning rate."""
    prompt: str | None = harness.optional("TEXT")
    """The text to continue; if not given, "def ", or the end of a line of your own file."""
    temperature: float = 0.8
    """Of sampling: 1 draws as the network says, 0 takes the likeliest byte."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, batch_size=self.batch_size, depth=self.depth, heads=self.heads, width=self.width)
        harness.at_least(4, context=self.context)
        harness.at_least(0, weight_decay=self.weight_decay, temperature=self.temperature)
        harness.positive(learning_rate=self.learning_rate)
        if self.steps is not None:
            harness.at_least(STRIDE, steps=self.steps)
        if self.width % self.heads:
            raise harness.InputError(f"--heads divides --width {self.width}; got {self.heads}")
        if self.prompt == "":
            raise harness.InputError("--prompt has at least one byte")


def load(config: Config) -> text.Text:
    """The text, its held-out part cut to JUDGED bytes. Raises InputError if it has fewer windows than a batch."""
    if config.data == "names":
        found = text.names(config.file)
    else:
        found = text.standard_library() if config.file is None else text.text_file(config.file)
    windows = (len(found.train) - 1) // config.context
    if windows < config.batch_size:
        raise harness.InputError(
            f"{config.file or config.data}: {len(found.train)} bytes to train on; --batch-size {config.batch_size} "
            f"with --context {config.context} needs at least {config.batch_size * config.context + 1}"
        )
    return text.Text(found.train, found.held_out[:JUDGED])


def network_config(config: Config) -> GPTConfig:
    return GPTConfig(256, config.context, config.width, config.depth, config.heads, rotary_base=10_000.0)


# ---------------------------------------------------------------- bits per byte


class Windows(NamedTuple):
    """Windows of a text that overlap by half; each byte of the text but the first is once a target that counts."""

    inputs: Int[np.ndarray, "N T"]
    targets: Int[np.ndarray, "N T"]
    counted: Int[np.ndarray, "N T"]  # 1 or 0


def windows(held_out: UInt8[np.ndarray, "M"], context: int) -> Windows:
    half = context // 2
    starts = np.arange(0, max(len(held_out) - 1 - half, 1), context - half)
    places = starts[:, None] + np.arange(context)
    counted = (places + 1 < len(held_out)) & ((np.arange(context) >= half) | (starts[:, None] == 0))
    padded = np.pad(held_out, (0, 2 * context)).astype(np.int32)
    return Windows(padded[places], padded[places + 1], counted.astype(np.int32))


@jax.jit(static_argnums=0)
def _nats(net, params, inputs: Int[np.ndarray, "N T"], targets: Int[np.ndarray, "N T"]):
    return EACH.fwd(net.fwd(params, inputs)[0], targets)[0]


def bits(net, params, judged: Windows, report: Callable[[str], None] = lambda text: None) -> Float[np.ndarray, "N T"]:
    """The surprise of each target, −log₂ p, or 0 if it does not count; ``report`` is called after each batch."""
    found = []
    for start in range(0, len(judged.inputs), WINDOWS):
        part = Windows(*(array[start : start + WINDOWS] for array in judged))
        full = (min(WINDOWS, len(judged.inputs)), part.inputs.shape[1])  # every call has one shape, and compiles once
        nats = np.asarray(_nats(net, params, np.resize(part.inputs, full), np.resize(part.targets, full)))
        found.append(nats[: len(part.inputs)] * part.counted / np.log(2))
        report(f"{found[-1].sum() / max(part.counted.sum(), 1):.3f} bits per byte")
    return np.concatenate(found)


def bits_per_byte(net, params, judged: Windows, report: Callable[[str], None] = lambda text: None) -> float:
    return float(bits(net, params, judged, report).sum() / judged.counted.sum())


# ---------------------------------------------------------------- training


class Trained(NamedTuple):
    params: Any
    curve: list[tuple[int, float]]
    """Steps, and bits per byte on the windows of the validation."""
    seconds: float
    """Of training alone, compilation included."""
    processor_seconds: float
    """Of all cores, as other work on the machine does not change it by much."""


def train(config: Config, seed: int, net, data: text.Text, steps: int, out: Path | None = None) -> Trained:
    """``steps`` batches of windows that do not overlap; after about every twentieth of them, validation and a save."""
    T, B = config.context, config.batch_size
    count = (len(data.train) - 1) // T
    stream = data.train[: count * T + 1].astype(np.int32)
    pairs = jax.device_put((stream[:-1].reshape(count, T), stream[1:].reshape(count, T)))
    judged = windows(data.held_out, T)
    evenly = np.unique(np.linspace(1, len(judged.inputs) - 1, WINDOWS).astype(int)) if len(judged.inputs) > 1 else [0]
    judged = Windows(*(array[evenly] for array in judged))
    rise = max(1, steps // 20)
    rate = schedules.warmup(rise, schedules.cosine(config.learning_rate, max(1, steps - rise)))
    optimizer = optimizers.chain(
        optimizers.clip_by_global_norm(1.0), optimizers.adamw(rate, b2=0.99, weight_decay=config.weight_decay)
    )
    init_key, order_key = jax.random.split(jax.random.key(seed))
    evaluated = min(WINDOWS, len(judged.inputs))
    harness.require_room(net, (T,), optimizer, batch_size=B, evaluated=evaluated, dtype=np.int32)
    params = jax.jit(lambda key: net.init(key, (T,))[0])(init_key)
    state = training.init_state(params, optimizer, order_key)
    step = training.train_step(net, LOSS, optimizer, aux=None)
    if places := config.places(config.batch_size, TENSOR):
        state, step = places.put(state), places.keep(step)
    strides = steps // STRIDE
    shown = set(np.linspace(0, strides, min(strides, 20) + 1).astype(int).tolist())
    with saving(rundir.checkpoints(out, f"seed_{seed}"), {}) as saved:
        if found := saved.restore(state):
            state, (curve, spent) = found
        else:
            curve, spent = [(0, bits_per_byte(net, state.params, judged))], (0.0, 0.0)
        trained = training.train_epochs(step, state, pairs, B, every=STRIDE)
        done = int(state.step) // STRIDE
        with step_progress(f"{STRIDE} steps", strides, lines=20, done=done) as report:
            for n in range(done + 1, strides + 1):
                start = time.perf_counter(), time.process_time()
                state, _ = next(trained)
                spent = spent[0] + time.perf_counter() - start[0], spent[1] + time.process_time() - start[1]
                if n in shown:
                    curve.append((n * STRIDE, bits_per_byte(net, state.params, judged)))
                    saved.save(int(state.step), state, (curve, spent))
                report(f"{curve[-1][1]:.3f} bits per byte")
    return Trained(state.params, curve, *spent)


# ---------------------------------------------------------------- sampling


def sample_text(config: Config, params: Any, key, length: int) -> bytes:
    prompt = (config.prompt or ("\n" if config.file else "def ")).encode("utf-8", "surrogateescape")
    settings = {"temperature": config.temperature}
    return generate_bytes(network_config(config), params, prompt, length, key, **settings)


def sample_names(config: Config, params: Any, key, count: int) -> list[bytes]:
    """Each begins after the end of a line and ends with the next; what has no end within the context is left out."""
    start = jnp.full((count, 1), ord("\n"), jnp.int32)
    rows = generate(network_config(config), params, start, config.context - 1, key, temperature=config.temperature)
    lines = [np.asarray(row, np.uint8).tobytes().partition(b"\n") for row in rows]
    return [name for name, end, _ in lines if name and end]


def show(config: Config, params: Any, data: text.Text, seed: int) -> dict[str, Any]:
    """Prints samples, and returns what of them is worth a place among the metrics."""
    key = jax.random.key(seed)
    if config.data == "text":
        sampled = text.printable(sample_text(config, params, key, SHOWN))
        print(f"\nsampled at temperature {config.temperature:g}:\n{'─' * 80}\n{sampled}\n{'─' * 80}")
        return {"sample": sampled}
    sampled_names = sample_names(config, params, key, NAMES)
    known = {name for part in data for name in part.tobytes().split(b"\n")}
    marked = [text.printable(name) + ("*" if name in known else "") for name in sampled_names]
    print(f"\nnames sampled at temperature {config.temperature:g} (* is in the list):\n{'  '.join(marked)}\n")
    return {"sample": marked}


# ---------------------------------------------------------------- the experiment


def reduced(config: Config) -> Config:
    """The short run of --quick, on the first mebibyte."""
    return dataclasses.replace(
        config,
        context=min(config.context, 32),
        width=min(config.width, 8 * config.heads),
        depth=1,
        steps=min(config.steps or 60, 60),
        seeds=1,
    )


def main(config: Config, out: Path) -> None:
    if config.quick:
        config = reduced(config)
    data = load(config)
    if config.quick:
        data = text.Text(data.train[: 1 << 20], data.held_out[: 1 << 14])
    steps = config.steps or (3000 if config.data == "text" else 800)
    steps -= steps % STRIDE
    print(f"{len(data.train):,} bytes to train on, {len(data.held_out):,} held out")
    start = time.perf_counter()
    figures: dict[str, float] = ngrams.baselines(*data)
    print(f"baselines in {time.perf_counter() - start:.1f} s")
    net = config.computed(gpt(network_config(config)))
    runs: list[Trained] = []  # the first alone is drawn

    def run_one(seed: int) -> dict[str, Any]:
        trained = train(config, seed, net, data, steps, out)
        if not runs:
            runs.append(trained)
        judged = windows(data.held_out, config.context)
        with step_progress("held-out part", -(-len(judged.inputs) // WINDOWS), lines=4) as report:
            learned = bits_per_byte(net, trained.params, judged, report)
        sizes = [leaf.size for leaf in jax.tree.leaves(trained.params)]
        print(f"seed {seed}: {learned:.4f} bits per byte, trained for {trained.seconds:.0f} s")
        return {
            "bits_per_byte": learned,
            "train_seconds": trained.seconds,
            "train_processor_seconds": trained.processor_seconds,
            "bytes_per_second": steps * config.batch_size * config.context / trained.seconds,
            "parameters": sum(sizes),
            "steps": steps,
            "curve": trained.curve,
            **show(config, trained.params, data, seed),
        }

    summary = harness.summarise(harness.over_seeds(config, run_one))
    table = Table("model", "bits per byte", box=None, pad_edge=False)
    for name, value in sorted({**figures, "GPT": summary["bits_per_byte"]}.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{value:.3f}", style="bold" if name == "GPT" else None)
    Console().print(table)
    beaten = [name for name, value in figures.items() if summary["bits_per_byte"] < value]
    print(f"the GPT needs fewer bits than: {', '.join(beaten) or 'none'}")
    picture = out / "char_gpt.png"
    part = windows(data.held_out[: 1 << 12], config.context)
    surprise = [np.nan, *bits(net, runs[0].params, part)[part.counted == 1]]  # of the first byte nothing was asked
    language.draw(picture, runs[0].curve, summary["bits_per_byte"], figures, data.held_out, np.array(surprise))
    spec = Spec("gpt", network_config(config)._asdict(), (config.context,), Text())
    harness.finish(
        out,
        "char_gpt",
        config,
        {**summary, "baselines": figures, "beaten": beaten},
        picture,
        model=(spec, runs[0].params),
    )


if __name__ == "__main__":
    harness.run("char_gpt", main, Config, __doc__)
