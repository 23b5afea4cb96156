"""The page's files: what they hold, and that no prompt can break out of them."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sd3async.bulk.records import ItemRecord
from sd3async.bulk.report import write_out
from sd3async.bulk.report.cards import card
from sd3async.bulk.report.gallery import GalleryWriter, render_page
from sd3async.bulk.report.numbers import JobNumbers
from sd3async.bulk.report.plain import script_json
from sd3async.bulk.report.thumbnails import make_thumbnails, thumbnail_of
from support.job_records import done, failed, summary, write_pictures, write_report

NASTY = [
    "</script><script>alert(1)</script>",
    "<!-- <script>",
    "]]>\u2028\u2029\x00\r\n",
    "<img src=x onerror=alert(1)>",
    "${alert(1)} $title `'\"&lt;",
    "\ud800 lone surrogate",
]
nasty_text = st.lists(st.sampled_from(NASTY) | st.text(max_size=20), max_size=4).map("".join)


class Page(HTMLParser):
    """The text of each element by its id or tag, as a browser would cut it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.scripts = 0
        self._in = ""
        self.policy = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self._in = facts.get("id") or tag
        self.scripts += tag == "script"
        if facts.get("http-equiv") == "Content-Security-Policy":
            self.policy = facts["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._in] = self.texts.get(self._in, "") + data

    def records(self) -> Any:
        return json.loads(self.texts["records"])


def page_of(records: list[ItemRecord], out: Path) -> Page:
    write_report(out, records, summary(records))
    return Page((out / "index.html").read_text("utf-8"))


@given(nasty_text, nasty_text)
def test_no_text_breaks_out_of_the_page(prompt: str, name: str) -> None:
    """A prompt would run code in the browser of whoever looks at the job."""
    page = Page(render_page(name, {"tags": [[prompt, 1]]}, [{"prompt": prompt}]))

    assert page.scripts == 3
    assert page.records() == [{"prompt": prompt}]
    assert json.loads(page.texts["job"]) == {"tags": [[prompt, 1]]}


@given(nasty_text)
def test_json_for_scripts_says_the_same_without_dangerous_characters(text: str) -> None:
    """Data files would end early, or the page would show another prompt than was sent."""
    written = script_json([text])

    assert json.loads(written) == [text]
    assert written.isascii()
    assert not set("<>&") & set(written)


def test_the_policy_allows_no_code_but_the_pages_own(tmp_path: Path) -> None:
    """The browser would run injected code, load from a network, or refuse the page's script."""
    page = page_of([done(0)], tmp_path)

    script_hash = base64.b64encode(hashlib.sha256(page.texts["script"].encode()).digest()).decode()
    assert f"script-src 'self' file: 'sha256-{script_hash}';" in page.policy
    assert "default-src 'none'" in page.policy
    assert "unsafe" not in page.policy
    assert "http" not in page.policy


def test_records_beyond_the_first_lie_in_files_beside_the_page(tmp_path: Path) -> None:
    """Records would be lost between the page and its files, or stand in both."""
    records = [done(i) for i in range(23)]
    gallery = GalleryWriter(tmp_path, thumbnails=False, per_file=5)
    for record in records:
        gallery.add(record)
    page = Page(gallery.finish(JobNumbers(), summary(records)).read_text())

    found = [record["index"] for record in page.records()]
    for file in sorted((tmp_path / "gallery").iterdir()):
        script = re.fullmatch(r"receiveRecords\((.*)\);\n", file.read_text())
        assert script is not None
        found += [record["index"] for record in json.loads(script[1])]
    assert found == list(range(23))
    assert json.loads(page.texts["job"])["files"] == 4


def test_a_smaller_gallery_removes_files_of_a_larger_one(tmp_path: Path) -> None:
    """Records of an earlier run would be left lying about."""
    for count in (9, 3):
        gallery = GalleryWriter(tmp_path, thumbnails=False, per_file=2)
        for i in range(count):
            gallery.add(done(i))
        gallery.finish(JobNumbers(), summary([]))

    assert [file.name for file in (tmp_path / "gallery").iterdir()] == ["records-00000.js"]


def test_the_gallery_stops_where_a_browser_would_choke(tmp_path: Path) -> None:
    """A million records would be written for a browser that cannot hold them."""
    gallery = GalleryWriter(tmp_path, thumbnails=False, per_file=2, most=5)
    for i in range(9):
        gallery.add(done(i))
    page = Page(gallery.finish(JobNumbers(), summary([])).read_text())

    assert json.loads(page.texts["job"])["shown"] == 5
    assert len(list((tmp_path / "gallery").iterdir())) == 2


def test_a_card_tells_every_fact_and_leaves_out_what_is_empty(tmp_path: Path) -> None:
    """The large view would lack facts, or show rows of nothing."""
    record = done(0, tags=("a", "b"), linked_to=0, request_id="r1")
    write_pictures(tmp_path, [record])

    facts = card(record, tmp_path, thumbnails=True)

    assert (facts["seed"], facts["linked_to"], facts["width"], facts["height"]) == (0, 0, 24, 16)
    assert facts["tags"] == ["a", "b"]
    assert facts["model"] == "sd3.5-large"
    assert "error" not in facts
    assert "thumbnail" not in facts


def test_the_uploaded_image_is_shown_from_its_own_place(tmp_path: Path) -> None:
    """The page would look for the image that was uploaded in the wrong folder."""
    (tmp_path / "job").mkdir()
    (tmp_path / "fox.png").write_bytes(b"")
    request = {"image": str(tmp_path / "fox.png"), "strength": 0}

    facts = card(done(0, request=request), tmp_path / "job", thumbnails=False)

    assert facts["source"] == "../fox.png"
    assert facts["options"]["strength"] == 0


@pytest.mark.parametrize("image", ["data:image/png;base64," + "A" * 9000, "gone.png", "\0", 7])
def test_an_upload_that_is_no_file_costs_nothing(image: object, tmp_path: Path) -> None:
    """Megabytes of an encoded upload would land in the page, or a bad path would stop it."""
    facts = card(done(0, request={"image": image}), tmp_path, thumbnails=False)

    assert "source" not in facts
    assert len(str(facts["options"]["image"])) < 100


def test_an_image_that_is_gone_still_has_a_card(tmp_path: Path) -> None:
    """One deleted file would cost the whole gallery."""
    assert "width" not in card(done(0), tmp_path, thumbnails=True)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P", "L"])
def test_thumbnails_are_small_and_made_once(kind: str, tmp_path: Path) -> None:
    """Each look at a job would cost the thumbnails anew, or some modes would have none."""
    record = done(0)
    image = tmp_path / str(record.file)
    image.parent.mkdir(parents=True)
    Image.new(kind, (1024, 640)).save(image)
    files = [str(record.file)]

    made = [make_thumbnails(tmp_path, files), make_thumbnails(tmp_path, files)]

    assert made == [1, 0]
    assert card(record, tmp_path, thumbnails=True)["thumbnail"] == thumbnail_of(files[0])
    with Image.open(tmp_path / "thumbs/000000/00000000.webp") as thumbnail:
        assert thumbnail.size == (512, 320)


def test_thumbnails_of_small_missing_and_broken_images_are_passed_over(tmp_path: Path) -> None:
    """One truncated image would cost the thumbnails of all the others."""
    small, broken, gone = done(0), done(1), done(2)
    write_pictures(tmp_path, [small, broken])
    (tmp_path / str(broken.file)).write_bytes(b"\x89PNG\r\n\x1a\nnonsense")

    assert make_thumbnails(tmp_path, [str(one.file) for one in (small, broken, gone)]) == 0
    assert not (tmp_path / "thumbs").exists()


def test_reports_are_written_again_in_place(tmp_path: Path) -> None:
    """A resumed job would show the numbers of its first run, or leave part files behind."""
    page_of([failed(0)], tmp_path)
    page = page_of([done(0), done(1)], tmp_path)

    assert len(page.records()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "report.json"]


def test_large_images_get_their_thumbnails_with_the_reports(tmp_path: Path) -> None:
    """The page would name thumbnails that nobody makes."""
    records = [done(0), failed(1), done(2, linked_to=0, file=done(0).file)]
    write_pictures(tmp_path, records[:1], width=1000, height=1000)

    write_out(tmp_path, lambda: records, summary(records))

    cards = Page((tmp_path / "index.html").read_text()).records()
    assert cards[0]["thumbnail"] == cards[2]["thumbnail"] == "thumbs/000000/00000000.webp"
    assert (tmp_path / cards[0]["thumbnail"]).exists()
