"""What a job can be made of."""

import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sd3async import InvalidRequestError, SD3Request
from sd3async.bulk import BadLine, ManifestError
from sd3async.bulk.intake.manifest import Line
from sd3async.bulk.intake.sources import as_line_source


async def lines_of(source: Any) -> list[Line | BadLine]:
    lines: list[Line | BadLine] = []
    async with as_line_source(source) as opened:
        while chunk := await opened.read():
            lines += chunk
    return lines


async def several() -> AsyncIterator[str]:
    for prompt in ("a", "b"):
        yield prompt


SOURCES: dict[str, Callable[[Path], Any]] = {
    "list": lambda _: ["a", "b"],
    "iterator": lambda _: iter(["a", "b"]),
    "async": lambda _: several(),
    "mappings": lambda _: [{"prompt": "a"}, {"prompt": "b"}],
    "stream": lambda _: io.BytesIO(b"a\nb\n"),
    "path": lambda path: path,
    "str": str,
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
async def test_every_source_gives_the_same_lines(
    make: Callable[[Path], Any], tmp_path: Path
) -> None:
    """A job made by a program is the job that a file would have made."""
    path = tmp_path / "a.txt"
    path.write_text("a\nb\n")

    assert await lines_of(make(path)) == [Line(1, {"prompt": "a"}), Line(2, {"prompt": "b"})]


async def test_long_sources_come_in_chunks() -> None:
    """A million prompts at once would be a million prompts in memory."""
    async with as_line_source(f"p{number}" for number in range(1_200)) as source:
        sizes = [len(await source.read()) for _ in range(4)]

    assert sizes == [500, 500, 200, 0]


async def test_tabs_part_the_cells_of_a_tsv(tmp_path: Path) -> None:
    """The suffix is all that tells it from a CSV."""
    path = tmp_path / "a.tsv"
    path.write_text("prompt\tseed\na\t1\n")

    assert await lines_of(path) == [Line(2, {"prompt": "a", "seed": 1})]


async def test_what_cannot_be_written_down_is_a_bad_line() -> None:
    """A stream is gone when the job resumes."""

    class OneWay(io.RawIOBase):
        def readable(self) -> bool:
            return True

    (line,) = await lines_of([SD3Request("x", image=OneWay(), strength=0.5)])  # type: ignore[arg-type]

    assert isinstance(line, BadLine)
    assert "use a path or bytes" in line.reason


async def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    """Completing a path one key too early is easily done."""
    with pytest.raises(ManifestError, match="cannot be read: is a directory"):
        await lines_of(tmp_path)


async def test_a_name_with_a_nul_is_one_sentence() -> None:
    """It comes out of a program's own bug, which a traceback of ours would hide."""
    with pytest.raises(ManifestError, match="cannot be read: embedded null byte; nothing was sent"):
        await lines_of("a\0b")


@pytest.mark.parametrize(
    "source",
    [SD3Request("x"), {"prompt": "x"}, 5, io.StringIO("x")],
    ids=["request", "mapping", "number", "text stream"],
)
def test_what_is_no_source_is_refused(source: Any) -> None:
    """One request is no job, and neither is a number, or a file opened as text."""
    with pytest.raises(InvalidRequestError, match="source: is"):
        as_line_source(source)
