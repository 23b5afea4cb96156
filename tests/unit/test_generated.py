"""What is generated from the request classes agrees with them."""

import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

from sd3async import SD3Client
from sd3async.models.base import fields_of
from sd3async.models.fields import Choice, Number
from sd3async.models.images import ImageBounds
from sd3async.models.requests import BUILT_IN, REQUEST_TYPES

ROOT = Path(__file__).parents[2]
ENDPOINTS = sorted(BUILT_IN)


def coroutine_of(endpoint: str) -> Any:
    """Return what `client.edit.inpaint` is, for `edit.inpaint`."""
    owner: Any = SD3Client("sk-test")
    for part in endpoint.replace("-", "_").split("."):
        owner = getattr(owner, part)
    return owner


def test_the_generated_files_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor would show the fields of yesterday: run `python -m generators`."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])  # last: the installed package wins
    from generators.__main__ import contents

    stale = [path.name for path, text in contents().items() if path.read_text() != text]
    assert stale == []


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_each_coroutine_takes_the_fields_of_its_request(endpoint: str) -> None:
    """A field could only be given by way of the request class."""
    parameters = inspect.signature(coroutine_of(endpoint)).parameters
    fields = fields_of(REQUEST_TYPES[endpoint])

    assert list(parameters) == [*fields, "deadline", "to", "accept"]
    by_place = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert by_place == [name for name, field in fields.items() if not field.kw_only]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_help_on_a_coroutine_tells_each_field_with_its_bounds(endpoint: str) -> None:
    """`help(client.sd3)` and an editor's hover are where people look first."""
    coroutine = coroutine_of(endpoint)
    text = " ".join((coroutine.__doc__ or "").split())

    for name, field in fields_of(REQUEST_TYPES[endpoint]).items():
        assert f" {name}: " in text, name
        if isinstance(field.validator, ImageBounds | Number | Choice):
            assert field.validator.bounds().lower() in text.lower()
    for name in ("deadline", "to", "accept"):
        assert f" {name}: " in text


def test_groups_say_what_they_are_and_never_the_key() -> None:
    """They end up in tracebacks and notebooks."""
    client = SD3Client("sk-secret0123456789")

    assert repr(client.upscale).startswith("<upscale of SD3Client(")
    assert "secret" not in repr(client.edit)
