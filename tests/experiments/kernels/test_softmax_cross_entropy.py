import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl

from experiments.kernels import softmax_cross_entropy as kernels
from funcnet import gradcheck

N, V = 7, 300  # no multiple of a block of 4 rows and 128 columns
DTYPES = (jnp.float32, jnp.bfloat16)


def plain(logits, labels):
    z = logits.astype(np.promote_types(logits.dtype, np.float32))
    return jax.nn.logsumexp(z, axis=1) - jnp.take_along_axis(z, labels[:, None], axis=1)[:, 0]


def arguments(dtype, n=N, v=V):
    rng = np.random.default_rng(5)
    labels = rng.integers(v, size=n)
    labels[::2] = v - 1  # in the last, partial block
    return jnp.asarray(3 * rng.normal(size=(n, v)), dtype), jnp.asarray(labels, jnp.int32)


def checked(kernel, dtype, **sizes):
    return gradcheck.check(kernel, *arguments(dtype, **sizes), reference=plain, dtype="as-is")


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_kernel_is_right(dtype):
    report = checked(kernels.softmax_cross_entropy, dtype)
    assert report, report
    assert report.sight < (0.2 if dtype == jnp.bfloat16 else 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "v"), [(1, 2), (8, 256), (5, 129)])
def test_it_is_right_at_other_sizes(n, v):
    assert checked(kernels.softmax_cross_entropy, jnp.float32, n=n, v=v)


def test_it_is_judged_in_float32_if_nobody_says_in_what():
    logits, labels = arguments(jnp.float32)
    report = gradcheck.check(kernels.softmax_cross_entropy, logits, labels, reference=plain)
    assert report, report
    assert 1e-7 < report.sight < 1e-5


def with_backward(backward):
    f = jax.custom_vjp(lambda logits, labels: kernels.forward(logits, labels)[0])
    f.defvjp(kernels.forward, backward)
    return f


def last_block_left_out(residuals, dlosses):
    logits = residuals[0]
    kernel = functools.partial(kernels.backward_kernel, *logits.shape)
    grid = pl.cdiv(N, kernels.ROWS), V // kernels.COLUMNS
    return kernels.call(kernel, grid, logits, logits, *residuals[1:], dlosses), None


def last_block_zero(residuals, dlosses):
    return jnp.nan_to_num(last_block_left_out(residuals, dlosses)[0]), None


def one_hot_left_out(residuals, dlosses):
    logits, labels, lse = residuals
    return kernels.backward((logits, jnp.full_like(labels, -1), lse), dlosses)


def cotangent_left_out(residuals, dlosses):
    return kernels.backward(residuals, jnp.ones_like(dlosses))


MISTAKES = {
    last_block_left_out: ("part-left-out", "is NaN from index 256 of axis 1 on, and right elsewhere"),
    last_block_zero: ("part-left-out", "is zero from index 256 of axis 1 on, and right elsewhere"),
    one_hot_left_out: ("path-lost", "is wrong in one element along axis 1: an index or a one-hot has its term there"),
    cotangent_left_out: ("ignores-cotangent", "does not depend on dy"),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backward", MISTAKES)
def test_a_mistake_in_its_backward_is_named(backward, dtype):
    report = checked(with_backward(backward), dtype)
    assert report.verdict == "wrong"
    assert [(finding.mistake, finding.explanation) for finding in report.findings] == [MISTAKES[backward]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mistake_in_its_forward_is_one_too(dtype):
    def forward(logits, labels):
        losses, residuals = kernels.forward(logits, labels)
        return losses.at[-1].multiply(1.5), residuals

    f = jax.custom_vjp(lambda *args: forward(*args)[0])
    f.defvjp(forward, kernels.backward)
    report = checked(f, dtype)
    assert report.verdict == "wrong"
    assert report.mistakes == ("primal-mismatch",)


def test_extremes():
    z, labels = arguments(jnp.float32)
    z = z.at[0].set(1e4).at[1, :200].set(-jnp.inf).at[2].multiply(1e4)
    with jax.enable_x64(False):
        losses, residuals = kernels.forward(z, labels)
        (dz, _) = kernels.backward(residuals, jnp.ones(N, jnp.float32))
        want, pullback = jax.vjp(lambda z: plain(z, labels), z)
    np.testing.assert_allclose(losses, want, rtol=1e-6)
    np.testing.assert_allclose(dz, pullback(jnp.ones(N, jnp.float32))[0], atol=1e-3)  # lse is rounded: 1e4 · eps
    assert np.isnan(kernels.softmax_cross_entropy(z, labels.at[3].set(V))[3])


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")
@pytest.mark.parametrize("dtype", DTYPES)
def test_it_lowers_for_a_gpu(dtype, monkeypatch):
    def both(logits, labels, dlosses):
        losses, residuals = kernels.forward(logits, labels)
        return losses, kernels.backward(residuals, dlosses)[0]

    jax.clear_caches()  # what was traced for the CPU is interpreted
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    device = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
    mesh = jax.sharding.AbstractMesh((1,), ("data",), jax.sharding.AxisType.Auto, abstract_device=device)
    with jax.enable_x64(False), jax.sharding.use_abstract_mesh(mesh):
        traced = jax.jit(both).trace(*arguments(dtype), jnp.ones(N, jnp.float32))
        assert traced.lower(lowering_platforms=("cuda",)).as_text().count("@__gpu$xla.gpu.triton") == 2
    jax.clear_caches()
