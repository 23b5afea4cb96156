"""Manifests: JSON Lines, CSV or plain text, read a line at a time and never loaded whole.

Reading knows the shapes of lines, not what a request is: that is `items`.
"""

import csv
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import attrs

from sd3async.bulk.errors import BadLine, ManifestError
from sd3async.bulk.options import Shape
from sd3async.models.requests import FIELD_NAMES, NUMBER_FIELDS

_SHAPE_OF_SUFFIX: dict[str, Shape] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
}

# An image of 10 MiB as a data URI has 14 MB; a longer line is a file of another kind.
_MAX_LINE_BYTES = 16 * 1024 * 1024

# JSON that spans several lines, or is one array. A prompt may begin with a bracket, too.
_JSON_ARRAY = re.compile(rb'\s*\[\s*([\[{"]|$)')
_JSON_IN_LINES = re.compile(rb"\s*[{\[]\s*$")

_LONE_CR = (
    "holds a carriage return (CR) that ends no line; lines end in LF: tr '\\r' '\\n' makes them"
)
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")

_WHOLE_NUMBERS = ("seed", "priority")


@attrs.frozen
class Line:
    """A line as it was read: names and values, nothing checked yet.

    Attributes:
        number: Its place in the file, from 1.
        fields: What it says.
    """

    number: int
    fields: Mapping[str, Any]


Lines: TypeAlias = Iterator[Line | BadLine]


def shape_of(path: Path) -> Shape | None:
    """Return what a file's name says about its shape, or None when it says nothing.

    Args:
        path: The file.
    """
    return _SHAPE_OF_SUFFIX.get(path.suffix.lower())


def read_lines(stream: BinaryIO, shape: Shape | None, *, delimiter: str = ",") -> Lines:
    """Read a manifest.

    Args:
        stream: Its bytes: UTF-8, with or without a byte order mark.
        shape: `jsonl`, `csv` or `text`; None looks at the first line: an opening brace means
            JSON Lines, anything else plain text.
        delimiter: Between the cells of a CSV.

    Yields:
        A `Line`, or a `BadLine` for what cannot be read; blank lines are passed over.
    """
    seen, raw = _first_line(_raw_lines(stream))
    first = seen[-1] if seen else b""
    shape = shape or _shape_of_line(first)
    if problem := _problem_of_file(first, shape):
        yield BadLine(len(seen), problem)
    elif shape == "csv":
        yield from _read_csv(raw, delimiter)
    else:
        parse = _parse_json if shape == "jsonl" else _parse_text
        yield from (parse(number, text) for number, text in _decoded(raw))


def _raw_lines(stream: BinaryIO) -> Iterator[bytes]:
    first = True
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        yield line.removeprefix(b"\xef\xbb\xbf") if first else line
        first = False
        if len(line) > _MAX_LINE_BYTES:  # refused by whoever decodes it; what follows is noise
            return


def _first_line(raw: Iterator[bytes]) -> tuple[list[bytes], Iterator[bytes]]:
    """Return the lines up to the first that is not blank, and all lines."""
    seen: list[bytes] = []
    for line in raw:
        seen.append(line)
        if line.strip():
            break
    return seen, itertools.chain(seen, raw)


def _shape_of_line(first: bytes) -> Shape:
    is_json = first.lstrip().startswith(b"{") or _JSON_ARRAY.match(first)
    return "jsonl" if is_json else "text"


def _problem_of_file(first: bytes, shape: Shape) -> str:
    """Return what is wrong with a whole file, as its first line shows: each line would say it."""
    if first.startswith(_UTF_16_MARKS):
        return "is UTF-16; save the file as UTF-8"
    if shape == "jsonl" and _JSON_ARRAY.match(first):
        return (
            "begins a JSON array; JSON Lines are needed, an object on each line: "
            "jq -c '.[]' writes them so"
        )
    if shape == "jsonl" and _JSON_IN_LINES.match(first):
        return "begins an object of several lines; each must stand on one: jq -c . writes them so"
    return ""


