"""The interrupt test: SIGINT at random moments of many commands; each has to end with 130, and to say nothing.

python -m tests.interrupts [--count 100] [--seed 0]

Moments are drawn over the whole life of a command, from the moment that Python itself has started: while it imports,
compiles, trains, samples and writes. Every second one is struck twice. A command that was done by then may end with 0.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from funcnet.progress import step_progress

ROOT = Path(__file__).parent.parent
COMMANDS = {
    "digits": "-m experiments.digits --epochs 40 --out OUT",
    "spiral": "-m experiments.spiral --quick --out OUT",
    "char_gpt": "-m experiments.char_gpt --quick --out OUT",
    "check": "-m funcnet check funcnet.ops.activations --quick --allow-unchecked",
}
PATIENCE = 5.0  # seconds in which an interrupt has to end a command, on a machine that does other work too


class Struck(NamedTuple):
    command: str
    moment: float
    status: int
    said: str
    seconds: float
    left: list[str]

    @property
    def well(self) -> bool:
        return self.status in (130, 0) and not self.said and self.seconds < PATIENCE and not self.left


def start(command: str, out: Path, stderr) -> subprocess.Popen:
    arguments = [str(out) if word == "OUT" else word for word in COMMANDS[command].split()]
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr)


def seconds_of(*arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - begun


def strike(command: str, moment: float, twice: bool, scratch: Path) -> Struck:
    with tempfile.TemporaryFile("w+") as stderr, tempfile.TemporaryDirectory(dir=scratch) as out:
        process = start(command, Path(out), stderr)
        time.sleep(moment)
        begun = time.perf_counter()
        process.send_signal(signal.SIGINT)
        if twice:
            time.sleep(random.Random(moment).uniform(0, 0.05))
            process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        status, seconds = process.wait(), time.perf_counter() - begun
        stderr.seek(0)
        said = [line for line in stderr if "/" not in line.split("  ")[0]]  # but the lines of progress
        left = [str(path) for path in Path(out).rglob("*.partial")]
    return Struck(command, moment, status, "".join(said), seconds, left)


def interrupted(count: int, seed: int = 0, commands=tuple(COMMANDS)) -> list[Struck]:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; a command would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    drawn = random.Random(seed)
    started = 3 * seconds_of("-c", "import runpy")  # before it there is none of our code to be interrupted
    found = []
    with tempfile.TemporaryDirectory() as scratch, step_progress("interrupt", count, lines=10) as report:
        lives = {}
        for number in range(count):
            command = commands[number % len(commands)]
            if command not in lives:
                begun = time.perf_counter()
                assert start(command, Path(scratch, command), subprocess.DEVNULL).wait() in (0, 1)
                lives[command] = time.perf_counter() - begun
            found.append(strike(command, drawn.uniform(started, lives[command]), number % 2 == 1, Path(scratch)))
            report(f"{command} at {found[-1].moment:.2f} s: {found[-1].status}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    found = interrupted(arguments.count, arguments.seed)
    for struck in found:
        if not struck.well:
            print(struck)
    print(f"{len(found)} interrupts; statuses: {dict(Counter(struck.status for struck in found))}")
    print(f"slowest end: {max(struck.seconds for struck in found):.2f} s; ended well: {sum(s.well for s in found)}")
    sys.exit(not all(struck.well for struck in found))


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
