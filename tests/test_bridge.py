"""The bridge: our rules as JAX functions, under every transformation; and JAX functions as our rules."""

import inspect
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Float

import funcnet
from funcnet import bridge, gradcheck, ops
from funcnet.types import Rule, ShapeError
from tests.cases import LAYERS, RULES, case_id, layer_args, normal
from tests.trees import assert_close, assert_equal, differentiable, draw


def plainly(rule):
    """The forward alone, for autodiff."""
    return lambda *args: rule.fwd(*args)[0]


def of_floats(f, args):
    """``f`` as a function of the arguments that are differentiable alone, and those arguments."""
    chosen = [i for i, arg in enumerate(args) if differentiable(arg)]

    def with_floats(*floats):
        return f(*(floats[chosen.index(i)] if i in chosen else arg for i, arg in enumerate(args)))

    return with_floats, tuple(args[i] for i in chosen)


def pulled_back(f, floats, dy):
    y, pullback = jax.vjp(f, *floats)
    return y, pullback(dy)


# ---------------------------------------------------------------- values and derivatives


def second(f, floats, dy, directions):
    """The gradient of the product of f's gradient with ``directions``: reverse over reverse."""
    return pulled_back(lambda *floats: pulled_back(f, floats, dy)[1], floats, directions)[1]


@pytest.mark.parametrize("case", RULES, ids=case_id)
def test_value_gradient_and_second_derivative(case):
    """Beside the rule's own backward, and beside autodiff of the plain forward, twice."""
    args = jax.tree.map(jnp.asarray, case.args((3,)))
    dy = draw(1, jax.eval_shape(plainly(case.rule), *args))

    @jax.jit
    def all_of_them(args):
        bridged, floats = of_floats(bridge.function(case.rule), args)
        plain, _ = of_floats(plainly(case.rule), args)
        directions = draw(2, jax.eval_shape(lambda *floats: floats, *floats))
        value, residuals = case.rule.fwd(*args)
        own = tuple(d for d, arg in zip(case.rule.bwd(residuals, dy), args, strict=False) if differentiable(arg))
        got = pulled_back(bridged, floats, dy), second(bridged, floats, dy, directions)
        return got, ((value, own), second(plain, floats, dy, directions))

    (got, got_second), (expected, expected_second) = all_of_them(args)
    assert_close(got, expected, 1e-13, 1e-13)
    assert_close(got_second, expected_second, 1e-9, 1e-11)


def test_a_backward_that_drops_a_dependence_has_wrong_second_derivatives():
    """So the test above can fail: the gradient is right, and its derivative is 0."""

    def bwd(x, dy):
        return (dy * jax.lax.stop_gradient(3 * x * x),)

    cube = bridge.function(Rule(lambda x: (x**3, x), bwd))
    assert jax.grad(cube)(2.0) == 12
    assert jax.grad(jax.grad(cube))(2.0) == 0


def test_hessians_by_either_mode_over_reverse():
    f, x = bridge.function(ops.log_softmax), normal(0, 5)
    expected = jax.jacrev(jax.jacrev(plainly(ops.log_softmax)))(x)
    assert_close(jax.jacrev(jax.jacrev(f))(x), expected, 1e-10, 1e-12)
    assert_close(jax.hessian(lambda x: f(x) @ x)(x), jax.hessian(lambda x: jax.nn.log_softmax(x) @ x)(x), 1e-10, 1e-12)


NAMES = [
    "dropout",
    "attention",
    "flash_attention",
    "embedding",
    "weighted",
    "l2",
    "linear_softmax_cross_entropy",
    "lstm",
]


def loop(f):
    """Maps ``f`` over a first axis of two, by hand."""

    def both(*xs):
        ys = (f(*(jax.tree.map(lambda leaf, i=i: leaf[i], xs))) for i in range(2))
        return jax.tree.map(lambda *ys: jnp.stack(ys), *ys)

    return both


def sharded(f):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    spec = PartitionSpec("data")
    return jax.shard_map(jax.vmap(f), mesh=mesh, in_specs=spec, out_specs=spec)


TRANSFORMATIONS = {
    "none": loop,
    "jit": lambda f: loop(jax.jit(f)),
    "checkpoint": lambda f: loop(jax.checkpoint(f)),
    "vmap": jax.vmap,
    "scan": lambda f: lambda *xs: jax.lax.scan(lambda carry, x: (carry, f(*x)), 0, xs)[1],
    "shard_map": sharded,
}


