import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import funcnet
from experiments import harness

ROOT = Path(__file__).parent.parent.parent
SCRIPT = """
import funcnet
from experiments import harness
def main(config, out):
    {body}
harness.run("probe", main, harness.Config, "A probe.")
"""


def run(arguments, main, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["probe", "--out", str(tmp_path), *arguments])
    harness.run("probe", main, harness.Config, "A probe.")


def test_main_gets_the_flags_and_a_directory_that_exists(monkeypatch, tmp_path):
    got = []
    run(["--seed", "3", "--seeds", "2"], lambda config, out: got.append((config, out)), monkeypatch, tmp_path / "new")
    ((config, out),) = got
    assert (config.seed, config.seeds, config.quick) == (3, 2, False)
    assert out == tmp_path / "new"
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "log.txt"]  # no lock, no empty metrics


BAD = [
    (["--seed", "-1"], "--seed is at least 0; got -1"),
    (["--seed", "4294967295", "--seeds", "2"], "seeds are at most 4294967295"),
    (["--data-dir"], "--data-dir: expected one argument"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda value: " ".join(value) if value is not str else "")
def test_bad_flags(arguments, message, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(arguments, lambda config, out: pytest.fail("was run"), monkeypatch, tmp_path)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_what_cannot_be_written_is_said_before_anything_is_computed(monkeypatch, tmp_path, capsys):
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(SystemExit) as stopped:
        run([], lambda config, out: pytest.fail("was run"), monkeypatch, tmp_path)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"python -m experiments.probe: --out {tmp_path}/metrics.json: Is a directory\n"


def test_what_cannot_be_written_in_the_end(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run([], lambda config, out: (out / "gone" / "picture.png").write_text(""), monkeypatch, tmp_path)
    assert stopped.value.code == 2
    assert "gone/picture.png: No such file" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):  # another file is not the fault of --out
        run(["--overwrite"], lambda config, out: Path("/nowhere/else").read_text(), monkeypatch, tmp_path)


def test_an_interrupt_is_status_130(monkeypatch, tmp_path):
    def main(config, out):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        run([], main, monkeypatch, tmp_path)
    assert stopped.value.code == 130


@pytest.mark.parametrize(
    ("body", "pipe", "output"),
    [
        ("[print(i, flush=True) for i in range(100_000)]", " | head -1", "0\n"),
        ("print('± →')", "", "? ?\n"),
    ],
    ids=["a reader that stops", "a terminal without Unicode"],
)
def test_output_never_ends_in_a_traceback(body, pipe, output, tmp_path):
    (tmp_path / "probe.py").write_text(SCRIPT.format(body=body))
    done = subprocess.run(
        f"{sys.executable} {tmp_path}/probe.py --out {tmp_path}{pipe}", shell=True, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (output, "")


def test_every_seed_has_its_own_run_and_its_own_time():
    config = harness.Config(seed=5, seeds=3)
    results = harness.over_seeds(config, lambda seed: {"square": seed * seed})
    assert [(result["seed"], result["square"]) for result in results] == [(5, 25), (6, 36), (7, 49)]
    assert all(result["seconds"] > 0 for result in results)


def test_a_summary_has_mean_and_spread_of_every_figure_and_all_the_seconds():
    results = [{"seed": s, "seconds": 2.0, "score": x, "curve": [x]} for s, x in ((5, 1.0), (6, 2.0), (7, 6.0))]
    summary = harness.summarise(results)
    assert summary == {
        "seed": 5, "seeds": 3, "seconds": 6.0, "score": 3.0, "score_std": 7**0.5, "per_seed": results,
    }  # fmt: skip
    assert harness.summarise(results[:1]) == results[0]


def test_metrics_say_what_was_run_and_where(tmp_path, capsys):
    config = harness.Config(seed=3, out=tmp_path)
    harness.finish(tmp_path, "probe", config, {"score": 0.5}, tmp_path / "probe.png")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert capsys.readouterr().out == f"wrote {tmp_path}/metrics.json and {tmp_path}/probe.png\n"
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["config"] == dataclasses.asdict(config) | {"out": str(tmp_path)}
    assert (metrics["experiment"], metrics["jax"], metrics["score"]) == ("probe", jax.__version__, 0.5)
    assert metrics["device"].startswith("cpu")


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_what_must_be_positive_is_blamed_by_its_flag(value):
    with pytest.raises(harness.InputError, match=f"^--learning-rate is above 0; got {value}$"):
        harness.positive(other_rate=0.1, learning_rate=value)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_is_blamed_on_the_rate(value):
    harness.require_finite({"w": np.ones(3)}, learning_rate=9.0)
    with pytest.raises(harness.InputError, match=r"^--learning-rate 9\.0 is too large: training met NaN or infinity$"):
        harness.require_finite(({"w": np.ones(3)}, {"b": np.array([1.0, value])}), learning_rate=9.0)


# ---------------------------------------------------------------- memory


NET, ADAM = funcnet.models.mlp((1000,), 7), funcnet.optimizers.adam(0.1)


def needed(monkeypatch, **sizes):
    """The bytes that the training of NET is said to need."""
    asked = []
    monkeypatch.setattr(harness, "require_memory", asked.append)
    with jax.enable_x64(False):
        harness.require_room(NET, (5,), ADAM, **sizes)
    return asked[0]


def test_the_memory_of_a_training_is_that_of_its_arrays(monkeypatch):
    parameters = 5 * 1000 + 1000 + 1000 * 7 + 7
    few, more = (needed(monkeypatch, batch_size=size) for size in (1, 101))
    assert 4 * 4 * parameters <= few <= 4 * 4 * parameters + 20_000  # weights, gradients, two moments
    assert 100 * 4 * 1000 <= more - few <= 3 * 100 * 4 * 1000  # the hidden layer, before and after its relu
    assert needed(monkeypatch, batch_size=1, evaluated=10**6) == 4 * 10**6 * 1000
    assert needed(monkeypatch, batch_size=101, networks=3) == 3 * more


def test_sizes_beyond_the_memory_are_refused_and_nothing_is_allocated(monkeypatch):
    monkeypatch.setattr(harness, "machine_bytes", lambda: 3 << 30)
    message = r"need 4,7\d{2},\d{3}\.\d GiB of memory; there are 3\.0 GiB$"
    with jax.enable_x64(False):
        harness.require_room(NET, (5,), ADAM, batch_size=10**5)
        with pytest.raises(harness.InputError, match=message):
            harness.require_room(NET, (5,), ADAM, batch_size=10**12)


def test_the_memory_of_this_machine():
    assert 1 << 28 < harness.machine_bytes() < 1 << 50


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"mesh": "tensor=2"}, "--mesh names the axes data and model once, as in data=4,model=2; got tensor=2"),
        ({"mesh": "data=0"}, "--mesh names the axes data and model once"),
        ({"mesh": "data=2,data=2"}, "--mesh names the axes data and model once"),
        ({"shard": True}, "--shard shares out over the axis data of a --mesh"),
        ({"mesh": "data=3"}, "--batch-size 32 cannot be split evenly over data=3"),
        ({"mesh": "data=2,model=2"}, "--mesh has the axis data alone here"),
        ({"mesh": "data=16"}, "--mesh data=16 needs 16 devices; here are 8"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(flags, said):
    assert len(jax.devices()) == 8  # JAX has begun: it gets no other number of devices
    with pytest.raises(harness.InputError, match=re.escape(said)):
        harness.Mixed(**flags).places(32)


def test_a_run_over_a_mesh_may_go_on_over_another():
    assert len(jax.devices()) == 8
    there, here = (harness.settings(harness.Mixed(mesh=mesh)) for mesh in ("data=4", None))
    assert there == here
    places = harness.Mixed(mesh="data=4", shard=True).places(32)
    assert (dict(places.mesh.shape), places.fully) == ({"data": 4}, True)
