"""Hostile calls in short form; all of it: ``python -m tests.hostile``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_hostile_calls_end_with_one_line():
    command = [sys.executable, "-m", "tests.hostile", "--calls", "20", "--seed", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "FUNCNET_DATA_DIR"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 calls" in done.stdout