@pytest.mark.slow
@pytest.mark.parametrize("case", [next(case for case in RULES if case.name == name) for name in NAMES], ids=case_id)
def test_under_every_transformation(case):
    """The gradient through each is that of a loop over the plain forward. One program, as each is compiled anyway."""
    args = jax.tree.map(jnp.asarray, case.args((3,)))
    bridged, floats = of_floats(bridge.function(case.rule), args)
    plain, _ = of_floats(plainly(case.rule), args)
    xs = jax.tree.map(lambda x: jnp.stack([x, 0.7 * x]), floats)
    dys = draw(1, jax.eval_shape(loop(plain), *xs))

    @jax.jit
    def by_all(xs):
        return {name: pulled_back(f(bridged), xs, dys) for name, f in TRANSFORMATIONS.items()}

    expected = jax.jit(lambda xs: pulled_back(loop(plain), xs, dys))(xs)
    for found in by_all(xs).values():
        assert_close(found, expected, 1e-10, 1e-12)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_second_derivatives_under_every_transformation(name):
    xs = (jnp.asarray(normal(0, 2, 3, 5)),)

    def gradient_of(f):
        return jax.jit(jax.grad(lambda x: (jax.grad(lambda x: (f(x) ** 3).sum())(x) ** 2).sum()))(*xs)

    transformed = TRANSFORMATIONS[name](bridge.function(ops.softmax))
    assert_close(gradient_of(transformed), gradient_of(loop(plainly(ops.softmax))), 1e-9, 1e-11)


