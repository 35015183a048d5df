"""A command and its streams: bad input, and an output that is full, closed or without a reader, are one line."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

BROKEN_PIPE = 141  # 128 + SIGPIPE, by which shells know
LONGEST = 1000  # characters of an error: a name may have thousands


def plain(text: str) -> str:
    """Text without what would move a terminal's cursor."""
    return "".join(c if c.isprintable() else "·" for c in text)


def one_line(text: str) -> str:
    """Text as one line that a terminal can show, without the middle of a long one."""
    line = plain(" ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"


class Parsing:
    """Beside argparse.ArgumentParser: bad input is one line on standard error, and exit status 2."""

    prog: str

    def error(self, message: str) -> NoReturn:
        self.fail(f"{message} (see --help)")

    def fail(self, message: str) -> NoReturn:
        print(f"{self.prog}: {one_line(message)}", file=sys.stderr)
        sys.exit(2)

    def _get_values(self, action: Any, words: list[str]) -> Any:
        if words == ["--"]:  # argparse would drop it, and take an empty list for the value
            self.error(f"argument {'/'.join(action.option_strings) or action.dest}: expected a value; got '--'")
        return super()._get_values(action, words)  # type: ignore[misc]

    def _print_message(self, message: str, file: Any = None) -> None:
        if message and file is sys.stdout:
            file.write(message)  # argparse ignores an error, and a help that is lost is no success
        elif message:
            super()._print_message(message, file)  # type: ignore[misc]


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
