"""The fixture that comes with the package, in a pytest of its own, as in anyone's project."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent

USER_TESTS = """
import jax.numpy as jnp
import pytest

def right(x, gain):
    return x * gain[None], (x, gain)

def right_bwd(residuals, dy):
    x, gain = residuals
    return dy * gain[None], (dy * x).sum(axis=0)

def wrong_bwd(residuals, dy):
    x, gain = residuals
    return dy * gain[None], (dy * x).mean(axis=0)

def test_right(assert_derivation):
    assert assert_derivation((right, right_bwd), "N D", "D", seed=1) is None

def test_wrong(assert_derivation):
    assert_derivation((right, wrong_bwd), "N D", "D", name="gain")

def test_wrongly_called(assert_derivation):
    assert_derivation((right, wrong_bwd), "N D")
"""


@pytest.fixture
def alone(pytester, monkeypatch):
    """``alone(*arguments)``: pytest with this plugin and no other, whether or not the package is installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return lambda *arguments: pytester.runpytest_subprocess("-p", "pytest_funcnet", *arguments)


def test_a_failure_is_the_report_and_not_the_checker_s_own_frames(pytester, alone):
    pytester.makepyfile(test_user=USER_TESTS)
    result = alone()
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            '>*assert_derivation((right, wrong_bwd), "N D", "D", name="gain")',
            "E *AssertionError: gain: WRONG",
            "E *dgain: *mean-divisor: *",
            "test_user.py:*: AssertionError",
            '>*assert_derivation((right, wrong_bwd), "N D")',
            "E *InputError: right takes 2 arguments (x, gain); got 1 shapes",
            "FAILED test_user.py::test_wrong - AssertionError: gain: WRONG",
        ]
    )
    for internal in ("checking.py", "subject.py", "pytest_funcnet.py", "Traceback"):
        result.stdout.no_fnmatch_line(f"*{internal}*")


def test_the_package_enables_it_and_other_projects_do_not_pay_for_it(pytester):
    (plugin,) = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"][
        "pytest11"
    ].values()
    program = f"import sys, pytest, {plugin} as p; sys.exit(bool({{'jax', 'numpy', 'funcnet'}} & set(sys.modules)))"
    assert hasattr(__import__(plugin), "assert_derivation")
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
