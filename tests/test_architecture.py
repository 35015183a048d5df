"""The house: imports point downward, and some things stand in one place only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the ground up; a module may import what stands before it. A package stands for all its modules.
FLOORS = [
    "types", "progress", "idx", "data", "initializers", "ops", "layers", "combinators", "calibration", "summary",
    "schedules", "optimizers", "training", "models", "gradcheck", "discovery", "cli", "__main__",
]  # fmt: skip
WITHIN = {
    "ops": ["linear", "activations", "dropout", "normalization", "penalties", "losses"],
    "gradcheck": [
        "subject",
        "packing",
        "widening",
        "program",
        "surrogates",
        "slopes",
        "rules",
        "trace",
        "inputs",
        "report",
        "reference",
        "backward",
        "decision",
        "compiled",
        "drawing",
        "kinks",
        "arithmetic",
        "adequacy",
        "hypotheses",
        "paths",
        "attribution",
        "explaining",
        "checking",
    ],
    "models": ["mlp"],
}


def sources(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path):
    """(absolute module, name) of every import in a file, wherever in it the import stands."""
    package = ".".join(path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module or ""]).strip(".")
            yield from ((module, alias.name) for alias in node.names)


def floor(module, name=""):
    """The position of a module of funcnet in FLOORS; ``from . import x`` names the module by its last part."""
    parts = [part for part in f"{module}.{name}".split(".") if part][1:]
    return FLOORS.index(parts[0])


def test_every_module_has_its_floor():
    found = {path.relative_to(ROOT / "funcnet").parts[0].removesuffix(".py") for path in sources("funcnet")}
    assert found == {*FLOORS, "__init__"}
    for package, modules in WITHIN.items():
        assert {path.stem for path in sources(f"funcnet/{package}")} == {*modules, "__init__"}


@pytest.mark.parametrize("path", sources("funcnet"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path):
    own = path.relative_to(ROOT / "funcnet").with_suffix("").parts
    if own == ("__init__",):
        return
    for module, name in imported(path):
        assert module.split(".")[0] not in ("experiments", "tests", "optax", "torch"), f"{path} imports {module}"
        if module.split(".")[0] != "funcnet":
            continue
        if own[1:] == ("__init__",):
            continue
        if module.startswith(f"funcnet.{own[0]}"):
            order = WITHIN[own[0]]
            below = [*module.split("."), name][2]
            assert order.index(below) < order.index(own[1]), f"{path} imports {module}.{name}"
        else:
            assert floor(module, name) < FLOORS.index(own[0]), f"{path} imports {module}.{name}"
            assert own[0] != "gradcheck" or module == "funcnet.types", f"{path}: the checker knows the types only"


@pytest.mark.parametrize("path", sources("experiments"), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_experiment_imports_another(path):
    for module, name in imported(path):
        if module.split(".")[0] == "experiments":
            shared = {"harness", "mistakes", "pictures"} & {name, *module.split(".")}
            assert shared, f"{path} imports {module}.{name}"
        assert module.split(".")[0] != "optax"


def test_autodiff_is_called_by_the_checker_alone():
    forbidden = {"grad", "value_and_grad", "vjp", "jvp", "linearize", "jacrev", "jacfwd", "custom_vjp", "custom_jvp"}
    for path in set(sources("funcnet")) - set(sources("funcnet/gradcheck")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "jax":
                assert node.attr not in forbidden, f"{path}:{node.lineno} calls jax.{node.attr}"
        assert not [name for module, name in imported(path) if module == "jax" and name in forbidden]
