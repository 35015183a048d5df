"""The command for a GPU, at small sizes on whatever is here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from experiments.benchmarks import accelerator

CPU = os.environ | {"JAX_PLATFORMS": "cpu"}


@pytest.mark.parametrize(
    ("parts", "count"),
    [(("loss", "norms"), 9), pytest.param(("mnist", "gpt2"), 3, marks=pytest.mark.slow)],
)
def test_all_but_the_checker_at_small_sizes(parts, count, tmp_path, capsys):
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        accelerator.main(accelerator.Config(quick=True, parts=parts), tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text())["measured"]
    assert len(found) == count
    assert found.get("digits to 0.9", {"accuracy": 1})["accuracy"] >= 0.9
    for what, figures in found.items():
        assert "said" not in figures, (what, figures)
        assert figures["compilation, s"] > 0
    assert "compilation, s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parts", "mnist", "audio"], "--parts are of checker, mnist, gpt2, loss, norms; got audio"),
        ([], "no accelerator"),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path):
    command = [sys.executable, "-m", "experiments.benchmarks.accelerator", "--out", tmp_path / "out", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], env=CPU)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
    assert said in ended.stderr
