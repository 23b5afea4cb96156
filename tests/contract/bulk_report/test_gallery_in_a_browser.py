"""The gallery as a person meets it: opened from disk in a real browser."""

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from sd3async.bulk.records import ItemRecord
from sd3async.bulk.report import write_out
from support.job_records import BEGAN, done, failed, item, summary, write_pictures

FLAGS = [
    "--no-sandbox",  # it runs as root on build machines
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NASTY = "<img src=x onerror=window.ran=1></script><script>window.ran=1</script>"
MANY = 10_000

expect.set_options(timeout=20_000)  # [ms] build machines are busy


class Visit:
    """A page, and everything that happened which should not have."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.troubles: list[str] = []
        page.on("console", lambda message: self.troubles.append(message.text))
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("dialog", lambda dialog: self.troubles.append(dialog.message))
        page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.troubles.append(url)

    def prompts(self) -> list[str]:
        return self.page.locator(".card .prompt").all_inner_texts()


Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=FLAGS, timeout=60_000
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens a job's page; afterwards there must have been no error and no network request."""
    visits: list[Visit] = []

    def open_page(folder: Path, *, address: str = "", **context: Any) -> Visit:
        visit = Visit(browser.new_context(**context).new_page())
        visits.append(visit)
        visit.page.goto(folder.joinpath("index.html").as_uri() + address)
        return visit

    yield open_page
    troubles = [trouble for visit in visits for trouble in visit.troubles]
    for visit in visits:
        visit.page.context.close()
    assert troubles == []


def write(out: Path, records: list[ItemRecord], **facts: Any) -> Path:
    write_pictures(out, list({record.file: record for record in records}.values()))
    write_out(out, lambda: records, summary(records, **facts))
    return out


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of five endings."""
    core = {"endpoint": "core", "request": {"endpoint": "core", "prompt": "a fox"}}
    records = [
        done(0, prompt="a red fox", tags=("animal", "red"), finished_at=BEGAN + 1),
        done(1, prompt="a blue boat", tags=("red",), finished_at=BEGAN + 2, **core),
        failed(2, "403 flagged [2 attempts: 1: 403 flagged; 2: 403 flagged]", prompt="a fight"),
        done(3, prompt="a beach", finish_reason="CONTENT_FILTERED", finished_at=BEGAN + 2),
        item(4, prompt="a green fox", state="pending", attempts=0),
        item(5, prompt="a lost ship", state="unknown", error="the connection broke"),
    ]
    return write(tmp_path_factory.mktemp("mixed"), records)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of ten thousand images, which share one file to spare the disk."""
    records = [done(i, file="images/000000/00000000.png") for i in range(MANY)]
    return write(tmp_path_factory.mktemp("many"), records)


def test_it_opens_from_disk_and_shows_every_item(mixed: Path, open_page: Open) -> None:
    """Whoever opens the page would see nothing, or the page would call home."""
    visit = open_page(mixed)

    expect(visit.page).to_have_title("a job")
    expect(visit.page.locator(".card")).to_have_count(6)
    expect(visit.page.locator(".tiles")).to_contain_text("Images3of 6")
    widths = "Array.from(document.querySelectorAll('.card img'), (one) => one.naturalWidth)"
    visit.page.wait_for_function(f"{widths}.every((width) => width === 24)")


def test_search_finds_words_ids_tags_and_reasons(mixed: Path, open_page: Open) -> None:
    """Nobody could find one image among ten thousand."""
    visit = open_page(mixed)

    def found(query: str) -> list[str]:
        visit.page.fill("#query", query)
        return visit.prompts()

    assert found("FOX") == ["a red fox", "a green fox"]
    assert found("fox red") == ["a red fox"]
    assert found("animal") == ["a red fox"]
    assert found("00000001") == ["a blue boat"]
    assert found("flagged") == ["a fight"]
    expect(visit.page.locator("#count")).to_have_text("1 item")


def test_state_endpoint_and_tag_narrow_it_down_together(mixed: Path, open_page: Open) -> None:
    """Filters would show other items than they say."""
    page = (visit := open_page(mixed)).page

    page.select_option("#tag", "red")
    assert visit.prompts() == ["a red fox", "a blue boat"]
    page.select_option("#endpoint", "core")
    assert visit.prompts() == ["a blue boat"]
    page.locator("#states").get_by_text("Failed").click()
    expect(page.locator("#empty")).to_be_visible()
    page.get_by_role("button", name="Show everything").click()
    assert len(visit.prompts()) == 6
    page.locator("#states").get_by_text("Filtered").click()
    assert visit.prompts() == ["a beach"]
    expect(page.locator("#states")).to_contain_text("Done 2")


def test_items_without_an_image_say_why(mixed: Path, open_page: Open) -> None:
    """Failures would be empty boxes, and blurred images would pass for good ones."""
    page = open_page(mixed).page

    expect(page.locator("li.failed .reason")).to_have_text("403 flagged")
    expect(page.locator("li.unknown .reason")).to_have_text("the connection broke")
    expect(page.locator("li.pending .reason")).to_contain_text("before its turn")
    expect(page.locator("li.filtered .badge")).to_have_text("Filtered")


def test_the_large_view_tells_everything_and_leafs_by_keyboard(
    mixed: Path, open_page: Open
) -> None:
    """The facts of an image would be out of reach, or only for a mouse."""
    page = open_page(mixed).page

    page.locator(".card").nth(1).press("Enter")
    expect(page.locator("#viewer-prompt")).to_have_text("a blue boat")
    expect(page.locator("#viewer-rows")).to_contain_text(f"{1:064x}")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-rows .error")).to_contain_text("2 attempts")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#viewer-place")).to_have_text("1 of 6")
    expect(page.locator("#viewer-previous")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("[data-index='0']")).to_be_focused()


