"""Trained models that last: a directory with ``model.json``, what rebuilds the network, and ``weights.safetensors``."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from .. import ops
from ..checkpoint import PathLike, load_weights, named_leaves, save_weights
from ..data.tables import Column
from ..files import write_whole
from ..types import Layer, Params, Shape
from .registry import ModelError, build, first_line, is_own

MODEL, WEIGHTS = "model.json", "weights.safetensors"
LARGEST = 1 << 24  # bytes of model.json, and elements of one input


class Arrays(NamedTuple):
    """Inputs are arrays, as the network takes them."""


class Images(NamedTuple):
    """Images in [0, 1]; integers are divided by ``white``. Around a digit ``margin`` pixels are free."""

    white: int = 255
    margin: int = 0


class Table(NamedTuple):
    """Rows of a table, standardised: (x − mean) / std of each feature of the columns."""

    columns: tuple[Column, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    separator: str = ","


class Text(NamedTuple):
    """Bytes of text, each a token."""


INPUTS: dict[str, type] = {"arrays": Arrays, "images": Images, "table": Table, "text": Text}


class Spec(NamedTuple):
    """All of a trained model but its weights, in JSON's types."""

    model: str
    """A name in MODELS, or FILE.py:NAME."""
    settings: dict[str, Any]
    in_shape: Shape
    inputs: Arrays | Images | Table | Text = Arrays()
    classes: tuple[str, ...] = ()
    """Of a classifier: their names, in the order of its logits."""
    target: str | None = None
    """The name of what is predicted; of a regression if there are no classes."""
    mean: float = 0.0
    std: float = 1.0
    """A regression predicts mean + std · the network's only output."""


class Model(NamedTuple):
    """A trained model: ``predict(params, x)`` gives probabilities, values of the target, or the output as it is."""

    spec: Spec
    net: Layer
    params: Params
    predict: Callable[[Params, Any], Any]


def save_model(directory: PathLike, spec: Spec, params: Params) -> Path:
    """Writes the weights, then model.json, which binds them by their digest. Raises ModelError if they do not fit."""
    directory = Path(directory)
    spec = _parsed(json.loads(json.dumps(_document(spec))))  # what cannot be read again is refused now
    _require_same(params, _require_fit(spec, build(spec.model, spec.settings)))
    directory.mkdir(parents=True, exist_ok=True)
    document = {"funcnet": 1, **_document(spec), "weights": save_weights(directory / WEIGHTS, params)}
    document["digest"] = _digest(document)
    return write_whole(directory / MODEL, json.dumps(document, indent=1) + "\n")


def load_model(directory: PathLike, network: str | None = None) -> Model:
    """The model that ``save_model`` wrote; its values are those that were saved, or it is refused.

    A network of the user's own is not run because a file says so: give its FILE.py:NAME as ``network``.

    Raises ModelError for a model.json that is missing, damaged or describes no network, CheckpointError for weights
    that are not its own.
    """
    path = Path(directory) / MODEL
    try:
        document = _read(path)
        spec, digest = _parsed(document), _Fields(document)("weights", str)
        if is_own(spec.model) and network is None:
            raise ModelError(
                f"its network is the user's own, {spec.model!r:.200}; say where it is: --network FILE.py:NAME"
            )
        net = build(spec.model if network is None else network, spec.settings)
        like = _require_fit(spec, net)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return Model(spec, net, load_weights(Path(directory) / WEIGHTS, like, digest), predictor(spec, net))


def predictor(spec: Spec, net: Layer) -> Callable[[Params, Any], Any]:
    """``predict(params, x)``, a pure function; rows of a table come in their own units."""

    def predict(params: Params, x: Any) -> Any:
        if isinstance(spec.inputs, Table):
            mean, std = (jax.numpy.asarray(values, x.dtype) for values in spec.inputs[1:3])
            x = (x - mean[None]) / std[None]
        y, _ = net.fwd(params, x)
        if spec.classes or isinstance(spec.inputs, Text):
            return ops.softmax.fwd(y)[0]
        return y if spec.target is None else y[:, 0] * spec.std + spec.mean

    return predict


# ---------------------------------------------------------------- the document


def _document(spec: Spec) -> dict[str, Any]:
    (kind,) = (name for name, made in INPUTS.items() if type(spec.inputs) is made)
    inputs = {"kind": kind, **spec.inputs._asdict()}
    if isinstance(spec.inputs, Table):
        inputs["columns"] = [column._asdict() for column in spec.inputs.columns]
    return {**spec._asdict(), "inputs": inputs}


