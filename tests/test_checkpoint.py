"""Checkpoints and weights: what comes back is what was saved, to the bit, or one sentence says why not."""

import builtins
import json
import os
import subprocess
import sys
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import funcnet
from funcnet import batch_norm, checkpoint, dense, optimizers, serial
from funcnet.checkpoint import CheckpointError, checkpoints, load_weights, named_leaves, save_weights
from tests.trees import assert_equal

NET = serial(hidden=dense(5), norm=batch_norm(), out=serial(dense(3)))
PARAMS, _ = NET.init(jax.random.key(0), (7,))
STATE = funcnet.init_state(PARAMS, optimizers.chain(optimizers.adam(0.1), optimizers.momentum(0.1)), jax.random.key(1))


def steps(directory):
    return sorted(int(path.name) for path in (directory / "states").iterdir())


# ---------------------------------------------------------------- pytrees


def test_the_newest_comes_back_to_the_bit(tmp_path):
    """Tuples, NamedTuples, typed keys, bfloat16, and what stands beside them."""
    tree = {"state": STATE, "low": jnp.arange(3, dtype=jnp.bfloat16), "best": ()}
    with checkpoints(tmp_path, {"width": 5}) as saved:
        assert saved.restore(tree) is None
        saved.save(1, tree, notes="old")
        saved.save(2, jax.tree.map(lambda leaf: leaf, tree), notes={"history": [{"loss": 0.1}]})
    with checkpoints(tmp_path, {"width": 5}) as saved:
        found, notes = saved.restore(tree)
    assert_equal(found, tree)
    assert notes == {"history": [{"loss": 0.1}]}
    assert json.loads((tmp_path / "config.json").read_text()) == {"width": 5}


def test_what_the_caller_changes_after_save_is_not_saved(tmp_path, monkeypatch):
    """orbax turns notes into JSON in the background: late here, and by chance in a run."""
    late, write = threading.Event(), ocp.JsonCheckpointHandler._save_fn

    async def waits(*given):
        late.wait()
        await write(*given)

    monkeypatch.setattr(ocp.JsonCheckpointHandler, "_save_fn", waits)
    history = [{"loss": 0.5}]
    with checkpoints(tmp_path) as saved:
        saved.save(1, PARAMS, notes=history)
        history.append({"loss": 0.25})
        late.set()
    with checkpoints(tmp_path) as saved:
        assert saved.restore(PARAMS)[1] == history[:1]


def test_the_last_two_are_kept_and_the_best(tmp_path):
    with checkpoints(tmp_path / "a") as saved:
        for step in range(5):
            saved.save(step, PARAMS)
    with checkpoints(tmp_path / "b", keep=1) as saved:
        for step, metric in enumerate((3.0, 1.0, 2.0, 2.5)):
            saved.save(step, PARAMS, metric=metric)
    assert steps(tmp_path / "a") == [3, 4]
    assert steps(tmp_path / "b") == [1, 3]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"width": 6, "depth": 2}, "width was 5; now it is 6"),
        ({"width": 5, "depth": 3}, "depth was 2; now it is 3"),
        ({"width": 5}, "depth was 2; now it is None"),
    ],
)
def test_another_configuration_is_refused_by_the_first_setting_that_differs(config, message, tmp_path):
    with checkpoints(tmp_path, {"width": 5, "depth": 2}):
        pass
    with pytest.raises(CheckpointError, match=message), checkpoints(tmp_path, config):
        pass


def test_a_configuration_that_is_none(tmp_path):
    for text in ("[]", "{", "null"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match="holds no configuration"), checkpoints(tmp_path):
            pass


@pytest.mark.parametrize("like", [{"x": jnp.zeros(3)}, {"w": jnp.zeros(4)}, {"w": jnp.zeros(3), "b": jnp.zeros(2)}])
def test_another_tree_is_refused(like, tmp_path):
    with checkpoints(tmp_path) as saved:
        saved.save(1, {"w": jnp.zeros(3)})
    with pytest.raises(CheckpointError, match="checkpoint 1 cannot be restored"), checkpoints(tmp_path) as saved:
        saved.restore(like)


def test_damage_is_one_error(tmp_path):
    with checkpoints(tmp_path) as saved:
        saved.save(1, {"w": jnp.arange(1000.0)})
    for file in (tmp_path / "states" / "1" / "tree").rglob("*"):
        if file.is_file() and file.stat().st_size > 100:
            file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(CheckpointError, match="checkpoint 1 cannot be restored"), checkpoints(tmp_path) as saved:
        saved.restore({"w": jnp.zeros(1000)})


# ---------------------------------------------------------------- weights


