"""``audit``: its columns, what it takes, what it says of functions that it can count only in part."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import pallas as pl

from funcnet import dense, dropout, gradcheck, ops, serial
from funcnet.gradcheck import InputError
from funcnet.gradcheck.costs.machine import Compiled, timed


def normal(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape), jnp.float32)


def test_the_columns_of_dense():
    n, i, o = 9, 7, 5
    found = gradcheck.audit(ops.dense, sizes={"*B": n, "I": i, "O": o})
    assert found.inputs == "*B=9 I=7 O=5"
    assert list(found.columns) == ["by hand", "autodiff", "checkpoint"]
    for costs in found.columns.values():
        assert (costs.products, costs.product_flops) == (3, {"float32": 6 * n * i * o})
        assert (costs.residual_bytes, costs.kept_bytes) == (0, 4 * (n * i + i * o))
        assert costs.argument_bytes >= 4 * (n * i + i * o + n * o)  # and b, if anything reads its values
        assert costs.result_bytes >= 4 * (n * o + n * i + i * o + o)
        assert costs.compiler_flops >= 6 * n * i * o
        low, median, high = (costs.seconds[k] for k in (1, 0, 2))
        assert 0 < low <= median <= high
    assert not found.suspicions


def test_it_says_so_in_a_table_and_to_machines():
    found = gradcheck.audit(ops.softmax, "N K", sizes={"N": 8, "K": 16}, time=False, name="soft")
    lines = str(found).splitlines()
    assert lines[0] == f"soft, float32, N=8 K=16; on {jax.default_backend()}"
    assert lines[1].split() == ["by", "hand", "autodiff", "checkpoint"]
    rows = {line[:27].strip(): line[27:].split() for line in lines[2:]}
    assert rows["arguments and y kept"][:2] == ["512", "B"]
    assert "time, median" not in rows
    document = json.loads(json.dumps(found.to_dict()))
    assert document["columns"]["by hand"]["seconds"] is None
    assert document["columns"]["by hand"]["kept_bytes"] == 4 * 8 * 16


def test_products_are_told_apart_by_their_dtypes():
    def fwd(x, w):
        return jnp.matmul(x, w, preferred_element_type=jnp.float32).astype(x.dtype), (x, w)

    def bwd(residuals, dy):
        x, w = residuals
        return dy @ w.T, x.T @ dy

    found = gradcheck.audit((fwd, bwd), "N I", "I O", sizes={"N": 2, "I": 3, "O": 5}, dtype=jnp.bfloat16, time=False)
    flops = found.columns["by hand"].product_flops
    assert flops == {"bfloat16 → float32": 60, "bfloat16": 120}
    assert found.dtype == "bfloat16"


def test_a_layer_has_a_batch():
    net = serial(dense(5), dropout(0.5), dense(3))
    small, large = (gradcheck.audit(net, in_shape=(7,), sizes={"N": n}, time=False) for n in (10, 20))
    assert small.inputs == "N=10"
    one, two = (found.columns["by hand"].product_flops["float32"] for found in (small, large))
    assert two == 2 * one == 2 * 2 * 3 * 10 * (7 * 5 + 5 * 3)
    with pytest.raises(InputError, match="sizes of a Layer is for N, the batch; got M"):
        gradcheck.audit(net, in_shape=(7,), sizes={"M": 1})


def test_given_arrays_keep_their_dtype_unless_another_is_asked_for():
    args = normal(4, 3), normal(3, 5), normal(5)
    found = [gradcheck.audit(ops.dense, *args, dtype=dtype, time=False) for dtype in (None, jnp.bfloat16)]
    assert [each.dtype for each in found] == ["float32", "bfloat16"]
    assert found[0].inputs == "given arrays"


def test_a_function_is_audited_by_the_rules_that_it_calls():
    """Beside the same without these: autodiff of sin keeps its cosine, and the rule x."""

    @jax.custom_vjp
    def sine(x):
        return jnp.sin(x)

    sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (dy * jnp.cos(x),))
    bare = gradcheck.audit(sine, "N", sizes={"N": 10}, time=False).columns
    within = gradcheck.audit(lambda x: 2 * jax.jit(sine)(x), "N", sizes={"N": 10}, time=False).columns
    for columns in (bare, within):
        assert columns["by hand"].residual_bytes == 0
        assert columns["by hand"].kept_bytes == 40
        assert columns["autodiff"].residual_bytes == 40
    with pytest.raises(InputError, match="holds no hand-written backward"):
        gradcheck.audit(lambda x: jnp.sin(x), "N")


def test_what_autodiff_cannot_do_is_left_out_with_the_reason():
    def fwd(x):
        return lax.while_loop(lambda c: c.sum() < 100, lambda c: 2 * c, x), ()

    found = gradcheck.audit((fwd, lambda _, dy: (dy,)), jnp.ones(3), time=False)
    assert list(found.columns) == ["by hand"]
    assert [note.partition(":")[0] for note in found.notes] == ["no autodiff"]
    assert "of a while loop one turn is counted" in str(found)


def test_a_kernel_stands_beside_a_function_of_the_same_value():
    def kernel(x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return pl.pallas_call(lambda x, y: y.__setitem__(..., jnp.sin(x[...])), out_shape=shape, interpret=True)(x)

    def bwd(x, dy):
        return (dy * jnp.cos(x),)

    alone = gradcheck.audit((lambda x: (kernel(x), x), bwd), normal(8, 128), time=False)
    beside = gradcheck.audit((lambda x: (kernel(x), x), bwd), normal(8, 128), reference=jnp.sin, time=False)
    assert list(alone.columns) == ["by hand"]
    assert list(beside.columns) == ["by hand", "autodiff", "checkpoint"]
    assert "note: not counted: pallas_call" in str(beside)


def test_what_cannot_be_counted_is_said():
    def bwd(x, dy):
        result = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return (jax.pure_callback(lambda x, dy: np.cos(x) * dy, result, x, dy),)

    found = gradcheck.audit((lambda x: (jnp.sin(x), x), bwd), "N", time=False)
    assert "note: not counted: pure_callback" in str(found)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gradcheck.audit(3), "expected a function, a Rule"),
        (lambda: gradcheck.audit(ops.dense, sizes={"Q": 3}), "sizes is for the axes"),
        (lambda: gradcheck.audit(ops.relu, jnp.ones(3), sizes={"N": 3}), "sizes is for drawn inputs"),
        (lambda: gradcheck.audit(dense(3), in_shape=(2,), sizes={"N": 0}), "the batch N is a whole number, at least 1"),
        (lambda: gradcheck.audit(ops.dense, dtype="bfloat"), "dtype is 'as-is' or a floating dtype"),
        (lambda: gradcheck.audit(ops.dense, argnums=3), "argnums are positions"),
        (lambda: gradcheck.audit(dense(3)), "a Layer needs in_shape"),
        (lambda: gradcheck.audit(ops.dense, "N D", "E M", "M"), "raised ShapeError on .*dense"),
        (lambda: gradcheck.audit(ops.sigmoid, jnp.full(3, 1j)), "takes complex arguments: only real ones are counted"),
        (lambda: gradcheck.audit(ops.sigmoid, "N:complex"), "takes complex arguments: only real ones are counted"),
        (lambda: gradcheck.audit(ops.embedding, argnums=1), "has no cotangent that is asked for"),
        (lambda: gradcheck.audit((lambda x: (x, ()), lambda r, dy: (dy,)), jnp.arange(3)), "no floating argument"),
    ],
)
def test_bad_input_is_one_line(call, said):
    with pytest.raises(InputError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_programs_run_in_turn():
    order = []
    programs = [Compiled(lambda i=i: order.append(i) or jnp.zeros(()), 0, 0, 0, 0.0) for i in range(3)]
    times = timed(programs)
    assert len(times) == 3
    assert order[:9] == 3 * [0, 1, 2]
