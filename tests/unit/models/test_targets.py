"""Where an image may be written: what is refused before it is paid for."""

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sd3async import InvalidRequestError
from sd3async.models.targets import check_target


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.png").write_bytes(b"old")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("pipe.png")
    return tmp_path


@pytest.mark.parametrize(
    ("to", "words"),
    [
        pytest.param("", "'' is a folder; a file's path is needed", id="empty"),
        pytest.param(".", "is a folder", id="here"),
        pytest.param("..", "is a folder", id="above"),
        pytest.param("/", "is a folder", id="root"),
        pytest.param("folder", "'folder' is a folder", id="folder"),
        pytest.param(Path("folder"), "'folder' is a folder", id="folder's path"),
        pytest.param("new/", "is a folder", id="new folder"),
        pytest.param("a\0.png", "embedded null", id="NUL"),
        pytest.param("\ud800.png", "surrogates not allowed", id="half a character"),
        pytest.param("gone/a.png", "cannot write 'gone/a.png': no such file", id="no folder"),
        pytest.param(
            "file.png/a.png", "cannot write 'file.png/a.png': not a dir", id="file as folder"
        ),
        pytest.param("pipe.png", "is a pipe, a device or a socket", id="pipe"),
        pytest.param("link.png", "is a pipe, a device or a socket", id="link to a pipe"),
        pytest.param("/dev/null", "is a pipe, a device or a socket", id="device"),
        pytest.param("x" * 252 + ".png", "file name too long", id="long"),
        pytest.param("é" * 126 + ".png", "file name too long", id="long in bytes"),
        pytest.param("x/" * 3000 + "a.png", "file name too long", id="long path"),
        pytest.param("a.jpg", "'a.jpg' ends in .jpg, but the image is png", id="jpg"),
        pytest.param("a.WEBP", "ends in .WEBP, but the image is png", id="WEBP"),
        pytest.param(7, "is int; a path is needed", id="number"),
        pytest.param(True, "is bool; a path is needed", id="truth"),
        pytest.param(None, "is NoneType; a path is needed", id="nothing"),
    ],
)
def test_a_target_that_cannot_be_is_refused_with_a_sentence(to: Any, words: str) -> None:
    """The image would be paid for and lost."""
    with pytest.raises(InvalidRequestError, match=r"^to: ") as caught:
        check_target(to, "png")

    assert words in str(caught.value)
    assert len(str(caught.value)) < 350


def test_a_socket_is_refused(here: Path) -> None:
    """It would be replaced by the image."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        with pytest.raises(InvalidRequestError, match="is a pipe, a device or a socket"):
            check_target("socket.png", "png")


@pytest.mark.parametrize(
    "to",
    ["a.png", "a.PNG", "a", "a.v2", "file.png", "folder/a.png", "./a.png", "é" * 125 + ".png"],
)
def test_a_target_that_can_be_is_returned_as_a_path(to: str) -> None:
    """No suffix and an unknown one are the caller's choice."""
    assert check_target(to, "png") == Path(to)
    assert check_target(Path(to), "png") == Path(to)


def test_without_a_format_any_suffix_goes() -> None:
    """Who checks before the format is known still wants to know of the rest."""
    assert check_target("a.jpg", None) == Path("a.jpg")


def test_a_folder_without_the_right_to_write_is_refused() -> None:
    """It would be found out only when the image is there."""
    me = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        if me == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(InvalidRequestError, match="permission denied") as caught:
                check_target(f"{folder}/a.png", "png")
        finally:
            os.seteuid(me)

    assert isinstance(caught.value.__cause__, OSError)
