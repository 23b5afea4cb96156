"""The numbers of a job, counted in one pass over its records."""

import math
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from sd3async._percentiles import PERCENTILES, percentile
from sd3async.bulk.records import ItemRecord, JobSummary
from sd3async.bulk.report.timeline import Timeline, TimelineCounter
from sd3async.endpoints import find_service

SCHEMA_VERSION = 2
"""Of `report.json`; a reader should refuse a higher one."""

OTHER = "(others)"
_MOST_NAMES = 1000
_ENDED = ("done", "failed", "unknown", "missing")

# What differs from error to error of one kind: quoted text, ids, numbers; the history follows.
_HISTORY = re.compile(r" \[\d+ attempts: .*", re.DOTALL)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_ID = re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f]{6,}(?:-[0-9a-f]+)*\b", re.IGNORECASE)
_NUMBER = re.compile(r"\b\d+\.\d+\b|\b\d[\d,]{3,}\b")  # a status of three digits stays


def kind_of_error(words: str) -> str:
    """Return an error's words without what is its own: history, quotations, ids, long numbers."""
    words = _HISTORY.sub("", words)
    for pattern in (_QUOTED, _ID, _NUMBER):
        words = pattern.sub("…", words)
    return words[:200]


class Names:
    """Counts names, the first thousand of them by name: untrusted text must not fill memory."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """Count a name."""
        if name not in self._counts and len(self._counts) >= _MOST_NAMES:
            name = OTHER
        self._counts[name] += 1

    def most_common(self) -> list[tuple[str, int]]:
        """Return names and counts, the most frequent first."""
        return self._counts.most_common()


@attrs.define
class Group:
    """The sums of some of the items: of an endpoint's, or of a model's."""

    items: int = 0
    states: Counter[str] = attrs.field(factory=Counter[str])
    credits: float = 0.0
    bytes: int = 0

    def add(self, record: ItemRecord) -> None:
        """Count an item."""
        self.items += 1
        self.states[record.state] += 1
        self.credits += record.credits
        if record.linked_to is None and record.state != "missing":
            self.bytes += record.size or 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "items": self.items,
            "states": dict(self.states),
            "credits": round(self.credits, 4),
            "bytes": self.bytes,
        }


def model_of(record: ItemRecord) -> str:
    """Return the model's name; endpoints that have only one go by their own."""
    named = record.request.get("model")
    if not named and record.endpoint == "sd3":
        named = find_service(record.service).default_model  # the client filled it in
    return str(named or record.endpoint)


class JobNumbers:
    """Sums of a job's records. Memory: 8 bytes for each duration of an image, little else."""

    def __init__(self) -> None:
        self.all = Group()
        self.filtered = 0
        self.linked = 0
        self.attempts = 0
        self.endpoints: defaultdict[str, Group] = defaultdict(Group)
        self.models: defaultdict[str, Group] = defaultdict(Group)
        self.errors = Names()
        self.tags = Names()
        self._durations: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._timeline = TimelineCounter()
        self._ended = 0

    def add(self, record: ItemRecord) -> None:
        """Count an item."""
        self.all.add(record)
        self._group(self.endpoints, record.endpoint).add(record)
        self._group(self.models, model_of(record)).add(record)
        self.filtered += record.finish_reason == "CONTENT_FILTERED"
        self.linked += record.linked_to is not None
        self.attempts += record.attempts
        if record.error:
            self.errors.add(kind_of_error(record.error))
        for tag in record.tags:
            self.tags.add(tag)
        if record.linked_to is not None:
            return  # nothing was sent for it
        for name, seconds in record.timings.items():
            self._durations[name].append(seconds)
        if record.finished_at is not None and record.state in _ENDED:
            self._ended += 1
            self._timeline.add(record.finished_at, done=record.state in ("done", "missing"))

    def timeline(self) -> Timeline:
        """Return when the items ended."""
        return self._timeline.timeline()

    def to_dict(self, summary: JobSummary) -> dict[str, Any]:
        """Return what `report.json` holds.

        Args:
            summary: The job as a whole.
        """
        return {
            "schema_version": SCHEMA_VERSION,
            "job": _job(summary),
            "items": {
                "total": summary.total,
                "done": summary.done,
                "failed": summary.failed,
                "invalid": summary.invalid,
                "unknown": summary.unknown,
                "missing": summary.missing,
                "unsent": summary.unsent,
                "filtered": self.filtered,
                "linked": self.linked,
            },
            "money": _money(summary),
            "requests": {
                "attempts": self.attempts,
                "retried": summary.retried,
                "frozen": summary.frozen,
                "ceiling": summary.ceiling,
            },
            "bytes": self.all.bytes,
            "by_state": dict(self.all.states),
            "by_endpoint": {name: group.to_dict() for name, group in self.endpoints.items()},
            "by_model": {name: group.to_dict() for name, group in self.models.items()},
            "errors": [{"kind": kind, "count": n} for kind, n in self.errors.most_common()],
            "latency": {name: distribution(taken) for name, taken in self._durations.items()},
            "rate": {
                "ceiling": summary.ceiling,
                "mean": self._mean_rate(summary.seconds),
                **self.timeline().to_dict(),
            },
        }

    def _mean_rate(self, seconds: float) -> float | None:
        """Return the items that ended per second of work, over all runs."""
        return round(self._ended / seconds, 4) if seconds > 0 else None

    @staticmethod
    def _group(groups: defaultdict[str, Group], name: str) -> Group:
        return groups[name if name in groups or len(groups) < _MOST_NAMES else OTHER]


def distribution(seconds: "array[float]") -> Mapping[str, float]:
    """Return count, mean, exact percentiles (nearest rank) and maximum [s].

    Args:
        seconds: All samples, at least one.
    """
    ordered = sorted(seconds)
    ranks = {f"p{percent}": percentile(ordered, percent) for percent in PERCENTILES}
    mean = math.fsum(ordered) / len(ordered)
    found = {"mean": mean, **ranks, "max": ordered[-1]}
    return {"count": len(ordered)} | {name: round(value, 6) for name, value in found.items()}


def _job(summary: JobSummary) -> dict[str, Any]:
    return {
        "name": summary.name,
        "manifest": summary.manifest,
        "base_url": summary.base_url,
        "service": summary.service,
        "emulated": summary.emulated,
        "started_at": _iso(summary.started_at),
        "finished_at": _iso(summary.finished_at),
        "runs": summary.runs,
        "seconds": round(summary.seconds, 3),
    }


def _money(summary: JobSummary) -> dict[str, Any]:
    return {
        "credits": summary.credits_spent,
        "dollars": summary.dollars,
        "possibly_paid": summary.possibly_paid,
        "balance_before": summary.balance_before,
        "balance_after": summary.balance_after,
    }


def _iso(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="seconds")
