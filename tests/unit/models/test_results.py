"""Results: saved whole or not at all."""

import io
from pathlib import Path

import pytest
from PIL import Image

from sd3async import (
    ContentFilteredError,
    GeneratedImage,
    InvalidRequestError,
    Outcome,
    SD3Error,
    SD3Request,
)
from support.pictures import picture

PICTURE = picture()


def result(data: bytes | None = PICTURE, **fields: object) -> GeneratedImage:
    facts: dict[str, object] = {
        "data": data,
        "content_type": "image/png",
        "size": len(PICTURE),
        "seed": 7,
        "finish_reason": "SUCCESS",
        "request_id": "r-1",
        "request": SD3Request("a"),
        "credits": 6.5,
    }
    return GeneratedImage(**{**facts, **fields})  # type: ignore[arg-type]


def test_save_writes_the_bytes_as_they_came(tmp_path: Path) -> None:
    """The bytes are signed; a changed one breaks the signature."""
    path = tmp_path / "a.png"

    assert result().save(path) == path
    assert path.read_bytes() == PICTURE
    assert list(tmp_path.iterdir()) == [path]


def test_a_streamed_image_can_be_saved_elsewhere(tmp_path: Path) -> None:
    """`save` must work whether the image is in memory or in a file."""
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    first.write_bytes(PICTURE)

    result(None, path=first).save(second)
    assert second.read_bytes() == PICTURE


def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must not cost the image that was there before."""
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", _full_disk)

    with pytest.raises(OSError, match="full"):
        result().save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_contradicts_the_image_is_refused(tmp_path: Path) -> None:
    """A PNG called .jpg is opened by nothing that goes by names."""
    with pytest.raises(
        InvalidRequestError, match=r"path: '.*a\.jpg' ends in .jpg, but the image is"
    ):
        result().save(tmp_path / "a.jpg")

    assert list(tmp_path.iterdir()) == []


def _full_disk(_: int) -> None:
    raise OSError("disk full")


def test_a_saved_file_has_ordinary_permissions(tmp_path: Path) -> None:
    """A web server of another user must be able to read it, as any file made with open()."""
    (tmp_path / "plain").write_bytes(b"")

    path = result().save(tmp_path / "a.png")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_to_pil_decodes_from_memory_and_from_a_file(tmp_path: Path) -> None:
    """Both kinds of result hold the same pixels."""
    path = tmp_path / "a.png"
    path.write_bytes(PICTURE)
    expected = Image.open(io.BytesIO(PICTURE))

    assert result().to_pil().tobytes() == expected.tobytes()
    assert result(None, path=path).to_pil().tobytes() == expected.tobytes()


def test_a_filtered_image_is_flagged_and_raises_when_asked() -> None:
    """It is delivered and charged, so it is no error by itself."""
    filtered = result(finish_reason="CONTENT_FILTERED")

    assert filtered.is_filtered
    with pytest.raises(ContentFilteredError, match="blurred"):
        filtered.raise_if_filtered()
    result().raise_if_filtered()


def test_a_result_never_shows_its_bytes() -> None:
    """Results are printed."""
    assert "IHDR" not in repr(result())


def test_an_outcome_is_an_image_or_an_error() -> None:
    """`unwrap` gives the one or raises the other."""
    image = result()

    assert Outcome(index=0, request="a", image=image).unwrap() is image
    failed = Outcome(index=1, request="a", error=SD3Error("no"))
    assert not failed.ok
    with pytest.raises(SD3Error, match="no"):
        failed.unwrap()
