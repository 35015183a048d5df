"""The benchmark of training, as a command."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--networks", "9"], "--networks are numbers from 0 to 7; got (9,)"),
        (["--peers", "tensorflow"], "--peers are of jax.grad of the same, numpy, torch"),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path):
    command = [sys.executable, "-m", "experiments.benchmarks.training", "--out", tmp_path / "out", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
    assert said in ended.stderr
