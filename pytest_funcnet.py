"""The pytest plugin that comes with funcnet: the fixture ``assert_derivation``.

Every run of pytest imports this, of whatever project, so it imports jax and funcnet only where the fixture is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def assert_derivation() -> Callable[..., None]:
    """``assert_derivation(target, *inputs, **settings)``: fails unless ``funcnet.gradcheck.check`` says ``correct``.

    The failure is the report, at the test's own line; a wrong call is its one error.
    """
    return _assert_derivation


def _assert_derivation(target: Any, *inputs: Any, **settings: Any) -> None:
    __tracebackhide__ = True
    from funcnet.gradcheck import InputError, check

    try:
        report = check(target, *inputs, **settings)
    except InputError as error:
        raise error.with_traceback(None) from None  # the message says it all; the checker's own frames say nothing
    if report.verdict != "correct":
        raise AssertionError(str(report))
