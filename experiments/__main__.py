"""Lists the experiments."""

import ast
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

HERE = Path(__file__).parent
NOT_EXPERIMENTS = {"__init__", "__main__", "harness", "pictures"}


def catalogue() -> dict[str, str]:
    """The module of each experiment and the first line of its docstring; nothing is imported."""
    found = {}
    for path in sorted(HERE.rglob("*.py")):
        if path.stem not in NOT_EXPERIMENTS:
            module = ".".join(("experiments", *path.relative_to(HERE).with_suffix("").parts))
            found[module] = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n")[0]
    return found


def main() -> None:
    table = Table(Column("run", no_wrap=True), "what it shows", box=None)
    for module, line in catalogue().items():
        table.add_row(f"python -m {module}", line)
    Console().print(table)
    print("Each takes --help.")


if __name__ == "__main__":
    main()
