"""Raw results: written once, read for ever."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async.bench.knee import Knee
from sd3async.bench.samples import (
    ResultsError,
    Session,
    parse_session,
    read_session,
    write_header,
    write_knee,
    write_run,
)
from sd3async.bench.scenario import Scenario
from support.sessions import header, run, sample

seconds = st.floats(0, 1e5).map(lambda value: round(value, 6))


def written(session: Session) -> str:
    file = io.StringIO()
    write_header(file, session.header)
    for item in session.runs:
        write_run(file, item)
    if session.knee is not None:
        write_knee(file, session.knee)
    return file.getvalue()


def parse(text: str) -> Session:
    return parse_session(text.splitlines(keepends=True))


@given(
    intended=seconds,
    response=seconds,
    headers=st.none() | seconds,
    sends=st.lists(st.tuples(st.integers(0, 9), seconds)).map(tuple),
    error=st.text(),
    warmup=st.booleans(),
)
def test_what_was_written_is_what_is_read(error: str, **fields: Any) -> None:
    """A report from the file must be the report of the run, to the microsecond."""
    ended = round(fields["intended"] + fields["response"], 6)
    one = sample(**fields, error=error, ended=ended)
    opened = Scenario(rate=2.0, arrival="gamma", burstiness=0.5, requests=7)
    session = Session(
        header=header(slo=1.5),
        runs=(run([one, one]), run([], scenario=opened, usage=None, stopped_by="a cap")),
        knee=Knee(4, 2.0, "plateau"),
    )

    assert parse(written(session)) == session


def test_every_line_is_json_and_every_request_has_its_own() -> None:
    """Other programs read the file line by line."""
    lines = written(Session(header=header(), runs=(run([sample(), sample()]),))).splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]

    assert kinds == ["header", "sample", "sample", "run"]


def test_a_file_that_was_cut_short_gives_what_is_whole() -> None:
    """A machine that died at the second run must not cost the first."""
    text = written(Session(header=header(), runs=(run([sample()]), run([sample()], repeat=2))))

    assert parse(text[:-20]).runs == (run([sample()]),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json\n",
        "[]\n",
        '{"kind":"header","schema":99}\n',
        '{"kind":"sample"}\n',
        '{"kind":"run"}\n',
    ],
)
def test_what_holds_no_results_is_refused(text: str) -> None:
    """A picture of nothing would look like a result."""
    with pytest.raises(ResultsError, match="results"):
        parse(text)


def test_the_error_names_the_file_and_the_line(tmp_path: Any) -> None:
    """In a file of a million lines, "bad JSON" helps nobody."""
    path = tmp_path / "r.jsonl"
    path.write_text(written(Session(header=header(), runs=())) + "broken\n")

    with pytest.raises(ResultsError, match=r"r\.jsonl, line 2"):
        read_session(path)
