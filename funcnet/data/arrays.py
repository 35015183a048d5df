"""Arrays from files: npy, npz, IDX and pictures. A file's claims about its size are checked before memory is taken."""

import io
import math
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from jaxtyping import Float32

from .idx import PathLike, blame, read_hashed, take

LARGEST = 1 << 30  # bytes of an array
LARGEST_PICTURE = 1 << 24  # pixels
LONGEST_HEADER = 10_000  # bytes of an npy's header, numpy's own limit


def read_array(path: PathLike, at_most: int = LARGEST) -> np.ndarray:
    """The numbers of an npy, npz or IDX file (plain or gzipped), told apart by their first bytes. Never by pickle.

    An npz holds one array, or one called ``x``. Raises DataError for any other file, and for more than ``at_most``
    bytes of data.
    """
    with blame(path):
        if Path(path).is_dir():
            raise ValueError("is a directory; expected a file")
        with open(path, "rb") as file:
            begins = file.peek(6)[:6]
            if begins == b"\x93NUMPY":
                return _npy(file, at_most)
            if begins[:2] == b"PK":
                return _npz(file, at_most)
        if begins[:2] not in (b"\0\0", b"\x1f\x8b"):
            raise ValueError("is neither npy, npz nor IDX")
        return read_hashed(path, at_most)[0]


def _npz(file: BinaryIO, at_most: int) -> np.ndarray:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            name = names[0] if len(names) == 1 else "x.npy"
            if name not in names:
                shown = ", ".join(name.removesuffix(".npy") for name in names[:5]) or "none"
                raise ValueError(f"holds the arrays {shown}; expected one alone, or one called x")
            with archive.open(name) as member:
                return _npy(member, at_most)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        KeyError,
        io.UnsupportedOperation,
    ) as error:
        raise ValueError(f"is no whole npz file: {error}") from error
    except Exception as error:
        if isinstance(error, ValueError | OSError):
            raise
        raise ValueError(f"is no whole npz file: {error}") from error  # zlib's, lzma's and the like


def _npy(file: IO[bytes], at_most: int) -> np.ndarray:
    shape, fortran, dtype = _header(file.read)
    size = math.prod(shape) * dtype.itemsize
    if dtype.kind not in "biuf":
        raise ValueError(f"holds elements of type {dtype}; expected numbers")
    if size > at_most:
        raise ValueError(f"claims {size} bytes for shape {shape}; expected no more than {at_most}")
    content = take(file.read, size + 1)
    if len(content) != size:
        wrong = f"truncated: holds {len(content)}" if len(content) < size else "oversized: holds more"
        raise ValueError(f"{wrong} bytes of data; expected {size} for {dtype.name} of shape {shape}")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))


def _header(read: Callable[[int], bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether the first axis runs fastest, dtype); of version 1, as every array of numbers is written."""
    magic = take(read, 10)
    if magic[:8] != b"\x93NUMPY\x01\x00" or len(magic) < 10:
        raise ValueError("is no npy file of version 1.0")
    length = int.from_bytes(magic[8:], "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"claims a header of {length} bytes; expected no more than {LONGEST_HEADER}")
    header = magic[8:] + take(read, length)
    try:
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header))
    except Exception as error:  # Python's parser has several for text that is no dict
        raise ValueError(f"has a header that is no header of an array: {header[2:].decode('latin-1')!r:.60}") from error
    if min(shape, default=1) < 0:
        raise ValueError(f"has a shape with a negative size: {shape}")
    return shape, fortran, dtype


# ---------------------------------------------------------------- pictures


def read_picture(path: PathLike, size: tuple[int, int], margin: int = 0) -> Float32[np.ndarray, "H W"]:
    """A picture as grey values in [0, 1], 1 for what is drawn; of another size, it is brought to ``size`` (H, W).

    That is done as MNIST was made: the drawing is cut out, scaled so that its longer side leaves ``margin`` free on
    either side, and laid with its centre of mass in the middle. On a bright ground (the median of the outermost pixels
    is above a half) black becomes white. Raises DataError if it is no picture or one of more than LARGEST_PICTURE
    pixels, ImportError without pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f'pictures need pillow ({error}); run: pip install "funcnet[experiments]"') from error
    with blame(path):
        try:
            with warnings.catch_warnings(action="error"), Image.open(path, formats=["PNG"]) as picture:
                if picture.width * picture.height > LARGEST_PICTURE:
                    wanted = f"expected no more than {LARGEST_PICTURE}"
                    raise ValueError(f"claims {picture.width} x {picture.height} pixels; {wanted}")
                grey = _grey(picture)
        except (ValueError, OSError):
            raise
        except Exception as error:  # pillow and zlib raise many kinds for damaged files
            raise ValueError(f"is no whole PNG: {error}") from error
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    grey = 1 - grey if np.median(edge) > 0.5 else grey
    return grey if grey.shape == size else _fitted(grey, size, margin)


def _grey(picture) -> Float32[np.ndarray, "H W"]:
    """Transparent pixels are white paper."""
    from PIL import Image

    if picture.mode.startswith("I"):  # 16 bits
        return np.asarray(picture, np.float32) / np.float32(65535)
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("L"), np.float32) / np.float32(255)


def _fitted(grey: np.ndarray, size: tuple[int, int], margin: int) -> np.ndarray:
    from PIL import Image

    drawn = np.argwhere(grey > 0.1)
    if not len(drawn):
        return np.zeros(size, np.float32)
    (top, left), (bottom, right) = drawn.min(axis=0), drawn.max(axis=0) + 1
    grey = grey[top:bottom, left:right]
    room = [max(1, side - 2 * margin) for side in size]
    factor = min(room[0] / grey.shape[0], room[1] / grey.shape[1])
    height, width = (max(1, round(factor * side)) for side in grey.shape)
    small = np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BOX), np.float32)
    total = max(float(small.sum()), 1e-6)
    places = []
    for axis, side in enumerate(size):
        along = small.sum(axis=1 - axis)
        centre = float(along @ (np.arange(len(along)) + 0.5)) / total
        places.append(min(max(round(side / 2 - centre), 0), side - len(along)))
    out = np.zeros(size, np.float32)
    out[places[0] : places[0] + height, places[1] : places[1] + width] = small
    return out
