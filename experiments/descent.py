"""A loss surface, and descent upon it.

The smallest network with a valley: y = w₂ tanh(w₁x), two weights and one unit. Its loss over all pairs of weights has
two minima, as both signs may be turned at once, and a saddle between them. From one start, gradient descent, momentum
and Adam go down by gradients that are derived here by hand. Prints where each ends; writes metrics.json, descent.png
and descent.gif.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from funcnet import Rule, ops, optimizers
from funcnet.optimizers import apply_updates

from . import harness
from .pictures import surface

TRUE = 1.5, 2.0  # the weights that the targets come from
LOSS = ops.mean_squared_error()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The start, and how far each goes."""

    start: tuple[float, float] = (-1.5, 1.0)
    """w₁ and w₂ at first."""
    steps: int = 200
    """Of each optimizer."""
    learning_rate: float = 0.05
    """Of each optimizer."""
    points: int = 60
    """How many examples."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, steps=self.steps, points=self.points)
        harness.positive(learning_rate=self.learning_rate)


def unit_fwd(w: Float[Array, "2"], x: Float[Array, "N"]):
    """h = tanh(w₁x),  y = w₂h."""
    h = jnp.tanh(w[0] * x)
    return w[1] * h, (w, x, h)


def unit_bwd(residuals, dy):
    """dh = w₂dy,  dw₂ = Σ h dy,  and with dz = (1 − h²)dh:  dw₁ = Σ x dz,  dx = w₁dz."""
    w, x, h = residuals
    dz = (1 - h * h) * w[1] * dy
    return jnp.stack([jnp.sum(x * dz), jnp.sum(h * dy)]), w[0] * dz


UNIT = Rule(unit_fwd, unit_bwd)


def value_and_grad(w, x, targets):
    y, of_unit = UNIT.fwd(w, x)
    value, of_loss = LOSS.fwd(y, targets)
    dy, _ = LOSS.bwd(of_loss, jnp.ones_like(value))
    return value, UNIT.bwd(of_unit, dy)[0]


def examples(config: Config) -> tuple[Array, Array]:
    """x (N,) and noisy targets (N,)."""
    x_key, noise_key = jax.random.split(jax.random.key(config.seed))
    x = jax.random.uniform(x_key, (config.points,), minval=-2, maxval=2)
    return x, UNIT.fwd(jnp.array(TRUE), x)[0] + 0.3 * jax.random.normal(noise_key, x.shape)


def path(optimizer: optimizers.Optimizer, config: Config, x: Array, targets: Array) -> tuple[np.ndarray, np.ndarray]:
    """The weights before each step and after the last, (steps + 1, 2), and their losses."""

    def step(carry, _):
        w, state = carry
        value, dw = value_and_grad(w, x, targets)
        updates, state = optimizer.update(dw, state, w)
        return (apply_updates(w, updates), state), (w, value)

    start = jnp.array(config.start)
    (last, _), (ws, values) = jax.lax.scan(step, (start, optimizer.init(start)), length=config.steps)
    end, _ = value_and_grad(last, x, targets)
    return np.concatenate([ws, last[None]]), np.append(values, end)


def main(config: Config, out: Path) -> None:
    x, targets = examples(config)
    rate = config.learning_rate
    ways = {
        "gradient descent": optimizers.sgd(rate),
        "momentum": optimizers.momentum(rate),
        "Adam": optimizers.adam(rate),
    }
    paths = {name: path(optimizer, config, x, targets) for name, optimizer in ways.items()}
    for name, (ws, values) in paths.items():
        print(f"{name}: from loss {values[0]:.3f} to {values[-1]:.3f}, at w = ({ws[-1][0]:.2f}, {ws[-1][1]:.2f})")
    height = jax.jit(jax.vmap(lambda w: value_and_grad(w, x, targets)[0]))
    surface.draw(out / "descent.png", height, paths)
    surface.animate(out / "descent.gif", height, paths, 5 if config.quick else 40)
    metrics = {
        "seed": config.seed,
        "paths": {name: {"w": w.tolist(), "loss": v.tolist()} for name, (w, v) in paths.items()},
    }
    harness.finish(out, "descent", config, metrics, out / "descent.png", out / "descent.gif")


if __name__ == "__main__":
    harness.run("descent", main, Config, __doc__)
