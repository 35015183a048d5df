"""The exercises in order, and what is read from the file of each: the task, the file for a learner, the derivation."""

import ast
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

HOME = Path(__file__).parent / "exercises"
GROUPS = {
    "First steps": "neuron mean_squared_error one_example dense",
    "Activations": "sigmoid tanh relu leaky_relu softplus silu gelu softmax log_softmax",
    "Losses": "binary_cross_entropy cross_entropy huber l2_penalty",
    "Layers": "two_layers residual dropout embedding swiglu",
    "Normalization": "rms_norm layer_norm batch_norm",
    "Pictures": "average_pool max_pool conv1d conv2d",
    "Sequences": "rnn_step rnn gru_step lstm_step lstm",
    "Attention": "attention causal_attention multi_head rotary transformer_block",
    "Networks that train": "perceptron convnet recurrent",
}
LABELS: dict[str, Any] = {"ranges": {"labels": "K"}}
# How inputs are drawn, where the annotations do not tell: what integers stay below, and axes that must fit.
DRAWN: dict[str, dict[str, Any]] = {
    "embedding": {"ranges": {"tokens": "V"}, "sizes": {"V": 6, "N": 9}},
    "cross_entropy": LABELS,
    "average_pool": {"sizes": {"N": 5, "H": 6, "W": 14, "C": 11}},
    "max_pool": {"sizes": {"N": 5, "H": 6, "W": 14, "C": 11}},
    "rnn": {"sizes": {"T": 3}},
    "lstm": {"sizes": {"T": 3}},
    "multi_head": {"sizes": {"D": 6}},
    "rotary": {"sizes": {"D": 6}},
    "transformer_block": {"sizes": {"D": 6}},
    "perceptron": LABELS,
    "convnet": LABELS | {"sizes": {"N": 7, "H": 8, "W": 10, "C": 2, "F": 24}},
    "recurrent": LABELS | {"sizes": {"T": 3}},
}
# Sizes at which a wrong answer is explained, if it is not at those: of two steps there is one that passes something on.
SMALLER = {name: {"T": 2} for name in ("rnn", "lstm", "recurrent")}
WRITE = "raise NotImplementedError  # your derivation, then: "


class Exercise(NamedTuple):
    """One exercise. ``gradients`` are the names that its backward returns, in order: dx, dw, db."""

    name: str
    group: str
    text: str
    """The file with the solution."""
    title: str
    gradients: tuple[str, ...]
    template: str
    """The file for a learner: the same, without the body of the backward and its docstring."""
    derivation: str
    """The steps, and the formula last."""

    @property
    def formula(self) -> str:
        return self.derivation.rpartition("\n\n")[2]

    @property
    def needs(self) -> tuple[str, ...]:
        """The exercises whose rules this one is made of: those that its file imports."""
        imports = [node.module for node in ast.parse(self.text).body if isinstance(node, ast.ImportFrom)]
        return tuple(name for name in imports if name in names())

    @property
    def forward(self) -> Callable[..., Any]:
        """The exercise's own forward, beside which an answer is judged."""
        return getattr(_loaded(self.name), f"{self.name}_forward")


def names() -> dict[str, str]:
    """The name of every exercise, in order, with its group."""
    return {name: group for group, members in GROUPS.items() for name in members.split()}


@functools.cache
def exercise(name: str) -> Exercise:
    """The exercise of that name. Raises KeyError if there is none."""
    group = names()[name]
    text = (HOME / f"{name}.py").read_text("utf-8")
    tree = ast.parse(text)
    (backward,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == f"{name}_backward")
    title = (ast.get_docstring(tree) or "").partition("\n")[0]
    last = backward.body[-1]
    assert isinstance(last, ast.Return)
    assert last.value is not None
    gradients = tuple(node.id for node in ast.walk(last.value) if isinstance(node, ast.Name))
    derivation = inspect.cleandoc(ast.get_docstring(backward) or "")
    return Exercise(name, group, text, title, gradients, _cut(text, backward), derivation)


def _cut(text: str, backward: ast.FunctionDef) -> str:
    """The text without the body of the backward, but for the line that unpacks the cache."""
    lines = text.splitlines()
    _, first, *_, last = backward.body
    unpacks = isinstance(first, ast.Assign) and isinstance(first.value, ast.Name) and first.value.id == "cache"
    kept = lines[first.lineno - 1 : first.end_lineno] if unpacks else []
    head = lines[: backward.body[0].lineno - 1]
    body = [*kept, f"    {WRITE}{ast.unparse(last).replace('(', '').replace(')', '')}"]
    return "\n".join([*head, *body, *lines[last.end_lineno :]]) + "\n"


# ---------------------------------------------------------------- the exercise's own module


@functools.cache
def _loaded(name: str) -> ModuleType:
    """The module of an exercise. It is no part of the package: to the checker it is code like a learner's."""
    neighbours = {other: _loaded(other) for other in exercise(name).needs}
    spec = importlib.util.spec_from_file_location(name, HOME / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _known_as(neighbours):
        spec.loader.exec_module(module)
    sys.modules[f"exercise {name}"] = module  # where the checker looks for the neighbours of a file
    return module


@contextmanager
def _known_as(modules: dict[str, ModuleType]) -> Iterator[None]:
    """Modules that can be imported by these names for as long as it is open; a learner's have the same names."""
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
