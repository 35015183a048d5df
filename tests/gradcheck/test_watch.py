"""The time of a check: ``timeout=``, the line of progress, and loops that would not end."""

import importlib
import io
import types

import jax
import jax.numpy as jnp
import pytest

from funcnet import gradcheck
from funcnet.gradcheck import watch
from funcnet.gradcheck.engine.rewriting import bounded
from funcnet.types import Rule

check = importlib.import_module("funcnet.gradcheck.check")
SIN = Rule(lambda x: (jnp.sin(x), x), lambda x, dy: (dy * jnp.cos(x),))
WRONG = Rule(SIN.fwd, lambda x, dy: (dy * jnp.cos(x) ** 2,))


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until somebody moves it."""
    now = [0.0]
    monkeypatch.setattr(watch, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.mark.parametrize(
    ("rule", "slow", "verdict", "mistakes", "before"),
    [
        (SIN, "inputs_for", "inconclusive", (), "derivation, kinks, float32, many rows, mutants"),
        (SIN, "doubts", "inconclusive", (), "kinks, float64, float32, many rows, mutants"),
        (SIN, "compiled_probe", "inconclusive", (), "reference, kinks, float32, many rows, mutants"),
        (WRONG, "negligible_guards", "wrong", ("unexplained",), "the reason"),
        (WRONG, "doubts", "wrong", ("unexplained",), "the reason"),
        (WRONG, "diagnose", "wrong", ("unexplained",), "the author's assumptions"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_a_report_says_what_there_was_no_time_for(rule, slow, verdict, mistakes, before, clock, monkeypatch):
    right = getattr(check, slow)

    def slowly(*arguments):
        found = right(*arguments)
        clock[0] += 30
        return found

    monkeypatch.setattr(check, slow, slowly)
    report = gradcheck.check(rule, "N", timeout=20, sizes={"N": 5} if slow == "inputs_for" else None)
    assert (report.verdict, report.mistakes) == (verdict, mistakes)
    assert report.notes[-1] == f"time ran out after 20 s, before: {before}"


def test_time_that_suffices_changes_nothing():
    assert gradcheck.check(SIN, "N", timeout=600).verdict == "correct"
    assert gradcheck.check(WRONG, "N", timeout=600).verdict == "wrong"


def test_time_may_run_out_in_the_middle_of_the_search_for_a_reason(clock, monkeypatch):
    evidence = importlib.import_module("funcnet.gradcheck.diagnose.evidence")
    right = evidence.Evidence.vjps

    def slowly(self, vjps, rows):
        clock[0] += 30
        return right(self, vjps, rows)

    monkeypatch.setattr(evidence.Evidence, "vjps", slowly)
    report = gradcheck.check(WRONG, "N", timeout=20)
    assert (report.verdict, report.mistakes) == ("wrong", ("unexplained",))
    assert "no time to find the reason" in str(report)


@pytest.mark.parametrize("timeout", [0, -1, "soon", float("nan")])
def test_invalid_timeouts(timeout):
    with pytest.raises(gradcheck.InputError, match="timeout is a number of seconds above 0"):
        gradcheck.check(SIN, "N", timeout=timeout)


# ---------------------------------------------------------------- progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, clock, seconds, **settings):
    """What stands on a terminal after a check whose second set of inputs takes so long, and in a pipe."""
    right = check.compiled_probe

    def slowly(*arguments):
        clock[0] += seconds
        return right(*arguments)

    monkeypatch.setattr(check, "compiled_probe", slowly)
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    for stderr in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stderr)
        gradcheck.check(SIN, "N", dtypes=(), name="sine", **settings)
        yield stderr.getvalue()


def test_progress_is_shown_after_two_seconds(monkeypatch, clock):
    terminal, pipe = shown(monkeypatch, clock, 1.5)
    assert "\r\033[Kcheck sine: kinks, 3 s" in terminal
    assert terminal.endswith("\r\033[K")
    assert "check sine: inputs" not in terminal
    assert len(pipe.splitlines()) == 1
    assert "check sine: " in pipe


def test_there_is_no_progress_if_a_check_is_quick_or_none_is_asked_for(monkeypatch, clock):
    assert [*shown(monkeypatch, clock, 0.0)] == ["", ""]
    assert [*shown(monkeypatch, clock, 9.0, progress=False)] == ["", ""]


def test_there_is_no_progress_inside_pytest(capsys, clock, monkeypatch):
    monkeypatch.setattr(watch, "PATIENCE", -1.0)
    gradcheck.check(SIN, "N", dtypes=())
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------- loops that do not end


def newton(tolerance, slope=lambda y: 1 / (2 * y), most=None):
    """√a by Newton's method; with ``most``, after so many turns at the latest."""

    def fwd(a):
        def goes_on(state):
            x, turn = state
            return (jnp.abs(x * x - a).max() > tolerance) & (True if most is None else turn < most)

        def turned(state):
            x, turn = state
            return 0.5 * (x + a / x), turn + 1

        y, _ = jax.lax.while_loop(goes_on, turned, (jnp.maximum(a, 1.0), 0))
        return y, y

    return Rule(fwd, lambda y, dy: (dy * slope(y),))


A = jnp.linspace(0.5, 7.0, 7)


def test_a_loop_that_does_not_end_in_float32_is_cut_short_and_told():
    report = gradcheck.check(newton(1e-12), A)
    assert report.verdict == "inconclusive"
    assert "in float32 a loop does not end within 10,000 turns: it could not be judged there" in report.notes


def test_a_loop_that_ends_in_float32_is_judged_there():
    report = gradcheck.check(newton(1e-12, most=8), A)
    assert report.verdict == "correct"
    assert report.ulps.keys() == {"float64", "float32"}
    assert report.ulps["float32"].keys() == {"eager", "jit", "vmap"}


def test_loops_end_also_where_an_author_would_not_go():
    """The search for what the author assumes tries negative numbers too, and no tolerance at all."""
    assert gradcheck.check(newton(1e-12, lambda y: y / 3), A).verdict == "wrong"
    assert gradcheck.check(newton(1e-12, lambda y: (1 + 1e-8) / (2 * y)), A).verdict == "wrong"


def test_a_bounded_loop_is_the_same_until_its_bound():
    count = lambda n: jax.lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, 2 * s[1]), (0, 1.0))  # noqa: E731
    few, many = jnp.asarray(7), jnp.asarray(8)
    assert bounded(count, 7)(few) == count(few)
    turns, value = bounded(count, 7)(many)
    assert turns == 7
    assert jnp.isnan(value)
    both = jax.vmap(lambda n: bounded(count, 7)(n)[1])(jnp.stack([few, many]))
    assert both[0] == 128
    assert jnp.isnan(both[1])
