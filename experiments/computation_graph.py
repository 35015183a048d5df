"""Backpropagation on the computation graph.

Reverse mode in thirty lines: a graph of elementary steps, each with its value and with partial derivatives written by
hand, gone through once forwards and once backwards. First the note's f(x, y, z) = x(2y + z), whose derivatives are
2y + z, 2x and x; then a whole network of two inputs, two hidden units and two classes, with softmax cross-entropy.
The gradients of the leaves are compared with the formulas or with funcnet's own rules, and with jax.grad. Writes
metrics.json, function.svg and network.svg: every node with its value and its gradient; and network.gif, in which they
come one after another.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import funcnet
from funcnet import ops

from . import harness
from .pictures import graph

TOLERANCE = 1e-14  # of a difference, beside the largest gradient
LABEL = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """Where the function is taken, and what the network is made of; its numbers are drawn by the seed."""

    point: tuple[float, float, float] = (2.0, 3.0, -1.0)
    """x, y and z of the function."""
    activation: Literal["relu", "sigmoid"] = "sigmoid"
    """Of the network's hidden units."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(map(math.isfinite, self.point)):
            raise harness.InputError(f"--point is three finite numbers; got {self.point}")


# ---------------------------------------------------------------- reverse mode


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


class Operation(NamedTuple):
    """``value(*inputs)``, and ``partials(*inputs)``: its derivative by each of them."""

    value: Callable[..., float]
    partials: Callable[..., tuple[float, ...]]


OPERATIONS = {
    "+": Operation(lambda *a: math.fsum(a), lambda *a: (1,) * len(a)),
    "−": Operation(lambda a, b: a - b, lambda a, b: (1, -1)),
    "×": Operation(lambda a, b: a * b, lambda a, b: (b, a)),
    "exp": Operation(math.exp, lambda a: (math.exp(a),)),
    "log": Operation(math.log, lambda a: (1 / a,)),
    "relu": Operation(lambda a: max(a, 0), lambda a: (float(a > 0),)),
    "sigmoid": Operation(sigmoid, lambda a: (sigmoid(a) * sigmoid(-a),)),
}


class Step(NamedTuple):
    """A node: what it does to which earlier nodes; a leaf has no operation. ``at`` is its column and row when drawn."""

    name: str
    operation: str
    inputs: tuple[str, ...]
    at: tuple[float, float]


def forward(steps: list[Step], leaves: Mapping[str, float]) -> dict[str, float]:
    """The value of every node."""
    values = dict(leaves)
    for step in steps:
        if step.operation:
            values[step.name] = OPERATIONS[step.operation].value(*(values[name] for name in step.inputs))
    return values


def backward(steps: list[Step], values: Mapping[str, float]) -> dict[str, float]:
    """∂(last node)/∂(every node), by the chain rule: a node's gradient is Σ over its users of theirs times ∂user/∂node.

    The order of the steps is such that all users of a node come after it: backwards, its gradient is complete when it
    is passed on.
    """
    gradients = dict.fromkeys(values, 0.0) | {steps[-1].name: 1.0}
    for step in reversed(steps):
        if step.operation:
            partials = OPERATIONS[step.operation].partials(*(values[name] for name in step.inputs))
            for name, partial in zip(step.inputs, partials, strict=True):
                gradients[name] += gradients[step.name] * partial
    return gradients


# ---------------------------------------------------------------- the two graphs; names are as matplotlib sets them


FUNCTION = [
    Step("2", "", (), (0, 0)),
    Step("y", "", (), (0, 1)),
    Step("2y", "×", ("2", "y"), (1.6, 0.5)),
    Step("z", "", (), (1.6, 1.5)),
    Step("2y+z", "+", ("2y", "z"), (3.2, 1)),
    Step("x", "", (), (3.2, 0)),
    Step("f", "×", ("x", "2y+z"), (4.8, 0.5)),
]
FORMULAS = {
    "x": ("2y + z", lambda x, y, z: 2 * y + z),
    "y": ("2x", lambda x, y, z: 2 * x),
    "z": ("x", lambda x, y, z: x),
}


