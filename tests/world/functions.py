"""Functions of published packages: each found by import alone, and the arguments to check it on.

A row that needs more than a call, such as a solver, is a function of ``uses.py``.
"""

from typing import Any

import jax.numpy as jnp

from tests.world.published import Published as Row

GPU = "jax.experimental.pallas.ops.gpu."
TPU = "jax.experimental.pallas.ops.tpu."
USES = "tests.world.uses:"
TOLERANCE = "1e-06 in the forward is negligible"  # the rule is the derivative of the limit
INTERPRETED = {"interpret": True}


def attention(r: Any) -> tuple[Any, ...]:
    """q, k, v (batch, heads, length, dim), and a mask of the keys."""
    return r.normal(2, 3, 7, 5), r.normal(2, 3, 11, 5), r.normal(2, 3, 11, 5), r.mask(2, 11)


def filtered(r: Any) -> tuple[Any, ...]:
    """A signal (17,), and coefficients of a filter that varies in time: a (17, 3) and b (17, 2)."""
    return r.normal(17), r.normal(17, 3, scale=0.2), r.normal(17, 2)


OTT = [
    Row("ott.math.utils:norm", lambda r: (r.normal(7),)),
    Row("ott.math.utils:logsumexp", lambda r: (r.normal(5, 7), 1)),
    Row("ott.math.utils:logsumexp", lambda r: (r.normal(5, 7), 1, False, r.uniform(0.2, 1, 5, 7)), "with weights"),
    Row("ott.math.utils:softmin", lambda r: (r.normal(5, 7), 0.7, 1), settings={"argnums": 0}),
    Row("ott.math.utils:lambertw", lambda r: (r.uniform(0.1, 3, 7),)),
    Row("ott.math.matrix_square_root:sqrtm", lambda r: (r.definite(5, 5),)),
    Row("ott.math.matrix_square_root:sqrtm_only", lambda r: (r.definite(5, 5),)),
    Row("ott.math.matrix_square_root:inv_sqrtm_only", lambda r: (r.definite(5, 5),)),
    Row(USES + "ott_fixpoint", lambda r: (r.normal(5, 5, scale=0.2), r.normal(5)), "until 6 of 20", {"least": 6}),
    Row(USES + "ott_fixpoint", lambda r: (r.normal(5, 5, scale=0.2), r.normal(5)), "exactly 20", {"least": 20},
        wrong=("da", "dx")),
    Row(USES + "ott_semidiscrete_loss", lambda r: (r.normal(7), r.normal(5, 3), r.normal(7, 3)),
        settings={"argnums": 0}),
    Row(USES + "ott_legendre", lambda r: (r.normal(7),)),
    Row(USES + "ott_sinkhorn", lambda r: (r.normal(7, 3), r.normal(5, 3)), "implicit", {"implicit": True},
        assumes=TOLERANCE),
    Row(USES + "ott_sinkhorn", lambda r: (r.normal(7, 3), r.normal(5, 3)), "unrolled", {"implicit": False}),
]  # fmt: skip

KORVAX = [
    Row("korvax.filter.ltv:_recurrence", lambda r: (r.normal(11, 3, 3, scale=0.3), r.normal(11, 3), r.normal(3)),
        wrong=("dA", "dz", "dv0")),
    Row("korvax.filter.ltv:lfilter", lambda r: (*filtered(r), r.normal(3)), wrong=("dx", "da", "dzi")),
    Row("korvax.filter.ltv:allpole", lambda r: filtered(r)[:2], "of one signal", wrong=("dx", "da")),
    Row(USES + "korvax_allpole", lambda r: (r.normal(5, 17), r.normal(5, 17, 3, scale=0.2)), wrong=("dx",)),
    Row(
        USES + "korvax_allpole",
        lambda r: (r.normal(5, 17), r.normal(5, 17, 3, scale=0.2), r.normal(5, 3)),
        "with zi",
        wrong=("da", "dzi"),
    ),
    Row("korvax.filter.ltv:fir", lambda r: (r.normal(17), r.normal(17, 3), r.normal(2))),
    Row("korvax.filter.lti:_recurrence", lambda r: (r.normal(3, 3, scale=0.3), r.normal(11, 3))),
    Row("korvax.filter.lti:lfilter", lambda r: (r.normal(17), r.normal(3, scale=0.2), r.normal(2), r.normal(3))),
    Row("korvax.loss:spectral_convergence_loss", lambda r: (r.uniform(0.1, 1, 7, 5), r.uniform(0.1, 1, 7, 5))),
]  # fmt: skip

