"""Where the items of a job come from: a file, standard input, or any iterable of a program."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeAlias, cast

import attrs

from sd3async._threads import in_thread_or_leave
from sd3async.bulk.errors import BadLine, ManifestError
from sd3async.bulk.intake.manifest import Line, open_manifest, read_lines, shape_of
from sd3async.bulk.options import Shape
from sd3async.errors import InvalidRequestError
from sd3async.models.base import GenerationRequest
from sd3async.models.fields import refuse
from sd3async.models.requests import check_requests

Entry: TypeAlias = str | GenerationRequest | Mapping[str, object]
Source: TypeAlias = str | Path | BinaryIO | Iterable[Entry] | AsyncIterable[Entry]
Chunk: TypeAlias = list[Line | BadLine]

_LINES_PER_CHUNK = 500


@attrs.define
class StreamSource:
    """A manifest in a file, or a stream of one.

    Attributes:
        name: Of the source, for messages.
        folder: What image paths in it are relative to.
        path: The file, or None for a stream.
        stream: The stream, or None for a file.
        shape: Shape of its lines, or None to find out.
        delimiter: Between the cells of a CSV.
    """

    name: str
    folder: Path
    path: Path | None
    stream: BinaryIO | None
    shape: Shape | None
    delimiter: str = attrs.field(init=False)
    _lines: Iterator[Line | BadLine] | None = attrs.field(default=None, init=False)
    _is_left: bool = attrs.field(default=False, init=False)
    _open: ExitStack = attrs.field(factory=ExitStack, init=False)

    def __attrs_post_init__(self) -> None:
        """See what stands between the cells, should it be a CSV."""
        self.delimiter = "\t" if self.path and self.path.suffix.lower() == ".tsv" else ","

    def fingerprint(self) -> str | None:
        """Return what tells the file and how it is read; None if it can be read once only. Blocks."""
        # A pipe, such as a shell's <(…), would have been emptied by the hash.
        if self.path is None or self.path.is_fifo():
            return None
        with open_manifest(self.path) as stream:
            digest = hashlib.file_digest(cast("Any", stream), "sha256").hexdigest()
        return f"{digest} {self.shape} {self.delimiter!r} {self.folder}"

    async def read(self) -> Chunk:
        """Return the next lines; none at the end."""
        # A pipe, or a terminal, may never say more. What reads it then is left with it.
        try:
            return await in_thread_or_leave(self._read)
        except asyncio.CancelledError:
            self._is_left = True
            raise

    def _read(self) -> Chunk:
        try:
            if self._lines is None:
                self._lines = self._begin()
            return list(itertools.islice(self._lines, _LINES_PER_CHUNK))
        except OSError as error:  # such as a folder, or a disk that fails half-way
            bad = BadLine(0, f"cannot be read: {(error.strerror or str(error)).lower()}")
            raise ManifestError(self.name, [bad], 1) from error

    def _begin(self) -> Iterator[Line | BadLine]:
        stream = self.stream
        if self.path is not None:
            stream = self._open.enter_context(open_manifest(self.path))
        assert stream is not None  # one of the two is there
        return read_lines(stream, self.shape, delimiter=self.delimiter)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if not self._is_left:  # closing a file waits for whoever reads it
            self._open.close()


@attrs.define
class EntrySource:
    """Prompts, requests or mappings from a program.

    Attributes:
        name: Of the source, for messages.
        folder: What image paths in it are relative to.
        entries: They.
    """

    name: str
    folder: Path
    entries: AsyncIterator[Entry]
    _count: int = attrs.field(default=0, init=False)

    def fingerprint(self) -> str | None:
        """Return None: an iterable is read only once."""
        return None

    async def read(self) -> Chunk:
        """Return the next lines; none at the end."""
        chunk: Chunk = []
        async for entry in self.entries:
            self._count += 1
            chunk.append(_line_of(self._count, entry))
            if len(chunk) == _LINES_PER_CHUNK:
                break
        return chunk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        close = getattr(self.entries, "aclose", None)
        if close is not None:
            await close()


LineSource: TypeAlias = StreamSource | EntrySource


def as_line_source(source: Source, shape: Shape | None = None) -> LineSource:
    """Make a source that can be read out of what a program gives.

    Args:
        source: The path of a manifest; an open binary stream of one, such as standard input; or
            an iterable or async iterable of prompts, request values and mappings of fields.
        shape: Shape of a manifest's lines; None goes by the file's name, then by its first line.

    Raises:
        InvalidRequestError: It is none of these.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        shape = shape or shape_of(path)
        return StreamSource(str(path), path.absolute().parent, path, None, shape)
    if callable(readline := getattr(source, "readline", None)):
        if hasattr(source, "encoding") or iscoroutinefunction(readline):
            raise refuse("source", "is no binary stream; open the file with 'rb', or pass its path")
        name = str(getattr(source, "name", "stream"))
        return StreamSource(name, Path.cwd(), None, cast("BinaryIO", source), shape)
    check_requests("source", source)
    if isinstance(source, AsyncIterable):
        return EntrySource("source", Path.cwd(), aiter(source))
    return EntrySource("source", Path.cwd(), _each(cast("Iterable[Entry]", source)))


async def _each(entries: Iterable[Entry]) -> AsyncIterator[Entry]:
    for entry in entries:
        yield entry


def _line_of(number: int, entry: object) -> Line | BadLine:
    if isinstance(entry, str):
        return Line(number, {"prompt": entry})
    if isinstance(entry, Mapping):
        return Line(number, dict(cast("Mapping[str, object]", entry)))
    if isinstance(entry, GenerationRequest):
        try:
            return Line(number, entry.to_dict())
        except InvalidRequestError as error:
            return BadLine(number, str(error))
    return BadLine(number, f"is {type(entry).__name__}; a prompt, a request or a mapping is needed")
