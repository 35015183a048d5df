"""Files that are there as a whole, or as they were."""

import errno
import os
from pathlib import Path

import funcnet_interrupts


def write_whole(path: Path, content: str | bytes) -> Path:
    """Writes a file so that it is there as a whole or stays as it was, whatever happens on the way."""
    if path.exists() and not path.is_file():  # a device, say, which the new file would replace
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with funcnet_interrupts.left_over(partial):
        try:
            partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
            return partial.replace(path)
        except OSError as error:  # of a full disk the system names no file
            if error.errno is None or error.filename is not None:
                raise
            raise OSError(error.errno, error.strerror, str(path)) from None
