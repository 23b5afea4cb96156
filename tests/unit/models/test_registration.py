"""Endpoints that the package does not have."""

from collections.abc import Iterator
from typing import Any, ClassVar

import attrs
import pytest

from sd3async import GenerationRequest, InvalidRequestError, register_endpoint, request_from_dict
from sd3async.endpoints import ENDPOINTS
from sd3async.models import requests
from sd3async.models.fields import Choice, Text
from sd3async.models.images import ImageBounds
from sd3async.models.sources import ImageSource
from sd3async.wire import json_document


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    """Forget what a test registered."""
    registries: list[Any] = [ENDPOINTS, requests.REQUEST_TYPES]
    sets = [requests.FIELD_NAMES, requests.IMAGE_FIELDS, requests.NUMBER_FIELDS]
    before = [dict(registry) for registry in registries], [set(names) for names in sets]
    yield
    for registry, old in zip(registries, before[0], strict=True):
        registry.clear()
        registry.update(old)
    for names, old_names in zip(sets, before[1], strict=True):
        names.clear()
        names.update(old_names)


def declare(name: str = "acme.poster", path: str = "/v2beta/poster", **row: Any) -> Any:
    """Register an endpoint, as a user's module does."""

    own: dict[str, Any] = {"credits": 4, **row}

    @register_endpoint(path, **own)
    @attrs.frozen(kw_only=True)
    class PosterRequest(GenerationRequest):
        """Draw a poster."""

        endpoint: ClassVar[str] = name

        prompt: str = attrs.field(validator=Text(min_chars=1, about="What it says."), kw_only=False)
        paper: str | None = attrs.field(default=None, validator=Choice(("matte", "gloss")))

    return PosterRequest


def test_a_declared_endpoint_is_known_like_any_other() -> None:
    """One class and one row are all that an endpoint is."""
    poster = declare()
    request = request_from_dict({"endpoint": "acme.poster", "prompt": "a", "paper": "gloss"})

    assert request == poster("a", paper="gloss")
    assert request.credits == 4
    assert poster("a", credits=2).credits == 2
    assert "paper" in requests.FIELD_NAMES
    assert "    paper: `matte` or `gloss`.\n" in (poster.__doc__ or "").lower()
    with pytest.raises(InvalidRequestError, match="did you mean 'gloss'"):
        poster("a", paper="glos")


def test_a_notebook_may_run_its_cell_again() -> None:
    """The second class takes the place of the first."""
    first: Any = declare()
    second: Any = declare(credits=7)

    assert first is not second
    assert isinstance(request_from_dict({"endpoint": "acme.poster", "prompt": "a"}), second)
    assert second("a").credits == 7


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        ({"name": "core"}, "endpoint", "which the package has"),
        ({"name": ""}, "endpoint", "is empty"),
        ({"name": "a b"}, "endpoint", "words of letters"),
        ({"name": "../x"}, "endpoint", "words of letters"),
        ({"path": "/x?y=1"}, "path", "it begins with /"),
        ({"path": "/x\r\n"}, "path", "it begins with /"),
        ({"name": None}, "endpoint", "a string is needed"),
        ({"path": "v2beta/poster"}, "path", "it begins with /"),
        ({"path": "https://example.com/"}, "path", "it begins with /"),
        ({"credits": -1}, "credits", "0 to 1000000"),
        ({"answer": "video"}, "answer", "allowed are image, started, artifacts"),
        ({"body": "xml"}, "body", "allowed are form, json"),
        ({"path": "/x/{engine}"}, "path", "has {engine}, which is no field"),
        ({"path": "/x/{engine"}, "path", "it begins with /"),
    ],
)
def test_a_row_that_is_no_good_is_refused(row: dict[str, Any], field: str, words: str) -> None:
    """It would fail at the first call, or take the place of what the package has."""
    with pytest.raises(InvalidRequestError, match=words) as caught:
        declare(**row)

    assert caught.value.field == field


@pytest.mark.parametrize("thing", [object, GenerationRequest, 7, str])
def test_only_a_request_class_of_ones_own_can_be_registered(thing: Any) -> None:
    """A class without its own attrs fields has nothing to send."""
    with pytest.raises(InvalidRequestError):
        register_endpoint("/x", credits=1)(thing)


def test_a_class_that_is_not_registered_says_so() -> None:
    """The way on is one line."""

    @attrs.frozen(kw_only=True)
    class Forgotten(GenerationRequest):
        endpoint: ClassVar[str] = "forgotten"

    with pytest.raises(InvalidRequestError, match="call register_endpoint first"):
        _ = Forgotten().credits


def test_json_and_a_field_in_the_path_are_kinds_that_any_row_may_have() -> None:
    """A gateway's own model in v1's manner is a class and a row, too."""

    @register_endpoint("/v1/draw/{engine}/now", credits=2, answer="artifacts", body="json")
    @attrs.frozen(kw_only=True)
    class DrawRequest(GenerationRequest):
        """Draw."""

        endpoint: ClassVar[str] = "acme.draw"

        prompt: str = attrs.field(validator=Text(), kw_only=False)
        engine: str = attrs.field(default="a b/c", validator=Text())

    request = DrawRequest("a")

    assert request.path == "/v1/draw/a%20b%2Fc/now"
    assert json_document(request) == b'{"prompt":"a","output_format":"png"}'


def test_json_carries_no_images() -> None:
    """They would be left out in silence."""
    with pytest.raises(InvalidRequestError, match=r"body: is json, .* and image is one"):

        @register_endpoint("/x", credits=1, body="json")
        @attrs.frozen(kw_only=True)
        class _WithImage(GenerationRequest):
            endpoint: ClassVar[str] = "acme.image"

            image: ImageSource = attrs.field(validator=ImageBounds(), kw_only=False)
