"""The process of a target: what it says of one thing after another."""

import pytest

from funcnet import Rule
from funcnet.gradcheck.command import worker
from funcnet.gradcheck.command.discovery import Found
from funcnet.gradcheck.command.worker import Asked, check_one


def test_a_checker_that_fails_is_no_pass(monkeypatch):
    def check(target, **settings):
        raise ZeroDivisionError("of the checker's own")

    monkeypatch.setattr(worker, "check", check)
    result = check_one(Found("f", Rule(None, None)), Asked())
    assert result.verdict == "inconclusive"
    assert result.report.notes == ("the checker itself failed: ZeroDivisionError: of the checker's own",)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_the_checked_code_raises_ends_nothing_else(error):
    def bwd(residuals, dy):
        raise error

    result = check_one(Found("f", Rule(lambda x: (x, ()), bwd)), Asked(shapes=("N",)))
    assert result.verdict in ("wrong", "inconclusive")
