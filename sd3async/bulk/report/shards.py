"""Tar shards in the WebDataset format (extra `sd3async[webdataset]`).

Each image with its facts and its prompt under one key: `00000042.png`, `.json`, `.txt`.
"""

import json
import logging
import re
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, cast

from webdataset import TarWriter  # type: ignore[import-untyped]  # it ships no py.typed

from sd3async._files import PartFile
from sd3async.bulk.records import ItemRecord, JobSummary
from sd3async.bulk.report.plain import encodable, plain
from sd3async.bulk.report.sink import PartStream

FOLDER = "shards"
SAMPLES_PER_SHARD = 1000

_SUFFIXES = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}
_SHARD_NAME = re.compile(r"\d{6}\.tar")
log = logging.getLogger("sd3async")


class ShardWriter:
    """Writes every image that is there, in manifest order: an `Export`.

    Args:
        out: The job's folder.
        per_shard: Images in each shard.
    """

    def __init__(self, out: Path, *, per_shard: int = SAMPLES_PER_SHARD) -> None:
        self._out = out
        self._folder = out / FOLDER
        self._per_shard = per_shard
        self._shard: _Shard | None = None
        self._names: list[str] = []
        self._folder.mkdir(exist_ok=True)

    def write(self, record: ItemRecord) -> None:
        """Add an image; items without one are passed over."""
        sample = _sample(self._out, record)
        if sample is None:
            return
        if self._shard is None:
            self._names.append(f"{len(self._names):06d}.tar")
            self._shard = _Shard(self._folder / self._names[-1])
        self._shard.write(sample)
        if self._shard.samples == self._per_shard:
            self._end_shard()

    def close(self, summary: JobSummary) -> None:
        """Name the last shard, and remove what an earlier export left."""
        self._end_shard()
        for shard in self._folder.iterdir():
            if _SHARD_NAME.fullmatch(shard.name) and shard.name not in self._names:
                shard.unlink()

    def discard(self) -> None:
        """Leave nothing of the shard that is being written; those before it are whole."""
        if self._shard is not None:
            self._shard.discard()

    def _end_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._shard = None


class _Shard:
    """A tar file that is being written."""

    def __init__(self, target: Path) -> None:
        self._part = PartFile(target)
        # No clock in it: the same images make the same shard, byte for byte.
        self._tar = cast("Any", TarWriter(PartStream(self._part), mtime=0))
        self.samples = 0

    def write(self, sample: dict[str, Any]) -> None:
        self._tar.write(sample)
        self.samples += 1

    def close(self) -> None:
        self._tar.close()
        self._part.commit()

    def discard(self) -> None:
        with suppress(OSError):
            self._tar.close()
        self._part.abort()


def _sample(out: Path, record: ItemRecord) -> dict[str, Any] | None:
    if record.state != "done" or record.file is None:
        return None
    try:
        image = (out / record.file).read_bytes()
    except FileNotFoundError:
        log.warning("%s is no longer there: its shard goes without it", record.file)
        return None
    # By what it is: a service may answer a JPEG where PNG was asked for.
    suffix = _SUFFIXES.get(record.content_type or "", PurePosixPath(record.file).suffix[1:])
    return {
        "__key__": f"{record.index:08d}",
        suffix: image,
        "json": json.dumps(plain(record.to_dict())).encode("ascii"),
        "txt": encodable(record.prompt).encode("utf-8"),
    }
