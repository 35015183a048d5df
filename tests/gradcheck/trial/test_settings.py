"""Every way to call the checker wrongly is one line; what is odd, and can be meant, goes through."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int, Num, Shaped

import funcnet
from funcnet import gradcheck

X = np.ones((3, 4))


def sine(annotation=Float[Array, "N D"]):
    """(fwd, bwd) of sin x, where x is annotated like that."""

    def fwd(x):
        return jnp.sin(x), x

    fwd.__annotations__ = {"x": annotation}
    return fwd, lambda x, dy: (jnp.cos(x) * dy,)


def returning(y):
    return lambda x: (y, x), lambda x, dy: (dy,)


def scale_fwd(x: Float[Array, "N D"], gain: Float[Array, "D"]):
    return gain * x, (x, gain)


def scale_bwd(residuals, dy):
    x, gain = residuals
    return gain * dy, (dy * x).sum(axis=0)


def take_fwd(x: Float[Array, "K D"], rows: Int[Array, "N"]):
    return x[rows], (x, rows)


def take_bwd(residuals, dy):
    x, rows = residuals
    return jnp.zeros_like(x).at[rows].add(dy), None


SCALE, TAKE, SHAPED = (scale_fwd, scale_bwd), (take_fwd, take_bwd), ("N D",)
BAD = [
    ((3,), {}, "expected a function, a Rule, a pair"),
    ((float,), {}, "expected a function, a Rule, a pair"),
    ((lambda x: x,), {}, "has no array annotation to draw from"),
    ((jax.custom_vjp(jnp.sin), "N"), {}, "with defvjp called"),
    ((funcnet.dense(3),), {}, "a Layer needs in_shape=..., without the batch axis"),
    ((sine(),), {"in_shape": (3,)}, "nothing else takes in_shape"),
    ((funcnet.dense(3),), {"in_shape": 3}, "in_shape is a tuple of sizes; got 3"),
    ((funcnet.dense(3),), {"in_shape": ("a",)}, "each size of in_shape is a whole number, at least 1; got 'a'"),
    ((funcnet.dense(3),), {"in_shape": ()}, r"dense\(3\) cannot be made for in_shape=\(\): dense\(3\) got input shape"),
    ((sine(),), {"sizes": [3]}, "sizes is a dict"),
    ((sine(),), {"sizes": {"N": 0}}, r"sizes\['N'\] is a whole number, at least 1; got 0"),
    ((sine(),), {"sizes": {"Q": 3}}, "sizes is for the axes N, D; got Q"),
    ((sine(), X), {"sizes": {"N": 3}}, "sizes is for drawn inputs"),
    ((sine(),), {"seed": -1}, "seed is a whole number, at least 0; got -1"),
    ((sine(),), {"seed": "a"}, "seed is a whole number"),
    ((sine(),), {"dtypes": jnp.float32}, "dtypes is a sequence of floating dtypes"),
    ((sine(),), {"dtypes": "float32"}, "dtypes is a sequence"),
    ((sine(),), {"dtypes": [jnp.int32]}, "dtypes is a sequence"),
    ((TAKE,), {}, "argument rows holds integers: say what they stay below"),
    ((TAKE,), {"ranges": ["K"]}, "ranges is a dict"),
    ((TAKE,), {"ranges": {"rows": 2.5}}, r"ranges\['rows'\] is a whole number"),
    ((TAKE,), {"ranges": {"x": 3}}, "ranges is for integer arguments of take; got 'x'"),
    ((TAKE,), {"ranges": {"rows": "V"}}, "the range V is no axis of an argument; give it a size"),
    ((SCALE, "N D"), {}, r"takes 2 arguments \(x, gain\); got 1 shapes"),
    ((SCALE, X), {}, r"takes \(x, gain\); got 1 inputs"),
    ((SCALE, X, "D"), {}, "symbolic shapes or arrays, and not some of each"),
    ((SCALE, "N D", "D:imaginary"), {}, "a symbolic shape is like"),
    ((SCALE, "N D", "N:int"), {}, "a symbolic shape is like"),
    ((SCALE, "N D", "D-1"), {}, "an axis is a name"),
    ((SCALE, "N D", "K"), {}, r"the forward of scale raised \w+ on N=5 D=7 K=11"),
    ((SCALE, "A B C D E F G H I", "I"), {}, "'A B C D E F G H I' would be too large; fix its axes by sizes"),
    ((SCALE, X, {"gain": "much"}), {}, "gain holds 'much', which is no array"),
    ((sine(None),), {}, "has no array annotation to draw from"),
    (((lambda *xs: xs, scale_bwd),), {}, r"any number of arguments \(\*xs\): give arrays"),
    ((jnp.sin, X), {"argnums": 1}, r"argnums are positions of \(x\); got 1"),
    ((jnp.sin, X), {"argnums": "x"}, "each of argnums is a whole number"),
    ((jnp.sin, X), {"dtype": "float32"}, "dtype is 'as-is' or a floating dtype"),
    ((jnp.sin, X), {"reference": 3}, "reference is a function; got 3"),
    ((jnp.sin, X), {"surrogate": 3}, "surrogate is a function; got 3"),
    ((jnp.sin, X), {"surrogate": jnp.sin, "reference": jnp.sin}, "reference or a surrogate, and not both"),
    (((max, scale_bwd), X), {}, "the arguments of the forward cannot be read"),
    (((lambda x: (jnp.sqrt(x) / 0, x), scale_bwd), "N"), {}, "is not finite"),
    (((lambda x: sys.exit(), scale_bwd), "N"), {}, "the forward of .* raised SystemExit"),
    (((lambda x: jnp.sin(x), scale_bwd), "N"), {}, r"returns a pair \(y, residuals\); got ArrayImpl"),
    (((lambda x: (jnp.sin(x),), scale_bwd), "N"), {}, "returns a pair .*; got 1 of them"),
    ((returning(1.0), "N"), {}, "returns arrays; got a float"),
    ((returning("y"), "N"), {}, "returns arrays; got a str"),
    ((returning(None), "N"), {}, "returns no floating array"),
]


@pytest.mark.parametrize(("arguments", "settings", "message"), BAD)
def test_a_wrong_call_is_one_clear_error(arguments, settings, message):
    with pytest.raises(gradcheck.InputError, match=message) as caught:
        gradcheck.check(*arguments, **settings)
    assert "\n" not in str(caught.value)


def scaled_sine_fwd(x: Float[Array, "N D"], scale=2.0):
    return scale * jnp.sin(x), (x, scale)


def scaled_sine_bwd(residuals, dy):
    x, scale = residuals
    return (scale * jnp.cos(x) * dy,)


class Sine:
    def __call__(self, x: Float[Array, "N D"]):
        return jnp.sin(x), x


def spare_bwd(residuals, dy):
    return *scaled_sine_bwd(residuals, dy), None


GOOD = {
    "a cotangent for a default too": ((scaled_sine_fwd, spare_bwd), {}),
    "a default that is left": (((scaled_sine_fwd, scaled_sine_bwd),), {}),
    "the same, of the caller's arrays": (((scaled_sine_fwd, scaled_sine_bwd), X), {}),
    "a partial application": (((functools.partial(scaled_sine_fwd, scale=3.0), scaled_sine_bwd),), {}),
    "an object that can be called": (((Sine(), sine()[1]),), {}),
    "under jit": (tuple(map(jax.jit, sine())), {}),
    "any dtype": (sine(Shaped[Array, "N D"]), {}),
    "any number": (sine(Num[Array, "N D"]), {}),
    "axes of jaxtyping": (sine(Float[Array, "#N D=3"]), {}),
    "dtypes by name": (sine(), {"dtypes": ["float32"]}),
    "a range by number": (TAKE, {"ranges": {"rows": 4}}),
    "a cotangent list": ((sine()[0], lambda x, dy: [jnp.cos(x) * dy]), {}),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_odd_and_can_be_meant_is_checked(name):
    target, settings = GOOD[name]
    target, *inputs = target if isinstance(target[0], tuple) else (target,)
    assert gradcheck.check(target, *inputs, quick=True, **settings).verdict == "correct"


def test_a_forward_without_a_derivative_is_judged_by_differences():
    f = jax.custom_vjp(lambda x: jax.pure_callback(np.tanh, jax.ShapeDtypeStruct(x.shape, x.dtype), x))
    f.defvjp(lambda x: (f(x), x), lambda x, dy: (dy * (1 - jnp.tanh(x) ** 2),))
    report = gradcheck.check(f, "N")
    assert (report.verdict, report.reference) == ("correct", "differences")


def test_a_custom_vjp_under_jit_is_found():
    f = jax.custom_vjp(jnp.sin)
    f.defvjp(*sine())
    assert gradcheck.check(jax.jit(f), "N", quick=True).verdict == "correct"


@pytest.mark.parametrize(
    ("bwd", "explanation"),
    [
        (lambda x, dy: sys.exit(3), "bwd raised SystemExit: 3"),
        (lambda x, dy: ("dx",), "holds 'dx'; expected an array"),
        (lambda x, dy: (object(),), "holds <object"),
        (lambda x, dy: None, "bwd returned a NoneType"),
        (lambda x: x, "bwd raised TypeError"),
    ],
)
def test_whatever_a_backward_does_is_a_finding(bwd, explanation):
    (finding,) = gradcheck.check((sine()[0], bwd)).findings
    assert finding.mistake == "wrong-structure"
    assert explanation in finding.explanation
