"""Damaged and hostile files: whatever is read gives the values that were saved, or one clear error.

python -m tests.fuzz_files [--count 10000] [--seed 0]

Checkpoints, weights, model.json and inputs of ``funcnet predict`` are mutated: bits flipped, ends cut off or added,
parts doubled or zeroed, lengths and numbers forged. Of files with a digest every other value is a failure; an npy, a
picture or a CSV file has none, so that its mutant may be another valid input, which is answered. ``signed`` are
model.json files of hostile values with a right digest. Memory is limited to LIMIT bytes more than was in use, so that
an allocation forged by a header fails. Exit status 1 if anything but these outcomes is met.
"""

import argparse
import contextlib
import copy
import gzip
import io
import json
import random
import re
import shutil
import signal
import struct
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np

import funcnet
from funcnet import checkpoint, models, optimizers
from funcnet.__main__ import main as funcnet_command
from funcnet.command import predict
from funcnet.data import tables
from funcnet.models import saved
from funcnet.progress import step_progress

SAME, ANSWERED, REFUSED, OTHER = "same values", "answered", "one clear error", "OTHER"
LIMIT = 1 << 29  # bytes
SECONDS = 60  # for a single file
HUGE = [-1, 0, 1, 2, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
NUMBERS = [b"-1", b"0", b"7", b"65536", b"99999999999", b"9" * 40, b"1e999", b"NaN", b"null", b'"x"', b"[]"]
VALUES = [
    -1,
    0,
    1,
    3,
    300,
    2**31,
    2**63,
    10**30,
    0.5,
    1e308,
    "",
    "relu",
    "x" * 1000,
    None,
    True,
    [],
    {},
    [1],
    [[1]] * 3,
]


class Target(NamedTuple):
    """A kind of file: where it is, and what reads it; ``read`` returns an outcome."""

    files: list[Path]
    read: Callable[[], str]
    mutate: Callable[[random.Random, bytes], bytes]
    weight: float = 1.0


# ---------------------------------------------------------------- mutations


def mutated(rng: random.Random, content: bytes) -> bytes:
    """One to three mutations."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice((_flip, _flip, _replace, _cut, _extend, _drop, _double, _zero, _forge, _forge, _number))(
            rng, bytearray(content)
        )
    return content


def _place(rng: random.Random, content: bytearray) -> int:
    """Headers stand at the beginning, so half of the places are there."""
    return rng.randrange(max(1, min(len(content), rng.choice((16, 128, len(content), len(content))))))


def _flip(rng: random.Random, content: bytearray) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 8)) if content else 0):
        content[_place(rng, content)] ^= 1 << rng.randrange(8)
    return bytes(content)


def _replace(rng: random.Random, content: bytearray) -> bytes:
    if content:
        content[_place(rng, content)] = rng.randrange(256)
    return bytes(content)


def _cut(rng: random.Random, content: bytearray) -> bytes:
    return bytes(content[: _place(rng, content)])


def _extend(rng: random.Random, content: bytearray) -> bytes:
    return bytes(content) + rng.randbytes(rng.choice((1, 4, 1000)))


def _drop(rng: random.Random, content: bytearray) -> bytes:
    start = _place(rng, content)
    del content[start : start + rng.choice((1, 2, 8, 100))]
    return bytes(content)


def _double(rng: random.Random, content: bytearray) -> bytes:
    start = _place(rng, content)
    return bytes(content[:start] + content[start : start + 40] + content[start:])


def _zero(rng: random.Random, content: bytearray) -> bytes:
    start = _place(rng, content)
    end = min(len(content), start + rng.choice((1, 8, 512)))
    content[start:end] = bytes(end - start)
    return bytes(content)


def _forge(rng: random.Random, content: bytearray) -> bytes:
    """A length of two, four or eight bytes, in either order."""
    code = rng.choice("HIQ")
    number = rng.choice(HUGE) % (1 << 8 * struct.calcsize(code))
    forged = struct.pack(rng.choice("<>") + code, number)
    start = _place(rng, content)
    content[start : start + len(forged)] = forged
    return bytes(content)


def _number(rng: random.Random, content: bytearray) -> bytes:
    """A number written in digits."""
    found = list(re.finditer(rb"\d+", bytes(content[:100_000])))
    if not found:
        return bytes(content)
    place = rng.choice(found)
    content[place.start() : place.end()] = rng.choice(NUMBERS)
    return bytes(content)


def signed(rng: random.Random, content: bytes) -> bytes:
    """A model.json of other values, whose digest is right."""
    document = json.loads(content)
    for _ in range(rng.choice((1, 1, 2))):
        place: Any = document
        while True:
            keys = [k for k in (list(place) if isinstance(place, dict) else range(len(place))) if k != "digest"]
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.7:
                place = place[key]
                continue
            if rng.random() < 0.1:
                del place[key]
            else:
                place[key] = copy.deepcopy(rng.choice(VALUES))
            break
    document["digest"] = saved._digest(document)
    return json.dumps(document).encode()


# ---------------------------------------------------------------- outcomes


def same(one: Any, other: Any) -> bool:
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def outcome(read: Callable[[], Any], expected: Any, errors: tuple[type[Exception], ...]) -> str:
    """Raises whatever else is raised."""
    try:
        found = read()
    except errors as error:
        return REFUSED if "\n" not in str(error) and "memory" not in str(error) else f"{OTHER}: {error}"
    return SAME if same(found, expected) else f"{OTHER}: other values"


def commanded(arguments: list[str], expected: str | None) -> str:
    """Of a call of the command: its document, or one line and status 2."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = funcnet_command(arguments)
    lines = err.getvalue().splitlines()
    if status == 0:
        json.loads(out.getvalue())
        return SAME if out.getvalue() == expected else ANSWERED
    clear = status == 2 and lines and lines[-1].startswith("funcnet ") and "out of memory" not in lines[-1]
    return REFUSED if clear and not out.getvalue() else f"{OTHER}: status {status}, {err.getvalue()[-300:]}"


def printed(arguments: list[str]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert funcnet_command(arguments) == 0
    return out.getvalue()


# ---------------------------------------------------------------- the files


def targets(scratch: Path) -> dict[str, Target]:
    """Small files of every kind, and what reads each."""
    rng = np.random.default_rng(0)
    net, key = models.mlp((6,), 3), jax.random.key(0)
    params, _ = net.init(key, (5, 5))
    spec = models.Spec("mlp", {"hidden": [6], "outputs": 3}, (5, 5), models.Images(255, 1), ("a", "b", "c"))
    found = {"checkpoints": _checkpoint(scratch / "checkpoints", params)}
    weights = scratch / "weights.safetensors"
    checkpoint.save_weights(weights, params)

    def load() -> str:
        return outcome(lambda: checkpoint.load_weights(weights, params), params, (checkpoint.CheckpointError,))

    found["weights"] = Target([weights], load, mutated)
    run = scratch / "images"
    models.save_model(run, spec, params)

    def model() -> str:
        errors = (models.ModelError, checkpoint.CheckpointError)
        found = outcome(lambda: models.load_model(run).params, params, errors)
        return found if found != SAME or models.load_model(run).spec == models.load_model(whole).spec else OTHER

    whole = shutil.copytree(run, scratch / "whole")
    found["model.json"] = Target([run / "model.json", run / "weights.safetensors"], model, mutated)
    example = scratch / "example.npy"
    np.save(example, rng.integers(256, size=(2, 5, 5)).astype(np.uint8))
    ask = ["predict", str(run), str(example), "--json"]
    expected = printed(ask)
    found["signed"] = Target([run / "model.json"], lambda: commanded(ask, expected), signed, 0.1)
    for name, content in _inputs(rng).items():
        path = scratch / name
        path.write_bytes(content)
        where = whole
        if name.endswith(".csv"):
            where = _table(scratch / "table", path)
        elif name.endswith(".txt"):
            where = _text(scratch / "text")
        found[name] = _input(where, path)
    return found


def _checkpoint(directory: Path, params: Any) -> Target:
    state = funcnet.init_state(params, optimizers.adam(1e-3), jax.random.key(1))
    notes = [{"epoch": 1, "loss": 0.53}]
    with checkpoint.checkpoints(directory, {"rate": 0.1}) as opened:
        opened.save(7, state, notes, metric=0.5)

    def restore() -> Any:
        with checkpoint.checkpoints(directory, {"rate": 0.1}) as opened:
            tree, restored = opened.restore(state) or (None, notes)
        assert restored == notes
        return tree and tree._replace(key=jax.random.key_data(tree.key))

    expected = state._replace(key=jax.random.key_data(state.key))
    files = [path for path in directory.rglob("*") if path.is_file()]
    return Target(files, lambda: outcome(restore, expected, (checkpoint.CheckpointError,)), mutated, 0.5)


def _inputs(rng: np.random.Generator) -> dict[str, bytes]:
    from PIL import Image

    images = rng.integers(256, size=(3, 5, 5)).astype(np.uint8)
    npy, npz, packed, png = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(npy, images / 255)
    np.savez(npz, x=images)
    np.savez_compressed(packed, x=images)
    Image.fromarray(np.pad(images[0], 4)).save(png, "PNG")
    idx = b"\0\0\x08\x03" + struct.pack(">3I", *images.shape) + images.tobytes()
    rows = [f"{a:.3f},{b},{c}" for a, b, c in zip(rng.random(30), rng.integers(9, size=30), "xyz" * 10, strict=True)]
    return {
        "a.npy": npy.getvalue(),
        "a.npz": npz.getvalue(),
        "packed.npz": packed.getvalue(),
        "a.idx": idx,
        "a.idx.gz": gzip.compress(idx, mtime=0),
        "a.png": png.getvalue(),
        "a.csv": "\n".join(["size,count,kind", *rows, ""]).encode(),
        "a.txt": b"a text of some bytes\n" * 3,
    }


def _table(directory: Path, path: Path) -> Path:
    columns = tuple(tables.learn_columns(tables.read_csv(path))[0])
    features = sum(column.features for column in columns)
    inputs = models.Table(columns, (0.5,) * features, (1.0,) * features)
    spec = models.Spec("mlp", {"hidden": [4], "outputs": 2}, (features,), inputs, ("no", "yes"), "answer")
    models.save_model(directory, spec, models.mlp((4,), 2).init(jax.random.key(0), (features,))[0])
    return directory


def _text(directory: Path) -> Path:
    config = models.GPTConfig(256, 16, 8, 1, 2, rotary_base=100.0)
    params = models.gpt(config).init(jax.random.key(0), (16,))[0]
    models.save_model(directory, models.Spec("gpt", dict(config._asdict()), (16,), models.Text()), params)
    return directory


def _input(run: Path, path: Path) -> Target:
    """The model is loaded once, so that it is compiled once."""
    model, ask = models.load_model(run), ["predict", str(run), str(path), "--json"]

    def read(expected: str | None) -> str:
        with mock.patch.object(predict, "load", return_value=model):
            return printed(ask) if expected is None else commanded(ask, expected)

    expected = read(None)
    return Target([path], lambda: read(expected), mutated)


# ---------------------------------------------------------------- the run


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """No more than LIMIT bytes of address space, and SECONDS, beyond what is in use; on Linux."""
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    def too_long(number: int, frame: Any) -> None:
        raise TimeoutError(f"took more than {SECONDS} s")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT, hard))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY if hard < 0 else hard, hard))
        signal.signal(signal.SIGALRM, before)