def test_the_keyboard_reaches_search_and_walks_the_grid(mixed: Path, open_page: Open) -> None:
    """Whoever uses no mouse would have to tab through sixty cards."""
    page = open_page(mixed, viewport={"width": 900, "height": 800}).page

    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.locator(".card").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-index='1']")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("[data-index='4']")).to_be_focused()


def test_a_reload_shows_the_same(mixed: Path, open_page: Open) -> None:
    """A bookmark or a reload would lose what was asked for."""
    page = (visit := open_page(mixed, address="#query=fox&item=4")).page

    expect(page.locator("#viewer-prompt")).to_have_text("a green fox")
    page.reload()
    expect(page.locator("#viewer-place")).to_have_text("2 of 2")
    page.keyboard.press("Escape")
    assert visit.prompts() == ["a red fox", "a green fox"]
    assert page.url.endswith("#query=fox")


def test_the_plot_has_the_ceiling_and_a_bar_for_each_step(mixed: Path, open_page: Open) -> None:
    """The rate against the ceiling could not be seen."""
    page = open_page(mixed).page

    expect(page.locator(".plot line.ceiling")).to_have_count(1)
    expect(page.locator(".plot rect.done")).to_have_count(2)
    expect(page.locator(".plot rect.failed")).to_have_count(1)
    page.locator(".plot rect.done").last.hover()
    expect(page.locator("#timeline-readout")).to_contain_text("2/s (2 done)")


def test_untrusted_text_is_shown_and_never_run(tmp_path: Path, open_page: Open) -> None:
    """A prompt would run code on the machine of whoever looks at the job."""
    options = {"endpoint": NASTY, "model": NASTY, "negative_prompt": NASTY, NASTY: NASTY}
    told = {"prompt": NASTY, "id": NASTY, "endpoint": NASTY, "tags": (NASTY,), "request": options}
    write(tmp_path, [done(0, **told), failed(1, NASTY, **told)], name=NASTY, manifest=NASTY)
    page = (visit := open_page(tmp_path)).page

    assert visit.prompts() == [NASTY, NASTY]
    expect(page.locator("h1")).to_have_text(NASTY)
    page.fill("#query", NASTY)
    for card in page.locator(".card").all():
        card.click()
        expect(page.locator("#viewer-prompt")).to_have_text(NASTY)
        page.keyboard.press("Escape")
    assert page.evaluate("window.ran") is None
    assert page.locator("img[src=x]").count() == 0


