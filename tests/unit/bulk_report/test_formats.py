"""Exports, read back with the libraries that people read them with."""

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]  # it ships no py.typed
from webdataset import tariterators  # type: ignore[import-untyped]  # it ships no py.typed

from sd3async import InvalidRequestError
from sd3async.bulk import JobOptions
from sd3async.bulk.records import ItemRecord
from sd3async.bulk.report.exports import feed
from sd3async.bulk.report.shards import ShardWriter
from sd3async.bulk.report.table import TableWriter
from sd3async.bulk.report.write import export_to
from support.job_records import BEGAN, done, failed, item, summary, write_pictures

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


def write_shards(out: Path, records: Iterable[ItemRecord], **how: Any) -> list[Path]:
    feed([ShardWriter(out, **how)], records, summary([]))
    return sorted((out / "shards").iterdir())


def write_table(out: Path, records: Iterable[ItemRecord], **how: Any) -> Path:
    feed([TableWriter(out, **how)], records, summary([]))
    return out / "results.parquet"


def test_shards_hold_each_image_with_its_facts_and_prompt(tmp_path: Path) -> None:
    """A training pipeline would meet other bytes, or an image without its prompt."""
    records = [done(0, prompt="ein Fuchs \u2603 \ud800"), failed(1), done(2)]
    write_pictures(tmp_path, records)

    samples = read_shards(write_shards(tmp_path, records))

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

    rows = read_table(write_table(tmp_path, records))

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


def test_a_job_without_images_has_an_empty_table_and_no_shards(tmp_path: Path) -> None:
    """An empty job would end in a traceback."""
    assert write_shards(tmp_path, []) == []
    assert read_table(write_table(tmp_path, [])) == []


def test_a_failed_export_leaves_no_part_behind(tmp_path: Path) -> None:
    """A full disk would leave half a shard that looks like a whole one."""

    def broken() -> Any:
        yield done(0)
        raise OSError("no space left")

    write_pictures(tmp_path, [done(0)])
    for name in ("webdataset", "parquet"):
        with pytest.raises(OSError, match="no space"):
            feed([export_to(tmp_path, name)], broken(), summary([]))

    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
    assert list((tmp_path / "shards").iterdir()) == []


def test_an_export_that_fails_does_not_take_the_others_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged picture would cost the table that has nothing to do with it."""
    records = [done(0), done(1)]
    write_pictures(tmp_path, records)
    shards, table = ShardWriter(tmp_path), TableWriter(tmp_path)

    def fail(record: ItemRecord) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(shards, "write", fail)
    with pytest.raises(OSError, match="no space"):
        feed([shards, table], records, summary(records))

    assert len(read_table(tmp_path / "results.parquet")) == 2


@pytest.mark.parametrize(
    ("name", "library"), [("webdataset", "webdataset"), ("parquet", "pyarrow")]
)
def test_a_missing_library_is_named_with_its_extra(
    name: Any, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lacks an extra would get a traceback instead of a command to type."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InvalidRequestError, match=rf"needs {library}: .*sd3async\[{name}\]"):
        JobOptions(formats=[name])


def test_an_unknown_format_is_refused() -> None:
    """A misspelt format would export nothing, in silence."""
    with pytest.raises(InvalidRequestError, match="allowed are webdataset, parquet"):
        JobOptions(formats=cast("Any", ["zip"]))