def _digest(document: Mapping[str, Any]) -> str:
    content = {name: value for name, value in document.items() if name != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ModelError(f"holds more than {LARGEST} bytes")
        document = json.loads(content)
        if not isinstance(document, dict) or document.get("funcnet") != 1:
            raise ModelError("describes no model of funcnet, or one of a later version")
        if document.get("digest") != _digest(document):
            raise ModelError("was damaged or changed after it was written; its digest differs")
    except OSError as error:
        raise ModelError(error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError("is no JSON") from error
    return document


def _parsed(document: Mapping[str, Any]) -> Spec:
    """The Spec of a document, every field of its type. Raises ModelError for the first that is not."""
    take = _Fields(document)
    given = _Fields(take("inputs", dict))
    kind = given("kind", str)
    if kind not in INPUTS:
        raise ModelError(f"inputs is {kind!r:.40}; expected one of {', '.join(INPUTS)}")
    inputs: Any = INPUTS[kind]() if kind in ("arrays", "text") else None
    if kind == "images":
        inputs = Images(given("white", int), given("margin", int))
        if not 1 <= inputs.white < 1 << 32 or inputs.margin < 0:
            raise ModelError(f"white {inputs.white} and margin {inputs.margin} describe no image")
    elif kind == "table":
        columns = [_Fields(column) for column in given.each("columns", dict)]
        parts = [
            Column(c("name", str), c.each("categories", str), c("fill", float), c("marked", bool)) for c in columns
        ]
        inputs = Table(tuple(parts), given.each("mean", float), given.each("std", float), given("separator", str))
        count = sum(column.features for column in parts)
        if not count == len(inputs.mean) == len(inputs.std) or not all(std > 0 for std in inputs.std):
            raise ModelError(f"its columns have {count} features; expected a mean and a std above 0 of each")
    shape = take.each("in_shape", int)
    if not all(1 <= size <= LARGEST for size in shape) or math.prod(shape) > LARGEST or len(shape) > 8:
        raise ModelError(f"in_shape {shape!s:.60} is no shape of at most {LARGEST} elements")
    if kind == "table" and shape != (len(inputs.mean),):
        raise ModelError(f"in_shape {shape} does not fit the {len(inputs.mean)} features of its columns")
    if kind == "images" and not 2 <= len(shape) <= 3:
        raise ModelError(f"in_shape {shape} is no image; expected (H, W) or (H, W, C)")
    target = document.get("target")
    return Spec(
        take("model", str), take("settings", dict), shape, inputs, take.each("classes", str),
        None if target is None else take("target", str), take("mean", float), take("std", float),
    )  # fmt: skip


class _Fields(NamedTuple):
    """Fields of a JSON object, by name and type."""

    values: Mapping[str, Any]

    def __call__(self, name: str, kind: type) -> Any:
        return self._of(name, self.values.get(name), kind)

    def each(self, name: str, kind: type) -> tuple[Any, ...]:
        return tuple(self._of(name, value, kind) for value in self(name, list))

    def _of(self, name: str, value: Any, kind: type) -> Any:
        fits = isinstance(value, int | float if kind is float else kind) and (
            kind is bool or not isinstance(value, bool)
        )
        if not fits or (kind is float and not abs(value) < 1e300):
            raise ModelError(f"{name} is {value!r:.40}; expected {kind.__name__}")
        return float(value) if kind is float else value


def _require_fit(spec: Spec, net: Layer) -> Params:
    """The shapes of the parameters. Raises ModelError if the network does not fit its inputs or classes."""
    shapes = []

    def init(key: Any) -> Params:
        params, out_shape = net.init(key, spec.in_shape)
        shapes.append(out_shape)
        return params

    try:
        like = jax.eval_shape(init, jax.random.key(0))
    except Exception as error:  # whatever a network makes of settings that nobody meant
        said = first_line(error) or type(error).__name__
        raise ModelError(f"{spec.model} does not take inputs of shape {spec.in_shape}: {said}") from error
    wanted = (len(spec.classes),) if spec.classes else (1,) if spec.target is not None else shapes[0]
    if isinstance(spec.inputs, Text):
        wanted = (*spec.in_shape, 256)
    if shapes[0] != wanted:
        raise ModelError(f"the network gives {shapes[0]}; expected {wanted}")
    return like


def _require_same(params: Params, like: Params) -> None:
    found, wanted = ({n: f"{a.dtype} {a.shape}" for n, a in named_leaves(tree).items()} for tree in (params, like))
    for name in dict.fromkeys([*wanted, *found]):
        if found.get(name) != wanted.get(name):
            raise ModelError(f"params have {found.get(name)} for {name}; the network has {wanted.get(name)}")
