"""``funcnet learn``: exercises in deriving backwards."""

import argparse
import functools
import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..streams import plain
from .common import CommandError, guarded, number

DESCRIPTION = """\
Exercises in deriving backwards by hand. Without a name, lists them. With the name of one, writes its file, with the
forward given and the backward missing; once that is written, judges it: a wrong answer gets a hint, and one more at
each try or with --hint. Exit status: 0 right, or a file was written; 1 not right yet; 2 bad input."""
MEMORY = 4.0  # GiB, for an answer


def add_learn(subparsers: Any) -> None:
    """Adds ``learn`` to the subcommands of ``funcnet``."""
    command = subparsers.add_parser(
        "learn", help="learn to derive backwards", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=guarded(learn))
    add = command.add_argument
    add("exercise", metavar="EXERCISE", nargs="?", help="its name, such as softmax")
    add("--hint", action="store_true", help="one more hint, without another try")
    add("--again", action="store_true", help="begin anew with a fresh file; the old one is kept under another name")
    add("--out", metavar="DIR", default=".", help="where the files are (default: the current directory)")
    add("--data-dir", metavar="DIR", help="the files of MNIST, for the exercises that train (default: "
        "FUNCNET_DATA_DIR; without either they train on the digits of scikit-learn)")  # fmt: skip
    add("--timeout", type=number(1, float), default=120.0, metavar="S", help="seconds for an answer (default: 120)")
    add("--json", action="store_true", help="one JSON document on standard output, nothing else")


def learn(arguments: argparse.Namespace) -> int | None:
    from ..learn.index import names
    from ..learn.record import RecordError, read

    folder = Path(arguments.out)
    if not folder.is_dir():
        raise CommandError(f"--out {arguments.out} is no directory")
    try:
        entries = read(folder)
    except RecordError as error:
        raise CommandError(str(error)) from None
    if arguments.exercise is None:
        if arguments.hint or arguments.again:
            raise CommandError("--hint and --again need the name of an exercise")
        _list(entries, arguments.json)
        return None
    name = arguments.exercise.replace("-", "_").removesuffix(".py")
    if name not in names():
        near = [other for other in names() if name and (name in other or other in name)]
        raise CommandError(f"there is no exercise {arguments.exercise!r:.60}; {_perhaps(near)}")
    path = folder / f"{name}.py"
    if arguments.again or not path.exists():
        _begin(arguments, name, path, entries)
        return None
    return _judge(arguments, name, path, entries)


def _perhaps(near: list[str]) -> str:
    return f"perhaps {' or '.join(near[:3])}" if near else "funcnet learn lists them"


def _list(entries: dict[str, Any], as_json: bool) -> None:
    from ..learn.index import exercise, names
    from ..learn.record import Entry

    rows = [(exercise(name), entries.get(name, Entry())) for name in names()]
    following = next((task.name for task, entry in rows if not entry.done), None)
    if as_json:
        fields = [{"name": t.name, "group": t.group, "title": t.title, "tries": e.tries, "done": e.done,
                   "begun": t.name in entries} for t, e in rows]  # fmt: skip
        print(json.dumps({"exercises": fields, "next": following}, indent=2))
        return
    group = ""
    for task, entry in rows:
        if task.group != group:
            group = task.group
            print(f"\n{group}")
        mark = "✓" if entry.done else "…" if task.name in entries else " "
        print(f" {mark} {task.name:22}{task.title}")
    done = sum(entry.done for _, entry in rows)
    print(f"\n{done} of {len(rows)} done. " + (f"Next: funcnet learn {following}" if following else "That is all."))


def _begin(arguments: argparse.Namespace, name: str, path: Path, entries: dict[str, Any]) -> None:
    """Writes the file of an exercise. One that is there is moved aside, if that is asked for."""
    from ..files import write_whole
    from ..learn.index import exercise
    from ..learn.record import Entry, write

    task, said = exercise(name), []
    if path.exists():
        kept = next(p for i in range(1, 10**6) if not (p := path.with_name(f"{name}_{i}.py")).exists())
        path.rename(kept)
        said.append(f"{path} is kept as {kept}")
    write_whole(path, task.template)
    write(path.parent, entries | {name: Entry()})
    said.append(f"{path} is written: {task.title}")
    if task.needs:
        said.append(f"It is made of your {', '.join(task.needs)}: solve these first")
    called = f"funcnet learn {name}" + (f" --out {arguments.out}" if arguments.out != "." else "")
    said.append(f"Write {name}_backward in it, then run this again: {called}")
    _say(arguments, {"exercise": name, "verdict": "written", "file": str(path)}, said)


