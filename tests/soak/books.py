"""What must be true of a job's books when they are laid beside the server's."""

import collections
import hashlib
import json
import math
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from sd3async.emulator.journal import ReceivedRequest

Record: TypeAlias = Mapping[str, Any]

_PERIOD = 10.0  # [s]
_ON_THE_WAY = 1.0  # [s] until a client that got a 429 has stopped sending for certain
_SHORTEST_LOCKOUT = 20.0  # [s] that the soak's 429s ask for
_SHOWN = 8
_JOURNAL = "journal.sqlite"
_SENT = "SELECT number, sent_at, request FROM items WHERE state = 'sent'"
_IMAGES = frozenset({".png", ".jpeg", ".webp"})


@attrs.frozen
class Mark:
    """An item that is marked as sent.

    Attributes:
        number: The item.
        at: When it was marked, by the job's wall clock [s].
        prompt: Its prompt.
    """

    number: int
    at: float
    prompt: str


@attrs.frozen
class Audit:
    """Two ledgers, compared.

    Attributes:
        booked: What the server charged [credits].
        spent: What the job says that its images cost [credits].
        told: Generations that the job says were possibly paid without an image.
        real: Those that really were.
        lost: Price of the real ones [credits]: `booked` is `spent` plus this.
        groundless: Doubts told of requests that never reached the server. One whose head alone
            did, before the server went down or answered, may be anybody's, and is a ground.
        faults: What does not agree, in words.
    """

    booked: float
    spent: float
    told: int
    real: int
    lost: float
    groundless: int
    faults: tuple[str, ...]


def audit(
    records: Sequence[Record], requests: Sequence[ReceivedRequest], stats: Mapping[str, Any]
) -> Audit:
    """Compare what the job says of each prompt with what the server booked for it.

    Args:
        records: Every item of the job.
        requests: Everything that arrived, in order.
        stats: The job's own sums.
    """
    faults: list[str] = []
    arrived = _by_prompt(requests)
    sums = collections.defaultdict[str, float](float)
    for prompt, items in _items_by_prompt(records).items():
        ours = arrived.pop(prompt, [])
        charged = {seen.request_id: seen.charged for seen in ours if seen.charged}
        told = sum(item["unknown_charges"] for item in items)
        delivered = set[str]()
        for item in items:
            number = item["request_id"]
            faults += _of_item(item, charged.get(number))
            sums["spent"] += item["credits"]
            delivered |= {number} if item["credits"] else set()
        lost = [price for number, price in charged.items() if number not in delivered]
        if len(lost) > told:
            faults.append(f"{prompt!r}: {len(lost)} booked without an image, {told} told")
        if told > sum(item["attempts"] for item in items):
            faults.append(f"{prompt!r}: {told} doubts, and fewer attempts")
        sums["booked"] += sum(charged.values())
        sums["told"] += told
        sums["real"] += len(lost)
        sums["lost"] += sum(lost)
        sums["groundless"] += max(0, told - (len(ours) - len(delivered)))
    faults += [f"{prompt!r}: {len(seen)} requests of no item" for prompt, seen in arrived.items()]
    faults += _of_sums(sums, stats, sum(seen.charged for seen in requests))
    return Audit(
        booked=sums["booked"],
        spent=sums["spent"],
        told=int(sums["told"]),
        real=int(sums["real"]),
        lost=sums["lost"],
        groundless=max(0, int(sums["groundless"]) - _count_heads(requests)),
        faults=tuple(faults),
    )


def _by_prompt(requests: Iterable[ReceivedRequest]) -> dict[str, list[ReceivedRequest]]:
    found: dict[str, list[ReceivedRequest]] = {}
    for seen in requests:
        if "prompt" in seen.fields:
            found.setdefault(seen.fields["prompt"], []).append(seen)
    return found


def _count_heads(requests: Iterable[ReceivedRequest]) -> int:
    """Return how many requests for an image arrived without what they ask for."""
    return sum(seen.method == "POST" and "prompt" not in seen.fields for seen in requests)


def _items_by_prompt(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["prompt"], []).append(record)
    return found


def _of_item(item: Record, booked: float | None) -> Iterable[str]:
    name, state = item["id"], item["state"]
    if state == "sent":
        yield f"{name}: still marked as sent after a clean end"
    if (state == "done") != bool(item["file"]):
        yield f"{name}: {state}, and its file is {item['file']}"
    if state != "done" or item["linked_to"] is not None:
        if item["credits"]:
            yield f"{name}: {state}, and costs {item['credits']} credits"
    elif booked != item["credits"]:
        yield f"{name}: costs {item['credits']}, and {booked} were booked for {item['request_id']}"


def _of_sums(sums: Mapping[str, float], stats: Mapping[str, Any], booked: float) -> Iterable[str]:
    if sums["booked"] != booked:
        yield f"{booked} credits were booked, and {sums['booked']} of them for items"
    if sums["booked"] != sums["spent"] + sums["lost"]:
        yield f"booked {sums['booked']}, spent {sums['spent']}, lost {sums['lost']} credits"
    for name, ours in (("credits_spent", sums["spent"]), ("possibly_paid", sums["told"])):
        if stats[name] != ours:
            yield f"{name} is {stats[name]}, and {ours} by the items"


