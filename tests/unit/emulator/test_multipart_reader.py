"""Reading multipart bodies to the letter, however they are cut into pieces."""

import itertools
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async.emulator.multipart_reader import (
    MalformedBodyError,
    MultipartReader,
    PartHead,
    parse_content_type,
)

T = TypeVar("T")
BOUNDARY = "=cut here="


class Pieces:
    """A body that arrives in the given pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [piece for piece in pieces if piece]

    async def readany(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def part(head: str, content: bytes) -> bytes:
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"


def text_part(name: str, content: bytes) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', content)


END = f"--{BOUNDARY}--\r\n".encode()


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never has to wait, without a loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("it waited")


async def collect(
    pieces: tuple[bytes, ...], oddities: list[str] | None = None
) -> list[tuple[PartHead, bytes]]:
    reader = MultipartReader(Pieces(*pieces), BOUNDARY, strict=oddities is None)
    found: list[tuple[PartHead, bytes]] = []
    while (head := await reader.next_head()) is not None:
        found.append((head, b"".join([piece async for piece in reader.pieces()])))
    if oddities is not None:
        oddities += reader.oddities
    return found


def parts_of(*pieces: bytes) -> list[tuple[PartHead, bytes]]:
    return finished(collect(pieces))


@given(
    contents=st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.lists(
                st.sampled_from([b"\r\n", b"--", BOUNDARY.encode(), b"\r\n--=cut her", b"x"]),
                max_size=6,
            )
            .map(b"".join)
            .filter(lambda content: f"\r\n--{BOUNDARY}".encode() not in b"\r\n" + content),
        ),
        max_size=4,
    ),
    cuts=st.lists(st.integers(0, 600), max_size=12),
)
def test_contents_survive_any_cutting(contents: list[bytes], cuts: list[int]) -> None:
    """TCP cuts a body anywhere, inside a boundary too."""
    body = b"".join(text_part(f"f{n}", content) for n, content in enumerate(contents)) + END
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})

    pieces = [body[a:b] for a, b in itertools.pairwise(edges)]
    found = parts_of(*pieces)

    assert [content for _, content in found] == contents
    assert [head.name for head, _ in found] == [f"f{n}" for n in range(len(contents))]


def test_what_a_head_says() -> None:
    """Name, file name and type are what the checks go by."""
    head = (
        'Content-Type: image/png\r\ncontent-disposition: form-data; name="image"; '
        "filename*=utf-8''k%C3%A4se.png"
    )

    (found,) = parts_of(part(head, b"...") + END)

    assert found[0] == PartHead("image", "käse.png", "image/png")


NAMED = 'Content-Disposition: form-data; name="a"'


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "ends before"),
        (b"hello" + END, "begin with its boundary"),
        (text_part("a", b"1"), "ends before"),
        (text_part("a", b"1")[:-9], "ends before"),
        (part("Content-Type: text/plain", b"1") + END, "no form-data disposition"),
        (part("Content-Disposition: form-data", b"1") + END, "has no name"),
        (part('Content-Disposition: attachment; name="a"', b"1") + END, "no form-data"),
        (f"--{BOUNDARY}\r\n".encode() + b"\xff\r\n\r\n" + END, "not UTF-8"),
        (f"--{BOUNDARY}x\r\n{NAMED}\r\n\r\n".encode(), "goes on after the boundary"),
        (part(NAMED + "\r\nX: " + "y" * 20_000, b"1") + END, "too long"),
        (text_part("a", b"1") + END + b"more", "after its last boundary"),
    ],
)
def test_malformed_bodies_are_told_apart(body: bytes, complaint: str) -> None:
    """A strict reader names the slip instead of guessing what was meant."""
    with pytest.raises(MalformedBodyError, match=complaint):
        parts_of(*(body[i : i + 1000] for i in range(0, len(body), 1000)))


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_what_is_legal_but_needless_is_read_and_noted(size: int) -> None:
    """Wherever TCP cuts it, the parts are the same and the oddities are told once."""
    blank = f"--{BOUNDARY} \t \r\n{NAMED}\r\n\r\n--=cut her\r\n".encode()
    body = b"dear reader,\r\n--=cut\r\n" + blank + text_part("b", b"") + END + b"yours\r\n--"
    told: list[str] = []
    pieces = tuple(body[i : i + size] for i in range(0, len(body), size))

    found = finished(collect(pieces, told))

    assert [(head.name, content) for head, content in found] == [("a", b"--=cut her"), ("b", b"")]
    assert told == ["a preamble", "blanks after a boundary", "an epilogue"]


@pytest.mark.parametrize("end", [END, END[:-2]])
def test_the_last_line_break_is_nobodys_mistake(end: bytes) -> None:
    """curl ends its forms with one, other programs do not."""
    told: list[str] = []

    finished(collect((text_part("a", b"1") + end,), told))

    assert not told


@pytest.mark.parametrize(
    ("head", "name", "filename"),
    [
        ('name="a b"', "a b", None),
        ("name=a", "a", None),
        (r'name="say \"a\""', 'say "a"', None),
        ('name="a;b=c"', "a;b=c", None),
        ("NAME=a; FileName=x", "a", "x"),
        ('name="a"; filename=""', "a", ""),
        ("name=\"a\"; filename*=iso-8859-1'de'%e4.png", "a", "ä.png"),
        ("name=\"a\"; filename=plain.png; filename*=utf-8''%C3%A4.png", "a", "plain.png"),
        (r'name="a"; filename="C:\\x.png"', "a", r"C:\x.png"),
        ('name="käse"', "käse", None),
    ],
)
def test_the_odd_forms_of_a_disposition(head: str, name: str, filename: str | None) -> None:
    """Quotes, escapes and RFC 2231 come from real programs."""
    (found,) = parts_of(part(f"Content-Disposition: form-data; {head}", b"1") + END)

    assert (found[0].name, found[0].filename) == (name, filename)


def test_a_type_with_a_name_makes_no_file() -> None:
    """Mail calls a file by its type's `name`; in a form that is a text all the same."""
    (found,) = parts_of(part(f"{NAMED}\r\nContent-Type: text/plain; name=x.txt", b"1") + END)

    assert found[0] == PartHead("a", None, "text/plain; name=x.txt")


def test_content_type_and_boundary() -> None:
    """The boundary may be quoted."""
    header = f'multipart/form-data; boundary="{BOUNDARY}"'

    assert parse_content_type(header) == ("multipart/form-data", BOUNDARY)
    assert parse_content_type("application/json") == ("application/json", None)
