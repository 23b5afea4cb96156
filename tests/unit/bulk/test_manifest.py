"""Manifests: every shape, read a line at a time, and every bad line named."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async.bulk import BadLine, ManifestError
from sd3async.bulk.intake.manifest import Line, open_manifest, read_lines, shape_of
from sd3async.bulk.options import Shape


def read(text: str | bytes, shape: Shape | None = None, **options: Any) -> list[Line | BadLine]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_lines(io.BytesIO(data), shape, **options))


def bad(text: str | bytes, shape: Shape) -> BadLine:
    (only,) = [line for line in read(text, shape) if isinstance(line, BadLine)]
    return only


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("a.jsonl", "jsonl"),
        ("a.NDJSON", "jsonl"),
        ("a.csv", "csv"),
        ("a.tsv", "csv"),
        ("a.txt", "text"),
        ("a.prompts", None),
    ],
)
def test_the_name_tells_the_shape(name: str, shape: str | None) -> None:
    """A CSV read as prompts would pay for its header."""
    assert shape_of(Path(name)) == shape


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ('\n {"prompt": "x"}\n', {"prompt": "x"}),
        ("a cat\n", {"prompt": "a cat"}),
        ('"quoted" words', {"prompt": '"quoted" words'}),
    ],
    ids=["json", "text", "quoted"],
)
def test_without_a_name_the_first_line_tells_the_shape(text: str, first: dict[str, str]) -> None:
    """Standard input has no name."""
    line = read(text)[0]

    assert isinstance(line, Line)
    assert line.fields == first


def test_lines_keep_their_numbers_past_blank_ones_and_a_byte_order_mark() -> None:
    """A reason on the wrong line number sends people hunting."""
    lines = read(b"\xef\xbb\xbfone\r\n\r\n   \ntwo", "text")

    assert lines == [Line(1, {"prompt": "one"}), Line(4, {"prompt": "two"})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is no JSON"),
        ("[1]", "is a JSON list; an object is needed"),
        ('{"prompt": "a", "prompt": "b"}', "'prompt' is given twice"),
        ("[" * 100_000, "nested too deep"),
        (b"\xff\xfe", "is not UTF-8 at byte 1"),
    ],
    ids=["cut off", "list", "double", "deep", "encoding"],
)
def test_what_is_no_json_object_is_a_bad_line(line: str | bytes, reason: str) -> None:
    """One odd line must name itself, and not hide the good ones after it."""
    data = line.encode() if isinstance(line, str) else line
    lines = read(b'{"prompt": "x"}\n' + data + b'\n{"prompt": "y"}', "jsonl")

    assert isinstance(lines[1], BadLine)
    assert lines[1].number == 2
    assert reason in lines[1].reason
    assert lines[2] == Line(3, {"prompt": "y"})


def test_a_line_without_end_is_not_read_to_memory() -> None:
    """Somebody's video must be refused, not loaded."""
    assert "longer than 16 MiB" in bad(b"x" * (17 * 2**20), "text").reason


def test_csv_cells_get_the_types_their_fields_have() -> None:
    """A seed that arrives as text would be refused for every row."""
    text = 'prompt,seed,strength,tags,priority,id\n"a, b",7,0.5,red; blue,2,x\n"two\nlines",,,,,\n'
    first, second = read(text, "csv")

    assert isinstance(first, Line)
    assert isinstance(second, Line)
    assert first.fields == {
        "prompt": "a, b",
        "seed": 7,
        "strength": 0.5,
        "tags": ["red", "blue"],
        "priority": 2,
        "id": "x",
    }
    assert second.fields == {"prompt": "two\nlines"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("text\nx\n", "names no field of a request"),
        ("prompt,prompt\nx,y\n", "names 'prompt' twice"),
        ("prompt,\nx,y\n", "column 2 has no name"),
        ("prompt\nx,y\n", "has 2 cells; the header names 1"),
        ("prompt,seed\nx,many\n", "seed: is 'many'; a number is needed"),
        ('prompt\n"x\n', "a quote that is never closed"),
        (b"prompt\n\xff\n", "is not UTF-8"),
    ],
    ids=["no prompt", "double", "nameless", "too many", "number", "quote", "encoding"],
)
def test_bad_csv_is_named(text: str | bytes, reason: str) -> None:
    """A shifted column must not become 10,000 odd pictures."""
    assert reason in bad(text, "csv").reason


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('prompt,seed\n"two\nlines",many\nx,1\n', 2),
        ('prompt,seed\n\n"two\nlines",1\nx,many\n', 5),
        ('prompt\nx\n"open\nx\nx\n', 3),
        ('prompt\nx\n"closed"x\nx\n', 3),
        ("prompt\rx\ry\n", 1),
        (b"prompt\nx\n\xff\n", 3),
        ("prompt\n" + "x\n" * 998 + "x,y", 1000),
    ],
    ids=["in a row of two", "after one", "open", "after a quote", "CR", "encoding", "last"],
)
def test_a_bad_row_is_named_by_the_line_where_it_begins(text: str | bytes, line: int) -> None:
    """A person who goes to the line must find what is wrong with it."""
    assert bad(text, "csv").number == line


