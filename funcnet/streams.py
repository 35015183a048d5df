"""Standard output and error of a command: full, closed or without a reader, they end it in one line at most."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator

BROKEN_PIPE = 141  # 128 + SIGPIPE, by which shells know


@contextlib.contextmanager
def writable_streams(prog: str) -> Iterator[None]:
    """Writes every line at once, so that a full disk is found with the first; a terminal may lack a character.

    A reader of the output may close it early (``| head``): then the exit status is 141. It is 2, after one line on
    standard error, if standard output is closed or cannot be written.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (for the rest of the process)
    if sys.stdout is None:
        _end(f"{prog}: standard output is closed", 2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace", line_buffering=True)
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _end("", BROKEN_PIPE)
    except OSError as error:
        if error.filename is not None:
            raise
        _end(f"{prog}: standard output or error: {error.strerror}", 2)


def _end(message: str, status: int) -> None:
    with contextlib.suppress(OSError):
        if message:
            print(message, file=sys.stderr, flush=True)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            continue
        with contextlib.suppress(OSError, ValueError):  # Python flushes once more as it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)