ATTENTION = [
    Row("flash_attention_jax:flash_attention", attention, assumes="1e-10 in the forward is negligible"),
    Row("flash_attention_jax:causal_flash_attention", lambda r: attention(r)[:3],
        assumes="1e-10 in the forward is negligible"),
    Row("flash_attention_jax:cosine_sim_flash_attention",
        lambda r: (r.normal(7, 5), r.normal(11, 5), r.normal(11, 5), r.mask(11))),
    Row("flash_attention_jax:rabe_attention",
        lambda r: (r.normal(7, 5), r.normal(11, 5), r.normal(11, 5))),
    Row("jax_cce:linear_cross_entropy", lambda r: (r.normal(7, 5), r.normal(23, 5), r.below(23, 7)), "chunks of 9",
        {"chunk_size": 9}),
    Row("jax_cce:linear_cross_entropy", lambda r: (r.normal(7, 5), r.normal(23, 5), r.below(23, 7)), "one chunk"),
]  # fmt: skip

OPTAX = [
    Row("optax.losses._classification:weighted_logsoftmax", lambda r: (r.normal(5, 7), r.uniform(0.1, 1, 5, 7))),
    Row("optax.losses:safe_softmax_cross_entropy", lambda r: (r.normal(5, 7), r.simplex(5, 7))),
    Row("optax.losses:softmax_cross_entropy_with_integer_labels", lambda r: (r.normal(5, 7), r.below(7, 5))),
    Row("optax.losses:ctc_loss",
        lambda r: (r.normal(2, 11, 5), jnp.zeros((2, 11)), 1 + r.below(4, 2, 3), jnp.zeros((2, 3))),
        settings={"argnums": 0}),
    Row("optax.losses:sparsemax_loss", lambda r: (r.normal(7, scale=2), r.mask(7))),
    Row("optax.losses:ntxent", lambda r: (r.normal(6, 5), jnp.asarray([0, 1, 2, 0, 1, 2]))),
    Row("optax.projections:projection_simplex", lambda r: (r.normal(7, scale=0.2),)),
    Row("optax.projections:projection_l1_ball", lambda r: (r.normal(7, scale=0.4),)),
    Row("optax.projections:projection_l2_ball", lambda r: (r.normal(7),)),
    Row("optax.projections:projection_halfspace", lambda r: (r.normal(7), r.normal(7), -1.0)),
    Row("optax:scale_gradient", lambda r: (r.normal(7), 0.3), settings={"argnums": 0, "surrogate": lambda x, s: x * s}),
]  # fmt: skip

FLAX = [
    Row("flax.linen.fp8_ops:dot_general_with_precision",
        lambda r: (r.normal(7, 5), r.normal(5, 3), (((1,), (0,)), ((), ())))),
    Row("flax.linen.fp8_ops:in_qdq",
        lambda r: (jnp.float32, jnp.float8_e4m3fn, r.normal(7, 5), jnp.ones(1), jnp.zeros(4)),
        settings={"argnums": 2, "surrogate": lambda compute, quantized, x, scale, history: x}),
    Row("flax.linen:softmax", lambda r: (r.normal(5, 7),)),
    Row(USES + "flax_layer_norm", lambda r: (r.normal(5, 7), r.normal(7), r.normal(7))),
    Row(USES + "flax_lstm", lambda r: (r.normal(2, 5, 3), r.normal(3, 28), r.normal(7, 28))),
]  # fmt: skip

SOLVERS = [
    Row("jaxopt.projection:projection_simplex", lambda r: (r.normal(7, scale=0.2),)),
    Row("jaxopt.projection:projection_l1_ball", lambda r: (r.normal(7, scale=0.4),)),
    Row("jaxopt.projection:projection_box_section",
        lambda r: (r.normal(7), (jnp.zeros(7), jnp.ones(7), r.uniform(0.5, 1, 7), 1.5)),
        undecided="autodiff of the bisection contradicts differences, and neither sides with the rule"),
    Row("jaxopt.projection:projection_affine_set", lambda r: (r.normal(7), (r.normal(3, 7), r.normal(3)))),
    Row("jaxopt.isotonic:isotonic_l2_pav", lambda r: (r.normal(7),)),
    Row(USES + "jaxopt_fixed_point", lambda r: (r.normal(5, 5, scale=0.2), r.normal(5))),
    Row(USES + "jaxopt_ridge", lambda r: (r.normal(11, 5), r.normal(11), jnp.float32(0.3))),
    Row(USES + "jaxopt_bisection", lambda r: (r.uniform(0.5, 2, 1)[0],)),
    Row(USES + "jaxopt_quadratic", lambda r: (r.definite(5, 5), r.normal(5), r.normal(2, 5), r.normal(2)),
        assumes="symmetric"),
    Row(USES + "optimistix_root", lambda r: (r.normal(5, 5, scale=0.2), r.normal(5))),
    Row(USES + "optimistix_fixed_point", lambda r: (r.normal(5, 5, scale=0.2), r.normal(5)), assumes=TOLERANCE),
    Row(USES + "optimistix_minimise", lambda r: (r.normal(11, 5), r.normal(11)),
        undecided="off by 2e-7, which autodiff of the minimiser's steps loses to rounding"),
    Row(USES + "optimistix_least_squares", lambda r: (r.normal(11, 3), r.normal(11)), assumes="are negligible"),
    Row(USES + "lineax_solve", lambda r: (r.definite(5, 5), r.normal(5)), "LU", {"solver": "LU"}),
    Row(USES + "lineax_solve", lambda r: (r.normal(7, 5), r.normal(7)), "QR", {"solver": "QR"}),
    Row("lineax.internal:two_norm", lambda r: (r.normal(7),)),
    Row("lineax.internal:rms_norm", lambda r: (r.normal(7),)),
    Row(USES + "diffrax_decay", lambda r: (r.normal(3, 3, scale=0.3), r.normal(3))),
]  # fmt: skip

