"""A file is written as a whole, or stays as it was."""

import os

import pytest

from funcnet.files import write_whole


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "a", "first")
    monkeypatch.setattr(type(path), "replace", lambda self, target: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_whole(path, "second")
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["a"]


def test_a_device_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="is no regular file"):
            write_whole(path, "text")