@pytest.mark.parametrize("checked", [True, False])
def test_weights_that_devices_share_have_the_sum_of_their_gradients(checked):
    x, w, b = normal(0, 8, 5), normal(1, 5, 3), normal(2, 3)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    dense, specs = bridge.function(ops.dense), (PartitionSpec("data"), PartitionSpec(), PartitionSpec())

    def total(*args):
        return jax.lax.psum(jnp.sin(dense(*args)).sum(), "data")

    spread = jax.shard_map(total, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=checked)
    expected = jax.grad(lambda *args: jnp.sin(plainly(ops.dense)(*args)).sum(), (0, 1, 2))(x, w, b)
    assert_close(jax.jit(jax.grad(spread, (0, 1, 2)))(x, w, b), expected, 1e-10, 1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "name", ["batch_norm", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt", "multi_head_attention"))]
)
def test_a_layer_as_a_function_of_its_parameters(name, training):
    case = next(case for case in LAYERS if case.name == name)
    params, x, key = layer_args(case, training)
    y, residuals = case.layer.fwd(params, x, key)
    f, dy = bridge.function(case.layer), draw(3, y)
    got, pullback = jax.vjp(lambda params: f(params, x, key=key), params)
    assert_close(got, y, 1e-13, 1e-13)
    assert_close(pullback(dy), case.layer.bwd(residuals, dy)[:1], 1e-13, 1e-13)


# ---------------------------------------------------------------- an ordinary function


def test_gradients_have_the_dtypes_of_the_arguments():
    """As in a module that computes in bfloat16 with parameters in float32."""
    x, gamma, beta = jnp.asarray(normal(0, 3, 5), jnp.bfloat16), jnp.ones(5, jnp.float32), jnp.zeros(5, jnp.float32)
    norm = bridge.function(ops.layer_norm())
    with jax.numpy_dtype_promotion("standard"):
        gradients = jax.grad(lambda *args: (norm(*args) ** 3).sum(), (0, 1, 2))(x, gamma, beta)
    assert [d.dtype for d in gradients] == [jnp.bfloat16, jnp.float32, jnp.float32]


def test_integers_and_keys_have_no_gradient():
    loss, dropout = bridge.function(ops.sparse_softmax_cross_entropy()), bridge.function(ops.dropout(0.5))
    z, labels = normal(0, 3, 7), jnp.array([2, 0, 6])
    dz, dlabels = jax.grad(loss, (0, 1), allow_int=True)(z, labels)
    assert dlabels.dtype == jax.dtypes.float0
    assert_close(dz, (jax.nn.softmax(z) - jax.nn.one_hot(labels, 7, dtype=z.dtype)) / 3, 1e-10, 1e-12)
    assert dropout(z, None) is not None
    gradient = jax.grad(lambda x: dropout(x, jax.random.key(0)).sum())(z)
    assert set(np.unique(gradient)) == {0, 2}


def test_name_signature_and_docstring_are_those_of_the_forward():
    f = bridge.function(ops.layer_norm())
    assert (f.__name__, f.__qualname__, f.__doc__) == ("layer_norm", "layer_norm", ops.layer_norm().fwd.__doc__)
    assert list(inspect.signature(f).parameters) == ["x", "gamma", "beta"]
    assert inspect.signature(f).return_annotation is f.__annotations__["return"]
    assert str(f.__annotations__["return"]) == str(Float[Array, "*B C"])
    names = {
        "relu": ops.relu,
        "sigmoid": ops.sigmoid,
        "elu": ops.elu(),
        "weighted": ops.weighted(ops.huber(reduction="none")),
    }
    assert [bridge.function(rule).__name__ for rule in names.values()] == list(names)
    assert str(inspect.signature(bridge.function(funcnet.dense(3)))) == "(params, x, key=None)"


@pytest.mark.parametrize("annotation", ["Local", "N D"])
def test_annotations_may_be_any_string(annotation):
    def fwd(x):
        return x, x

    fwd.__annotations__ = {"x": annotation, "return": annotation}
    signature = inspect.signature(bridge.function(Rule(fwd, lambda x, dy: (dy,))))
    assert signature.parameters["x"].annotation == annotation
    assert signature.return_annotation is inspect.Signature.empty  # it may be that of the pair


def test_arguments_by_name_and_by_default():
    attention, (q, k, v) = bridge.function(ops.attention()), (normal(i, 3, 4) for i in range(3))
    mask = jnp.tri(3, dtype=bool)
    expected = jax.vjp(plainly(ops.attention()), q, k, v, mask)[1](q)[:3]
    assert_close(jax.vjp(lambda q, k, v: attention(v=v, mask=mask, k=k, q=q), q, k, v)[1](q), expected, 1e-10, 1e-12)
    assert_equal(attention(q, k, v), attention(q, k, v=v, mask=None))


def test_equal_rules_give_one_function():
    assert bridge.function(ops.relu) is bridge.function(ops.relu)
    assert bridge.function(ops.mean_squared_error()) is bridge.function(ops.mean_squared_error())
    assert bridge.rule(jnp.sin) is bridge.rule(jnp.sin)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda f, x: f(x, x[:2], x[:3]), ShapeError, "attention got q (3, 4), k (2, 4), v (3, 4)"),
        (lambda f, x: f(x, x), TypeError, "attention: missing a required argument: 'v'"),
        (lambda f, x: f(x, 1.0, x), TypeError, "attention expects an array; got a"),
        (lambda f, x: bridge.function(ops.attention), TypeError, "got the function attention: call it"),
    ],
)
def test_mistakes_are_one_line(call, error, said):
    with pytest.raises(error) as raised:
        call(bridge.function(ops.attention()), jnp.asarray(normal(0, 3, 4)))
    assert said in str(raised.value)


def test_a_shape_error_is_few_frames_away():
    attention, x = bridge.function(ops.attention()), jnp.ones((3, 4))
    with pytest.raises(ShapeError) as raised:
        jax.grad(lambda x: attention(x, x[:2], x).sum())(x)
    own = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__) if "funcnet" in frame.filename]
    assert own == ["call", "fwd", "fwd", "_check"]  # the last two are the rule's


def test_the_checker_judges_a_bridged_function_by_its_plain_forward():
    def fwd(x: Float[Array, "N D"], w: Float[Array, "D"]):
        return x * w[None], (x, w)

    def bwd(residuals, dy):
        x, w = residuals
        return dy * w[None], (dy * x).sum(axis=0) * 2

    gradcheck.assert_correct(bridge.function(ops.relu))
    assert gradcheck.check(bridge.function(Rule(fwd, bwd))).verdict == "wrong"


# ---------------------------------------------------------------- forward mode


