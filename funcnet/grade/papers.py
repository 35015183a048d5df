"""What students handed in: a file each, or a folder with files."""

import ast
import os
import stat
from pathlib import Path
from typing import NamedTuple

LARGEST = 1 << 20  # bytes of a file
MOST = 50  # files of a folder
AUTODIFF = {"grad", "value_and_grad", "vjp", "jvp", "jacfwd", "jacrev", "hessian", "linearize", "custom_jvp"}
HIDING = {"exec", "eval", "__import__", "importlib", "subprocess", "ctypes", "gc"}


class PapersError(ValueError):
    """There is nothing that can be graded; the message is one line."""


class Paper(NamedTuple):
    """The files of a student, by name; or the reason why there are none."""

    student: str
    files: dict[str, bytes] = {}  # noqa: RUF012  (never written to)
    refused: str = ""

    def text(self, file: str) -> str:
        return self.files[file].decode("utf-8", "replace")


def papers(folder: Path, key: Path) -> tuple[list[Paper], list[str]]:
    """What is in a folder, by student, and the names of what is not Python. Raises PapersError."""
    if not folder.is_dir():
        raise PapersError(f"{folder} is no folder of submissions")
    found: dict[str, Paper] = {}
    others = []
    for name in sorted(os.listdir(folder)):
        path = folder / name
        kind = os.lstat(path).st_mode
        if name.startswith((".", "__")) or (stat.S_ISREG(kind) and path.samefile(key)):
            continue
        if stat.S_ISREG(kind) and path.suffix != ".py":
            others.append(name)
            continue
        student = name.removesuffix(".py")
        if student in found:
            raise PapersError(f"{folder} has both {student}.py and a folder {student}: one student, one of them")
        found[student] = _paper(student, path, kind)
    if not found:
        raise PapersError(f"{folder} holds no submissions: a file STUDENT.py or a folder for each")
    return list(found.values()), others


def _paper(student: str, path: Path, kind: int) -> Paper:
    files = [path]
    if stat.S_ISDIR(kind):
        files = sorted(p for p in path.iterdir() if p.suffix == ".py" and not p.name.startswith("."))
        if not 0 < len(files) <= MOST:
            return Paper(student, refused=f"the folder holds {len(files) or 'no'} Python files")
    content = {}
    for file in files:
        try:
            mode = os.lstat(file)
            if stat.S_ISLNK(mode.st_mode):
                return Paper(student, refused=f"{file.name} is a link, which is not followed")
            if not stat.S_ISREG(mode.st_mode) or mode.st_size > LARGEST:
                return Paper(student, refused=f"{file.name} is no file of at most {LARGEST >> 20} MiB")
            content[file.name] = file.read_bytes()
        except OSError as error:
            return Paper(student, refused=f"{file.name} cannot be read: {error.strerror}")
    return Paper(student, content)


def remarks(paper: Paper) -> list[str]:
    """Lines that a teacher may want to look at: they name autodiff, complex steps, or what hides either."""
    found = []
    for file in paper.files:
        try:
            nodes = list(ast.walk(ast.parse(paper.text(file))))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        lines: dict[int, str] = {}
        for node in nodes:
            if isinstance(node, ast.expr | ast.stmt) and (said := _suspect(node)):
                lines.setdefault(node.lineno, said)
        found += [f"{file}:{line}: {said}" for line, said in sorted(lines.items())]
    return found[:20]


def _suspect(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, complex):
        return "complex numbers, by which a derivative can be had without deriving it"
    names: set[str] = set()
    if isinstance(node, ast.Attribute):
        names = {node.attr} & AUTODIFF
    elif isinstance(node, ast.ImportFrom):
        names = {alias.name for alias in node.names} & AUTODIFF | {node.module or ""} & HIDING
    elif isinstance(node, ast.Import):
        names = {alias.name.partition(".")[0] for alias in node.names} & HIDING
    elif isinstance(node, ast.Name):
        names = {node.id} & HIDING - {"gc"}
    return ", ".join(sorted(names))