EQUINOX = [
    Row(USES + "equinox_loop", lambda r: (r.normal(5, 5, scale=0.3), r.normal(5)), "checkpointed",
        {"kind": "checkpointed"}),
    Row(USES + "equinox_loop", lambda r: (r.normal(5, 5, scale=0.3), r.normal(5)), "bounded", {"kind": "bounded"}),
]  # fmt: skip

JAX = [
    Row("jax.nn:relu", lambda r: (r.normal(7),)),
    Row("jax.nn:relu6", lambda r: (r.normal(7, scale=4),)),
    Row("jax.nn:softmax", lambda r: (r.normal(5, 7),)),
    Row("jax.nn:log1mexp", lambda r: (r.uniform(0.1, 2, 7),)),
    Row("jax.nn:dot_product_attention", lambda r: (r.normal(2, 7, 3, 5), r.normal(2, 11, 3, 5), r.normal(2, 11, 3, 5))),
    Row("jax.numpy:logaddexp", lambda r: (r.normal(7), r.normal(7))),
    Row("jax.numpy:sinc", lambda r: (r.normal(7),)),
    Row("jax.numpy:i0", lambda r: (r.normal(7),)),
    Row("jax.numpy.linalg:det", lambda r: (r.normal(5, 5),)),
    Row("jax.numpy.linalg:slogdet", lambda r: (r.normal(5, 5),)),
    Row("jax.numpy.linalg:pinv", lambda r: (r.normal(7, 5),)),
    Row("jax.scipy.special:xlogy", lambda r: (r.normal(7), r.uniform(0.2, 2, 7))),
    Row("jax.scipy.special:logit", lambda r: (r.uniform(0.1, 0.9, 7),)),
    Row("jax.scipy.special:entr", lambda r: (r.uniform(0.1, 2, 7),)),
    Row("jax.scipy.special:log_ndtr", lambda r: (r.normal(7, scale=3),)),
    Row("jax.scipy.special:expi", lambda r: (r.uniform(0.3, 3, 7),)),
    Row("jax.scipy.special:expn", lambda r: (2, r.uniform(0.3, 3, 7))),
    Row("jax.scipy.special:fresnel", lambda r: (r.normal(7),)),
    Row("jax.scipy.special:sici", lambda r: (r.uniform(0.3, 3, 7),)),
    Row("jax.scipy.special:zeta", lambda r: (r.uniform(2, 4, 7), r.uniform(1, 3, 7))),
    Row("jax.scipy.special:poch", lambda r: (r.uniform(1, 3, 7), r.uniform(1, 3, 7))),
    Row("jax.scipy.special:hyp1f1", lambda r: (r.uniform(1, 2, 7), r.uniform(2, 4, 7), r.uniform(0.3, 2, 7))),
    Row("jax.scipy.sparse.linalg:cg", lambda r: (r.definite(5, 5), r.normal(5)), keywords={"tol": 1e-10}),
    Row(USES + "jax_custom_root", lambda r: (r.normal(5, 5, scale=0.2), r.normal(5))),
    Row(
        USES + "jax_odeint",
        lambda r: (r.normal(3, 3, scale=0.3), r.normal(3), jnp.linspace(0, 1, 5)),
        assumes="are negligible",
    ),
    Row(GPU + "layer_norm:layer_norm", lambda r: (r.normal(2, 5, 7), r.normal(7), r.normal(7)), keywords=INTERPRETED),
    Row(GPU + "rms_norm:rms_norm", lambda r: (r.normal(2, 5, 7), r.normal(7), r.normal(7)), keywords=INTERPRETED),
]
FUNCTIONS: list[Row] = [*OTT, *KORVAX, *ATTENTION, *OPTAX, *FLAX, *SOLVERS, *EQUINOX, *JAX]
