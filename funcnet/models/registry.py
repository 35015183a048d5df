"""Models by name, so that a configuration in JSON can rebuild a network."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import layers
from ..types import Layer
from .cnn import lenet, resnet
from .gpt import GPTConfig, gpt
from .mlp import mlp

ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "elu", "leaky_relu", "softplus")
LARGEST = 1 << 20  # of any size among the settings
LONGEST = 256  # a list among them


class ModelError(ValueError):
    """A model that cannot be built or a saved one that cannot be read; the message is one line for the user."""


def _mlp(hidden: list[int], outputs: int, activation: str = "relu", **settings: Any) -> Layer:
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is one of {', '.join(ACTIVATIONS)}; got {activation!r}")
    return mlp(hidden, outputs, activation=getattr(layers, activation), **settings)


def _resnet(blocks: int = 3, **settings: Any) -> Layer:
    if blocks > LONGEST:
        raise ValueError(f"blocks is at most {LONGEST}; got {blocks}")
    return resnet(blocks=blocks, **settings)


MODELS: dict[str, Callable[..., Layer]] = {
    "mlp": _mlp,
    "lenet": lenet,
    "resnet": _resnet,
    "gpt": lambda **settings: gpt(GPTConfig(**settings)),
}


def is_own(model: str) -> bool:
    """Whether it names a network of the user's own, FILE.py:NAME."""
    return ".py:" in model


def build(model: str, settings: Mapping[str, Any]) -> Layer:
    """The network of a name in MODELS or of FILE.py:NAME, a Layer or a function of the settings that returns one.

    FILE.py is run: it must come from the caller, never from a file that anyone wrote. Raises ModelError for an unknown
    name, for settings that the model does not take, and for those that it refuses.
    """
    factory = _own(model) if is_own(model) else MODELS.get(model)
    if factory is None:
        raise ModelError(f"there is no model {model!r:.60}; expected one of {', '.join(MODELS)}, or FILE.py:NAME")
    if isinstance(factory, Layer):
        if settings:
            raise ModelError(f"{model} is a Layer and takes no settings; got {', '.join(settings)}")
        return factory
    for name, value in settings.items():
        _require_sane(name, value)
    try:
        net = factory(**settings)
    except Exception as error:
        raise ModelError(f"{model} with these settings: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(net, Layer):
        raise ModelError(f"{model} returned {type(net).__name__}; expected a Layer")
    return net


def _require_sane(name: str, value: Any) -> None:
    """Raises ModelError for a size beyond any that is meant, before anything loops over it."""
    parts = value if isinstance(value, list | tuple) else [value]
    if len(parts) > LONGEST:
        raise ModelError(f"{name} has {len(parts)} parts; expected no more than {LONGEST}")
    for part in parts:
        if isinstance(part, list | tuple):
            _require_sane(name, part)
        elif isinstance(part, int | float) and not -LARGEST <= part <= LARGEST:
            raise ModelError(f"{name} is {part!r:.30}; expected no more than {LARGEST}")
        elif not (part is None or isinstance(part, int | float | str)):
            raise ModelError(f"{name} is {part!r:.30}; expected numbers and names")


def _own(model: str) -> Any:
    where, _, name = model.rpartition(":")
    path = Path(where)
    if not path.is_file():
        raise ModelError(f"{where} is no file; a network of your own is FILE.py:NAME")
    unique = f"funcnet_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(unique, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[unique] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"{where} cannot be imported: {type(error).__name__}: {first_line(error)}") from error
    if not callable(found := getattr(module, name, None)) and not isinstance(found, Layer):
        raise ModelError(f"{where} has no Layer and no function {name!r}")
    return found


def first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")
