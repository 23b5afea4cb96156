"""From a line to its items: defaults, variations, and refusals that name the field."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sd3async import InvalidRequestError
from sd3async.bulk import Defaults
from sd3async.bulk.intake.items import Item, items_of
from sd3async.bulk.intake.manifest import Line
from sd3async.models.fields import MAX_SEED
from support.pictures import picture

HERE = Path("/nowhere")


def items(fields: dict[str, Any], defaults: Defaults | None = None, **options: Any) -> list[Item]:
    options.setdefault("folder", HERE)
    return list(items_of(Line(1, fields), defaults or Defaults(), **options))


def only(fields: dict[str, Any], defaults: Defaults | None = None, **options: Any) -> Item:
    (item,) = items(fields, defaults, **options)
    return item


def test_a_line_of_v1_has_its_variations_by_repeat() -> None:
    """Each is an image with a seed and a file of its own."""
    line = {"endpoint": "v1.text-to-image", "text_prompts": ["a", {"text": "fog", "weight": -1}]}
    first, second = items({**line, "seed": 5, "samples": 1}, Defaults(repeat=2))

    assert (first.request.seed, second.request.seed) == (5, 6)
    assert json.loads(first.fields)["text_prompts"][1] == {"text": "fog", "weight": -1}
    assert first.request.prompt == "a"


def test_a_batch_line_is_unwrapped() -> None:
    """Batch files made for another service's runner must work as they are."""
    item = only(
        {
            "custom_id": "r-1",
            "method": "POST",
            "url": "/v2beta/stable-image/generate/core",
            "body": {"prompt": "x", "seed": 4},
        }
    )

    assert (item.id, item.request.endpoint, item.request.seed) == ("r-1", "core", 4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"custom_id": "a"}, "body: is missing"),
        ({"body": {"prompt": "x"}, "method": "GET"}, "method: is 'GET'"),
        ({"body": {"prompt": "x"}, "url": "/v1/images"}, "url: is '/v1/images'"),
        ({"body": {"prompt": "x"}, "prompt": "y"}, "prompt: is given both"),
        ({"prompt": "x", "endpoint": "sd4"}, "endpoint: is 'sd4'"),
        ({"prompt": "x", "endpoint": []}, r"endpoint: is \[\]"),
        (
            {"text_prompts": "x", "endpoint": "v1.text-to-image", "samples": 2},
            "samples: is 2, and one image comes of this; repeat makes variations",
        ),
        ({"prompt": "x", "size": 1}, "size: is no field of sd3"),
        ({"prompt": "x", "id": ""}, "id: is no name"),
        ({"prompt": "x", "id": "a\nb"}, "id: is no name"),
        ({"prompt": "x", "tags": 3}, "tags: is no list"),
        ({"prompt": "x", "tags": [3]}, "tags: is 3; a string"),
        ({"prompt": "x", "priority": 1.5}, "priority: is 1.5"),
        ({"prompt": "x", "priority": True}, "priority: is True"),
        ({"prompt": "x", "seed": True}, "seed: is True"),
        ({"prompt": "\ud800"}, "lone surrogate"),
        ({"prompt": "x", "tags": ["\ud800"]}, "tags: holds"),
        ({"prompt": "x", "seed": 7.5}, "seed: is 7.5"),
        ({"prompt": "x", "seed": 10**5_000}, "seed: is a huge int"),
        ({"prompt": " \t "}, "prompt: is blank"),
        ({"prompt": "x", "sed": 1}, "sed: is no field of sd3; .* id, tags and priority; --keep"),
        ({"prompt": "x", "image": "no.png", "strength": 1}, "image: cannot read"),
    ],
)
def test_a_bad_line_names_its_field(fields: dict[str, Any], words: str) -> None:
    """The reason must tell what to change, without a look at the code."""
    with pytest.raises(InvalidRequestError, match=words):
        items(fields)


def test_defaults_fill_what_a_line_does_not_say() -> None:
    """A line's own word must win over the command line's."""
    defaults = Defaults(fields={"model": "sd3.5-medium", "output_format": "webp"})
    plain = only({"prompt": "x"}, defaults).request.to_dict()
    own = only({"prompt": "x", "model": "sd3.5-flash"}, defaults).request.to_dict()

    assert (plain["model"], plain["output_format"]) == ("sd3.5-medium", "webp")
    assert own["model"] == "sd3.5-flash"