def check_images(out: Path, records: Sequence[Record]) -> Iterable[str]:
    """Say which images are not exactly those that the records tell of.

    Args:
        out: The job's folder.
        records: Every item of the job.
    """
    owners = {item["file"]: item for item in records if item["linked_to"] is None and item["file"]}
    there = {str(path.relative_to(out)): path for path in image_files(out)}
    for name in sorted(there.keys() ^ owners.keys()):
        yield f"{name}: {'no item has it' if name in there else 'is gone'}"
    for name in there.keys() & owners.keys():
        if hashlib.sha256(there[name].read_bytes()).hexdigest() != owners[name]["sha256"]:
            yield f"{name}: is not what was received"
        if not there[name].with_suffix(".json").exists():
            yield f"{name}: has no sidecar"
    for item in records:
        if item["file"] and item["file"] not in owners:
            yield f"{item['id']}: shares an image that nobody has"
    yield from (f"{path.relative_to(out)}: was left behind" for path in out.rglob("*.part"))


def image_files(out: Path) -> Iterable[Path]:
    """Return the images of a job."""
    return (path for path in (out / "images").glob("*/*") if path.suffix in _IMAGES)


def check_rate(
    requests: Sequence[ReceivedRequest], limit: int, ends_of_runs: Sequence[float]
) -> Iterable[str]:
    """Say where a key's rate limit was broken, or a lock-out that the run knew of.

    Args:
        requests: Everything that arrived, in order.
        limit: Most that may arrive in 10 s with one key.
        ends_of_runs: When a run ended [s]: the next one knows nothing of it.
    """
    for key in sorted({seen.key_id for seen in requests}):
        yield from _check_key(
            [seen for seen in requests if seen.key_id == key], limit, ends_of_runs
        )


def _check_key(
    requests: Sequence[ReceivedRequest], limit: int, ends_of_runs: Sequence[float]
) -> Iterable[str]:
    stamps = sorted(seen.at for seen in requests)
    for first, at in zip(stamps, stamps[limit:], strict=False):
        if at < first + _PERIOD:
            yield f"more than {limit} requests in the {_PERIOD:g} s before {at:.3f} s"
            break
    for refused in (seen for seen in requests if seen.status == 429):
        told = (refused.answered_at or refused.at) + _ON_THE_WAY
        over = min([end for end in ends_of_runs if end >= refused.at], default=math.inf)
        over = min(over, refused.at + _SHORTEST_LOCKOUT)
        if any(told < at < over for at in stamps):
            yield f"requests within {_SHORTEST_LOCKOUT:g} s after the 429 at {refused.at:.3f} s"


def check_held(
    records: Sequence[Record],
    requests: Sequence[ReceivedRequest],
    runs: Iterable[tuple[float, float]],
) -> Iterable[str]:
    """Say what was sent again in a run that was told to keep what is perhaps paid for review.

    Args:
        records: Every item of the job, in the end.
        requests: Everything that arrived, in order.
        runs: Beginning and end of each such run [s].
    """
    delivered = {item["request_id"] for item in records}
    items = _items_by_prompt(records)
    alone = {prompt for prompt, several in items.items() if len(several) == 1}
    for began, ended in runs:
        lost = set[str]()
        for seen in requests:
            prompt = seen.fields.get("prompt", "")
            if not began <= seen.at <= ended or prompt not in alone:
                continue
            if prompt in lost:
                yield f"{prompt!r}: sent again at {seen.at:.1f} s, by a run that was to hold it"
            if seen.charged and seen.request_id not in delivered:
                lost.add(prompt)


def find_marks(out: Path, scratch: Path) -> set[Mark]:
    """Return what marks a run has left of items on their way.

    Looks at a copy of the journal: what a dead process leaves is for the next run to find.

    Args:
        out: The job's folder.
        scratch: A folder to copy to.
    """
    if not (out / _JOURNAL).exists():
        return set()
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        for path in out.glob(f"{_JOURNAL}*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, folder)
        with closing(sqlite3.connect(Path(folder) / _JOURNAL)) as db:
            if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'items'").fetchone():
                return set()
            rows = db.execute(_SENT).fetchall()
    return {Mark(number, at, json.loads(request)["prompt"]) for number, at, request in rows}


def count_unsent(
    marks: Iterable[Mark], requests: Iterable[ReceivedRequest], *, since: float
) -> int:
    """Return how many items a run has left marked as sent without having sent them.

    Args:
        marks: Those of the run.
        requests: Everything that arrived.
        since: When the run began [s].
    """
    sent = {seen.fields.get("prompt") for seen in requests if seen.at >= since}
    return sum(mark.prompt not in sent for mark in marks)


def in_words(faults: Sequence[str]) -> str:
    """Return the first of some faults, a line each."""
    more = [f"… and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    return "\n".join([*faults[:_SHOWN], *more])
