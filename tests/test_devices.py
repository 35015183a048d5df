"""Training over eight devices: the same parameters as on one, less memory on each, and clear refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

import funcnet
from funcnet import models, ops, optimizers, training
from funcnet.devices import TENSOR, Places, Split, mesh

ROWS, BATCH, STEPS = 64, 32, 20
COLUMNS = (Split("w", -1),)
LAYOUTS = {
    "data": lambda splits: Places(mesh(data=8)),
    "optimizer": lambda splits: Places(mesh(data=8), fully="optimizer"),
    "fully": lambda splits: Places(mesh(data=8), fully=True),
    "tensor": lambda splits: Places(mesh(model=4), splits),
    "mixed": lambda splits: Places(mesh(data=4, model=2), splits, fully=True),
}


def networks(name):
    """Net, loss, the shape of an example, data (ROWS, ...), and how its tensors are split."""
    rng = np.random.default_rng(3)
    if name == "gpt":
        net = models.gpt(models.GPTConfig(64, 16, 32, 2, 4), fused=True)
        tokens = rng.integers(64, size=(ROWS, 17))
        return net, ops.linear_softmax_cross_entropy(), (16,), (tokens[:, :-1], tokens[:, 1:]), TENSOR
    net, shape = (models.mlp((64, 48), 8), (40,)) if name == "mlp" else (models.lenet(8), (28, 28, 1))
    splits = COLUMNS if name == "mlp" else (Split("3.w", -1), Split("7.w", -1))
    x, labels = rng.normal(size=(ROWS, *shape)), rng.integers(8, size=ROWS)
    return net, ops.sparse_softmax_cross_entropy(), shape, (x, labels), splits


@functools.cache
def trained(name, layout):
    """The state after 20 steps of Adam, its places, and what a device holds."""
    net, loss, shape, data, splits = networks(name)
    params, _ = net.init(jax.random.key(0), shape)
    optimizer = optimizers.adam(1e-3)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    state = training.init_state(params, optimizer, jax.random.key(1))
    step = training.train_step(net, loss, optimizer)
    places = LAYOUTS[layout](splits) if layout else None
    if places:
        state, step = places.put(state), places.keep(step)
    rng = np.random.default_rng(5)
    order = np.stack([rng.permutation(ROWS)[:BATCH] for _ in range(STEPS)])
    data = jax.tree.map(jnp.asarray, data)
    run = jax.jit(training.train_epoch(step)).lower(state, data, order).compile()
    state, losses = run(state, data, order)
    memory = run.memory_analysis()
    return state, losses, places, (memory.argument_size_in_bytes, memory.temp_size_in_bytes)


QUICK = {("mlp", "optimizer"), ("mlp", "mixed")}
CASES = [
    pytest.param(name, layout, marks=() if (name, layout) in QUICK else pytest.mark.slow)
    for name in ("mlp", "cnn", "gpt")
    for layout in LAYOUTS
]


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_twenty_steps_give_the_parameters_of_one_device(name, layout):
    alone, losses, _, (arguments, _) = trained(name, None)
    state, found, places, (held, _) = trained(name, layout)
    np.testing.assert_allclose(found, losses, rtol=1e-12)
    for got, expected in zip(jax.tree.leaves(state.params), jax.tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(np.asarray(got), expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    for leaf, place in zip(jax.tree.leaves(state), jax.tree.leaves(places.of_state(state)), strict=True):
        assert place.is_fully_replicated or leaf.sharding.is_equivalent_to(place, leaf.ndim)
    if layout != "data":
        assert held < 0.8 * arguments


@pytest.mark.slow
def test_fully_sharded_parameters_take_a_share_of_the_memory():
    """Params and Adam's two moments fall to an eighth but for what cannot be split; the data are on every device."""
    _, _, _, (held, _) = trained("gpt", "fully")
    state, _, _, (arguments, _) = trained("gpt", None)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((state.params, state.opt_state)))
    assert held - (arguments - size) < 0.15 * size


def test_fit_trains_over_a_mesh():
    net, loss, shape, data, splits = networks("mlp")
    params, _ = net.init(jax.random.key(0), shape)
    settings = {"key": jax.random.key(1), "epochs": 2, "batch_size": 16, "progress": False}
    runs = [
        funcnet.fit(net, loss, optimizers.adam(1e-2), params, data, places=places, **settings)
        for places in (None, Places(mesh(data=4, model=2), splits, fully=True))
    ]
    for got, expected in zip(*(jax.tree.leaves(run.params) for run in runs), strict=True):
        np.testing.assert_allclose(np.asarray(got), expected, atol=1e-5)
    w = runs[1].params[1]["w"]
    assert w.sharding.spec == PartitionSpec("data", "model")


GRID = AbstractMesh((4, 2), ("data", "model"))


@pytest.mark.parametrize(
    ("name", "shape", "fully", "spec"),
    [
        ("blocks.attention.attention.qkv.w", (3, 16, 48), False, (None, None, "model")),
        ("blocks.attention.attention.qkv.w", (3, 16, 48), True, (None, "data", "model")),
        ("opt_state.0.mu.tokens.table", (62, 16), True, ("model", "data")),
        ("blocks.feed_forward.feed_forward.out.w", (3, 64, 16), False, (None, "model")),
        ("norm.gamma", (16,), True, ("data",)),
        ("norm.gamma", (15,), True, ()),
        ("0.count", (), True, ()),
    ],
)
def test_where_a_leaf_lies(name, shape, fully, spec):
    found = Places(GRID, TENSOR).spec(name, shape, fully)
    assert tuple(found)[: len(spec)] == spec
    assert not any(tuple(found)[len(spec) :])


def test_what_cannot_be_split_is_refused_in_one_line():
    with pytest.raises(
        ValueError, match=r"^tokens.table \(61, 16\) cannot be split evenly over model=2 along its axis of 61$"
    ):
        Places(GRID, TENSOR).spec("tokens.table", (61, 16))
    with pytest.raises(ValueError, match=r"^a batch of 30 cannot be split evenly over data=4$"):
        Places(GRID).of_batch((np.zeros((30, 3)),))
    with pytest.raises(ValueError, match=r"^data=4 × model=4 needs 16 devices; here are 8"):
        mesh(data=4, model=4)
    with pytest.raises(ValueError, match=r"^a mesh has axes of at least one device"):
        mesh(data=0)


def test_a_run_goes_on_over_another_mesh(tmp_path):
    net, loss, shape, data, splits = networks("mlp")
    params, _ = net.init(jax.random.key(0), shape)
    settings = {"key": jax.random.key(1), "batch_size": 16, "progress": False, "checkpoints": tmp_path / "run"}
    whole = funcnet.fit(net, loss, optimizers.adam(1e-2), params, data, epochs=3, **settings | {"checkpoints": None})
    for epochs, places in ((1, Places(mesh(data=8), fully=True)), (2, Places(mesh(model=2), splits)), (3, None)):
        run = funcnet.fit(net, loss, optimizers.adam(1e-2), params, data, epochs=epochs, places=places, **settings)
        w = run.state.params[1]["w"]
        assert len(run.history) == epochs
        assert len(w.sharding.device_set) == (places.mesh.size if places else 1)
    for got, expected in zip(jax.tree.leaves(run.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-10, atol=1e-13)
