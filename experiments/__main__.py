"""Lists the experiments."""

import ast
import errno
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
# modules and packages that are shared
NOT_EXPERIMENTS = {
    *("__init__", "__main__", "harness", "ngrams", "rundir"),
    *("pictures", "mistakes", "examples", "kernels", "peers"),
}

# Every experiment stands in one group, in the order to read them in.
GROUPS = {
    "The notes' examples and systems": (
        "worked_examples",
        "regression",
        "iris",
        "spiral",
        "mnist_from_scratch",
        "nielsen",
        "digits",
    ),
    "The chapters that the notes planned": ("slopes", "computation_graph", "descent", "techniques", "vectorisation"),
    "Beyond dense layers": ("mnist_cnn", "char_gpt"),
    "Your own data": ("tabular",),
    "Derivations, right and wrong": ("verdict", "known_mistakes", "benchmarks.gradient_checkers"),
    "Speed and memory beside others": (
        "benchmarks.training",
        "benchmarks.startup",
        "benchmarks.ensemble",
        "benchmarks.memory",
        "benchmarks.bridge",
        "benchmarks.accelerator",
    ),
}


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
    found = catalogue()
    width = max(map(len, found))
    for group, names in GROUPS.items():
        print(group)
        for name in names:
            if name in found:
                print(f"  {name:{width}}  {found[name]}")
        print()
    print("Run one with: python -m experiments.NAME; each takes --help.")


if __name__ == "__main__":  # as funcnet.streams has it, but at once: nothing of funcnet is imported
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "closed")
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(141)
    except OSError as error:
        print(f"python -m experiments: standard output: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(2)  # not to write the rest once more
