"""Standard output that is full or closed ends a command in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECK = "-m funcnet check funcnet.ops.shapes --quick"


@pytest.mark.parametrize(
    ("redirection", "message"),
    [(">/dev/full", "funcnet: standard output or error: No space left on device"),
     (">&-", "funcnet: standard output is closed")],
)  # fmt: skip
def test_standard_output_that_takes_nothing(redirection, message):
    done = subprocess.run(f"{sys.executable} {CHECK} {redirection}", shell=True, cwd=ROOT, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1] == message
    assert b"Traceback" not in done.stderr
