import sys

import pytest

from funcnet.progress import epoch_progress, step_progress


def report_epochs(epochs, enabled=True):
    with epoch_progress(epochs, enabled) as report:
        for epoch in range(1, epochs + 1):
            report({"epoch": epoch, "seconds": 0.777, "train_loss": 0.123456})


@pytest.mark.parametrize(("epochs", "lines"), [(1, 1), (7, 7), (10, 10), (23, 12), (1000, 10)])
def test_in_a_pipe_about_ten_lines_ending_with_the_last_epoch(epochs, lines, capsys):
    report_epochs(epochs)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == lines
    last = err.splitlines()[-1]
    assert last.startswith(f"epoch {epochs}/{epochs} ")
    assert "0.1235" in last
    assert "0.777" not in last


def test_in_a_pipe_a_line_for_each_step(capsys):
    with step_progress("seed", 3) as report:
        for text in "abc":
            report(text)
    assert [line.split() for line in capsys.readouterr().err.splitlines()] == [
        ["seed", "1/3", "a"],
        ["seed", "2/3", "b"],
        ["seed", "3/3", "c"],
    ]


def pretend_to_be_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for name, value in {"TERM": "xterm", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)


def test_on_a_terminal_a_bar_that_ends_full(monkeypatch, capsys):
    pretend_to_be_a_terminal(monkeypatch)
    report_epochs(23)
    out, err = capsys.readouterr()
    assert out == ""
    assert "23/23" in err
    assert "0.1235" in err


def test_on_a_terminal_a_bracket_is_a_bracket(monkeypatch, capsys):
    pretend_to_be_a_terminal(monkeypatch)
    with step_progress("seed", 1) as report:
        report("params[1] [/b]")
    assert "params[1] [/b]" in capsys.readouterr().err


@pytest.mark.parametrize("epochs", [1, 23])
def test_disabled_it_says_nothing(epochs, capsys):
    report_epochs(epochs, enabled=False)
    assert capsys.readouterr() == ("", "")
