"""Reading `accept`: JSON, an image, or neither."""

import pytest

from sd3async.emulator.accept import Preference, read_accept


@pytest.mark.parametrize(
    ("header", "as_json"),
    [
        ("", False),
        ("image/*", False),
        ("IMAGE/PNG", False),
        ("*/*", False),
        ("application/json", True),
        ("application/*", True),
        ("application/json;type=image/webp;q=0.3", True),
        ("image/*, application/json", False),
        ("application/json, image/*", True),
        ("application/json, text/plain, */*", True),
        ("*/*;q=0.1, application/json", True),
        ("application/json;q=0.1, */*", False),
        ("application/json; q=0, */*", False),
        ("image/*;q=0, */*", True),
        ("text/html, image/gif, image/jpeg, */*; q=.2", False),
        ("text/html", None),
        ("text/html, image/*;q=0", None),
        ("audio/*, model/gltf-binary", None),
    ],
)
def test_the_better_quality_wins_and_then_the_earlier_place(
    header: str, as_json: bool | None
) -> None:
    """Somebody would get bytes for JSON, or the other way round."""
    assert read_accept(header).as_json is as_json


def test_what_means_nothing_is_told_and_passed_over() -> None:
    """A header without any sense asks for what an absent one asks for."""
    assert read_accept("type=image/*") == Preference(False, ("type=image/*",))
    assert read_accept("*; q=.2, application/json") == Preference(True, ("*; q=.2",))
    assert read_accept(" , ,") == Preference(False)


def test_a_long_header_is_read_at_once() -> None:
    """A pattern that goes back and forth would stop the loop for seconds."""
    assert read_accept("a/" * 4_000).as_json is False
    assert read_accept("a/b;" + " " * 8_000 + "q" * 8_000).as_json is None
