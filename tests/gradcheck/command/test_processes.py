"""Hostile files: each is judged in a process of its own, and whatever it does there, one line says how it ended."""

import pytest

from funcnet.gradcheck.command.processes import isolated
from funcnet.gradcheck.command.worker import Asked, Checked, Listed, Refused

HEAD = """
import os, signal, sys, threading, time
import jax, jax.numpy as jnp, numpy as np
from jaxtyping import Array, Float

def right_fwd(x: Float[Array, "N"]):
    return x + x, ()

def right_bwd(_, dy):
    return (dy + dy,)

def bad_fwd(x: Float[Array, "N"]):
    return x, ()

"""

DURING = {  # what a backward does: how its check ended
    "while True: pass": "it did not end in 4 s (--timeout)",
    "os._exit(0)": "its process ended itself, with status 0",
    "os.kill(os.getpid(), signal.SIGSEGV)": "its process was ended by SIGSEGV",
    "os.closerange(3, 1000)": "its process ended itself, with status ",
    "kept = [np.ones(10**7) for _ in range(20)]; time.sleep(100)": "it took more than 1.25 GiB of memory (--memory)",
}


def outcome(path, text):
    path.write_text(text)
    asked = Asked(quick=True, timeout=4.0 if "while" in text else 60.0)
    return list(isolated(str(path), asked, memory=1.25, grace=0.0))


@pytest.mark.parametrize("does", DURING)
def test_the_others_are_still_checked(tmp_path, does):
    text = HEAD + f"def bad_bwd(_, dy):\n    {does}\n\nother_fwd, other_bwd = right_fwd, right_bwd\n"
    listed, right, bad = outcome(tmp_path / "hostile.py", text)
    assert listed == Listed(("right", "bad"))
    assert (right.name, right.verdict) == ("right", "correct")
    assert (bad.name, bad.verdict, bad.report) == ("bad", "cannot be checked", None)
    assert bad.reason.startswith(DURING[does])


@pytest.mark.parametrize(
    ("does", "said"),
    {
        "while True: pass": "it did not end in 4 s (--timeout)",
        "os._exit(0)": "its process ended itself, with status 0",
        "raise KeyboardInterrupt": "hostile.py:15: KeyboardInterrupt",
        "raise BaseException('x' * 5000)": "hostile.py:15: BaseException: xxx",
        "sys.exit()": "hostile.py:15: SystemExit",
        "__all__ = 5": "checked_hostile.__all__ is no list of names; got 5",
    }.items(),
)
def test_a_file_that_cannot_be_opened_is_refused(tmp_path, does, said):
    (refused,) = outcome(tmp_path / "hostile.py", HEAD + does + "\n")
    assert isinstance(refused, Refused)
    assert said in refused.reason


def test_a_thread_that_never_ends_does_not_hold_the_command(tmp_path):
    text = HEAD.replace("bad_", "_") + "threading.Thread(target=lambda: time.sleep(1000)).start()\n"
    _, right = outcome(tmp_path / "hostile.py", text)
    assert isinstance(right, Checked)
    assert right.verdict == "correct"
