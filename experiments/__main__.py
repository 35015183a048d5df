"""Lists the experiments."""

import ast
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

HERE = Path(__file__).parent
NOT_EXPERIMENTS = {"__init__", "__main__", "harness", "pictures", "mistakes", "examples"}  # modules and packages


def catalogue() -> dict[str, str]:
    """The name of each experiment, its module here, with the first line of its docstring; nothing is imported."""
    found = {}
    for path in sorted(HERE.rglob("*.py")):
        parts = path.relative_to(HERE).with_suffix("").parts
        if not NOT_EXPERIMENTS & set(parts):
            name = ".".join(parts)
            found[name] = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n")[0]
    return found


def main() -> None:
    table = Table(Column("name", no_wrap=True), "what it shows", box=None)
    for name, line in catalogue().items():
        table.add_row(name, line)
    Console().print(table)
    print("\nRun one with: python -m experiments.NAME; each takes --help.")


if __name__ == "__main__":
    main()
