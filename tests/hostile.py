"""Hostile calls: whatever a command is given, it ends with one line, and never with a traceback, a hang or an abort.

python -m tests.hostile [--calls 600] [--seed 0] [--jobs 2] [--limit 15]

The calls are drawn from the parsers, so that a new flag is tried without an edit here: of every experiment, and of
``funcnet``'s subcommands on small saved runs and on broken Python files. Each is a process of its own, forked from
this one before it has a second thread: what takes seconds, the import of jax, is done once, and all else is as in
``python -m``, the end of the interpreter too. A call still at work after ``limit`` seconds is sent Ctrl-C and has to
end with 130. Exit status 1 if any outcome is a fault.
"""

import argparse
import dataclasses
import gc
import importlib
import json
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
import typing
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # before NumPy, which starts a thread a core
sys.dont_write_bytecode = True

import funcnet_interrupts  # noqa: E402
from experiments.__main__ import catalogue  # noqa: E402
from funcnet.__main__ import command_line  # noqa: E402
from tests.hostile_files import furnish  # noqa: E402

REFUSED, SAID, ANSWERED, STOPPED = "refused", "verdict", "answered", "stopped"
FAULTS = TRACEBACK, HANG, ABORT, NOISE, NONSENSE = "TRACEBACK", "HANG", "ABORT", "MANY LINES", "NONSENSE"
PATIENCE = 10.0  # seconds in which an interrupt has to end a call


class Call(NamedTuple):
    """``python -m module arguments``. ``kind`` is what is hostile; ``never`` says that it cannot succeed."""

    kind: str
    module: str
    arguments: tuple[str, ...]
    never: bool = True
    stdout: str = ""

    def __str__(self) -> str:
        shown = " ".join(repr(a) if len(a) < 100 else f"{a[:40]!r}…({len(a):,})" for a in self.arguments)
        return f"python -m {self.module} {shown}{self.stdout and f' > {self.stdout}'}"


class Outcome(NamedTuple):
    call: Call
    outcome: str
    status: int
    said: str
    seconds: float


# ---------------------------------------------------------------- values

NO_NUMBER = ["", " ", "abc", "1,5", "0x10", "1e", "--", "1 2", "None", "٣x", "1\n2", "\x1b[2J", "\udcff", "x" * 5000]
NOT_FINITE = ["nan", "inf", "-inf", "1e400", "-1e400", "NaN"]
EXTREME = ["-1", "0", "-0.0", "1e-300", "1e30", "1e308", str(2**31), str(2**32 - 1), str(2**32), str(2**63),
           str(10**12), "9" * 400, "9" * 5000, "-" + "9" * 30, "0.5", "1"]  # fmt: skip
TEXTS = ["", " ", "\n", "\x1b[2J\x07", "\udcff\udcfe", "x" * 5000, "-", "é\u202e", "a\nb"]
PLACES = [
    "nowhere", "nowhere/at/all", "folder", "", "n" * 5000, "n\nn", "/dev/null", "/dev/full", "/dev/zero", "\udcff",
    "/proc/self/mem", "/", "binary", "empty", "loop", "text/below", "~nobody/x", "text", "fifo/x",
]  # fmt: skip


class Flag(NamedTuple):
    name: str
    """With its dashes; of a positional, nothing."""
    kind: str
    """number, many, text, place, choice or switch."""


def value_of(rng: random.Random, kind: str) -> tuple[str, list[str], bool]:
    """What is hostile, the words, and whether they can never do."""
    if kind == "switch":
        return "a value for a switch", ["maybe"], True
    if kind == "choice":
        return "no such choice", [rng.choice(["", "nonsense", "x" * 5000, "\n", "5"])], True
    if kind == "place":
        return "a hostile place", [rng.choice(PLACES)], False
    if kind == "text":
        return "a hostile text", [rng.choice(TEXTS)], False
    what, values, never = rng.choice(
        [("no number", NO_NUMBER, True), ("not finite", NOT_FINITE, True), ("extreme", EXTREME, False)]
    )
    words = [rng.choice(values)]
    if kind == "many":
        words = rng.choice([words, ["3", *words], [*words, "3"], words * 3])
    return what, words, never


# ---------------------------------------------------------------- the flags, from the parsers


def experiments() -> dict[str, list[Flag]]:
    """Of every experiment; its module is forgotten again, as ``python -m`` runs it for the first time."""
    found = {}
    for name in catalogue():
        module = importlib.import_module(f"experiments.{name}")
        types = typing.get_type_hints(module.Config)
        found[f"experiments.{name}"] = [
            Flag(f"--{field.name.replace('_', '-')}", _kind(types[field.name]))
            for field in dataclasses.fields(module.Config)
        ]
        del sys.modules[module.__name__]
    return found


