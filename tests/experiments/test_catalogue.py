import importlib
import sys

import pytest

from experiments import harness
from experiments.__main__ import GROUPS, catalogue, main


def test_lists_every_experiment_on_a_line(capsys):
    main()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    printed = [" ".join(line.split()) for line in lines]
    for name, line in catalogue().items():
        assert f"{name} {line}" in printed
        assert len(line) > 20


def test_every_experiment_stands_in_one_group(capsys):
    grouped = [name for names in GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(catalogue()) <= set(grouped)
    main()
    lines = capsys.readouterr().out.splitlines()
    group = next(group for group, names in GROUPS.items() if "known_mistakes" in names)
    below = lines[lines.index(group) + 1 :]
    assert any(line.split()[0] == "known_mistakes" for line in below[: below.index("")])


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
