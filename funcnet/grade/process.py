"""A student's process as the grader sees it: asked, waited for, and ended."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..gradcheck.command.processes import ending, memory_of
from ..streams import plain
from .wire import HEAD, WireError, pack, sizes, unpack

GRACE = 120.0  # seconds for the start of the process, before any of the student's code runs
SHOWN = 20  # lines of what a student's code prints
START = "import sys; sys.path[:] = {path!r}; from funcnet.grade.child import main; main({ends})"


class Ended(BaseException):  # no Exception: what calls a student's backward must not take it for the backward's
    """The process is no more; ``status`` in a word or two, and the reason in a line."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Child:
    """A process that waits for a student's files.

    ``seconds`` are for the answers to each of ``tasks``, ``memory`` is in MiB. Its standard output is a file that
    nobody reads but for the report. It is the head of a session of its own, which is ended as a whole.
    """

    def __init__(self, seconds: float, memory: float, tasks: int):
        self.seconds, self.memory, self.tasks = seconds, memory, tasks
        self.left = seconds
        self.home = Path(tempfile.mkdtemp(prefix="funcnet-grade-"))
        self.printed = tempfile.TemporaryFile()  # noqa: SIM115  (closed by end)
        theirs_in, self.to = os.pipe()
        self.of, theirs_out = os.pipe()
        path = [os.path.abspath(place) for place in sys.path]
        code = START.format(path=path, ends=f"{theirs_in}, {theirs_out}, {os.getpid()}")
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-u", "-c", code], cwd=self.home, env=_environment(self.home),
            stdin=subprocess.DEVNULL, stdout=self.printed, stderr=self.printed, pass_fds=(theirs_in, theirs_out),
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        os.set_blocking(self.to, False)
        os.set_blocking(self.of, False)

    def begin(self, files: dict[str, bytes]) -> Any:
        """Gives it the files, by name, and returns what it finds in them. Raises Ended."""
        for name, content in files.items():
            (self.home / name).write_bytes(content)
        self._answer(time.monotonic() + GRACE)
        return self.ask({"files": list(files), "seconds": self.seconds * (self.tasks + 1), "memory": self.memory})

    def ask(self, message: Any) -> Any:
        """What it answers. Raises Ended if it does not, in time and in a form that can be read."""
        start = time.monotonic()
        until = start + self.left
        try:
            self._send(pack(message), until)
            return self._answer(until)
        finally:
            self.left -= time.monotonic() - start

    def _answer(self, until: float) -> Any:
        try:
            first, second = sizes(self._receive(HEAD.size, until))
            return unpack(self._receive(first, until), self._receive(second, until))
        except WireError as error:
            raise Ended("no answer", str(error)) from None

    def _send(self, content: bytes, until: float) -> None:
        left = memoryview(content)
        while left:
            self._wait([], [self.to], until)
            try:
                left = left[os.write(self.to, left) :]
            except BrokenPipeError:
                raise self._over() from None

    def _receive(self, count: int, until: float) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            self._wait([self.of], [], until)
            part = os.read(self.of, min(count - len(parts), 1 << 20))
            if not part:
                raise self._over()
            parts += part
        return bytes(parts)

    def _wait(self, read: list[int], write: list[int], until: float) -> None:
        while not any(select.select(read, write, [], 0.1)):
            if self.process.poll() is not None and not any(select.select(read, write, [], 0)):
                raise self._over()
            if time.monotonic() > until:
                raise Ended("timed out", f"it did not end in {self.seconds:g} s (--timeout)")
            if memory_of(self.process.pid) * 1024 > self.memory + 2048:  # MiB; where no other limit holds
                raise Ended("crashed", f"it took more than {self.memory:g} MiB of memory (--memory)")

    def _over(self) -> Ended:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        status = self.process.returncode
        if status in (-signal.SIGXCPU, -signal.SIGKILL) and self.left < 1:
            return Ended("timed out", f"it did not end in {self.seconds:g} s (--timeout)")
        return Ended("crashed", ending(status))

    def end(self) -> list[str]:
        """Ends the process and all that it started, removes its files, and returns the last lines that it printed."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.to)
        os.close(self.of)
        with self.printed as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8192))
            lines = file.read().decode("utf-8", "replace").splitlines()
        shutil.rmtree(self.home, ignore_errors=True)
        return [plain(line)[:200] for line in lines[-SHOWN:]]


def _environment(home: Path) -> dict[str, str]:
    """Nothing of the grader's own; one thread, so that a limit of memory is one of arrays."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {"HOME": str(home), "PATH": os.defpath, "LANG": "C.UTF-8", "JAX_PLATFORMS": "cpu"} | dict.fromkeys(
        threads, "1"
    )


class Nursery:
    """Children in advance: one starts while another is asked."""

    def __init__(self, seconds: float, memory: float, tasks: int):
        self.limits = (seconds, memory, tasks)
        self.waiting: list[Child] = []

    def child(self, more: bool = True) -> Child:
        """A child that nobody has asked. ``more``: another one will be wanted."""
        found = self.waiting.pop() if self.waiting else Child(*self.limits)
        if more:
            self.waiting.append(Child(*self.limits))
        return found

    def close(self) -> None:
        for child in self.waiting:
            child.end()
