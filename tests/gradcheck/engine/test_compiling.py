import jax
import jax.numpy as jnp

from funcnet.gradcheck.engine.compiling import with_loops_kept


def test_a_function_with_a_loop_is_traced_until_two_traces_are_one():
    calls = []

    def f(x):
        calls.append(x.shape)
        return jax.lax.fori_loop(0, 3, lambda i, x: x * factor[0], x)

    factor, run = [2.0], with_loops_kept(f)
    assert [float(run(jnp.float32(x))) for x in (1, 2, 3)] == [8, 16, 24]
    assert calls == [(), ()]
    assert run(jnp.ones(2, jnp.float32)).tolist() == [8, 8]  # another shape is another trace
    assert calls == [(), (), (2,)]


def test_a_state_that_changes_at_every_call_is_seen_at_every_call():
    turns = iter(range(1, 9))
    run = with_loops_kept(lambda x: jax.lax.fori_loop(0, next(turns), lambda i, x: 2 * x, x))
    assert [float(run(jnp.float32(1))) for _ in range(4)] == [2, 4, 8, 16]
