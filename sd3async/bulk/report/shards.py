"""Tar shards in the WebDataset format (extra `sd3async[webdataset]`).

Each image with its facts and its prompt under one key: `00000042.png`, `.json`, `.txt`.
"""

import itertools
import json
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, cast

from webdataset import TarWriter  # type: ignore[import-untyped]  # it ships no py.typed

from sd3async._files import PartFile
from sd3async.bulk.records import ItemRecord
from sd3async.bulk.report.plain import encodable, plain
from sd3async.bulk.report.sink import PartStream

FOLDER = "shards"
SAMPLES_PER_SHARD = 1000

_SUFFIXES = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}
_SHARD_NAME = re.compile(r"\d{6}\.tar")
log = logging.getLogger("sd3async")


def write_shards(
    out: Path, records: Iterable[ItemRecord], *, per_shard: int = SAMPLES_PER_SHARD
) -> list[Path]:
    """Write every image that is there, in manifest order, and remove what an earlier export left.

    Args:
        out: The job's folder.
        records: The items; those without an image are passed over.
        per_shard: Images in each shard.

    Returns:
        The shards, each whole.

    Raises:
        OSError: A shard could not be written; those before it are whole.
    """
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    samples = _samples(out, records)
    shards: list[Path] = []
    for first in samples:
        batch = itertools.chain([first], itertools.islice(samples, per_shard - 1))
        shards.append(_write_shard(folder / f"{len(shards):06d}.tar", batch))
    for shard in folder.iterdir():
        if _SHARD_NAME.fullmatch(shard.name) and shard not in shards:
            shard.unlink()
    return shards


def _write_shard(target: Path, samples: Iterable[dict[str, Any]]) -> Path:
    with PartFile(target) as part:
        # No clock in it: the same images make the same shard, byte for byte.
        writer = cast("Any", TarWriter(PartStream(part), mtime=0))
        with writer:
            for sample in samples:
                writer.write(sample)
        return part.commit()


def _samples(out: Path, records: Iterable[ItemRecord]) -> Iterator[dict[str, Any]]:
    for record in records:
        if record.state != "done" or record.file is None:
            continue
        try:
            image = (out / record.file).read_bytes()
        except FileNotFoundError:
            log.warning("%s is no longer there: its shard goes without it", record.file)
            continue
        # By what it is: a service may answer a JPEG where PNG was asked for.
        suffix = _SUFFIXES.get(record.content_type or "", PurePosixPath(record.file).suffix[1:])
        yield {
            "__key__": f"{record.index:08d}",
            suffix: image,
            "json": json.dumps(plain(record.to_dict())).encode("ascii"),
            "txt": encodable(record.prompt).encode("utf-8"),
        }
