"""Models of text to stand beside: n-grams of bytes, and xz."""

from __future__ import annotations

import lzma
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8, UInt64

BYTES = 256
LONGEST = 8  # bytes that a code holds


class Counts(NamedTuple):
    """How often each n-gram was seen; a code is its bytes, the first the most significant."""

    grams: UInt64[np.ndarray, "G"]  # in ascending order, as contexts are
    seen: Int64[np.ndarray, "G"]
    contexts: UInt64[np.ndarray, "H"]  # an n-gram without its last byte
    followed: Int64[np.ndarray, "H"]  # how often each was seen before a byte
    followers: Int64[np.ndarray, "H"]  # by how many different bytes


def count(text: UInt8[np.ndarray, "N"], order: int) -> list[Counts]:
    """The n-grams of n = 1 to ``order`` in a text. Raises ValueError if it is shorter, or no code can hold them."""
    if not 1 <= order <= min(len(text), LONGEST):
        raise ValueError(f"n-grams of a text of {len(text)} bytes have 1 to {min(len(text), LONGEST)}; got {order}")
    return [_counts(_codes(text, n)) for n in range(1, order + 1)]


def _codes(text: UInt8[np.ndarray, "*B N"], n: int) -> UInt64[np.ndarray, "*B M"]:
    """The code of every n bytes that stand side by side."""
    positions = text.shape[-1] - n + 1
    codes = np.zeros((*text.shape[:-1], positions), np.uint64)
    for i in range(n):
        codes = codes << np.uint64(8) | text[..., i : i + positions]
    return codes


def _counts(codes: UInt64[np.ndarray, "M"]) -> Counts:
    grams, seen = np.unique(codes, return_counts=True)
    contexts, starts, followers = np.unique(grams >> np.uint64(8), return_index=True, return_counts=True)
    return Counts(grams, seen, contexts, np.add.reduceat(seen, starts), followers)


def probabilities(model: list[Counts], text: UInt8[np.ndarray, "*B N"]) -> Float64[np.ndarray, "*B N"]:
    """P(byte | the bytes before it) of every byte, by Witten-Bell interpolation.

    p_n(w | h) = (c(hw) + t(h) p_{n−1}(w | h′)) / (c(h) + t(h)), where c counts, t(h) is how many different bytes
    were seen after h, h′ is h without its first byte, and p_0 = 1/256 (Witten & Bell 1991, method C; Chen & Goodman
    1998, section 2.5). After an h that was never seen p_n = p_{n−1}; the first bytes of a text have shorter h.
    """
    p = np.full(text.shape, 1 / BYTES)
    for n, counts in enumerate(model[: text.shape[-1]], 1):
        codes = _codes(text, n)
        (seen,) = _found(counts.grams, codes, counts.seen)
        followed, followers = _found(counts.contexts, codes >> np.uint64(8), counts.followed, counts.followers)
        lower = p[..., n - 1 :]
        mixed = (seen + followers * lower) / np.maximum(followed + followers, 1)
        p[..., n - 1 :] = np.where(followers > 0, mixed, lower)
    return p


def _found(keys: UInt64[np.ndarray, "G"], codes: UInt64[np.ndarray, "*B"], *values: Int64[np.ndarray, "G"]):
    """The value of each code among the sorted keys, and 0 for a code that is not there."""
    places = np.minimum(np.searchsorted(keys, codes), len(keys) - 1)
    there = keys[places] == codes
    return [np.where(there, value[places], 0) for value in values]


def bits_per_byte(model: list[Counts], text: UInt8[np.ndarray, "N"]) -> float:
    return float(-np.log2(probabilities(model, text)).mean())


def xz_bits_per_byte(text: UInt8[np.ndarray, "N"]) -> float:
    """Of the text alone, compressed by xz at its strongest: it has seen nothing else."""
    return 8 * len(lzma.compress(text.tobytes(), preset=9 | lzma.PRESET_EXTREME)) / len(text)


def baselines(train: UInt8[np.ndarray, "N"], held_out: UInt8[np.ndarray, "M"]) -> dict[str, float]:
    """Bits per byte of ``held_out``, by models that were fitted to ``train`` (xz: by none)."""
    model = count(train, min(5, len(train)))
    return {
        "uniform": float(np.log2(BYTES)),
        "unigram": bits_per_byte(model[:1], held_out),
        "trigram": bits_per_byte(model[:3], held_out),
        "5-gram": bits_per_byte(model, held_out),
        "xz": xz_bits_per_byte(held_out),
    }
