import json
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from experiments import harness, rundir

NOTHING = {"experiment": "probe"}


def run(arguments, monkeypatch, main=lambda config, out: harness.finish(out, "probe", config, {"score": 1})):
    monkeypatch.setattr(sys, "argv", ["probe", *arguments])
    harness.run("probe", main, harness.Config, "A probe.")


def refused(arguments, monkeypatch, capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        run(arguments, monkeypatch, lambda config, out: pytest.fail("was run"))
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("python -m experiments.probe: ")


def interrupted(arguments, monkeypatch):
    def main(config, out):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        run(arguments, monkeypatch, main)


@pytest.fixture(autouse=True)
def in_a_directory_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def test_every_run_has_a_fresh_directory_and_latest_is_the_newest(monkeypatch):
    for _ in range(3):
        run([], monkeypatch)
    runs = Path("runs/probe")
    assert sorted(path.name for path in runs.iterdir()) == ["001", "002", "003", "latest"]
    assert (runs / "latest").resolve() == (runs / "003").resolve()
    assert json.loads((runs / "latest" / "config.json").read_text())["experiment"] == "probe"
    assert "wrote runs/probe/003/metrics.json" in (runs / "latest" / "log.txt").read_text()


def test_a_run_is_not_overwritten_unless_asked(monkeypatch, capsys):
    run(["--out", "here"], monkeypatch)
    Path("here/checkpoints").mkdir()
    Path("here/notes.txt").write_text("mine")
    capsys.readouterr()
    assert refused(["--out", "here"], monkeypatch, capsys) == "--out here holds a finished run; --overwrite replaces it"
    assert refused(["--out", "here", "--resume"], monkeypatch, capsys).endswith("--overwrite replaces it")
    run(["--out", "here", "--overwrite", "--seed", "7"], monkeypatch)
    assert json.loads(Path("here/metrics.json").read_text())["config"]["seed"] == 7
    assert not Path("here/checkpoints").exists()
    assert Path("here/notes.txt").read_text() == "mine"


def test_only_what_was_begun_can_be_resumed_and_with_the_same_settings(monkeypatch, capsys):
    assert refused(["--resume"], monkeypatch, capsys) == "--resume: there is no unfinished run in runs/probe"
    assert refused(["--resume", "--out", "new"], monkeypatch, capsys) == "--resume: there is no run in new"
    interrupted(["--seed", "3"], monkeypatch)
    run([], monkeypatch)
    line = refused(["--resume", "--seed", "4"], monkeypatch, capsys)
    assert line == "runs/probe/001/config.json: seed was 3; now it is 4"
    run(["--resume", "--seed", "3"], monkeypatch)
    assert Path("runs/probe/001/metrics.json").exists()
    interrupted(["--out", "half"], monkeypatch)
    assert "holds an unfinished run; --resume goes on" in refused(["--out", "half"], monkeypatch, capsys)
    run(["--out", "half", "--resume"], monkeypatch)


def test_two_runs_into_one_directory_at_once_are_refused(monkeypatch, capsys):
    Path("here").mkdir()
    with filelock.FileLock("here/.lock"):
        assert refused(["--out", "here"], monkeypatch, capsys) == "here: another run is writing there"
    run(["--out", "here"], monkeypatch)


def test_what_is_remembered_is_not_computed_again(tmp_path):
    assert rundir.remembered(tmp_path, "a b", lambda: [1.5, None]) == [1.5, None]
    assert rundir.remembered(tmp_path, "a b", lambda: pytest.fail("was computed")) == [1.5, None]
    assert rundir.remembered(None, "a b", lambda: 2) == 2


def test_history_has_a_row_for_every_epoch_of_every_seed(tmp_path):
    results = [{"seed": s, "history": [{"epoch": e, "loss": s + e} for e in (1, 2)]} for s in (3, 4)]
    rundir.write_history(tmp_path, results)
    assert (tmp_path / "history.csv").read_text().split() == ["seed,epoch,loss", "3,1,4", "3,2,5", "4,1,5", "4,2,6"]
    rundir.write_history(tmp_path / "none", [{"seed": 1}])
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_figures(tmp_path):
    """A whole experiment, by its command line."""
    command = [sys.executable, "-m", "experiments.digits", "--epochs", "150", "--hidden", "8", "--out"]
    root = {"cwd": Path(__file__).parents[2], "capture_output": True, "text": True}
    whole = subprocess.run([*command, str(tmp_path / "whole")], **root)
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen([*command, str(tmp_path / "killed")], cwd=root["cwd"], stderr=subprocess.PIPE, text=True)
    next(line for line in process.stderr if line.startswith("epoch"))
    process.kill()
    process.communicate()
    resumed = subprocess.run([*command, str(tmp_path / "killed"), "--resume"], **root)
    assert resumed.returncode == 0, resumed.stderr
    figures = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "killed")]
    assert figures[0]["test_loss"] == figures[1]["test_loss"]
    assert figures[0]["test_accuracy"] == figures[1]["test_accuracy"]


@pytest.mark.parametrize("name", ["probe.png", "history.csv", "log.txt"])
def test_a_directory_where_a_file_shall_be_is_found_before_the_training(name, monkeypatch, capsys):
    Path("here", name).mkdir(parents=True)
    assert refused(["--out", "here"], monkeypatch, capsys) == f"--out here/{name}: Is a directory"


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_what_was_there_is_intact(tmp_path):
    """The limit on a file's size stands in for the disk: a checkpoint does not fit below it."""
    command = f"ulimit -f 64; {sys.executable} -m experiments.digits --epochs 2 --out {tmp_path}/run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    done = subprocess.run(["bash", "-c", command], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("epoch")]
    assert len(said) == 1, done.stderr
    assert said[0].endswith("a checkpoint cannot be written: File too large")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / rundir.LOG).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as raised, rundir.held(tmp_path, {}, resume=True):
        print("said")
    assert raised.value.filename == str(tmp_path / rundir.LOG)