def test_defaults_that_do_not_fit_a_line_are_left_out(tmp_path: Path) -> None:
    """`--model` in a mixed manifest must not make every core line a bad one."""
    (tmp_path / "a.png").write_bytes(picture())
    fields = {"model": "sd3.5-medium", "aspect_ratio": "16:9", "strength": 0.4}
    defaults = Defaults(fields=fields)
    core = only({"prompt": "x", "endpoint": "core"}, defaults).request.to_dict()
    edit = only({"prompt": "x", "image": "a.png"}, defaults, folder=tmp_path).request.to_dict()

    assert "model" not in core
    assert "strength" not in core
    assert core["aspect_ratio"] == "16:9"
    assert "aspect_ratio" not in edit
    assert edit["strength"] == 0.4


@pytest.mark.parametrize(
    ("fields", "seeds"),
    [({}, [10, 11, 12]), ({"seed": 3}, [3, 4, 5]), ({"seed": 0}, [0, 0, 0])],
    ids=["start", "own", "random"],
)
def test_variations_count_seeds_up(fields: dict[str, Any], seeds: list[int]) -> None:
    """Three variations with one seed would be one picture, linked twice."""
    defaults = Defaults(repeat=3, seed_start=10)
    made = items({"prompt": "x", "id": "a", **fields}, defaults)

    assert [item.request.seed for item in made] == seeds
    assert [item.id for item in made] == ["a", "a-2", "a-3"]


@pytest.mark.parametrize("seed", [7.0, np.int64(7), Decimal(7)], ids=repr)
def test_variations_count_up_from_a_seed_of_any_library(seed: Any) -> None:
    """Three rows with the seed 7.0 would be one picture, three times."""
    made = items({"prompt": "x", "seed": seed}, Defaults(repeat=3))

    assert [item.request.seed for item in made] == [7, 8, 9]
    assert made[0].identity == only({"prompt": "x", "seed": 7}).identity


def test_a_line_whose_last_variation_has_no_seed_makes_none() -> None:
    """Half of a line must not be taken in before the other half is refused."""
    made = items_of(Line(1, {"prompt": "x", "seed": MAX_SEED - 1}), Defaults(repeat=3), folder=HERE)
    with pytest.raises(InvalidRequestError, match=f"seed: is {MAX_SEED + 1}"):
        next(made)


def test_an_image_that_came_as_bytes_is_kept_once_for_all_variations() -> None:
    """A thousand variations of ten megabytes must not be hashed and looked for a thousand times."""
    kept: list[str] = []

    def keep(name: str, _: bytes) -> None:
        kept.append(name)

    fields = {"prompt": "x", "image": picture(), "strength": 0.5, "seed": 1}
    made = items(fields, Defaults(repeat=3), save_input=keep)

    assert len(kept) == 1
    assert [json.loads(item.fields)["image"] for item in made] == kept * 3
    assert len({item.identity for item in made}) == 3


def test_a_row_of_a_table_is_a_line() -> None:
    """Its empty cells are fields that are not given, whatever the column."""
    nan = float("nan")
    row = {"id": 12.0, "tags": nan, "priority": 3.0, "prompt": "x", "seed": nan, "image": nan}
    item = only(row)

    assert (item.id, item.tags, item.priority, item.request.seed) == ("12", (), 3, None)


def test_a_manifest_that_moves_keeps_its_identities(tmp_path: Path) -> None:
    """A folder copied to another machine must not be paid for again."""
    made: list[Item] = []
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a.png").write_bytes(picture())
        fields = {"prompt": "x", "image": "a.png", "strength": 0.5}
        made.append(only(fields, folder=folder))

    assert made[0].identity == made[1].identity
    assert made[0].fields != made[1].fields


