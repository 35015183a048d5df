"""What a student's process may not do. No points rest on it: those are for arrays that it cannot know.

It keeps honest students from mistakes and most others from harm; it is no sandbox. What can be reached by native code
can be reached. Whoever does not trust the class runs the command in a container.
"""

import _posixsubprocess
import contextlib
import importlib
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..gradcheck.engine.underived import refuse_autodiff

LIBRARIES = {
    "aesara", "autograd", "casadi", "chainer", "funcnet", "mxnet", "numdifftools", "pytensor", "sympy", "tensorflow",
    "theano", "tinygrad", "torch",
}  # fmt: skip  # of derivatives; and ours, which has every backward
WAYS_OUT = {"_posixsubprocess", "_xxsubinterpreters", "_interpreters", "interpreters"}
TAYLOR = "jax.experimental.jet"  # has derivatives of its own
REFUSED = ("os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "subprocess.", "pty.", "socket.",
           "ctypes.", "gc.get_", "signal.pthread_kill", "resource.", "os.putenv")  # fmt: skip
OF_PATHS = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
            "os.chown", "os.utime", "shutil.", "os.setxattr")  # fmt: skip
READING = ("os.listdir", "os.scandir", "os.chdir", "glob.")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
HARMLESS = ("/dev/null", "/dev/urandom")
LARGEST_FILE = 1 << 20  # bytes, also of what is printed


def limit(seconds: float, memory: float) -> None:
    """Limits of the system: CPU time and ``memory`` MiB more than now, and the size of files."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + 2 * seconds) + 1,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm") as file:  # elsewhere the grader watches
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + int(memory * 2**20),) * 2)


def _refused(*args: Any) -> Any:
    raise PermissionError("modules are not loaded again, and no processes started, in homework")


def below(path: Any, places: Sequence[str]) -> bool:
    """Whether a path, or what it links to, is one of these or lies in one."""
    real = os.path.realpath(os.fsdecode(path))
    return any(real == place or real.startswith(place.rstrip("/") + "/") for place in map(os.path.realpath, places))


def close(home: Path, readable: Sequence[str], hidden: Sequence[str]) -> None:
    """From now on Python refuses other processes, the network, autodiff, and files.

    ``home`` may be written, ``readable`` folders may be read but for those that are ``hidden``.
    """
    refuse_autodiff()
    importlib.reload = _refused  # type: ignore[assignment]
    for module in (_posixsubprocess, subprocess):  # what starts a process without an event
        for name in {"fork_exec", "_fork_exec"} & vars(module).keys():
            setattr(module, name, _refused)
    os.environ.clear()
    loaded = frozenset(sys.modules)  # what is taken out of it would come back with its derivatives
    for name in [name for name in sys.modules if name.partition(".")[0] in LIBRARIES | WAYS_OUT]:
        del sys.modules[name]
    own = [os.path.realpath(home)]

    def may_read(path: Any) -> bool:
        return isinstance(path, int) or path in HARMLESS or below(path, own) or (
            below(path, readable) and not below(path, hidden)
        )  # fmt: skip

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            allowed = may_read(path) and (not (flags or 0) & WRITES or isinstance(path, int) or path in HARMLESS
                                          or below(path, own))  # fmt: skip
        elif event == "import":
            name = args[0].partition(".")[0]
            if name in LIBRARIES | WAYS_OUT or args[0] in loaded or args[0] == TAYLOR:
                raise ImportError(f"{args[0]} is not there for homework")
            return
        elif event.startswith(OF_PATHS):
            allowed = all(below(arg, own) for arg in args if isinstance(arg, str | bytes | os.PathLike))
        elif event.startswith(READING):
            allowed = not args or args[0] is None or may_read(args[0])
        else:
            allowed = not event.startswith(REFUSED)
        if not allowed:
            shown = f" {os.fsdecode(args[0])}" if args and isinstance(args[0], str | bytes) else ""
            raise PermissionError(f"{event}{shown:.80} is not allowed in homework")

    sys.addaudithook(watch)
