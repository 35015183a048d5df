"""The README's first picture: of the README's own code, of what the checker says of it now, and as committed."""

import inspect
from pathlib import Path

import jax
import numpy as np

from experiments import verdict
from experiments.examples import layer_norm
from experiments.pictures import verdict as picture

ROOT = Path(__file__).parents[2]


def test_the_code_is_the_readmes():
    readme = (ROOT / "README.md").read_text("utf-8")
    for function in (layer_norm.layer_norm_fwd, layer_norm.layer_norm_bwd):
        assert inspect.getsource(function) in readme
    assert readme.index("docs/pictures/verdict.svg") < readme.index("```")


def test_what_is_drawn_is_what_the_checker_says(tmp_path, monkeypatch):
    drawn = {}

    def draw(path, code, named, said, got, expected):
        drawn.update(named=code[named], said=said, got=got, expected=expected)
        original(path, code, named, said, got, expected)

    original = picture.draw
    monkeypatch.setattr(picture, "draw", draw)
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        verdict.main(verdict.Config(), tmp_path)
    assert drawn["named"].strip() == "var = jnp.mean(c * c, axis=-1, keepdims=True)"
    assert drawn["said"][:2] == ["layer_norm: WRONG", "  dx: path-lost"]
    off = np.abs(drawn["got"] - drawn["expected"]).max(axis=1)
    assert (off > 1e-4).all()  # every row has a variance
    made, committed = ((path / "verdict.svg").read_text("utf-8") for path in (tmp_path, ROOT / "docs" / "pictures"))
    assert len(made) > 50_000
    assert abs(len(made) - len(committed)) < 0.2 * len(committed)  # fonts differ a little between versions