def _kind(annotation: Any) -> str:
    options = [option for option in typing.get_args(annotation) if option is not type(None)]
    if typing.get_origin(annotation) is typing.Literal:
        return "choice"
    if typing.get_origin(annotation) is tuple:
        return "many"
    plain = options[0] if options else annotation
    return {bool: "switch", Path: "place", str: "text"}.get(plain, "number")


def subcommands() -> dict[str, list[Flag]]:
    """Of ``funcnet``."""
    (choices,) = (action.choices for action in command_line()._actions if isinstance(action.choices, dict))
    return {
        name: [Flag(max(action.option_strings, key=len, default=""), _kind_of(action)) for action in parser._actions]
        for name, parser in choices.items()
    }


def _kind_of(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "switch"
    if action.choices:
        return "choice"
    if action.type is not None:
        return "number"
    return "text" if action.dest == "prompt" else "place"


# ---------------------------------------------------------------- the calls

ON_FILES = {
    "check": ("--quick", "--dtypes", "float64"),
    "audit": ("--no-time",),
}  # the subcommands that run Python files


def calls(count: int, seed: int, scratch: Path, only: str = "") -> list[Call]:
    """Half of experiments, half of the subcommands; or all of ``only`` one of these."""
    rng, of_experiments, of_commands = random.Random(seed), experiments(), subcommands()
    runs = ["images", "gpt", "table", "nowhere", "folder", "text", "empty_run", "unfinished", "n" * 5000, "", "n\nn"]
    broken = sorted(path.name for path in (scratch / "broken").iterdir())
    drawn = []
    for number in range(count):
        if only or number % 2:
            module, arguments = "funcnet", [only or rng.choice([*of_commands, "check", "check"])]
            flags = of_commands[arguments[0]]
            if arguments[0] in ON_FILES:
                target = (
                    f"broken/{broken[(number if only else number // 2) % len(broken)]}"
                    if rng.random() < 0.7
                    else rng.choice(PLACES)
                )
                arguments += [target, *ON_FILES[arguments[0]], "--timeout", "5"]
            else:
                run = rng.choice(runs[:3] if rng.random() < 0.6 else runs)
                inputs = rng.choice(["binary", "images.npy", "text", *PLACES])
                arguments += [run, *([inputs] if arguments[0] == "predict" else [])]
                arguments += ["-o", "exported"] * (arguments[0] == "export")
            kind = f"funcnet {arguments[0]}"
        else:
            module, flags = rng.choice(list(of_experiments.items()))
            arguments, kind = ["--quick", "--out", "out"], "experiment"
            if module.endswith("tabular"):
                arguments = [*arguments, "table.csv", "--target", "kind"]
        drawn.append(_made_hostile(rng, kind, module, arguments, flags))
    return drawn


def _made_hostile(rng: random.Random, kind: str, module: str, arguments: list[str], flags: list[Flag]) -> Call:
    chance = rng.random()
    if chance < 0.04:
        unknown = rng.choice(["--no-such", "-z", "--epoch=", "---"])
        return Call(f"{kind}: an unknown flag", module, (*arguments, unknown))
    if chance < 0.08:
        valued = [flag.name for flag in flags if flag.kind not in ("switch", "many")]
        return Call(f"{kind}: no value", module, (*arguments, rng.choice(valued)))
    if chance < 0.12:
        stdout = rng.choice(["/dev/full", "closed"])
        words = ["--help"] if rng.random() < 0.7 else [*arguments, "--no-such"]
        return Call(f"{kind}: standard output", module, (*arguments, *words), stdout=stdout)
    if kind.split()[-1] in ON_FILES and chance < 0.7:
        return Call(f"{kind}: a broken file", module, tuple(arguments), never=False)
    named = [flag for flag in flags if flag.name and flag.name not in ("--help", "--json")]
    flag = rng.choice(named) if rng.random() < 0.3 else rng.choice([f for f in named if f.kind == "number"] or named)
    what, words, never = value_of(rng, flag.kind)
    joined = len(words) == 1 and rng.random() < 0.8  # "--flag=-1", which is no other flag
    given = (f"{flag.name}={words[0]}",) if joined else (flag.name, *words)
    return Call(f"{kind}: {what}", module, (*arguments, *given), never)


# ---------------------------------------------------------------- a call


def become(call: Call, scratch: Path, output: Path) -> None:
    """Makes of this process the one that the call would be; it then runs the module, and ends as Python does."""
    place = Path(tempfile.mkdtemp(dir=scratch))
    for path in scratch.iterdir():  # its own copies: a call may overwrite
        if not path.name.startswith("tmp"):
            (place / path.name).symlink_to(path) if path.is_dir() else shutil.copy(path, place, follow_symlinks=False)
    os.chdir(place)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number, target in ((1, call.stdout or f"{output}.out"), (2, f"{output}.err")):
        if target == "closed":
            os.close(number)
            continue
        file = os.open(target, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, number)
    sys.stdout = None if call.stdout == "closed" else open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    sys.argv = [call.module, *call.arguments]
    funcnet_interrupts._install()


def judged(call: Call, status: int, interrupted: bool, seconds: float, output: Path) -> Outcome:
    said = Path(f"{output}.err").read_text("utf-8", "replace")
    out = Path(f"{output}.out")
    printed = out.read_text("utf-8", "replace") if out.exists() else ""
    lines = said.splitlines()
    outcome = {0: ANSWERED, 1: SAID, 2: REFUSED, 141: REFUSED}.get(status, ABORT)
    if "Traceback (most recent call last)" in said + printed:
        outcome = TRACEBACK
    elif interrupted:
        outcome = {130: NONSENSE if call.never else STOPPED, -signal.SIGKILL: HANG}.get(status, outcome)
    elif outcome == REFUSED and (not lines or sum(not _is_progress(line) for line in lines) > 1):
        outcome = NOISE
    elif outcome == ANSWERED and (call.never or not printed):
        outcome = NONSENSE
    return Outcome(call, outcome, status, said[-3000:], seconds)


def _is_progress(line: str) -> bool:
    """ "epoch  3/10  …" in a pipe."""
    return "/" in line.split("  ")[0] or "/" in "".join(line.split()[1:3])


# ---------------------------------------------------------------- all calls


def served(drawn: list[Call], jobs: int, limit: float, scratch: Path, found: list[Outcome]) -> Call | None:
    """Runs the calls, ``jobs`` at a time. Returns, in each child, its call."""
    waiting, running = list(enumerate(drawn)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            number, call = waiting.pop(0)
            output = scratch / f"tmp_output_{number}"
            assert len(os.listdir("/proc/self/task")) == 1, "a second thread: nothing may be forked"
            if (pid := os.fork()) == 0:
                become(call, scratch, output)
                return call
            running[pid] = (call, output, time.perf_counter(), [])
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            call, output, begun, sent = running.pop(pid)
            seconds = time.perf_counter() - begun
            found.append(judged(call, os.waitstatus_to_exitcode(status), bool(sent), seconds, output))
            if len(found) % 50 == 0:
                print(f"{len(found)} calls", file=sys.stderr, flush=True)
            continue
        for pid, (_, _, begun, sent) in running.items():
            past = time.perf_counter() - begun - limit
            if past > 0 and not sent:
                os.kill(pid, signal.SIGINT)
                sent.append(signal.SIGINT)
            elif past > PATIENCE and len(sent) == 1:
                os.kill(pid, signal.SIGKILL)
                sent.append(signal.SIGKILL)
        time.sleep(0.005)
    return None


def main() -> Call | None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="SUBCOMMAND", help="of funcnet, such as check")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=15.0, help="seconds for a call")
    parser.add_argument("--show", action="store_true", help="every call with its outcome, as JSON lines")
    arguments = parser.parse_args()
    scratch, found, begun = Path(tempfile.mkdtemp()), [], time.perf_counter()
    os.environ.setdefault("FUNCNET_DATA_DIR", str(scratch / "folder"))  # nothing is to be downloaded
    furnish(scratch)
    drawn = calls(arguments.calls, arguments.seed, scratch, arguments.only)
    del sys.modules["funcnet.__main__"]
    gc.freeze()  # or each child would write to, and so copy, the memory that they share
    if (call := served(drawn, arguments.jobs, arguments.limit, scratch, found)) is not None:
        return call
    shutil.rmtree(scratch)
    for outcome in found:
        if arguments.show:
            print(json.dumps([str(outcome.call), *outcome[1:]]))
        elif outcome.outcome in FAULTS:
            how = f"{outcome.outcome}, status {outcome.status}, {outcome.seconds:.1f} s"
            print(f"{how}: {outcome.call}\n{outcome.said}")
    counts = Counter((outcome.call.kind, outcome.outcome) for outcome in found)
    columns = [name for name in (REFUSED, SAID, ANSWERED, STOPPED, *FAULTS) if any(o == name for _, o in counts)]
    width = max(len(kind) for kind, _ in counts)
    print(f"{'':{width}}", *(f"{name:>10}" for name in columns))
    for kind in sorted({kind for kind, _ in counts}):
        print(f"{kind:{width}}", *(f"{counts[kind, name] or '':>10}" for name in columns))
    total = Counter(outcome.outcome for outcome in found)
    print(f"{'all':{width}}", *(f"{total[name]:>10}" for name in columns))
    print(f"{len(found)} calls in {time.perf_counter() - begun:.0f} s")
    sys.exit(any(total[name] for name in FAULTS))


if __name__ == "__main__":
    if (call := main()) is not None:
        runpy.run_module(call.module, run_name="__main__", alter_sys=True)