def test_weights_have_their_names_and_come_back_to_the_bit(tmp_path):
    from safetensors.numpy import load_file

    save_weights(tmp_path / "w.safetensors", PARAMS)
    names = {"hidden.b", "hidden.w", "norm.beta", "norm.gamma", "norm.population.mean", "norm.population.var"}
    assert set(load_file(tmp_path / "w.safetensors")) == set(named_leaves(PARAMS)) == names | {"out.0.b", "out.0.w"}
    shapes = jax.eval_shape(lambda: PARAMS)
    assert_equal(load_weights(tmp_path / "w.safetensors", shapes), PARAMS)
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    save_weights(tmp_path / "w.safetensors", low)
    assert_equal(load_weights(tmp_path / "w.safetensors", low), low)
    assert os.listdir(tmp_path) == ["w.safetensors"]


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"a": {"w": np.zeros((3, 5))}, "b": np.zeros(2)}, r"a\.w has shape \(3, 4\); expected \(3, 5\)"),
        ({"a": {"v": np.zeros((3, 4))}, "b": np.zeros(2)}, r"there is no a\.v; expected float64 \(3, 4\)"),
        ({"a": {"w": np.zeros((3, 4))}}, "'b' is not expected: the network has no such parameter"),
        ({"a": {"w": np.zeros((3, 4), np.float32)}, "b": np.zeros(2)}, r"a\.w has dtype float64; expected float32"),
    ],
)
def test_the_first_leaf_that_differs_is_named(like, message, tmp_path):
    save_weights(tmp_path / "w.safetensors", {"a": {"w": np.ones((3, 4))}, "b": np.ones(2)})
    with pytest.raises(CheckpointError, match=message):
        load_weights(tmp_path / "w.safetensors", like)


@pytest.mark.parametrize("content", [b"", b"not weights", b"\xff" * 8 + b"{}", (10**12).to_bytes(8, "little") + b"{}"])
def test_what_are_no_weights(content, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load_weights(tmp_path / "w.safetensors", PARAMS)
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load_weights(tmp_path / "missing", PARAMS)


# ---------------------------------------------------------------- faults of the system


def test_what_others_leave_behind_is_not_printed_and_all_else_is(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    checkpoint._report_once.__wrapped__()

    async def of_ours(): ...

    filename = ocp.__file__  # as if orbax had written it
    of_orbax = types.FunctionType(of_ours.__code__.replace(co_filename=filename), {})
    coroutines = [of_ours(), of_orbax()]
    for error, thing in [("Event loop is closed", None), ("unread", coroutines[1]), ("unread", coroutines[0])]:
        sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError(error), object=thing))
    for coroutine in coroutines:
        coroutine.close()
    assert [unraisable.object for unraisable in seen] == [coroutines[0]]


FULL = """
import resource, sys, time
import jax
from funcnet.checkpoint import CheckpointError, checkpoints
tree = [jax.random.normal(jax.random.key(i), (300, 300)) for i in range(12)]
try:
    with checkpoints("run") as saved:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        for step in range(3):
            saved.save(step, tree)
            time.sleep(0.3)
except CheckpointError as error:
    sys.exit(str(error))
"""


def test_a_file_that_cannot_grow_in_the_background_is_one_line(tmp_path):
    """Threads of tensorstore write; when one fails, the others find that nobody waits for them."""
    run = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == f"{tmp_path / 'run'}: a checkpoint cannot be written: File too large\n"


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **settings):
        if name.split(".")[0] in ("orbax", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **settings)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"need orbax.*pip install \"funcnet\[checkpoint\]\""), checkpoints(tmp_path):
        pass
    with pytest.raises(ImportError, match=r"need safetensors.*; run: pip install"):
        save_weights(tmp_path / "w", PARAMS)


def test_every_dtype_comes_back_and_others_files_too(tmp_path):
    from safetensors.numpy import save_file

    tree = {"low": jnp.ones((3, 2), jnp.bfloat16), "count": jnp.arange(3, dtype=jnp.int32), "one": jnp.float32(2)}
    digest = save_weights(tmp_path / "a.safetensors", tree)
    assert_equal(load_weights(tmp_path / "a.safetensors", tree, digest), tree)
    for metadata in (None, {"format": "pt"}):
        save_file({"w": np.arange(6.0).reshape(2, 3)}, tmp_path / "b.safetensors", metadata)
        found = load_weights(tmp_path / "b.safetensors", {"w": np.zeros((2, 3))})
        np.testing.assert_array_equal(found["w"], np.arange(6.0).reshape(2, 3))


def test_other_values_than_were_saved_are_refused(tmp_path):
    path, tree = tmp_path / "a.safetensors", {"w": np.ones(3), "v": np.zeros(3)}
    save_weights(path, tree)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: these are not the values that were saved"):
        load_weights(path, tree)
    digest = save_weights(path, tree)
    save_weights(path, {"w": np.zeros(3), "v": np.zeros(3)})
    with pytest.raises(CheckpointError, match="these are not the values that were saved"):
        load_weights(path, tree, digest)
    path.write_bytes(path.read_bytes().replace(b"sha256", b"sha257"))
    with pytest.raises(CheckpointError, match="its metadata are damaged"):
        load_weights(path, tree)


def test_a_flipped_bit_in_a_checkpoint_is_seen(tmp_path):
    """In the values, which nothing of the format guards."""
    tree = {"w": np.random.default_rng(0).normal(size=2000)}  # noise, which cannot be compressed
    with checkpoints(tmp_path) as saved:
        saved.save(1, tree, notes=[0.5])
    paths = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 8000]
    whole = paths[0].read_bytes()
    for place in (len(whole) // 2, len(whole) // 3):
        for path in paths:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with checkpoints(tmp_path) as saved, pytest.raises(CheckpointError, match="checkpoint 1"):
            saved.restore(tree)
    for path in paths:
        path.write_bytes(whole)
    notes = tmp_path / "states" / "1" / "notes" / "metadata"
    notes.write_text(notes.read_text().replace("0.5", "0.6"))
    with checkpoints(tmp_path) as saved, pytest.raises(CheckpointError, match="holds other values than were saved"):
        saved.restore(tree)