def w(layer: int, i: int, j: int) -> str:
    return f"w^{layer}_{{{i}{j}}}"


def dense(inputs: tuple[str, str], layer: int, column: int) -> list[Step]:
    """z_j = Σ_i x_i w_ij + b_j, for two inputs and two units."""
    steps = []
    for j, top in ((1, 0), (2, 3)):
        products = []
        for i, x in enumerate(inputs):
            weight = w(layer, i + 1, j)
            product = Step(f"{x} {weight}", "×", (x, weight), (column + 1, top + i))
            steps += [Step(weight, "", (), (column, top + 2 * i)), product]
            products.append(product.name)
        bias = Step(f"b^{layer}_{j}", "", (), (column + 1, top + 2))
        steps += [bias, Step(f"z^{layer}_{j}", "+", (*products, bias.name), (column + 2, top + 1))]
    return steps


def network(activation: str) -> list[Step]:
    """x → dense → activation → dense → −log softmax at the label, which is log Σ exp z − z_label."""
    exponentials = [Step(f"e^{{z^2_{j}}}", "exp", (f"z^2_{j}",), (6, 3 * j - 2)) for j in (1, 2)]
    return [
        *(Step(f"x_{i}", "", (), (0, 3 * i - 2)) for i in (1, 2)),
        *dense(("x_1", "x_2"), 1, 0),
        *(Step(f"a_{j}", activation, (f"z^1_{j}",), (3, 3 * j - 2)) for j in (1, 2)),
        *dense(("a_1", "a_2"), 2, 3),
        *exponentials,
        Step(r"\Sigma", "+", tuple(step.name for step in exponentials), (7, 2.5)),
        Step(r"\log\Sigma", "log", (r"\Sigma",), (8, 2.5)),
        Step("L", "−", (r"\log\Sigma", f"z^2_{LABEL + 1}"), (9, 2.5)),
    ]


# ---------------------------------------------------------------- the comparison


def leaves_of(x: Any, params: Any) -> dict[str, float]:
    """The arrays of a network as leaves of its graph; gradients have the same shapes, and so the same names."""
    leaves = {f"x_{i + 1}": float(x[0, i]) for i in (0, 1)}
    for layer, dense_params in ((1, params[0]), (2, params[2])):
        leaves |= {w(layer, i + 1, j + 1): float(dense_params["w"][i, j]) for i in (0, 1) for j in (0, 1)}
        leaves |= {f"b^{layer}_{j + 1}": float(dense_params["b"][j]) for j in (0, 1)}
    return leaves


def draw(seed: int) -> tuple[np.ndarray, Any]:
    """An example and parameters, of two decimals, so that the picture can be followed by hand."""
    rng = np.random.default_rng(seed)

    def numbers(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).round(2)

    return numbers(1, 2), ({"w": numbers(2, 2), "b": numbers(2)}, {}, {"w": numbers(2, 2), "b": numbers(2)})


def by_rules(activation: str, x: np.ndarray, params: Any) -> dict[str, float]:
    """The gradients by funcnet's hand-written rules, for the leaves and for the logits."""
    net = funcnet.serial(funcnet.dense(2), getattr(funcnet, activation)(), funcnet.dense(2))
    loss = ops.sparse_softmax_cross_entropy()
    logits, net_residuals = net.fwd(params, x)
    value, loss_residuals = loss.fwd(logits, jnp.array([LABEL]))
    dlogits, _ = loss.bwd(loss_residuals, jnp.ones_like(value))
    dparams, dx = net.bwd(net_residuals, dlogits)
    return leaves_of(dx, dparams) | {f"z^2_{j + 1}": float(dlogits[0, j]) for j in (0, 1)}


def by_autodiff(activation: str, x: np.ndarray, params: Any) -> dict[str, float]:
    """The gradients of the leaves by jax.grad of the network written down plainly."""
    phi = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}[activation]

    def loss(x, params):
        hidden, _, last = params
        logits = (phi(x @ hidden["w"] + hidden["b"]) @ last["w"] + last["b"])[0]
        return jax.nn.logsumexp(logits) - logits[LABEL]

    return leaves_of(*jax.grad(loss, argnums=(0, 1))(x, params))


