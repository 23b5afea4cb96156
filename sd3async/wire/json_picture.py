"""Takes the picture out of a JSON answer as it arrives, in memory that does not grow with it."""

import json
import re
from binascii import a2b_base64
from contextlib import suppress
from typing import Any, cast

MAX_KEPT = 64 * 1024
"""Most bytes beside the picture; the service sends below 100."""

# By the documents, in polled results, at one gateway. Quotes inside a string are escaped, so this
# matches nothing but names; 64 bytes tell a picture from a `"result": "success"`.
_OPENING = re.compile(
    rb'("(image|result|base64)"\s{0,16}:\s{0,16}")(?:data:[^",]{1,56},)?+(?=[^"]{64})'
)
_MAX_OPENING = 200
_MAX_DEEPER = 30
_CUT_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")


class JSONPicture:
    """Decodes `{"image": "<base64>", …}`: a member of the object itself, nowhere deeper.

    The one exception is v1's `{"artifacts": [{"base64": "<base64>", …}]}` of a single artifact.

    Attributes:
        kept: The object, with the picture left out; or whatever else the answer is.
        name: The picture's, or empty while there is none.
    """

    def __init__(self) -> None:
        self.kept = bytearray()
        self.name = ""
        self._is_inside = False
        self._at = 0  # where in `kept` to look for the next picture
        self._deeper = 0  # how many were found that are no members of the object
        self._escape = b""  # the beginning of one
        self._quad = b""  # one to four characters of base64, perhaps the last

    def feed(self, data: bytes) -> bytes:
        """Take in bytes of the answer.

        Args:
            data: The next bytes.

        Returns:
            The picture's bytes that are complete now.

        Raises:
            ValueError: The picture is not base64, is there twice, or has too much beside it.
        """
        if self._is_inside:
            return self._take(data)
        self.kept += data
        while found := _OPENING.search(self.kept, self._at, MAX_KEPT):
            self._at = found.end(1)
            if _is_member(self.kept[: self._at]):
                if self.name:
                    raise ValueError("two pictures")
                self.name, self._is_inside = found[2].decode(), True
                text = bytes(self.kept[found.end() :])
                del self.kept[self._at :]
                return self._take(text)
            self._deeper += 1
            if self._deeper > _MAX_DEEPER:  # each costs a look at all before it
                raise ValueError(f"more than {_MAX_DEEPER} pictures deeper inside")
        if len(self.kept) > MAX_KEPT:
            raise ValueError(f"more than {MAX_KEPT:,} bytes beside an image")
        self._at = max(self._at, len(self.kept) - _MAX_OPENING)
        return b""

    def finish(self) -> dict[str, Any]:
        """Return what stands beside the picture, in the object that holds it.

        Raises:
            ValueError: The answer is no JSON object with a picture, or names its picture twice.
        """
        try:
            told: Any = json.loads(self.kept)
        except RecursionError as error:
            raise ValueError("JSON that is nested too deeply") from error
        if not isinstance(told, dict):
            raise ValueError("JSON that is no object")
        members = only_artifact(told)
        if members.get(self.name) != "":
            raise ValueError("two pictures" if self.name else "no picture")
        return members

    def _take(self, data: bytes) -> bytes:
        text, quote, after = data.partition(b'"')
        try:
            picture = self._decode(self._unescape(text, is_all=bool(quote)), is_all=bool(quote))
        except ValueError as error:
            raise ValueError(f"a picture that is not base64: {error}") from error
        if quote:
            self._is_inside = False
            self.kept += quote
            self._at = len(self.kept)
            self.feed(after)
        return picture

    def _unescape(self, text: bytes, *, is_all: bool) -> bytes:
        """Return a part of the string without escapes, and keep one that its end cuts off."""
        text = self._escape + text
        cut = None if is_all else _CUT_ESCAPE.search(text, max(0, len(text) - 5))
        self._escape = text[cut.start() :] if cut else b""
        text = text.removesuffix(self._escape)
        return json.loads(b'"%b"' % text, strict=False).encode("ascii") if b"\\" in text else text

    def _decode(self, plain: bytes, *, is_all: bool) -> bytes:
        if b"\n" in plain or b"\r" in plain:
            plain = plain.translate(None, b"\r\n")
        whole = self._quad + plain
        usable = max(0, len(whole) - 1) // 4 * 4
        if whole.find(b"=", 0, usable) >= 0:
            raise ValueError("it goes on after its padding")
        self._quad = whole[usable:]
        picture = a2b_base64(memoryview(whole)[:usable], strict_mode=True)
        if is_all:
            last = self._quad.rstrip(b"=")  # some writers leave the padding out
            picture += a2b_base64(last + b"=" * (-len(last) % 4), strict_mode=True)
        return picture


def only_artifact(told: Any) -> dict[str, Any]:
    """Return the only artifact of an answer of v1; any other object is returned as it is."""
    match told:
        case {"artifacts": [dict()]}:
            return cast("dict[str, Any]", told["artifacts"][0])
        case _:
            return cast("dict[str, Any]", told)


def _is_member(text: bytearray) -> bool:
    """Whether an object that ends with a string's opening quote ends there in itself."""
    with suppress(ValueError, RecursionError):
        json.loads(text + b'"}')
        return True
    with suppress(ValueError, RecursionError):
        return "base64" in only_artifact(json.loads(text + b'"}]}'))
    return False
