"""The gallery: one page that opens from disk, and the records it loads as it goes.

The page holds the first records itself; the others lie in scripts beside it, since a page that
was opened from disk may load scripts but may not fetch files.
"""

import base64
import hashlib
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from sd3async._files import write_atomically
from sd3async.bulk.records import ItemRecord, JobSummary
from sd3async.bulk.report.cards import card
from sd3async.bulk.report.numbers import JobNumbers
from sd3async.bulk.report.plain import plain, script_json

PAGE = "index.html"
FOLDER = "gallery"
RECORDS_PER_FILE = 500
MOST_RECORDS = 50_000
"""More than this would fill a browser's memory; `results.jsonl` has them all."""

_SCRIPTS = (
    "dom.js",
    "words.js",
    "records.js",
    "timeline.js",
    "summary.js",
    "cards.js",
    "table.js",
    "viewer.js",
    "main.js",
)


class GalleryWriter:
    """Takes a job's records one by one and writes the page about them.

    Args:
        out: The job's folder.
        thumbnails: Whether large images will have thumbnails.
        per_file: Records in the page, and in each file beside it.
        most: Records that the gallery shows.

    Attributes:
        images: The images that it shows, relative to the folder.
    """

    def __init__(
        self,
        out: Path,
        *,
        thumbnails: bool,
        per_file: int = RECORDS_PER_FILE,
        most: int = MOST_RECORDS,
    ) -> None:
        self._out = out
        self._thumbnails = thumbnails
        self._per_file = per_file
        self._most = most
        self._first: list[dict[str, Any]] = []
        self._next: list[dict[str, Any]] = []
        self._files = 0
        self._shown = 0
        self.images: list[str] = []

    def add(self, record: ItemRecord) -> None:
        """Take a record; those beyond the most that can be shown are left out."""
        if self._shown == self._most:
            return
        self._shown += 1
        if record.file is not None and record.linked_to is None:
            self.images.append(record.file)
        facts = card(record, self._out, thumbnails=self._thumbnails)
        if len(self._first) < self._per_file:
            self._first.append(facts)
            return
        self._next.append(facts)
        if len(self._next) == self._per_file:
            self._write_next()

    def finish(self, numbers: JobNumbers, summary: JobSummary) -> Path:
        """Write what is left and, last of all, the page.

        Args:
            numbers: Sums over all records.
            summary: The job as a whole.

        Returns:
            The page.

        Raises:
            OSError: Something could not be written; an earlier page still stands.
        """
        if self._next:
            self._write_next()
        self._delete_older_files()
        job = {
            **numbers.to_dict(summary),
            "tags": numbers.tags.most_common(),
            "shown": self._shown,
            "files": self._files,
        }
        page = render_page(summary.name, plain(job), self._first)
        return write_atomically(self._out / PAGE, page.encode("utf-8"))

    def _write_next(self) -> None:
        folder = self._out / FOLDER
        folder.mkdir(exist_ok=True)
        script = f"receiveRecords({script_json(self._next)});\n"
        write_atomically(folder / _file_name(self._files), script.encode("ascii"))
        self._files += 1
        self._next = []

    def _delete_older_files(self) -> None:
        kept = {_file_name(number) for number in range(self._files)}
        for file in (self._out / FOLDER).glob("records-*.js"):
            if file.name not in kept:
                file.unlink()


def _file_name(number: int) -> str:
    return f"records-{number:05d}.js"


def render_page(title: str, job: dict[str, Any], records: list[dict[str, Any]]) -> str:
    """Return the page.

    Args:
        title: The job's name; untrusted text.
        job: What is known of the job as a whole.
        records: The first cards.
    """
    source = files("sd3async.bulk.report") / "page"
    style = (source / "gallery.css").read_text("utf-8")
    script = "\n".join((source / name).read_text("utf-8") for name in _SCRIPTS)
    return Template((source / "template.html").read_text("utf-8")).substitute(
        title=escape(title.encode("utf-8", "replace").decode()),
        policy=_policy(style, script),
        style=style,
        script=script,
        job=script_json(job),
        records=script_json(records),
    )


def _policy(style: str, script: str) -> str:
    """Return a content security policy: nothing from a network, no code but the page's own.

    A page opened from disk has no origin, so that `'self'` may match nothing: `file:` says it.
    """
    return (
        "default-src 'none'; "
        f"script-src 'self' file: {_hash(script)}; "
        f"style-src {_hash(style)}; "
        "img-src 'self' file: data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
