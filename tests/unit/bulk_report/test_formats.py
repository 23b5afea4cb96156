"""Exports, read back with the libraries that people read them with."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]  # it ships no py.typed
from webdataset import tariterators  # type: ignore[import-untyped]  # it ships no py.typed

from sd3async.bulk.records import ItemRecord
from sd3async.bulk.report import export
from sd3async.bulk.report.shards import write_shards
from sd3async.bulk.report.table import write_table
from support.job_records import BEGAN, done, failed, item, write_pictures

Sample = dict[str, Any]


def read_shards(shards: list[Path]) -> list[Sample]:
    expand, group = cast("Any", (tariterators.tar_file_expander, tariterators.group_by_keys))
    samples: list[Sample] = []
    for shard in shards:
        with shard.open("rb") as stream:  # the library's own opener leaves files to the collector
            samples += group(expand([{"url": str(shard), "stream": stream}]))
    return samples


def read_table(path: Path) -> list[Sample]:
    rows: list[Sample] = cast("Any", parquet).read_table(path).to_pylist()
    return rows


def test_shards_hold_each_image_with_its_facts_and_prompt(tmp_path: Path) -> None:
    """A training pipeline would meet other bytes, or an image without its prompt."""
    records = [done(0, prompt="ein Fuchs \u2603 \ud800"), failed(1), done(2)]
    write_pictures(tmp_path, records)

    samples = read_shards(export(tmp_path, lambda: records, format="webdataset"))

    assert [sample["__key__"] for sample in samples] == ["00000000", "00000002"]
    assert samples[0]["png"] == (tmp_path / str(records[0].file)).read_bytes()
    assert samples[0]["txt"].decode() == "ein Fuchs \u2603 ?"
    assert json.loads(samples[1]["json"])["seed"] == 2


def test_an_image_in_a_shard_is_called_what_it_is(tmp_path: Path) -> None:
    """A pipeline that picks the decoder by the name would stop at a JPEG called PNG."""
    records = [done(0, content_type="image/jpeg")]
    write_pictures(tmp_path, records)

    (sample,) = read_shards(write_shards(tmp_path, records))

    assert "png" not in sample
    assert sample["jpeg"] == (tmp_path / str(records[0].file)).read_bytes()


def test_shards_are_cut_and_those_of_an_earlier_export_removed(tmp_path: Path) -> None:
    """A reader would be given images twice, or shards too large to move."""
    records = [done(i) for i in range(7)]
    write_pictures(tmp_path, records)
    write_shards(tmp_path, records, per_shard=2)

    shards = write_shards(tmp_path, records[:5], per_shard=2)

    assert [shard.name for shard in shards] == ["000000.tar", "000001.tar", "000002.tar"]
    assert sorted((tmp_path / "shards").iterdir()) == shards
    assert len(read_shards(shards)) == 5


def test_the_same_images_make_the_same_shard(tmp_path: Path) -> None:
    """Shards would differ from export to export, and be uploaded again for nothing."""
    records = [done(0)]
    write_pictures(tmp_path, records)

    once, again = (write_shards(tmp_path, records)[0].read_bytes() for _ in range(2))

    assert once == again


def test_an_image_that_is_gone_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One deleted image would stop the export of all the others, or vanish in silence."""
    records = [done(0), done(1)]
    write_pictures(tmp_path, records[:1])

    samples = read_shards(write_shards(tmp_path, records))

    assert [sample["__key__"] for sample in samples] == ["00000000"]
    assert "00000001.png is no longer there" in caplog.text


def test_the_table_has_a_row_for_each_item_whatever_its_state(tmp_path: Path) -> None:
    """Failures would be missing from the table, or facts of images."""
    records = [
        done(0, tags=("a", "b"), timings={"total": 2.5, "body": 0.1}, seed=2**32 - 2),
        failed(1, prompt="\ud800"),
        item(2, state="pending", request={"cfg_scale": float("nan")}),
    ]

    [path] = export(tmp_path, lambda: records, format="parquet")
    rows = read_table(path)

    assert path.name == "results.parquet"
    assert [row["state"] for row in rows] == ["done", "failed", "pending"]
    assert rows[0]["tags"] == ["a", "b"]
    assert rows[0]["seed"] == 2**32 - 2
    assert rows[0]["finished_at"] == datetime.fromtimestamp(BEGAN, UTC)
    assert rows[0]["timings"]["total"] == 2.5
    assert rows[0]["timings"]["headers"] is None
    assert rows[1]["error"] == "500 oops: no image"
    assert rows[2]["file"] is None


def test_every_field_of_a_record_is_a_column(tmp_path: Path) -> None:
    """A field that records gain would be dropped from tables without a word."""
    columns = set(read_table(write_table(tmp_path, [done(0)]))[0])

    assert columns == set(done(0).to_dict())


def test_the_table_is_written_group_by_group(tmp_path: Path) -> None:
    """A million rows would be held in memory at once."""
    path = write_table(tmp_path, (done(i) for i in range(25)), rows_per_group=10)

    assert cast("Any", parquet).ParquetFile(path).metadata.num_row_groups == 3
    assert [row["index"] for row in read_table(path)] == list(range(25))


def test_a_job_without_images_exports_nothing_and_says_so_by_an_empty_list(tmp_path: Path) -> None:
    """An empty job would end in a traceback."""
    no_records: list[ItemRecord] = []

    assert export(tmp_path, lambda: no_records, format="webdataset") == []
    assert read_table(export(tmp_path, lambda: no_records, format="parquet")[0]) == []


def test_a_failed_export_leaves_no_part_behind(tmp_path: Path) -> None:
    """A full disk would leave half a shard that looks like a whole one."""

    def broken() -> Any:
        yield done(0)
        raise OSError("no space left")

    write_pictures(tmp_path, [done(0)])
    for format_ in ("webdataset", "parquet"):
        with pytest.raises(OSError, match="no space"):
            export(tmp_path, broken, format=format_)

    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
    assert list((tmp_path / "shards").iterdir()) == []


@pytest.mark.parametrize(
    ("format_", "library"), [("webdataset", "webdataset"), ("parquet", "pyarrow")]
)
def test_a_missing_library_is_named_with_its_extra(
    format_: str, library: str, tmp_path: Path
) -> None:
    """Whoever lacks an extra would get a traceback instead of a command to type."""
    code = (
        "import sys, pathlib; sys.modules[sys.argv[2]] = None\n"
        "from sd3async.bulk.report import export\n"
        "export(pathlib.Path(sys.argv[3]), lambda: [], format=sys.argv[1])"
    )
    command = [sys.executable, "-c", code, format_, library, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert f"pip install 'sd3async[{format_}]'" in ended.stderr.splitlines()[-1]
    assert library in ended.stderr.splitlines()[-1]


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    """A misspelt format would export nothing, in silence."""
    with pytest.raises(ValueError, match="webdataset or parquet"):
        export(tmp_path, list, format=cast("Any", "zip"))
