"""``funcnet predict RUN INPUT``: a trained model's predictions, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .common import CommandError, add_run, guarded, load, show

if TYPE_CHECKING:
    from ..models import Images, Model, Table

ROWS = 20  # shown in a table
BATCH = 1000  # examples in one call, and fewer of large ones
ELEMENTS = 1 << 22  # of the inputs of one call
PAIRS = 1 << 28  # weights of attention at most: of a longer text its end is read

DESCRIPTION = """\
Predicts with the model of a run. INPUT is
  for images  npy, npz or IDX (also gzipped), one image or many; or a PNG of a single one
  for tables  CSV with the columns that it was trained on; others are ignored
  for a GPT   any file, read as text: what it makes of it, and the next bytes
  otherwise   npy, npz or IDX, as the network takes it
Whole numbers in images are divided by what is white, 255 or 16; others must lie in [0, 1].
Exit status: 0, or 2 for bad input."""


def add_predict(subparsers: Any) -> None:
    """Adds ``predict`` to the subcommands of ``funcnet``."""
    command = subparsers.add_parser(
        "predict", help="predict with a trained model", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=predict)
    add_run(command)
    command.add_argument("input", metavar="INPUT", help="a file, see above")
    command.add_argument("--json", action="store_true", help="one JSON document on standard output, nothing else")


class Inputs(NamedTuple):
    """Examples, what makes network inputs of some of them, and the truth if the file has it."""

    examples: np.ndarray
    prepare: Callable[[np.ndarray], np.ndarray] = lambda part: np.asarray(part, np.float32)
    truth: np.ndarray | None = None


@guarded
def predict(arguments: argparse.Namespace) -> None:
    from ..models import Text

    model = load(arguments)
    path = Path(arguments.input)
    if path.is_dir():
        raise CommandError(f"{path} is a directory; expected a file")
    if isinstance(model.spec.inputs, Text):
        document = of_text(model, path)
    else:
        inputs = read(model, path)
        document = of_examples(model, inputs)
    if arguments.json:
        print(json.dumps({"run": arguments.where, "model": model.spec.model, "input": arguments.input, **document}))
    else:
        _show(document)


# ---------------------------------------------------------------- inputs


def read(model: Model, path: Path) -> Inputs:
    """The examples of a file, checked. Raises DataError or CommandError if they do not suit the model."""
    from ..data.arrays import read_array, read_picture
    from ..models import Images, Table

    spec = model.spec
    if isinstance(spec.inputs, Table):
        return _rows(spec.inputs, spec.target, path)
    if isinstance(spec.inputs, Images):
        with open(path, "rb") as file:
            is_png = file.read(4) == b"\x89PNG"
        if is_png:
            grey = read_picture(path, (spec.in_shape[0], spec.in_shape[1]), spec.inputs.margin)
            return Inputs(
                np.broadcast_to(grey.reshape(1, *grey.shape, *[1] * (len(spec.in_shape) - 2)), (1, *spec.in_shape))
            )
    examples = _shaped(read_array(path), spec.in_shape, path)
    if isinstance(spec.inputs, Images):
        return Inputs(examples, _whitened(examples, spec.inputs, path))
    limit = np.finfo(np.float32).max
    if not -limit <= examples.min() <= examples.max() <= limit:
        raise CommandError(f"{path} holds NaN, infinity or numbers beyond float32")
    return Inputs(examples)


def _shaped(array: np.ndarray, in_shape: tuple[int, ...], path: Path) -> np.ndarray:
    """(N, *in_shape) of many examples or of a single one; a last axis of 1 may be missing."""
    for shape in (in_shape, in_shape[:-1]) if in_shape[-1] == 1 and len(in_shape) > 1 else (in_shape,):
        if array.shape in (shape, (*array.shape[:1], *shape)):
            array = array.reshape(-1 if math.prod(array.shape) else 0, *in_shape)
            break
    else:
        wanted = f"{('N', *in_shape)} or {in_shape}".replace("'", "")
        raise CommandError(f"{path} holds an array of shape {array.shape}; expected {wanted}")
    if not len(array):
        raise CommandError(f"{path} holds no examples")
    return array


def _whitened(examples: np.ndarray, images: Images, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Divides whole numbers by what stands for white. Raises CommandError for values that are none of an image."""
    low, high = examples.min(), examples.max()
    is_whole = examples.dtype.kind in "iu" or (high > 1 and np.array_equal(examples, np.floor(examples)))
    white = images.white if is_whole else 1
    if not (low >= 0 and high <= white):
        wanted = f"whole numbers from 0 to {images.white}, or any from 0 to 1"
        raise CommandError(f"{path} holds {examples.dtype} from {low:g} to {high:g}; expected {wanted}")
    return lambda part: np.asarray(part, np.float32) / np.float32(white)


def _rows(table: Table, target: str | None, path: Path) -> Inputs:
    from ..data.tables import encode, read_csv

    frame = read_csv(path, table.separator)
    features, said = encode(table.columns, frame)
    for line in said:
        print(f"{path}: {line}", file=sys.stderr)
    return Inputs(features, truth=frame[target].to_numpy() if target in frame.columns else None)


