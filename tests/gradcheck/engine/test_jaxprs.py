"""The walker of jaxprs, and what its hooks are told."""

import runpy

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from funcnet.gradcheck import check
from funcnet.gradcheck.engine.compiling import haste, traced_once
from funcnet.gradcheck.engine.jaxprs import LOOPS, Hooks, evaluate, flattened, program_of, pruned

X = np.random.default_rng(0).normal(size=5)


def looped(x):
    """A call, a scan, a branch, a while loop, and a constant."""
    y, _ = lax.scan(lambda y, row: (jnp.sin(y) + row, None), x, jnp.stack([x, 2 * x, x * x]))
    y = lax.cond(y.sum() > 0, jnp.tanh, jnp.cos, y)
    y, _ = lax.while_loop(lambda c: c[1] < 3, lambda c: (c[0] * 0.5, c[1] + 1), (y, 0))
    return jax.jit(jnp.exp)(y)


def test_a_program_computes_what_its_function_does():
    closed = jax.make_jaxpr(looped)(X)
    for program in (
        program_of(looped, [X], __file__, inline_custom=True),
        flattened(closed, None, LOOPS),
        flattened(closed, {}, ()),
    ):
        (y,) = evaluate(program, [X])
        np.testing.assert_allclose(y, looped(X), rtol=1e-14)
    np.testing.assert_allclose(traced_once(looped, [X])(X), looped(X), rtol=1e-14)


def test_another_arithmetic_is_an_argument_in_loops_and_branches_too():
    """Here exp and all other functions are taken of twice the operand."""

    def doubled(step, values, perform):
        seen.add(step.primitive)
        return perform([2 * values[0]]) if step.primitive in ("sin", "tanh", "cos", "exp") else perform(values)

    seen = set()
    program = flattened(jax.make_jaxpr(looped)(X), None, LOOPS)
    (y,) = evaluate(program, [X], Hooks(step=doubled))
    expected = X
    for row in (X, 2 * X, X * X):
        expected = np.sin(2 * expected) + row
    expected = np.tanh(2 * expected) if expected.sum() > 0 else np.cos(2 * expected)
    np.testing.assert_allclose(y, np.exp(2 * expected / 8), rtol=1e-13)
    assert {"scan", "cond", "while", "sin", "tanh", "cos", "exp"} <= seen


def test_each_row_of_a_loop_under_vmap_ends_for_itself():
    def thirds(x):
        return lax.while_loop(lambda x: jnp.abs(x) > 0.1, lambda x: x / 3, x)

    wide = jnp.array([0.05, 0.2, 5.0])
    program = flattened(jax.make_jaxpr(jax.vmap(thirds))(wide), None, LOOPS)
    np.testing.assert_allclose(evaluate(program, [wide])[0], [0.05, 0.2 / 3, 5 / 81], rtol=1e-6)
    np.testing.assert_allclose(evaluate(program, [wide], Hooks(turns=1))[0], [0.05, 0.2 / 3, np.nan], rtol=1e-6)


def test_operands_know_their_turn_and_results_their_number():
    program = program_of(lambda x: lax.scan(lambda y, r: (y * r, y), x, jnp.stack([x, x, x]))[0], [X], __file__, True)

    def operand(step, number, value, turn):
        return value if turn is None or step.primitive != "mul" else jnp.where(turn[1], 0 * value, value)

    (last_stopped,) = evaluate(program, [X], Hooks(operand))
    np.testing.assert_array_equal(last_stopped, np.zeros(5))
    (negated,) = evaluate(program, [X], Hooks(result=lambda n, env: -env[n] if n in program.outputs else env[n]))
    np.testing.assert_allclose(negated, -(X**4), rtol=1e-14)


def test_a_step_has_the_line_that_wrote_it():
    program = program_of(looped, [X], __file__, inline_custom=True)
    lines = {step.primitive: step.line.text for step in program.steps}
    assert "lax.scan(lambda y, row" in lines["scan"]
    assert lines["exp"] == "return jax.jit(jnp.exp)(y)"


def test_options_for_speed_are_those_of_the_platform_that_runs(monkeypatch):
    assert haste()
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert haste() is None


def test_a_file_that_was_edited_is_read_anew(tmp_path, monkeypatch):
    """As in a notebook or a session of Python, where one process runs a file again and again."""
    monkeypatch.chdir(tmp_path)
    for lost in ("x * x * x", "jnp.sin(x)"):
        (tmp_path / "rule.py").write_text(
            f"import jax.numpy as jnp\ndef f_fwd(x):\n    return {lost} + x, x\ndef f_bwd(x, dy):\n    return (dy,)\n"
        )
        names = runpy.run_path("rule.py")
        (finding,) = check((names["f_fwd"], names["f_bwd"]), X).findings
        assert finding.source == f"return {lost} + x, x"


def test_a_pruned_program_computes_what_is_wanted_alone():
    def both(x, y, z):
        return jnp.sin(x), lax.scan(lambda c, row: (c * row, c + row), y.sum(), z)

    closed = jax.make_jaxpr(both)(X, X, X)
    sine, takes = pruned(closed, [True, False, False], taken=[False, False, True])
    assert takes == [True, False, True]
    assert [step.primitive for step in flattened(sine, {}, ()).steps] == ["sin"]
    np.testing.assert_array_equal(evaluate(flattened(sine, {}, ()), [X, X]), [jnp.sin(X)])
    _, takes = pruned(closed, [False, False, True])
    assert takes == [True, True, True]
