"""The house: imports point downward, and some things stand in one place only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Every package from the ground up; a module may import what stands before it. A package stands for all its modules.
FLOORS = {
    "": "types bridge progress streams files checkpoint data initializers ops layers schedules optimizers devices "
    "training models gradcheck learn grade command __main__",
    "data": "idx arrays sets tables text",
    "ops": "linear shapes activations dropout normalization embedding rotary attention windows convolution pooling "
    "recurrent penalties losses",
    "ops/losses": "reduction regression cross_entropy margins weighting",
    "layers": "lifting linear shapes activations dropout normalization embedding convolution pooling recurrent "
    "attention combinators precision summary",
    "training": "calibration step epochs fit",
    "models": "mlp cnn gpt registry saved sampling",
    "gradcheck": "tolerances watch engine mistakes report trial judge diagnose sighted check costs command",
    "gradcheck/engine": "leaves width jaxprs inspection compiling rewriting boxed underived",
    "gradcheck/trial": "subject conventions instances homework targets domains settings specs draws variants",
    "gradcheck/judge": "form reference probe ladder laws assumptions kinks narrow doubts arithmetic rows",
    "gradcheck/diagnose": "evidence numbers graph slips patterns paths fits attribution collectives diagnose",
    "gradcheck/diagnose/slips": "slip slopes operands order softmax exchanged",
    "gradcheck/costs": "passes count twice machine suspicions table audit",
    "gradcheck/command": "discovery worker processes shown cli audit",
    "learn": "exercises index answers networks judge record hints",
    "learn/exercises": "neuron mean_squared_error one_example dense "
    "sigmoid tanh relu leaky_relu softplus silu gelu softmax log_softmax "
    "binary_cross_entropy cross_entropy huber l2_penalty "
    "two_layers residual dropout embedding swiglu "
    "rms_norm layer_norm batch_norm "
    "average_pool max_pool conv1d conv2d "
    "rnn_step rnn gru_step lstm_step lstm "
    "attention causal_attention multi_head rotary transformer_block "
    "perceptron convnet recurrent",
    "grade": "wire fences child process papers stubs key marking reports",
    "command": "common predict sample info export learn grade",
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


def is_below(target, own):
    """Whether a module, as its parts after ``funcnet``, comes first in the innermost package that holds both."""
    depth = next(i for i, (one, other) in enumerate(zip(target, own, strict=False)) if one != other)
    order = FLOORS["/".join(own[:depth])].split()
    return order.index(target[depth]) < order.index(own[depth])


def test_every_module_has_its_floor():
    packages = {str(path.parent.relative_to(ROOT / "funcnet")).removeprefix(".") for path in sources("funcnet")}
    assert packages == FLOORS.keys()
    for package, modules in FLOORS.items():
        found = {path.relative_to(ROOT / "funcnet" / package).parts[0] for path in sources(f"funcnet/{package}")}
        assert {name.removesuffix(".py") for name in found} == {*modules.split(), "__init__"}


@pytest.mark.parametrize("path", sources("funcnet"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path):
    own = path.relative_to(ROOT / "funcnet").with_suffix("").parts
    for module, name in imported(path):
        assert module.split(".")[0] not in ("experiments", "tests", "optax", "torch"), f"{path} imports {module}"
        if module.split(".")[0] != "funcnet" or own[-1] == "__init__":
            continue
        target = [part for part in f"{module}.{name}".split(".") if part][1:]
        assert is_below(target, own), f"{path} imports {module}.{name}"
        if own[0] == "gradcheck" != target[0]:
            known = {"types", "progress", "streams", "files"} if own[1] == "command" else {"types"}
            assert target[0] in known, f"{path}: the checker knows the types only"


@pytest.mark.parametrize("path", sources("experiments"), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_experiment_imports_another(path):
    for module, name in imported(path):
        if module.split(".")[0] == "experiments":
            shared = {"examples", "harness", "mistakes", "ngrams", "peers", "pictures", "rundir"}
            assert shared & {name, *module.split(".")}, f"{path} imports {module}.{name}"
        assert module.split(".")[0] != "optax" or path.parent.name == "peers"  # what Flax and Equinox are used with


def test_autodiff_is_called_by_the_checker_and_the_bridge_alone():
    forbidden = {"grad", "value_and_grad", "vjp", "jvp", "linearize", "jacrev", "jacfwd", "custom_vjp", "custom_jvp"}
    bridge = ROOT / "funcnet" / "bridge.py"
    for path in set(sources("funcnet")) - set(sources("funcnet/gradcheck")) - {bridge}:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "jax":
                assert node.attr not in forbidden, f"{path}:{node.lineno} calls jax.{node.attr}"
        assert not [name for module, name in imported(path) if module == "jax" and name in forbidden]


def test_nothing_in_funcnet_calls_a_bridged_function():
    """Else a derivation would be compared with itself. ``lift`` takes the mark of a rule by autodiff, and no more."""
    taken = {
        (path.name, name)
        for path in sources("funcnet")
        for module, name in imported(path)
        if "bridge" in (*module.split("."), name)
    }
    assert taken == {("lifting.py", "by_autodiff")}
