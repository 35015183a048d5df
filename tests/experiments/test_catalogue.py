import importlib
import sys

import pytest

from experiments import harness
from experiments.__main__ import catalogue, main


def test_lists_every_experiment_on_a_line(capsys):
    main()
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for name, line in catalogue().items():
        assert f"{name} {line}" in printed
        assert len(line) > 20


@pytest.mark.parametrize("name", catalogue())
def test_each_explains_itself_and_has_the_common_flags(name, monkeypatch, capsys):
    script = importlib.import_module(f"experiments.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        harness.run(name, script.main, script.Config, script.__doc__)
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: python -m experiments.{name} ")
    for flag in ("--seed ", "--seeds ", "--data-dir ", "--out ", "--quick "):
        assert flag in printed