# ---------------------------------------------------------------- predictions


def of_examples(model: Model, inputs: Inputs) -> dict[str, Any]:
    """The document of classes and probabilities, of values, or of outputs as they are."""
    import jax

    from ..data.tables import names_of

    spec, call = model.spec, jax.jit(model.predict)
    size = max(1, min(BATCH, ELEMENTS // math.prod(spec.in_shape)))
    parts = [inputs.examples[start : start + size] for start in range(0, len(inputs.examples), size)]
    given = np.concatenate([np.asarray(call(model.params, inputs.prepare(part))) for part in parts])
    if not np.isfinite(given).all():
        raise CommandError("the model predicts NaN or infinity: its weights or these inputs are too large")
    if not spec.classes:
        document: dict[str, Any] = {"target": spec.target, "predictions": given.tolist()}
        return document | _error(given, inputs.truth)
    best = given.argmax(axis=1)
    predictions = [
        {"class": spec.classes[k], "probabilities": row.tolist()} for k, row in zip(best, given, strict=True)
    ]
    document = {"target": spec.target, "classes": list(spec.classes), "predictions": predictions}
    if inputs.truth is not None:
        truth = np.array(names_of(inputs.truth), object)
        known = np.array([name in spec.classes for name in truth])
        if known.any():
            right = np.array(spec.classes, object)[best][known] == truth[known]
            document |= {"accuracy": float(right.mean()), "known": int(known.sum())}
    return document


def _error(given: np.ndarray, truth: np.ndarray | None) -> dict[str, Any]:
    if truth is None or truth.dtype.kind not in "iuf":
        return {}
    known = np.isfinite(truth.astype(float))
    if not known.any():
        return {}
    error = given[known] - truth[known].astype(float)
    return {"rmse": float(np.sqrt((error**2).mean())), "known": int(known.sum())}


def of_text(model: Model, path: Path) -> dict[str, Any]:
    """The bits per byte of a text's end, as far as the context reaches, and what comes next."""
    import jax

    from ..data.text import printable

    context, heads = model.spec.in_shape[0], model.spec.settings.get("heads", 1)
    length = min(context, math.isqrt(PAIRS // heads))
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - length - 1))
        content = np.frombuffer(file.read(length + 1), np.uint8)
    if not len(content):
        raise CommandError(f"{path} is empty; expected text")
    tokens = content[-length:].astype(np.int32)
    given = np.asarray(jax.jit(model.predict)(model.params, tokens[None]), np.float64)[0]
    if not np.isfinite(given).all():
        raise CommandError("the model predicts NaN: its weights are too large")
    likeliest = np.argsort(-given[-1], kind="stable")[:10].tolist()
    following = [{"byte": k, "text": printable(bytes([k])), "probability": float(given[-1, k])} for k in likeliest]
    document: dict[str, Any] = {"read": len(tokens), "of": size, "next": following}
    if len(tokens) > 1:
        surprise = -np.log2(np.maximum(given[np.arange(len(tokens) - 1), tokens[1:]], 1e-300))
        document["bits_per_byte"] = float(surprise.mean())
    return document


# ---------------------------------------------------------------- the table


def _show(document: dict[str, Any]) -> None:
    if "next" in document:
        bits = f", {document['bits_per_byte']:.3f} bits per byte" if "bits_per_byte" in document else ""
        print(
            f"the last {document['read']:,} of {max(document['of'], document['read']):,} bytes{bits}; what comes next:"
        )
        show(
            "byte",
            "text",
            "probability",
            rows=[(n["byte"], repr(n["text"]), n["probability"]) for n in document["next"]],
        )
        return
    predictions: Sequence[Any] = document["predictions"]
    classes, target = document.get("classes"), document["target"]
    if classes is None:
        show(
            "row",
            target or "output",
            rows=[(i + 1, v if isinstance(v, float) else str(v)) for i, v in enumerate(predictions[:ROWS])],
        )
    elif len(predictions) == 1:
        ranked = np.argsort(-np.array(predictions[0]["probabilities"]), kind="stable")[:ROWS]
        show(target or "class", "probability", rows=[(classes[k], predictions[0]["probabilities"][k]) for k in ranked])
    else:
        ranks = [np.argsort(-np.array(p["probabilities"]), kind="stable")[:2] for p in predictions[:ROWS]]
        cells = [
            (i + 1, *(cell for k in ks for cell in (classes[k], predictions[i]["probabilities"][k])))
            for i, ks in enumerate(ranks)
        ]
        show("row", target or "class", "probability", "or", "probability", rows=cells)
    if len(predictions) > ROWS:
        print(f"… {len(predictions) - ROWS:,} more rows; --json prints all")
    for name in ("accuracy", "rmse"):
        if name in document:
            print(f"{name} {document[name]:.4g} on the {document['known']:,} rows whose {target} is known")
