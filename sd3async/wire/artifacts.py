"""Reads the images out of an answer of v1 as it arrives: a list of artifacts, each an image."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from sd3async.errors import ResponseReadError, SD3Error, UnexpectedResponseError
from sd3async.wire.images import ImageReader
from sd3async.wire.json_picture import MAX_KEPT
from sd3async.wire.refusals import read_body, read_request_id

_OUTSIDE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')
_LIST = re.compile(rb'"artifacts"\s{0,16}:\s{0,16}\[\Z')
_MAX_LIST = 60
_IN_LIST = bytearray(b"{[")
_ARTIFACT = bytearray(b"{[{")
"""The brackets that are open inside an artifact, from the outermost."""


class ArtifactsReader:
    r"""Cuts `{"artifacts": [{…}, {…}]}` up, and reads each artifact like an answer of its own.

    A fault of one leaves the others whole: they were paid for.

    Args:
        status: HTTP status, 2xx.
        headers: The answer's headers, case-insensitive.
        samples: How many images were asked for.
        max_bytes: Largest image that is taken [bytes].
        secrets: API keys, which are struck out of the server's words.

    Attributes:
        readers: Of the images, in their order.
        problems: What is wrong with those that are no good, by their places.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        *,
        samples: int,
        max_bytes: int,
        secrets: Sequence[str],
    ) -> None:
        self.readers: list[ImageReader] = []
        self.problems: dict[int, SD3Error] = {}
        self._status = status
        self._headers = headers
        self._samples = samples
        self._max_bytes = max_bytes
        self._secrets = secrets
        self._fed = 0
        self._kept = bytearray()  # the answer without its artifacts
        self._open = bytearray()  # brackets
        self._is_string = self._is_escaped = False
        self._is_list = False  # the second bracket is that of the artifacts
        self._is_blank = True
        self._is_image = False  # the answer is one, though a list was asked for

    def feed(self, piece: bytes) -> list[tuple[int, bytes]]:
        """Take in bytes of the answer.

        Args:
            piece: The next bytes, decompressed.

        Returns:
            The bytes of images that are complete now, with the places of the images.

        Raises:
            UnexpectedResponseError: There is too much beside the images, or there are too many.
        """
        if self._is_blank and (start := piece.lstrip()):
            self._is_blank = False
            self._is_image = not start.startswith(b"{")
            if self._is_image:
                self._begin()
        self._fed += len(piece)
        parts = [(0, piece)] if self._is_image else self._cut(piece)
        images = [(place, self._read(place, part)) for place, part in parts]
        return [(place, image) for place, image in images if image]

    def finish(self) -> None:
        """See which images are whole; the others have a problem from now on.

        Raises:
            ResponseReadError: The answer broke off.
            UnexpectedResponseError: It holds no images.
        """
        if not self._is_image:
            self._check_list()
        for place, reader in enumerate(self.readers):
            try:
                if place not in self.problems:
                    reader.finish()
            except SD3Error as error:
                self.problems[place] = error

    def unexpected(self, problem: str) -> UnexpectedResponseError:
        """Return the error that says what is wrong with the answer.

        Args:
            problem: What.
        """
        return UnexpectedResponseError(
            f"status {self._status}: {problem}",
            status=self._status,
            request_id=read_request_id(self._headers, self._secrets),
        )

    def _cut(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield what belongs to artifacts, and keep the rest."""
        start, at = 0, int(self._is_escaped)
        self._is_escaped = self._is_escaped and not data
        while found := (_IN_STRING if self._is_string else _OUTSIDE).search(data, at):
            at = found.end()
            if found[0] == b"\\":
                self._is_escaped = at == len(data)
                at += 1
            elif found[0] == b'"':
                self._is_string = not self._is_string
            elif found[0] in b"{[":
                self._open += found[0]
                if self._open == _IN_LIST:
                    before = self._kept[-_MAX_LIST:] + data[max(start, at - _MAX_LIST) : at]
                    self._is_list = bool(_LIST.search(before))
                elif self._is_artifact:
                    self._keep(data[start : found.start()] + b"{}")
                    self._begin()
                    start = found.start()
            else:
                if self._is_artifact:
                    yield len(self.readers) - 1, data[start:at]
                    start = at
                del self._open[-1:]
        if self._is_list and self._open.startswith(_ARTIFACT):
            yield len(self.readers) - 1, data[start:]
        else:
            self._keep(data[start:])

    @property
    def _is_artifact(self) -> bool:
        """Whether an artifact has just begun, or is about to end."""
        return self._is_list and self._open == _ARTIFACT

    def _keep(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > MAX_KEPT:
            raise self.unexpected(f"more than {MAX_KEPT:,} bytes beside the images")

    def _begin(self) -> None:
        if len(self.readers) == self._samples:
            raise self.unexpected(f"more images than the {self._samples} that were asked for")
        reader = ImageReader(
            self._status, self._headers, max_bytes=self._max_bytes, secrets=self._secrets
        )
        self.readers.append(reader)

    def _read(self, place: int, part: bytes) -> bytes:
        if place in self.problems:
            return b""
        try:
            return self.readers[place].feed(part)
        except SD3Error as error:
            self.problems[place] = error
            return b""

    def _check_list(self) -> None:
        if self._open or self._is_string:
            raise ResponseReadError(f"the images broke off after {self._fed:,} bytes")
        told: Any = None
        with suppress(ValueError, RecursionError):
            told = json.loads(self._kept)
        members = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
        if not self.readers or members.get("artifacts") != [{}] * len(self.readers):
            said = "; ".join(read_body(bytes(self._kept), self._secrets).sentences) or "nothing"
            raise self.unexpected(f"no images, but {said!r}")