def largest_difference(gradients: Mapping[str, float], others: Mapping[str, float]) -> float:
    """Over the nodes that ``others`` has, beside the largest gradient; NaN if any is."""
    return float(np.max([abs(gradients[name] - d) for name, d in others.items()]) / np.abs([*gradients.values()]).max())


def function(point: tuple[float, float, float], picture: Path) -> dict[str, Any]:
    """The note's function: its gradients beside the formulas."""
    values = forward(FUNCTION, dict(zip("xyz", point, strict=True)) | {"2": 2.0})
    gradients = backward(FUNCTION, values)
    automatic = jax.grad(lambda x, y, z: x * (2 * y + z), argnums=(0, 1, 2))(*point)
    table = Table("f = x(2y + z)", "formula", box=None, pad_edge=False)
    for heading in ("formula gives", "graph gives", "jax.grad gives"):
        table.add_column(heading, justify="right")
    for (name, (formula, df)), d in zip(FORMULAS.items(), automatic, strict=True):
        table.add_row(f"df/d{name}", formula, f"{df(*point):g}", f"{gradients[name]:g}", f"{d:g}")
    Console().print(table)
    partials = {
        (name, step.name): partial
        for step in FUNCTION
        if step.operation
        for name, partial in zip(
            step.inputs, OPERATIONS[step.operation].partials(*(values[name] for name in step.inputs)), strict=True
        )
    }
    graph.draw(picture, "f = x(2y + z): what flows back over an edge is multiplied by the partial written on it.",
               FUNCTION, values, gradients, partials)  # fmt: skip
    exact = {name: df(*point) for name, (_, df) in FORMULAS.items()}
    return {
        "function": {name: {"value": values[name], "gradient": gradients[name]} for name in values},
        "function_difference": largest_difference(gradients, exact),
        "function_difference_jax": largest_difference(gradients, dict(zip("xyz", map(float, automatic), strict=True))),
    }


def whole_network(activation: str, seed: int, picture: Path | None) -> dict[str, Any]:
    x, params = draw(seed)
    steps = network(activation)
    values = forward(steps, leaves_of(x, params))
    gradients = backward(steps, values)
    if picture:
        title = f"A network and its loss, {activation} units, the label is class {LABEL + 1}: L = {values['L']:.4f}"
        graph.draw(picture, title, steps, values, gradients)
        graph.animate(picture.with_suffix(".gif"), title, steps, values, gradients)
    return {
        "loss": values["L"],
        "network": {name: {"value": values[name], "gradient": gradients[name]} for name in values},
        "network_difference": largest_difference(gradients, by_rules(activation, x, params)),
        "network_difference_jax": largest_difference(gradients, by_autodiff(activation, x, params)),
    }


def main(config: Config, out: Path) -> None:
    pictures = out / "function.svg", out / "network.svg"
    with jax.enable_x64(True):
        of_function = function(config.point, pictures[0])

        def run_one(seed: int) -> dict[str, Any]:
            found = whole_network(config.activation, seed, pictures[1] if seed == config.seed else None)
            by, by_jax = found["network_difference"], found["network_difference_jax"]
            print(
                f"seed {seed}: the network's gradients differ by {by:.1e} at most from funcnet's rules "
                f"(leaves, logits), by {by_jax:.1e} from jax.grad's (leaves)"
            )
            return found

        results = harness.over_seeds(config, run_one)
    harness.finish(
        out, "computation_graph", config, harness.summarise(results) | of_function, *pictures, out / "network.gif"
    )
    differences = [d for found in (of_function, *results) for name, d in found.items() if "difference" in name]
    if not np.max(differences) < TOLERANCE:
        raise SystemExit(f"a gradient differs by more than {TOLERANCE} of the largest: a derivation is wrong")


if __name__ == "__main__":
    harness.run("computation_graph", main, Config, __doc__)
