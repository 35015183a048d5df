"""Ctrl-C in a command; the long form is ``python -m tests.interrupts``."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import funcnet_interrupts
from tests.interrupts import interrupted

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_random_interrupts_end_a_command():
    found = interrupted(3, seed=1, commands=("digits",))
    assert all(struck.well for struck in found), found


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-m", "experiments.digits", "--out", "x"], True),
        (["-X", "dev", "-m", "funcnet", "check"], True),
        (["-mfuncnet"], True),
        (["/usr/bin/funcnet", "check"], True),
        (["-m", "pytest", "-m", "funcnet"], False),
        (["train.py", "-m", "funcnet"], False),
        (["-c", "import funcnet"], False),
        ([], False),
    ],
)
def test_only_our_own_commands_are_changed(arguments, expected, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", *arguments])
    assert funcnet_interrupts.is_command() is expected


def test_importing_funcnet_changes_no_program():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    code = "import signal, funcnet; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_partial_file_goes_with_the_process(tmp_path):
    code = (
        f"import funcnet_interrupts as f, pathlib; p = pathlib.Path({str(tmp_path / 'part')!r}); p.write_text('x')\n"
        "with f.left_over(p): print('said', end=''); f.end()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, os.listdir(tmp_path)) == (130, "said", [])
