"""Each suspicion is raised by a rule that was written to raise it, with its line, and by no rule of funcnet's."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from funcnet import gradcheck, ops
from funcnet.gradcheck.command.discovery import find
from funcnet.gradcheck.costs import audit as costs
from funcnet.gradcheck.costs.machine import Compiled
from funcnet.gradcheck.costs.suspicions import SUSPICIONS, shown_bytes, shown_flops

BF16 = jnp.bfloat16


def dense(fwd_product=jnp.matmul, bwd_product=jnp.matmul):
    """x w, with the products done in some way."""

    def fwd(x, w):
        return fwd_product(x, w), (x, w)

    def bwd(residuals, dy):
        x, w = residuals
        return bwd_product(dy, w.T), bwd_product(x.T, dy)  # in the backward

    return fwd, bwd


def wide(a, b):
    return jnp.matmul(a.astype(jnp.float32), b.astype(jnp.float32)).astype(a.dtype)  # wide


def sharp(a, b):
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)  # sharp


def narrow(a, b):
    return jnp.matmul(a.astype(BF16), b.astype(BF16)).astype(a.dtype)  # narrow


def accumulated(a, b):
    return jnp.matmul(a, b, preferred_element_type=jnp.float32).astype(a.dtype)


def elementwise(kept, bwd):
    """sin, which keeps what it is told to."""
    return (lambda x: (jnp.sin(x), kept(x))), bwd


def attention():
    def fwd(q, k):
        scores = q @ k.mT  # scores
        return scores.sum(-1), (q, k)

    def bwd(residuals, dy):
        q, k = residuals
        return dy[:, None] * k.sum(0)[None], jnp.broadcast_to(dy[None] @ q, k.shape)

    return fwd, bwd


def twice_the_products():
    def bwd(residuals, dy):
        x, w = residuals
        return dy @ w.T, x.T @ (x @ w * 0 + dy)

    return dense()[0], bwd


PLANTED = {
    "wide-product": (dense(wide, wide), ("N I", "I O"), {"dtype": BF16}, "# wide"),
    "uneven-precision": (dense(bwd_product=sharp), ("N I", "I O"), {}, "# sharp"),
    "uneven-precision, narrower": (dense(bwd_product=narrow), ("N I", "I O"), {}, "# narrow"),
    "unread-residual": (
        elementwise(lambda x: (x, jnp.exp(x)), lambda r, dy: (dy * jnp.cos(r[0]),)), ("N D",), {}, None
    ),
    "recomputable-residual": (
        elementwise(lambda x: (x, x * 2 > 0), lambda r, dy: (dy * jnp.where(r[1], jnp.cos(r[0]), 0),)),
        ("N D",), {}, "x * 2 > 0",
    ),
    "more-residuals": (
        elementwise(lambda x: (jnp.cos(x), jnp.exp(x)), lambda r, dy: (dy * r[0] * (r[1] / r[1]),)), ("N D",), {}, None
    ),
    "more-products": (twice_the_products(), ("N I", "I O"), {}, None),
    "large-array": (attention(), ("T D", "S D"), {"sizes": {"D": 7}}, "# scores"),
    "unneeded-cotangent": (dense(), ("N I", "I O"), {"argnums": 1}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_cost_is_suspicious(name):
    rule, shapes, how, line = PLANTED[name]
    found = gradcheck.audit(rule, *shapes, time=False, **how).suspicions
    assert [s.id for s in found] == [name.partition(",")[0]]
    assert (found[0].source is None) if line is None else (line in found[0].source)
    assert str(found[0].text) in str(gradcheck.audit(rule, *shapes, time=False, **how))


def test_every_suspicion_is_planted():
    assert {name.partition(",")[0] for name in PLANTED} == SUSPICIONS.keys()


@pytest.mark.parametrize(
    ("rule", "dtype"), [(dense(), jnp.float32), (dense(), BF16), (dense(accumulated, accumulated), BF16)]
)
def test_even_products_are_not(rule, dtype):
    assert not gradcheck.audit(rule, "N I", "I O", dtype=dtype, time=False).suspicions


def test_a_mask_of_what_is_not_kept_is_not():
    rule = (lambda x: (jnp.maximum(x, 0), x > 0)), (lambda mask, dy: (jnp.where(mask, dy, 0),))
    assert not gradcheck.audit(rule, "N D", time=False).suspicions


@pytest.mark.slow
@pytest.mark.parametrize("item", [found for found in find(ops) if not found.left_out], ids=lambda found: found.name)
def test_no_rule_of_ours_is_suspicious(item, monkeypatch):
    monkeypatch.setattr(costs, "compiled", lambda passes, arrays: Compiled(None, None, None, None, None))  # in haste
    assert not gradcheck.audit(item.target, dtype=BF16, time=False).suspicions  # where precision matters


def test_amounts_have_units():
    assert [shown_bytes(n) for n in (0, 1023, 1024, 1.5 * 2**20)] == ["0 B", "1023 B", "1 KiB", "1.5 MiB"]
    assert [shown_flops(n) for n in (0, 999, 1000, 2.5e9)] == ["0 FLOP", "999 FLOP", "1 kFLOP", "2.5 GFLOP"]
    assert shown_bytes(float(np.float32(2**50))) == "1024 TiB"