def test_images_as_bytes_are_kept_once_by_their_hash() -> None:
    """A journal full of base64 would be larger than the images."""
    kept: dict[str, bytes] = {}
    data = picture()
    item = only({"prompt": "x", "image": data, "strength": 0.5}, save_input=kept.__setitem__)

    ((name, saved),) = kept.items()
    assert saved == data
    assert json.loads(item.fields)["image"] == name
    assert name.startswith("inputs/")
    assert name.endswith(".png")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"repeat": 0}, "repeat"),
        ({"repeat": True}, "repeat"),
        ({"repeat": 2.5}, "repeat"),
        ({"seed_start": 0}, "seed_start"),
        ({"endpoint": "x"}, "endpoint"),
        ({"endpoint": ["sd3"]}, "endpoint"),
    ],
)
def test_bad_defaults_are_refused(options: dict[str, Any], words: str) -> None:
    """A default that is wrong would make every line a bad one."""
    with pytest.raises(InvalidRequestError, match=words):
        Defaults(**options)


def test_every_image_of_a_line_is_found_beside_the_manifest(tmp_path: Path) -> None:
    """A mask is an image like any other, and the job is the same wherever it lies."""
    fields = {"endpoint": "edit.inpaint", "prompt": "x", "image": "a.png", "mask": "b.png"}
    made: list[Item] = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a.png").write_bytes(picture(hue=1))
        (folder / "b.png").write_bytes(picture(hue=2))
        made.append(only(fields, folder=folder))

    one, two = made
    assert json.loads(one.fields)["mask"] == str(tmp_path / "one" / "b.png")
    assert one.identity == two.identity
    assert one.fields != two.fields


def test_two_images_as_bytes_are_kept_under_names_of_their_own() -> None:
    """The second would take the place of the first."""
    kept: dict[str, bytes] = {}
    fields = {"init_image": picture(hue=1), "style_image": picture(hue=2)}
    item = only({"endpoint": "control.style-transfer", **fields}, save_input=kept.__setitem__)

    told = json.loads(item.fields)
    assert kept == {told[name]: data for name, data in fields.items()}


def test_an_endpoint_without_seeds_gets_none(tmp_path: Path) -> None:
    """A start for seeds is for the lines that take one."""
    (tmp_path / "a.png").write_bytes(picture())
    defaults = Defaults(endpoint="upscale.fast", seed_start=7)
    item = only({"image": "a.png"}, defaults, folder=tmp_path)

    assert "seed" not in json.loads(item.fields)
    assert not item.is_reproducible


@pytest.mark.parametrize(
    "url",
    [
        "/v2beta/stable-image/upscale/fast",
        "https://example.com/sd/v2beta/stable-image/upscale/fast/",
    ],
)
def test_a_batch_line_may_name_any_endpoint_by_its_path(url: str) -> None:
    """The last part alone, `fast`, is the name of none."""
    item = only({"custom_id": "a", "url": url, "body": {"image": picture()}})

    assert item.request.endpoint == "upscale.fast"


def test_extra_fields_and_a_price_are_part_of_a_line() -> None:
    """What is sent and what it costs must survive in the journal, and tell items apart."""
    fields = {"prompt": "x", "extra_fields": {"hdr": True}, "credits": 2}
    item, plain = only(fields), only({"prompt": "x"})

    assert json.loads(item.fields)["extra_fields"] == {"hdr": True}
    assert item.request.credits == 2
    assert item.identity != plain.identity


def test_a_batch_line_of_v1_names_its_engine_in_the_path() -> None:
    """Its path is no fixed one."""
    url = "https://api.stability.ai/v1/generation/my-engine/text-to-image"
    item = only({"custom_id": "a", "url": url, "body": {"text_prompts": ["a fox"]}})

    assert item.request.endpoint == "v1.text-to-image"
    assert json.loads(item.fields)["engine_id"] == "my-engine"


def test_a_seed_is_held_to_the_bounds_of_its_endpoint() -> None:
    """The last seed of v1 is one above that of v2beta."""
    fields = {"endpoint": "v1.text-to-image", "text_prompts": ["a"], "seed": MAX_SEED + 1}

    assert only(fields).request.seed == MAX_SEED + 1
    with pytest.raises(InvalidRequestError, match="seed"):
        items(fields, Defaults(repeat=2))
