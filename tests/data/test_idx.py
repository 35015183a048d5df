"""IDX files: any deviation from the format is a clear DataError, never data."""

import gzip
import re
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from funcnet.data.idx import DataError, read_idx

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx(array):
    """The IDX file of an array, written element by element so that it shares nothing with the reader."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype.name], array.ndim, *array.shape)
    return header + b"".join(struct.pack(f">{array.dtype.char}", element) for element in array.ravel().tolist())


SMALL = bytes.fromhex("00000b02 00000002 00000003 0001 fffe 0003 0190 0005 fffa")
PACKED = gzip.compress(SMALL, mtime=0)
BAD = {
    "empty": (b"", "truncated: starts with ''; an IDX file starts with 00 00"),
    "inside the magic": (SMALL[:3], "truncated: starts with '00 00 0b'"),
    "inside the sizes": (SMALL[:9], "truncated: ends in its header, after 9 of 12 bytes"),
    "inside the data": (SMALL[:-1], "truncated: holds 11 bytes of data; expected 12 for int16 of shape (2, 3)"),
    "trailing byte": (SMALL + b"\0", "oversized: holds more bytes of data; expected 12"),
    "text": (b"<html>not found</html>", "wrong magic number: starts with '3c 68 74 6d'"),
    "little-endian": (SMALL[3::-1] + SMALL[4:], "wrong magic number: starts with '02 0b 00 00'"),
    "a NumPy file": (b"\x93NUMPY\1\0", "wrong magic number"),
    "unknown type": (b"\0\0\x0a" + SMALL[3:], "unknown type 0x0a; expected one of 0x08, 0x09, 0x0b"),
    "rank 0": (b"\0\0\x08\0*", "rank 0; expected an array of rank 1 at least"),
    "claims 16 EB": (struct.pack(">BBBB2I", 0, 0, 8, 2, 2**32 - 1, 2**32 - 1) + b"*", "expected no more than"),
    "rank 255": (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"*", "dimension"),
    "empty, yet too big": (struct.pack(">BBBB4I", 0, 0, 14, 4, 0, *[2**32 - 1] * 3), "array is too big"),
    "not really gzip": (b"\x1f\x8b\x07\0", "corrupt gzip"),
    "gzip, a bit flipped": (PACKED[:20] + bytes([PACKED[20] ^ 4]) + PACKED[21:], "corrupt gzip"),
    "gzip, wrong checksum": (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "corrupt gzip: Error -3"),
    "gzip, cut": (PACKED[:-1], "truncated gzip"),
    "gzip of a cut file": (gzip.compress(SMALL[:-1]), "truncated: holds 11 bytes"),
    "gzip, then a zero": (PACKED + b"\0", "oversized: more bytes follow the gzip data"),
    "gzip, then text": (PACKED + b"text", "oversized: more bytes follow"),
    "gzip, then more gzip": (PACKED + gzip.compress(b"*"), "oversized"),
    "gzip in gzip": (gzip.compress(PACKED), "wrong magic number: starts with '1f 8b"),
    "missing": (lambda path: None, "No such file or directory"),
    "directory": (lambda path: path.mkdir(), "Is a directory"),
    "link to itself": (lambda path: path.symlink_to(path), "symbolic links"),
}


@pytest.mark.parametrize(("content", "telling"), BAD.values(), ids=BAD)
def test_bad_file(content, telling, tmp_path):
    path = tmp_path / "bad-idx"
    content(path) if callable(content) else path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(path)) + ": .*" + re.escape(telling)) as caught:
        read_idx(path)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A file that all cases of a test may overwrite."""
    return tmp_path_factory.mktemp("idx") / "case"


shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
arrays = st.sampled_from(sorted(CODES)).flatmap(lambda dtype: hnp.arrays(dtype, shapes))


@settings(deadline=None)
@given(array=arrays, pack=st.sampled_from([bytes, gzip.compress]))
def test_round_trip(array, pack, scratch):
    scratch.write_bytes(pack(idx(array)))
    read = read_idx(scratch)
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    assert read.dtype.isnative
    assert read.flags.writeable
    np.testing.assert_array_equal(read, array)


MEMBERS = gzip.compress(SMALL[:14]) + gzip.compress(b"") + gzip.compress(SMALL[14:])  # as parallel packers write


@pytest.mark.parametrize("content", [SMALL, PACKED, MEMBERS], ids=["plain", "gzip", "gzip in members"])
def test_bytes_on_disk(content, scratch):
    """A file spelled out by hand: the writer above and the reader cannot be wrong together."""
    scratch.write_bytes(content)
    np.testing.assert_array_equal(read_idx(str(scratch)), np.array([[1, -2, 3], [400, 5, -6]], np.int16))


@pytest.mark.parametrize("content", [SMALL, PACKED], ids=["plain", "gzip"])
def test_every_prefix_and_every_appended_byte(content, scratch):
    longer = [content + bytes([byte]) for byte in range(256)]
    for wrong in [content[:end] for end in range(len(content))] + longer:
        scratch.write_bytes(wrong)
        with pytest.raises(DataError, match=r"truncated|oversized|corrupt gzip"):
            read_idx(scratch)


magics = st.tuples(st.just(0), st.just(0), st.sampled_from(sorted(CODES.values())), st.integers(0, 4)).map(bytes)
contents = st.one_of(st.binary(), st.tuples(magics, st.binary()).map(b"".join))


@settings(deadline=None)
@given(content=st.one_of(contents, contents.map(gzip.compress), st.binary().map(lambda rest: PACKED[:10] + rest)))
def test_random_bytes(content, scratch):
    """Random bytes are a DataError or, if they happen to be an IDX file, exactly its array."""
    scratch.write_bytes(content)
    try:
        array = read_idx(scratch)
    except DataError:
        return
    plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    assert plain.startswith(struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype.name], array.ndim, *array.shape))
    assert len(plain) == 4 + 4 * array.ndim + array.nbytes


@pytest.mark.parametrize(("claimed", "held"), [(2**32 - 1, 100), (10, 1 << 26)], ids=["claim", "bomb"])
def test_memory_follows_neither_claim_nor_bomb(claimed, held, scratch):
    """A header that claims 4 GB, and 64 MB of zeros behind a header that claims ten bytes."""
    scratch.write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, claimed) + bytes(held)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"claims|oversized"):
            read_idx(scratch)
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()


def test_a_forged_header_takes_no_memory(tmp_path):
    """Four gigabytes are claimed and, being zeros, there: a limit refuses them before anything is inflated."""
    header = bytes([0, 0, 8, 2]) + np.array([1 << 16, 1 << 16], ">u4").tobytes()
    path = tmp_path / "forged.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(header)
        file.write(bytes(1 << 20))
    with pytest.raises(DataError, match=r"claims 4294967296 bytes for shape .*; expected no more than 1073741824"):
        read_idx(path)
    with pytest.raises(DataError, match="expected no more than 10"):
        read_idx(path, at_most=10)