def _judge(arguments: argparse.Namespace, name: str, path: Path, entries: dict[str, Any]) -> int:
    from ..learn.hints import ladder
    from ..learn.index import exercise
    from ..learn.record import Entry, write

    digest, task, entry = _digest(path), exercise(name), entries.get(name, Entry())
    for need in task.needs:
        _ask_for(need, path, entries)
    answer = _answer(arguments, name, path)
    changed = digest != entry.seen
    if answer.is_right:
        entry = replace(entry, tries=entry.tries + changed, hints=0, seen=digest, done=True)
        write(path.parent, entries | {name: entry})
        following = _following(name, entries | {name: entry})
        said = [f"{name}: right, after {_counted(entry.tries, 'try', 'tries')}", *answer.said]
        said.append(f"Next: funcnet learn {following}" if following else "That was the last one.")
        _say(arguments, {"exercise": name, "verdict": "right", "tries": entry.tries, "said": list(answer.said)}, said)
        return 0
    rungs = ladder(task, answer.report, path)
    entry = replace(entry, hints=entry.hints + arguments.hint, done=False)
    if answer.unwritten:
        given = entry.hints
        said = [f"{name}: {name}_backward is still to be written, in {path}"]
    else:
        entry = replace(entry, tries=entry.tries + changed, seen=digest)
        given = entry.hints + entry.tries
        said = [f"{name}: not right yet, after {_counted(entry.tries, 'try', 'tries')}"]
        said += [f"{path} is as it was at the last try"] * (not changed and not arguments.hint)
    write(path.parent, entries | {name: entry})
    shown = rungs[:given]
    for place, (first, *others) in enumerate(shown, 1):
        said += [f"  {place}  {first}", *(f"     {line}".rstrip() for line in others)]
    if given < len(rungs):
        said.append(f"For a hint: funcnet learn {name} --hint")
    verdict = "unwritten" if answer.unwritten else "wrong"
    _say(arguments, {"exercise": name, "verdict": verdict, "tries": entry.tries, "hints": shown}, said)
    return 1


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _ask_for(need: str, path: Path, entries: dict[str, Any]) -> None:
    """Raises CommandError if the answer to an exercise that another one is made of is not there, or not right."""
    own = path.with_name(f"{need}.py")
    if not (own.exists() and _is_done(need, entries)):
        raise CommandError(f"{path.stem} is made of your {need}, which is not solved yet: funcnet learn {need}")
    if entries[need].seen != _digest(own):
        raise CommandError(f"{own} has changed since it was right: funcnet learn {need}")


def _following(name: str, entries: dict[str, Any]) -> str | None:
    """The first exercise that is not done, after this one if there is one."""
    from ..learn.index import names

    order = list(names())
    place = order.index(name)
    return next((other for other in order[place:] + order[:place] if not _is_done(other, entries)), None)


def _is_done(name: str, entries: dict[str, Any]) -> bool:
    return name in entries and entries[name].done


def _answer(arguments: argparse.Namespace, name: str, path: Path) -> Any:
    """What the checker says, from a process with limits. Raises CommandError if it can say nothing."""
    from ..gradcheck.command.processes import isolated
    from ..gradcheck.command.worker import Asked, Checked, Refused
    from ..learn.judge import judge

    one = functools.partial(judge, arguments.data_dir or os.environ.get("FUNCNET_DATA_DIR"))
    asked = Asked(timeout=arguments.timeout, one=one)
    for event in isolated(f"{path}:{name}", asked, MEMORY):
        if isinstance(event, Refused):
            raise CommandError(event.reason)
        if isinstance(event, Checked):
            if event.report is None or event.report.refused:
                raise CommandError(event.reason or event.report.refused)
            return event.report
    raise CommandError(f"{path} holds no {name}_forward and {name}_backward")


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _say(arguments: argparse.Namespace, document: dict[str, Any], lines: list[str]) -> None:
    print(json.dumps(document, indent=2) if arguments.json else "\n".join(map(plain, lines)))
    sys.stdout.flush()