def _decode(raw: bytes) -> str:
    """Decode a line.

    Raises:
        ValueError: It is too long, or not UTF-8.
    """
    if len(raw) > _MAX_LINE_BYTES:
        if b"\r" in raw:
            raise ValueError(_LONE_CR)
        raise ValueError(f"is longer than {_MAX_LINE_BYTES // 2**20} MiB; the rest is not read")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at byte {error.start + 1}") from error


def _decode_whole(raw: bytes) -> str:
    """Decode a line that is a record by itself, without its end.

    Raises:
        ValueError: As `_decode`, or it holds another line's end.
    """
    text = _decode(raw).strip("\r\n")
    if "\r" in text:
        raise ValueError(_LONE_CR)
    return text


def _decoded(raw: Iterator[bytes]) -> Iterator[tuple[int, str | BadLine]]:
    for number, line in enumerate(raw, start=1):
        try:
            text: str | BadLine = _decode_whole(line)
        except ValueError as error:
            text = BadLine(number, str(error))
        if not isinstance(text, str) or text.strip():
            yield number, text


def _parse_text(number: int, text: str | BadLine) -> Line | BadLine:
    return Line(number, {"prompt": text.strip()}) if isinstance(text, str) else text


def _parse_json(number: int, text: str | BadLine) -> Line | BadLine:
    if not isinstance(text, str):
        return text
    try:
        value: object = _DECODER.decode(text)
    except ValueError as error:
        return BadLine(number, f"is no JSON: {error}")
    except RecursionError:
        return BadLine(number, "is no JSON that a request could be: it is nested too deep")
    if not isinstance(value, dict):
        return BadLine(number, f"is a JSON {type(value).__name__}; an object is needed")
    return Line(number, cast("dict[str, Any]", value))


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict, unless that would silently lose a value."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{double!r} is given twice")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_without_doubles)


def _read_csv(raw: Iterator[bytes], delimiter: str) -> Lines:
    reader = csv.reader((_decode(line) for line in raw), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        number = reader.line_num + 1  # where the row begins; a quoted cell may span lines
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, ValueError) as error:
            # Where a quote was left open nobody can say which later line is which.
            yield BadLine(number, f"{_csv_words(error)}; nothing after it was read")
            return
        if not any(cell.strip() for cell in cells):
            continue
        if header:
            yield _parse_cells(number, header, cells)
            continue
        header = [cell.strip() for cell in cells]
        if problem := _header_problem(header):
            yield BadLine(number, problem)
            return


def _csv_words(error: Exception) -> str:
    words = str(error)
    if words.startswith("new-line character"):
        return _LONE_CR
    return "opens a quote that is never closed" if words == "unexpected end of data" else words


def _header_problem(header: list[str]) -> str:
    if "" in header:
        return f"the header's column {header.index('') + 1} has no name"
    if len(set(header)) < len(header):
        double = next(name for name in header if header.count(name) > 1)
        return f"the header names {double!r} twice"
    if FIELD_NAMES.isdisjoint(header):
        return "the header, the first line, names no field of a request, such as 'prompt'"
    return ""


def _parse_cells(number: int, header: list[str], cells: list[str]) -> Line | BadLine:
    if len(cells) > len(header):
        return BadLine(number, f"has {len(cells)} cells; the header names {len(header)}")
    fields: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=False):
        if not cell.strip():
            continue  # an empty cell is a field that is not given
        try:
            fields[name] = _typed(name, cell)
        except ValueError:
            return BadLine(number, f"{name}: is {cell[:40]!r}; a number is needed")
    return Line(number, fields)


def _typed(name: str, cell: str) -> object:
    if name in _WHOLE_NUMBERS and cell.strip().lstrip("+-").isdigit():
        return int(cell)
    if name in _WHOLE_NUMBERS or name in NUMBER_FIELDS:
        return float(cell)  # 7.0 for 7 is what a column with empty cells is written as
    if name == "tags":
        return [tag.strip() for tag in cell.split(";") if tag.strip()]
    return cell


def open_manifest(path: Path) -> BinaryIO:
    """Open a manifest for reading.

    Raises:
        ManifestError: It cannot be read.
    """
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        bad = BadLine(0, f"cannot be read: {reason}")
        raise ManifestError(str(path), [bad], 1) from error
