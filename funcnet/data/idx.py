"""IDX files, the format that MNIST comes in, plain or gzipped."""

import hashlib
import math
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

PathLike = str | os.PathLike[str]

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
LARGEST = 1 << 30  # bytes of data, unless the caller says otherwise: a few forged bytes of gzip can claim more
CHUNK = 1 << 18  # bytes read at a time: memory grows with the file, not with the claims of its header


class DataError(ValueError):
    """A file or a name that yields no data; the message is one line: its name, the fault, and what was expected."""


@contextmanager
def blame(culprit: object, advice: str = "") -> Iterator[None]:
    """Turns an OSError or ValueError inside into a DataError that names the culprit."""
    try:
        yield
    except (OSError, ValueError) as error:
        file = getattr(error, "filename", None)  # a download may fail for a file of this machine
        where = f"{culprit}: {file}" if file and str(file) != str(culprit) else culprit
        raise DataError(f"{where}: {getattr(error, 'strerror', None) or error}{advice}") from error


def read_idx(path: PathLike, at_most: int = LARGEST) -> np.ndarray:
    """The array in an IDX file, plain or gzipped, in native byte order.

    The format: bytes 0, 0, type, rank; then ``rank`` sizes as big-endian uint32; then the elements, big-endian and
    with the last axis fastest (LeCun, Cortes & Burges, "The MNIST database", 1998). Gzip is recognised by its first
    bytes, not by the file's name.

    Of a gzipped file no more is inflated than the header promises, and one byte. Raises DataError if the file cannot be
    read, deviates from the format, or claims more than ``at_most`` bytes of data.
    """
    with blame(path):
        return read_hashed(path, at_most)[0]


def read_hashed(path: PathLike, at_most: float = math.inf) -> tuple[np.ndarray, str]:
    """The array of an IDX file, and the SHA-256 of the file's bytes once decompressed.

    Raises OSError or ValueError; the latter also if the header claims more than ``at_most`` bytes of data.
    """
    with open(path, "rb") as file:
        read = _inflating(file) if file.peek(2)[:2] == b"\x1f\x8b" else file.read
        magic = take(read, 4)
        dtype, rank = _checked(magic)
        header = magic + take(read, 4 * rank)
        if len(header) < 4 + 4 * rank:
            raise ValueError(f"truncated: ends in its header, after {len(header)} of {4 + 4 * rank} bytes")
        shape = tuple(np.frombuffer(header, ">u4", offset=4).tolist())
        size = math.prod(shape) * dtype.itemsize
        if size > at_most:
            raise ValueError(f"claims {size} bytes for shape {shape}; expected no more than {at_most}")
        data = take(read, size + 1)  # one byte past the end also makes gzip check its sum
    if len(data) != size:
        wrong = f"truncated: holds {len(data)}" if len(data) < size else "oversized: holds more"
        raise ValueError(f"{wrong} bytes of data; expected {size} for {dtype.name} of shape {shape}")
    array = np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    return array, hashlib.sha256(header + data).hexdigest()


def _checked(magic: bytes) -> tuple[np.dtype[Any], int]:
    """The type and the rank from the first four bytes of an IDX file."""
    if len(magic) < 4 or magic[:2] != b"\0\0":
        wrong = "truncated" if len(magic) < 4 else "wrong magic number"
        raise ValueError(f"{wrong}: starts with '{magic.hex(' ')}'; an IDX file starts with 00 00, its type, its rank")
    code, rank = magic[2:]
    if code not in IDX_TYPES:
        raise ValueError(f"unknown type {code:#04x}; expected one of {', '.join(f'{c:#04x}' for c in IDX_TYPES)}")
    if rank == 0:
        raise ValueError("rank 0; expected an array of rank 1 at least")
    return np.dtype(IDX_TYPES[code]), rank


def take(read: Callable[[int], bytes], size: int) -> bytes:
    """``size`` bytes, or fewer if the file ends."""
    taken = bytearray()
    while len(taken) < size and (chunk := read(min(CHUNK, size - len(taken)))):
        taken += chunk
    return bytes(taken)


def _inflating(file: BinaryIO) -> Callable[[int], bytes]:
    """A ``read(size)`` of a gzip file with one member or several; it inflates no more than it returns.

    The standard ``gzip`` module would skip zeros after the last member.
    """
    gzip_format = 31  # the header and the checksum of gzip, the largest window
    member = zlib.decompressobj(gzip_format)

    def read(size: int) -> bytes:
        nonlocal member
        while packed := member.unused_data or member.unconsumed_tail or file.read(CHUNK):
            if member.eof:
                if packed[:1] != b"\x1f":
                    raise ValueError("oversized: more bytes follow the gzip data")
                member = zlib.decompressobj(gzip_format)
            try:
                plain = member.decompress(packed, size)
            except zlib.error as error:
                raise ValueError(f"corrupt gzip: {error}") from error
            if plain:
                return plain
        if not member.eof:
            raise ValueError("truncated gzip: the file ends before its compressed data do")
        return b""

    return read
