import importlib

import pytest

from experiments.__main__ import catalogue, main


def test_lists_every_experiment_with_a_line(capsys):
    main()
    printed = capsys.readouterr().out
    for module, line in catalogue().items():
        assert f"python -m {module}" in printed
        assert line.split()[0] in printed


@pytest.mark.parametrize("module", catalogue())
def test_each_has_the_common_flags(module):
    harness, script = importlib.import_module("experiments.harness"), importlib.import_module(module)
    assert issubclass(script.Config, harness.Config)
    assert callable(script.main)