@pytest.mark.parametrize(
    "forward",
    [
        lambda f, x: jax.jvp(f, (x,), (x,)),
        lambda f, x: jax.jit(lambda x: jax.jvp(f, (x,), (x,)))(x),
        lambda f, x: jax.jvp(jax.jit(f), (x,), (x,)),
        lambda f, x: jax.jacfwd(f)(x),
        lambda f, x: jax.linearize(f, x)[1](x),
        lambda f, x: jax.jvp(jax.vmap(jax.checkpoint(f)), (x,), (x,)),
        lambda f, x: jax.jvp(lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, length=2)[0], (x,), (x,)),
        lambda f, x: jax.jit(jax.jacfwd(lambda x: jax.jvp(f, (x,), (x,))[1])).lower(x),
    ],
    ids=["jvp", "jitted", "jvp_of_jit", "jacfwd", "linearize", "checkpoint", "scan", "twice"],
)
def test_forward_mode_is_refused_in_a_sentence(forward):
    with pytest.raises(TypeError) as raised:
        forward(bridge.function(ops.softmax), jnp.asarray(normal(0, 3, 4)))
    assert str(raised.value).splitlines()[0] == (
        "softmax has its backward by hand, and so no forward mode: use jax.grad, jax.vjp or jax.jacrev, or give "
        "jax.jvp the forward itself, rule.fwd(...)[0]"
    )


# ---------------------------------------------------------------- any function as a rule


def weighted_sum(x, tree, labels):
    return {"a": jnp.sin(x) @ tree["w"], "b": tree["table"][labels] * x.sum()}


def test_a_function_as_a_rule():
    args = normal(0, 3, 5), {"w": normal(1, 5, 2), "table": normal(2, 7, 4)}, jnp.array([2, 0, 6])
    rule = bridge.rule(weighted_sum)
    y, residuals = jax.jit(rule.fwd)(*args)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(residuals))
    dy = draw(1, y)
    dx, dtree, dlabels = jax.jit(rule.bwd)(residuals, dy)
    assert dlabels is None
    expected_y, expected = pulled_back(lambda x, tree: weighted_sum(x, tree, args[2]), args[:2], dy)
    assert_close((y, (dx, dtree)), (expected_y, expected), 1e-12, 1e-12)
    gradcheck.assert_correct(rule, *args)
    assert_close(jax.vjp(bridge.function(rule), *args)[1](dy)[:2], expected, 1e-12, 1e-12)  # and back


def mixing(params, x, key=None):
    return jnp.tanh(x @ params["w"]) * x


def test_a_network_in_which_one_piece_is_not_yet_derived():
    """By ``lift`` and by ``layer``, also where it is scanned, beside autodiff of the same network written plainly."""

    def init(key, in_shape):
        return {"w": jax.random.normal(key, (in_shape[-1], in_shape[-1]))}, in_shape

    wave, mix = funcnet.lift(bridge.rule(jnp.sin), "sin"), bridge.layer(init, mixing)
    net = funcnet.serial(funcnet.dense(5), wave, funcnet.repeat(mix, 3), funcnet.dense(2))
    params, _ = net.init(jax.random.key(0), (3,))
    params = jax.tree.map(lambda p: p.astype(float), params)
    x, labels = normal(0, 4, 3), jnp.array([0, 1, 1, 0])
    loss = ops.sparse_softmax_cross_entropy()

    def plain(params):
        first, _, mixed, last = params
        h = jnp.sin(x @ first["w"] + first["b"][None])
        for w in mixed["w"]:
            h = mixing({"w": w}, h)
        return loss.fwd(h @ last["w"] + last["b"][None], labels)[0]

    got = jax.jit(funcnet.value_and_grad(net, loss))(params, x, labels, None)
    value, (first, _, mixed, last) = jax.value_and_grad(plain)(params)
    assert_close(got, (value, (first, {}, mixed, last)), 1e-10, 1e-12)


def test_the_summary_says_what_is_not_by_hand():
    layer = bridge.layer(lambda key, shape: ({"w": jnp.ones((3, 3))}, shape), mixing)
    net = funcnet.serial(funcnet.lift(bridge.rule(jnp.sin), "sin"), funcnet.lift(ops.relu, "relu"), layer)
    shown = [line.split("│")[1].strip() for line in funcnet.summary(net, (3,)).splitlines() if line.startswith("│")]
    assert shown == ["serial", "sin, by autodiff", "relu", "mixing, by autodiff"]
    tokens = bridge.layer(layer.init, lambda params, x, key: params["w"][x], "table")
    y, residuals = tokens.fwd({"w": jnp.eye(3)}, jnp.array([1, 2]))
    assert tokens.name == "table, by autodiff"
    assert tokens.bwd(residuals, y)[1] is None