def test_the_policy_stops_what_got_in_all_the_same(mixed: Path, browser: Browser) -> None:
    """A mistake in the page would be enough to run code or to call a network."""
    visit = Visit(browser.new_page())
    visit.page.goto((mixed / "index.html").as_uri())

    visit.page.evaluate(f"document.body.insertAdjacentHTML('beforeend', {NASTY!r})")
    fetched = visit.page.evaluate("fetch('http://127.0.0.1:1').then(() => 'sent', (e) => e.name)")
    visit.page.wait_for_timeout(50)

    assert visit.page.evaluate("window.ran") is None
    assert fetched == "TypeError"
    assert sum("Content Security Policy" in trouble for trouble in visit.troubles) >= 2
    visit.page.close()


def test_ten_thousand_images_open_fast_and_stay_light(many: Path, open_page: Open) -> None:
    """A night's job would choke the browser."""
    began = time.monotonic()
    page = open_page(many, address="#page=99").page
    expect(page.locator(".card")).to_have_count(60)
    first_page_after = time.monotonic() - began
    expect(page.locator("#count")).to_have_text("10,000 items")

    assert first_page_after < 10  # a fraction of a second on a machine with nothing else to do
    assert page.evaluate("document.querySelectorAll('*').length") < 1500
    expect(page.locator(".card .prompt").first).to_have_text("prompt 5880")


def test_ten_thousand_images_are_paged_and_searched(many: Path, open_page: Open) -> None:
    """Most of the images would be out of reach."""
    page = (visit := open_page(many)).page
    expect(page.locator("#count")).to_have_text("10,000 items")

    page.get_by_label("Page 167").click()
    expect(page.locator(".card")).to_have_count(40)
    assert visit.prompts()[-1] == "prompt 9999"
    page.get_by_label("Previous page").click()
    expect(page.locator("[aria-current]")).to_have_text("166")
    page.fill("#query", "prompt 7654")
    expect(page.locator("#count")).to_have_text("1 item")
    page.locator(".card").click()
    expect(page.locator("#viewer-place")).to_have_text("1 of 1")


def test_leafing_past_the_end_of_a_page_turns_the_page(many: Path, open_page: Open) -> None:
    """The large view would end at the sixtieth image, or leave a page that lacks the image."""
    page = open_page(many).page

    page.locator(".card").last.click()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-prompt")).to_have_text("prompt 60")
    page.keyboard.press("Escape")

    expect(page.locator("[aria-current]")).to_have_text("2")
    expect(page.locator("[data-index='60']")).to_be_focused()


def test_missing_files_leave_words_and_the_rest_usable(tmp_path: Path, browser: Browser) -> None:
    """A folder that was tidied up would be a page of broken images."""
    records = [done(i) for i in range(502)]
    write_out(tmp_path, lambda: records, summary(records))
    large = done(0)
    write_pictures(tmp_path, [large], width=1000, height=1000)
    write_out(tmp_path, lambda: records, summary(records))
    shutil.rmtree(tmp_path / "thumbs")
    shutil.rmtree(tmp_path / "gallery")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())

    expect(page.locator("li .absence").first).to_have_text("The file is gone.")
    image = "document.querySelector(\"[data-index='0'] img\").naturalWidth"
    page.wait_for_function(f"{image} === 1000")
    expect(page.locator("#note")).to_contain_text("gallery/records-00000.js could not be loaded")
    expect(page.locator("#count")).to_contain_text("500 items")
    page.close()


def test_it_follows_the_systems_colours_and_fits_a_phone(mixed: Path, open_page: Open) -> None:
    """It would glare at night, or scroll sideways on a phone."""
    background = "getComputedStyle(document.body).backgroundColor"
    colours = {
        open_page(mixed, color_scheme=scheme).page.evaluate(background)
        for scheme in ("light", "dark")
    }
    phone = open_page(mixed, viewport={"width": 360, "height": 740}).page

    assert len(colours) == 2
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    phone.locator(".card").first.click()
    expect(phone.locator("#viewer-close")).to_be_in_viewport()