def fuzzed(count: int, seed: int = 0) -> tuple[dict[str, Counter], list[str]]:
    """The outcomes of each kind of file, and what was met beside them."""
    rng = random.Random(seed)
    outcomes: dict[str, Counter] = {}
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as scratch, step_progress("file", count, lines=10) as report:
        kinds = targets(Path(scratch))
        weights = [target.weight for target in kinds.values()]
        for number in range(count):
            name = rng.choices(list(kinds), weights)[0]
            target = kinds[name]
            path = rng.choice(target.files)
            whole = path.read_bytes()
            content = target.mutate(rng, whole)
            path.write_bytes(content)
            try:
                with limited():
                    result = target.read()
            except Exception:
                result = f"{OTHER}: {traceback.format_exc()}"
            path.write_bytes(whole)
            kind, _, detail = result.partition(": ")
            if kind == OTHER:
                failures.append(f"{name}, file {number}, {path.name}, {content[:80]!r}: {detail}")
            outcomes.setdefault(name, Counter())[kind] += 1
            report(f"{len(failures)} other")
    return outcomes, failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcomes, failures = fuzzed(arguments.count, arguments.seed)
    columns = (SAME, ANSWERED, REFUSED, OTHER)
    print(f"{'':14}", *(f"{name:>16}" for name in columns))
    for name, counts in [*sorted(outcomes.items()), ("all", sum(outcomes.values(), Counter()))]:
        print(f"{name:14}", *(f"{counts[kind]:16,}" for kind in columns))
    print(*failures[:10], sep="\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
