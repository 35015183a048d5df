"""A process for each target, with limits of time and memory: whatever it does, one line says how it ended."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from ..engine.leaves import first_line
from .worker import CANNOT, Asked, Checked, Listed, Refused, Started, examined

DONE = "done"
GRACE = 5.0  # seconds more than it is given, as a check ends by itself between two steps


def isolated(target: str, asked: Asked, memory: float, grace: float = GRACE) -> Iterator[Listed | Checked | Refused]:
    """What ``examined`` yields, from a process of its own, which may take ``memory`` GiB.

    The import, and each check after it, may take ``asked.timeout`` seconds. A check that does not end in time, takes
    too much memory or ends the process cannot be checked; another process goes on with the next one.
    """
    known: set[str] = set()
    while True:
        name, ended = "", ""
        for event in _events(target, asked, memory, grace, known):
            if isinstance(event, str):
                ended = event
            elif isinstance(event, Started):
                name = event.name
            elif isinstance(event, Checked):
                known.add(event.name)
                yield event
            elif not (isinstance(event, Listed) and known):
                yield event
        if ended == DONE:
            return
        if not name or name in known:
            yield Refused(f"{target} {CANNOT}: {ended}")
            return
        known.add(name)
        yield Checked(name, CANNOT, reason=ended)


def _events(target: str, asked: Asked, memory: float, grace: float, known: Collection[str]) -> Iterator[Any]:
    """The events of one process, then a text: DONE, or how it ended."""
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(kind)
    context.set_forkserver_preload(["funcnet.gradcheck.command.worker"])  # the import of jax, once and not once a file
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, os.getcwd(), target, asked, frozenset(known)), daemon=True)
    process.start()
    theirs.close()
    try:
        while True:
            event = _next(ours, process, asked.timeout, memory, grace)
            yield event
            if isinstance(event, str):
                return
    finally:
        process.kill()  # threads of its own may never end
        process.join()
        ours.close()


def _next(ours: Connection, process: Any, seconds: float, memory: float, grace: float) -> Any:
    """The next event, or how the process ended."""
    until = time.monotonic() + seconds + grace
    while time.monotonic() < until:
        try:
            if ours.poll(0.1):
                return ours.recv()
        except Exception:  # it was closed, or what was written into it is no event
            process.join(1)
            return ending(process.exitcode)
        if memory_of(process.pid) > memory:
            return f"it took more than {memory:.3g} GiB of memory (--memory)"
    return f"it did not end in {seconds:g} s (--timeout)"


def ending(status: int | None) -> str:
    """How a process ended, in words."""
    if status is None:
        return "its process wrote what is no result"
    if status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    return f"its process ended itself, with status {status}"


def memory_of(pid: int) -> float:
    """The GiB that a process has in memory; 0 on a system that does not say so in /proc."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
    return 0.0


def _serve(theirs: Connection, cwd: str, target: str, asked: Asked, known: Collection[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends this process
    command = multiprocessing.parent_process()
    assert command is not None
    low, high = sorted((theirs.fileno(), int(command.sentinel)))
    for start, end in ((3, low), (low + 1, high), (high + 1, 4096)):  # multiprocessing's own, which code may write into
        os.closerange(start, end)
    threading.Thread(target=_end_with, args=(command.sentinel,), daemon=True).start()
    os.dup2(2, 1)  # what the checked code prints does not mix with the result
    sys.stdout = sys.stderr
    os.chdir(cwd)
    with suppress(OSError):  # nobody reads it any more
        try:
            for event in examined(target, asked, known):
                theirs.send(event)
        except BaseException as error:  # what no handler foresees is still one line
            theirs.send(Refused(f"{target} {CANNOT}: {type(error).__name__}: {first_line(error)}"))
        theirs.send(DONE)
    os._exit(0)  # its threads and its handlers at exit may never end


def _end_with(sentinel: int) -> None:
    """A command that is killed leaves nothing behind that loops."""
    wait([sentinel])
    os._exit(1)
