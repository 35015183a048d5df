"""Ctrl-C ends a command at once, with status 130 and no traceback.

Python would raise KeyboardInterrupt in the main thread, wherever it stands. While XLA compiles or runs, that is late,
since the thread is then in C++. In a destructor or a callback the exception is lost. And as the interpreter unwinds
and ends, XLA's threads still run on what it tears down: one command in five crashed. Instead, C's own handler writes a
byte to a pipe, and a thread that waits for it ends the process. No state is lost: a run writes each file as a whole or
not at all, and goes on after a SIGKILL at any moment.

This is for commands alone: nobody's own program that imports funcnet is changed. It imports the standard library alone,
and comes before every other import, so that an interrupt while jax is imported ends as well.
"""

from __future__ import annotations

import os
import sys
from _signal import (  # type: ignore[import-not-found]  # builtin, so at once
    SIG_IGN,
    SIGINT,
    default_int_handler,
    getsignal,
    set_wakeup_fd,
    signal,
)

COMMANDS = ("funcnet", "experiments")
STATUS = 130  # 128 + SIGINT, by which shells know
PATIENCE = 1.0  # seconds for what waits in a buffer; a reader that has stopped reading does not hold the process


def is_command(packages: tuple[str, ...] = COMMANDS, script: str = "funcnet") -> bool:
    """Whether this process was started as ``python -m PACKAGE...``, or by the script of that name."""
    arguments = iter(sys.orig_argv[1:])
    for argument in arguments:
        if argument.startswith("-m"):
            module = argument[2:] or next(arguments, "")
            return module.split(".")[0] in packages
        if argument in ("-X", "-W"):
            next(arguments, "")
        elif not argument.startswith("-") or argument.startswith("-c"):
            return os.path.basename(argument) in (script, f"{script}.exe")
    return False


# In the background of a shell a command is to ignore interrupts.
_installed = is_command() and getsignal(SIGINT) is default_int_handler
if _installed:
    signal(SIGINT, lambda number, frame: os._exit(STATUS))  # until there is a thread; even these imports take time

import atexit  # noqa: E402
import contextlib  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

_leftovers: set[Path] = set()


@contextlib.contextmanager
def left_over(path: Path) -> Iterator[None]:
    """Removes a partial file when the block ends, or the process, unless it has been renamed by then."""
    _leftovers.add(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        _leftovers.discard(path)


def _install() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_watch, args=(reader,), daemon=True, name="interrupts").start()
    set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal(SIGINT, _wait)
    atexit.register(signal, SIGINT, SIG_IGN)  # registered first, so last: all is done by then


def _wait(number: int, frame: object) -> None:
    """Holds the main thread, so that it does not go on, and end with another status, before the process ends."""
    time.sleep(10 * PATIENCE)


def _watch(reader: int) -> None:
    while SIGINT not in os.read(reader, 1):  # the pipe also tells of other signals
        pass
    end()


def end(status: int = STATUS) -> None:
    """Ends the process: removes what is half done, writes out what was printed, and leaves the rest as it is."""
    deadline = threading.Timer(PATIENCE, os._exit, (status,))
    deadline.daemon = True
    deadline.start()
    for path in list(_leftovers):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    with contextlib.suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")  # a progress bar hides the cursor
    os._exit(status)


if _installed:
    _install()