def in_style(index: int, prompt: str, style: str, seed: int, **facts: Any) -> ItemRecord:
    request = {
        "endpoint": "sd3",
        "model": "sd3.5-large",
        "prompt": prompt,
        "style_preset": style,
        "seed": seed,
    }
    return done(index, prompt=prompt, request=request, seed=seed, **facts)


@pytest.fixture(scope="module")
def styles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of two prompts in two styles with three seeds each."""
    asked = itertools.product(("a fox", "a boat"), ("anime", "line-art"), (7, 8, 9))
    records = [in_style(i, *one) for i, one in enumerate(asked)]
    return write(tmp_path_factory.mktemp("styles"), records)


def test_a_card_names_model_and_style(styles: Path, open_page: Open) -> None:
    """Two styles of one prompt could not be told apart without opening them."""
    cards = open_page(styles).page.locator(".card")

    expect(cards.nth(1)).to_contain_text("sd3.5-large · anime · seed 8")
    expect(cards.nth(3)).to_contain_text("sd3.5-large · line-art · seed 7")


def test_prompts_in_styles_and_seeds_stand_in_a_table(styles: Path, open_page: Open) -> None:
    """Whoever compares styles would have to hunt for the pairs among the cards."""
    page = open_page(styles).page

    page.get_by_role("button", name="Table").click()
    heads = page.locator("thead tr")
    assert heads.nth(0).locator("th").all_inner_texts() == ["anime", "line-art"]
    assert heads.nth(1).locator("th").all_inner_texts() == ["seed 7", "seed 8", "seed 9"] * 2
    assert page.locator("tbody th").all_inner_texts() == ["a fox", "a boat"]
    boat = page.locator("tbody tr").nth(1).locator("[data-index]")
    assert [one.get_attribute("data-index") for one in boat.all()] == [
        str(index) for index in range(6, 12)
    ]
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(2)


def test_the_table_is_walked_searched_and_left_like_the_cards(
    styles: Path, open_page: Open
) -> None:
    """The table would be for a mouse only, or show what was not asked for."""
    page = open_page(styles, address="#view=table").page

    page.locator("[data-index='1']").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("[data-index='7']")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(page.locator("[data-index='8']")).to_be_focused()
    page.fill("#query", "fox line-art")
    expect(page.locator("tbody .card")).to_have_count(3)
    page.get_by_role("button", name="Cards").click()
    expect(page.locator("#grid .card")).to_have_count(3)


def test_a_long_table_is_paged_by_whole_rows(tmp_path: Path, open_page: Open) -> None:
    """A row would be torn in two, or ten thousand pictures be drawn at once."""
    asked = itertools.product([f"prompt {i}" for i in range(300)], ("a", "b"), (1, 2))
    file = "images/000000/00000000.png"
    write(tmp_path, [in_style(i, *one, file=file) for i, one in enumerate(asked)])
    page = open_page(tmp_path, address="#view=table&page=20").page

    expect(page.locator("tbody tr")).to_have_count(15)
    expect(page.locator("tbody th").first).to_have_text("prompt 285")
    expect(page.locator("tbody .card")).to_have_count(60)


@pytest.mark.parametrize(
    "asked",
    [
        [("a", "x", 1), ("a", "y", 1), ("b", "x", 1)],
        [("a", "x", 1), ("b", "x", 1)],
        [("a", "x", 1), ("a", "x", 2), ("b", "x", 3), ("b", "x", 4)],
    ],
    ids=["one is missing", "one style and seed", "other seeds for each prompt"],
)
def test_no_table_is_offered_for_other_jobs(
    asked: list[tuple[str, str, int]], tmp_path: Path, open_page: Open
) -> None:
    """A table full of gaps would be offered."""
    write(tmp_path, [in_style(i, *one) for i, one in enumerate(asked)])
    page = open_page(tmp_path, address="#view=table").page

    expect(page.locator("#grid .card")).to_have_count(len(asked))
    expect(page.locator("#views")).to_be_hidden()


SHAPES = [(24, 24), (32, 18), (18, 32), (36, 24), (24, 36), (42, 18), (20, 25), (24, 24)]
BOXES = """() => Array.from(document.querySelectorAll(".frame img"), (one) => {
  const box = one.getBoundingClientRect();
  return [box.left, box.top, box.right, box.bottom, one.closest("li").getBoundingClientRect().top];
})"""
"""Left, top, right and bottom of each picture, and the top of its row [px]."""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of many aspect ratios."""
    out = tmp_path_factory.mktemp("shapes")
    records = [done(i) for i in range(40)]
    for record in records:
        width, height = SHAPES[record.index % len(SHAPES)]
        write_pictures(out, [record], width=width, height=height)
    write_out(out, lambda: records, summary(records))
    return out


