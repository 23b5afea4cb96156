"""The table of endpoints and fields: the facts that everything else rests on."""

import pytest

from sd3async.emulator.api_table import ENDPOINTS, NOT_EMULATED, Endpoint
from sd3async.emulator.retouch import KINDS

GENERATE = "/v2beta/stable-image/generate/"
RATIOS = ["21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21"]
COMMON = {"prompt", "negative_prompt", "aspect_ratio", "seed", "output_format", "style_preset"}


def endpoint(name: str) -> Endpoint:
    return ENDPOINTS[GENERATE + name]


@pytest.mark.parametrize(
    ("name", "further"),
    [
        ("ultra", {"image", "strength"}),
        ("core", set[str]()),
        ("sd3", {"image", "strength", "mode", "model", "cfg_scale"}),
    ],
)
def test_each_endpoint_has_its_documented_fields(name: str, further: set[str]) -> None:
    """A field too few would refuse good requests, one too many would let mistakes pass."""
    assert set(endpoint(name).fields) == COMMON | further


@pytest.mark.parametrize("name", ["ultra", "core", "sd3"])
def test_bounds_enums_and_defaults_of_the_common_fields(name: str) -> None:
    """The bounds are the document's; a client is measured against them."""
    fields = endpoint(name).fields

    assert (fields["prompt"]["minLength"], fields["prompt"]["maxLength"]) == (1, 10_000)
    assert fields["negative_prompt"]["maxLength"] == 10_000
    assert fields["aspect_ratio"]["enum"] == RATIOS
    assert fields["aspect_ratio"]["default"] == "1:1"
    assert (fields["seed"]["minimum"], fields["seed"]["maximum"]) == (0, 4_294_967_294)
    assert fields["seed"]["default"] == 0
    assert fields["output_format"]["enum"] == ["jpeg", "png", "webp"]
    assert fields["output_format"]["default"] == "png"
    assert len(fields["style_preset"]["enum"]) == 17
    assert "default" not in fields["style_preset"]


def test_sd3_knows_the_model_names_of_both_years() -> None:
    """The names of 2024 are still re-routed, at the price of their successors."""
    sd3 = endpoint("sd3")

    assert sd3.fields["model"]["default"] == "sd3.5-large"
    assert sd3.credits == {
        "sd3.5-large": 6.5,
        "sd3.5-large-turbo": 4,
        "sd3.5-medium": 3.5,
        "sd3.5-flash": 2.5,
        "sd3-large": 6.5,
        "sd3-large-turbo": 4,
        "sd3-medium": 3.5,
    }
    assert set(sd3.fields["model"]["enum"]) == set(sd3.credits)


def test_prices_of_ultra_and_core() -> None:
    """Books kept against wrong prices would be wrong by as much."""
    assert endpoint("ultra").credits == {"ultra": 8}
    assert endpoint("core").credits == {"core": 3}


def test_sd3_modes_and_guidance() -> None:
    """Image-to-image needs image and strength, and takes its shape from the image."""
    sd3 = endpoint("sd3")

    assert sd3.modes["image-to-image"].needs == ("image", "strength")
    assert sd3.modes["image-to-image"].refuses == ("aspect_ratio",)
    assert sd3.modes["text-to-image"].refuses == ("image", "strength")
    assert (sd3.fields["cfg_scale"]["minimum"], sd3.fields["cfg_scale"]["maximum"]) == (1, 10)
    assert (sd3.fields["strength"]["minimum"], sd3.fields["strength"]["maximum"]) == (0, 1)


def test_image_rules() -> None:
    """Uploads are bounded by side and, for ultra, by a largest side and a number of pixels."""
    ultra, sd3 = endpoint("ultra").images["image"], endpoint("sd3").images["image"]

    assert not endpoint("core").images
    assert (ultra.min_side, ultra.max_side, ultra.min_pixels) == (64, 16_384, 4_096)
    assert (sd3.min_side, sd3.max_side, sd3.min_pixels) == (64, None, None)
    assert ultra.formats == sd3.formats == ("jpeg", "png", "webp")


@pytest.mark.parametrize(
    ("name", "ratio", "size"),
    [
        ("sd3", "1:1", (1024, 1024)),
        ("ultra", "16:9", (1344, 768)),
        ("sd3", "9:21", (640, 1536)),
        ("core", "1:1", (1536, 1536)),
        ("core", "3:2", (1824, 1248)),
    ],
)
def test_output_sizes(name: str, ratio: str, size: tuple[int, int]) -> None:
    """Images of other sizes would not be what the service sends."""
    sizes = endpoint(name).size.by_ratio

    assert set(sizes) == set(RATIOS)
    assert sizes[ratio] == size


def test_other_documented_paths_are_known_by_name() -> None:
    """A documented path must be told apart from a misspelt one."""
    assert len(NOT_EMULATED) == 12
    assert not set(NOT_EMULATED) & set(ENDPOINTS)
    assert all("3d" in p or "audio" in p or "video" in p or "v2alpha" in p for p in NOT_EMULATED)


@pytest.mark.parametrize("path", sorted(ENDPOINTS))
def test_the_table_agrees_with_itself(path: str) -> None:
    """A rule about a field that is not there would never be kept."""
    row = ENDPOINTS[path]
    uploads = {name for name, schema in row.fields.items() if schema.get("format") == "binary"}
    groups = {name for group in row.one_of for name in (*group.fields, group.wanted_by) if name}
    size_fields = {row.size.of, row.size.or_of, *row.size.plus, *row.size.sides} - {None}

    assert uploads == set(row.images)
    assert {*row.required, *row.needs, *row.not_all_zero, *groups, *size_fields} <= set(row.fields)
    assert row.picture in KINDS
