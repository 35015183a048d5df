"""Training over many devices: which axis of which array is split over which axis of a mesh.

Nothing of the mathematics changes. The arrays of a state are placed, the step is jitted as ever, and the compiler
splits its products and puts the collectives where a sum runs over devices (GSPMD; Xu et al. 2021): the backward that
is written by hand is partitioned like the forward.

    places = Places(mesh(data=4, model=2), TENSOR, fully=True)
    state = places.put(init_state(params, optimizer, key))
    step = places.keep(train_step(net, loss, optimizer))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class Split(NamedTuple):
    """Leaves whose path ends in ``name`` are split along ``dimension``, counted from the last, over a mesh's axis."""

    name: str
    dimension: int
    axis: str = "model"


TENSOR = (
    Split("qkv.w", -1),
    Split("qkv.b", -1),
    Split("hidden.w", -1),
    Split("hidden.b", -1),
    Split("out.w", -2),
    Split("tokens.table", -2),
)
"""Of transformers: heads and hidden features apart in the first product of each pair, summed over in the second
(Shoeybi et al. 2019, section 3), and the vocabulary of the table, which is also that of the loss."""


def mesh(**axes: int) -> Mesh:
    """The first devices in a grid: ``mesh(data=4, model=2)``, of eight.

    Raises ValueError if a size is not positive, or if there are fewer devices.
    """
    if not axes or min(axes.values()) < 1:
        raise ValueError(f"a mesh has axes of at least one device, as in mesh(data=4, model=2); got {axes}")
    needed, devices = math.prod(axes.values()), jax.devices()
    if len(devices) < needed:
        shown = " × ".join(f"{name}={size}" for name, size in axes.items())
        more = f"jax.config.update('jax_num_cpu_devices', {needed}) before JAX is used makes as many of a CPU"
        raise ValueError(f"{shown} needs {needed} devices; here are {len(devices)} ({devices[0].platform}): {more}")
    kinds = (jax.sharding.AxisType.Auto,) * len(axes)
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=kinds, devices=devices[:needed])


class Places(NamedTuple):
    """Where the arrays of a state and of a batch lie.

    Batches are split along their first axis over the mesh's axis ``data``, if it has one. Leaves of the params and of
    the optimizer are split as the first of ``splits`` says that fits their name; the others are on every device. With
    ``fully``, each leaf is split over ``data`` too, along its largest axis that can be: fully sharded parameters and
    optimizer (ZeRO stage 3; Rajbhandari et al. 2020). With ``fully="optimizer"`` that is so for the optimizer's state
    alone (stage 1).
    """

    mesh: Mesh
    splits: tuple[Split, ...] = ()
    fully: bool | str = False
    data: str = "data"

    def put(self, state: Any) -> Any:
        """A ``TrainState`` with its arrays in their places. Raises ValueError if an axis cannot be split evenly."""
        return jax.device_put(state, self.of_state(state))

    def keep(self, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """``step`` on a batch that is split, and the next state in the same places as the state.

        Out of a scan over steps, the compiler may return a leaf split that was on every device.
        """

        def kept(state: Any, batch: Any) -> Any:
            state, aux = step(state, jax.lax.with_sharding_constraint(batch, self.of_batch(batch)))
            return jax.lax.with_sharding_constraint(state, self.of_state(state)), aux

        return kept

    def of_state(self, state: Any) -> Any:
        """The place of each leaf. Raises ValueError as ``put`` does."""
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        params, opt_state = (
            self._of_leaves(tree, fully)
            for tree, fully in ((state.params, self.fully is True), (state.opt_state, bool(self.fully)))
        )
        return state._replace(params=params, opt_state=opt_state, step=everywhere, key=everywhere)

    def of_batch(self, batch: Any) -> Any:
        """The place of each array of a batch. Raises ValueError if it cannot be split evenly."""
        size = self.mesh.shape.get(self.data, 1)

        def place(leaf: Any) -> NamedSharding:
            if leaf.ndim and leaf.shape[0] % size:
                raise ValueError(f"a batch of {leaf.shape[0]} cannot be split evenly over {self.data}={size}")
            axes = (self.data,) if leaf.ndim and size > 1 else ()
            return NamedSharding(self.mesh, PartitionSpec(*axes))

        return jax.tree.map(place, batch)

    def _of_leaves(self, tree: Any, fully: bool) -> Any:
        def place(path: Any, leaf: Any) -> NamedSharding:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            return NamedSharding(self.mesh, self.spec(name, leaf.shape, fully))

        return jax.tree_util.tree_map_with_path(place, tree)

    def spec(self, name: str, shape: tuple[int, ...], fully: bool = False) -> PartitionSpec:
        """Which mesh axis each axis of a leaf is split over. Raises ValueError if it cannot be split evenly."""
        axes: list[str | None] = [None] * len(shape)
        split = next((s for s in self.splits if f".{name}".endswith(f".{s.name}")), None)
        if split and len(shape) >= -split.dimension and (size := self.mesh.shape.get(split.axis, 1)) > 1:
            if shape[split.dimension] % size:
                raise ValueError(
                    f"{name} {shape} cannot be split evenly over {split.axis}={size} along its axis of "
                    f"{shape[split.dimension]}"
                )
            axes[split.dimension] = split.axis
        size = self.mesh.shape.get(self.data, 1)
        if fully and size > 1:
            free = [(n, -i) for i, n in enumerate(shape) if axes[i] is None and n % size == 0]
            if free:
                axes[-max(free)[1]] = self.data
        return PartitionSpec(*axes)