@pytest.mark.parametrize("width", [320, 800, 1400])
def test_mixed_shapes_fill_their_rows_without_holes(
    width: int, shapes: Path, open_page: Open
) -> None:
    """The page would be full of gaps above the pictures that are less high than others."""
    page = open_page(shapes, viewport={"width": width, "height": 900}).page

    edges = page.evaluate("(({left, right}) => [left, right])(grid.getBoundingClientRect())")
    rows: dict[int, list[list[float]]] = {}
    for box in page.evaluate(BOXES):
        rows.setdefault(round(box[4]), []).append(box)
    assert len(rows) > 1
    for row in list(rows.values())[:-1]:
        for side in (1, 3):
            assert max(box[side] for box in row) - min(box[side] for box in row) < 2
        assert abs(row[0][0] - edges[0]) < 2
        assert abs(row[-1][2] - edges[1]) < 2
    for index, (left, top, right, bottom, _) in enumerate(page.evaluate(BOXES)):
        wide, high = SHAPES[index % len(SHAPES)]
        assert (right - left) / (bottom - top) == pytest.approx(wide / high, rel=0.05)


@pytest.mark.parametrize("address", ["", "#view=table", "#item=1"], ids=["cards", "table", "large"])
def test_the_narrowest_phone_does_not_scroll_sideways(
    address: str, styles: Path, open_page: Open
) -> None:
    """At 320 px, which is also 1280 px at a zoom of 400 %, words would be cut off."""
    page = open_page(styles, address=address, viewport={"width": 320, "height": 640}).page

    expect(page.locator(".card").first).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    values = "Array.from(document.querySelectorAll('.tiles dd'))"
    assert not page.evaluate(f"{values}.some((one) => one.scrollWidth > one.clientWidth)")


def test_the_head_tells_all_runs_and_no_path_of_this_machine(
    tmp_path: Path, open_page: Open
) -> None:
    """The page would tell whoever gets it where files lie, and pass the last run for the job."""
    manifest = "/home/somebody/work/prompts.jsonl"
    write(tmp_path, [done(i) for i in range(90)], manifest=manifest, runs=3, seconds=60.0)
    page = open_page(tmp_path).page

    expect(page.locator("#origin")).to_contain_text("prompts.jsonl")
    expect(page.locator("#origin")).to_contain_text("last run")
    expect(page.locator(".masthead")).not_to_contain_text("somebody")
    expect(page.locator(".tiles")).to_contain_text("1 min 0 sin 3 runs")
    expect(page.locator("#timeline-readout")).to_contain_text("mean 1.5")


def test_a_job_of_one_burst_has_no_mean_beyond_the_ceiling(tmp_path: Path, open_page: Open) -> None:
    """Forty images in two seconds would read like a breach of 15 a second."""
    write(tmp_path, [done(i, finished_at=BEGAN + i / 20) for i in range(40)], seconds=1.8)
    page = open_page(tmp_path).page

    expect(page.locator("#timeline-readout")).to_have_text("peak 20 in a burst, ceiling 15")


def test_a_jpeg_that_came_for_a_png_is_called_one(tmp_path: Path, open_page: Open) -> None:
    """Whoever asked for PNG would take a lossy picture for the one that was asked for."""
    write(tmp_path, [done(0, content_type="image/jpeg"), done(1)])
    page = open_page(tmp_path).page

    expect(page.locator(".card").nth(0)).to_contain_text("JPEG, not PNG")
    expect(page.locator(".card").nth(1)).not_to_contain_text("not PNG")
    page.locator(".card").nth(0).click()
    expect(page.locator("#viewer-rows")).to_contain_text("image/jpeg · JPEG, not PNG")