@pytest.mark.parametrize(
    ("text", "shape", "words"),
    [
        ('[{"prompt": "x"},\n{"prompt": "y"}]', "jsonl", "begins a JSON array"),
        ('\n[\n  {"prompt": "x"}\n]\n', "jsonl", "begins a JSON array"),
        ('[\n  {"prompt": "x"}\n]\n', None, "begins a JSON array"),
        ('["x",\n"y"]', None, "begins a JSON array"),
        ('{\n  "prompt": "x"\n}', "jsonl", "an object of several lines"),
        ('{\n  "prompt": "x"\n}', None, "an object of several lines"),
        ("x\ry\r", "text", "carriage return"),
        ('{"prompt": "x"}\r{"prompt": "y"}\r', "jsonl", "carriage return"),
        ("prompt\rx\ry\r", "csv", "carriage return"),
        (b"x\r" * 9_000_000, "text", "carriage return"),
        ("x\ny".encode("utf-16"), None, "is UTF-16"),
        ("prompt\nx".encode("utf-16"), "csv", "is UTF-16"),
    ],
)
def test_a_file_of_another_kind_is_one_sentence(
    text: str | bytes, shape: Shape, words: str
) -> None:
    """Twenty complaints about commas do not say that it is an array; nor is it 20 prompts."""
    (only,) = read(text, shape)

    assert isinstance(only, BadLine)
    assert words in only.reason


def test_a_prompt_may_begin_with_a_bracket() -> None:
    """It is how some people weigh their words."""
    assert read("[red] fox\n[blue] fox") == [
        Line(1, {"prompt": "[red] fox"}),
        Line(2, {"prompt": "[blue] fox"}),
    ]


def test_a_csv_written_from_a_column_with_empty_cells_is_read() -> None:
    """pandas makes floats of such a column, and writes 7 as 7.0."""
    assert read("prompt,seed\na,7.0\nb,\n", "csv") == [
        Line(2, {"prompt": "a", "seed": 7}),
        Line(3, {"prompt": "b"}),
    ]


def test_tabs_can_part_the_cells() -> None:
    """Spreadsheets export them."""
    assert read("prompt\tseed\na, b\t3\n", "csv", delimiter="\t") == [
        Line(2, {"prompt": "a, b", "seed": 3})
    ]


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none())))
def test_what_json_writes_is_read_back(rows: list[dict[str, Any]]) -> None:
    """Whatever a program dumps a line at a time must arrive unchanged."""
    text = "\n".join(json.dumps(row) for row in rows)

    assert [line.fields for line in read(text, "jsonl") if isinstance(line, Line)] == rows


@given(st.binary())
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """A manifest is somebody's file: anything can be in it."""
    for shape in ("jsonl", "csv", "text", None):
        for line in read_lines(io.BytesIO(data), shape):
            assert line.number >= 1


def test_a_manifest_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    """A typo in a path is the commonest mistake of all."""
    with pytest.raises(ManifestError, match=r"cannot be read: no such file"):
        open_manifest(tmp_path / "missing.jsonl")
