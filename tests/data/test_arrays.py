"""Arrays from files: what was written comes back, and a forged size costs no memory."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest

from funcnet.data.arrays import LARGEST, LARGEST_PICTURE, read_array, read_picture
from funcnet.data.idx import DataError

X = np.random.default_rng(0).integers(200, size=(3, 5, 7)).astype(np.uint8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a"


def npy(array, **settings):
    file = io.BytesIO()
    np.save(file, array, **settings)
    return file.getvalue()


@pytest.mark.parametrize("array", [X, X / 7, np.asfortranarray(X), X.astype(">i4"), X > 9, np.float16(3), X[:0]])
def test_an_npy_comes_back(array, path):
    path.write_bytes(npy(array))
    found = read_array(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype.isnative


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_holds_one_array_or_one_called_x(save, path):
    for arrays in ({"only": X}, {"y": X[0], "x": X}):
        save(path.with_suffix(".npz"), **arrays)
        np.testing.assert_array_equal(read_array(path.with_suffix(".npz")), X)
    save(path.with_suffix(".npz"), a=X, b=X)
    with pytest.raises(DataError, match=r"a\.npz: holds the arrays a, b; expected one alone, or one called x$"):
        read_array(path.with_suffix(".npz"))


def test_idx_is_told_by_its_bytes(path):
    idx = b"\0\0\x08\x03" + struct.pack(">3I", *X.shape) + X.tobytes()
    for content in (idx, gzip.compress(idx)):
        path.write_bytes(content)
        np.testing.assert_array_equal(read_array(path), X)


def header(shape, dtype="'<f8'", length=None):
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) if length is None else length) + text


def packed(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    return file.getvalue()


BAD = [
    (b"", "is neither npy, npz nor IDX"),
    (b"a,b\n1,2\n", "is neither npy, npz nor IDX"),
    (npy(X)[:-1], "truncated: holds 104 bytes of data; expected 105 for uint8 of shape (3, 5, 7)"),
    (npy(X) + b"\0", "oversized: holds more bytes of data"),
    (npy(X)[:9], "is no npy file of version 1.0"),
    (npy(np.array([{}]), allow_pickle=True), "holds elements of type object; expected numbers"),
    (npy(np.array(["a"])), "holds elements of type <U1; expected numbers"),
    (npy(X > 9)[:8] + b"\xff\xff", "claims a header of 65535 bytes"),
    (header("(1 << 60,)"), "has a header that is no header of an array"),
    (header(f"({2**60},)"), f"claims {2**63} bytes for shape ({2**60},); expected no more than {LARGEST}"),
    (header(f"({2**20},)"), "truncated: holds 0 bytes"),
    (header("(-1, 3)"), "has a shape with a negative size: (-1, 3)"),
    (header("(" * 4000 + ")" * 4000), "has a header that is no header of an array"),
    (packed(npy(X))[:80], "is no whole npz file"),
    (packed(header(f"({2**40},)")), f"claims {2**43} bytes"),
    (packed(npy(np.zeros(1 << 22, np.uint8)) + bytes(1 << 22)), "oversized: holds more"),
    (b"\x1f\x8b", "truncated gzip"),
]


@pytest.mark.parametrize(("content", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_a_file_that_is_none_is_one_line(content, message, path):
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_array(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_directory_and_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="is a directory; expected a file"):
        read_array(tmp_path)
    with pytest.raises(DataError, match="nowhere: No such file or directory"):
        read_array(tmp_path / "nowhere")


# ---------------------------------------------------------------- pictures


def drawn(path, pixels, mode=None):
    from PIL import Image

    image = Image.fromarray(pixels) if mode is None else Image.fromarray(pixels).convert(mode)
    image.save(path, "PNG")
    return path


def test_a_picture_of_the_size_is_taken_as_it_is(path):
    grey = np.zeros((5, 7), np.uint8)
    grey[2, 3] = 255
    np.testing.assert_array_equal(read_picture(drawn(path, grey), (5, 7), 2), grey / 255)
    np.testing.assert_array_equal(read_picture(drawn(path, 255 - grey), (5, 7), 2), grey / 255)  # ink on paper
    for mode in ("RGB", "RGBA", "LA", "1", "P"):
        np.testing.assert_allclose(read_picture(drawn(path, grey, mode), (5, 7), 2), grey / 255, atol=1e-6)


def test_sixteen_bits_and_transparent_paper(path):
    grey = np.full((5, 7), 65535, np.uint16)
    grey[1] = 0
    np.testing.assert_array_equal(read_picture(drawn(path, grey), (5, 7)), grey == 0)
    ink = np.zeros((5, 7, 4), np.uint8)
    ink[1, :, 3] = 255
    np.testing.assert_allclose(read_picture(drawn(path, ink), (5, 7)), ink[..., 3] / 255)


def test_another_size_is_fitted_with_its_margin_and_centred(path):
    """A bar of 20 by 60 pixels in a corner becomes one of 20 rows in the middle of 28."""
    grey = np.full((100, 100), 255, np.uint8)
    grey[30:90, 5:25] = 0
    found = read_picture(drawn(path, grey), (28, 28), 4)
    rows, columns = np.flatnonzero(found.sum(axis=1)), np.flatnonzero(found.sum(axis=0))
    assert (rows[0], rows[-1]) == (4, 23)
    assert len(columns) == 7
    assert abs(found.sum(axis=0) @ np.arange(28) / found.sum() - 13.5) <= 0.5
    assert found.max() == 1
    assert read_picture(drawn(path, grey * 0 + 255), (28, 28), 4).sum() == 0


def test_a_picture_that_is_none_is_one_line(path):
    whole = drawn(path, X[0]).read_bytes()
    for content in (b"", b"GIF89a", whole[:40], whole[:30] + b"\xff" + whole[31:]):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_picture(path, (5, 7))
        assert "\n" not in str(caught.value)
    side = int(LARGEST_PICTURE**0.5) + 1
    path.write_bytes(forged(whole, side, side))
    with pytest.raises(DataError, match=f"claims {side} x {side} pixels; expected no more than {LARGEST_PICTURE}"):
        read_picture(path, (5, 7))


def forged(png, width, height):
    """The same file with other sizes in its header, and the right checksum."""
    import zlib

    chunk = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]
