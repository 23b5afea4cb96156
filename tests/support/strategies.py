"""Random requests of every endpoint, made by the rules of their fields."""

import functools
from typing import Any

from hypothesis import strategies as st

from sd3async import GenerationRequest, InvalidRequestError
from sd3async.models import fields
from sd3async.models.base import fields_of, required
from sd3async.models.images import ImageBounds
from sd3async.models.nested import JSONObject, Prompts
from sd3async.models.requests import REQUEST_TYPES
from sd3async.models.v1 import SDXL
from support.edges import edges_of, rules_of
from support.pictures import picture

PICTURES = [picture(96, 64), picture(80, 80, "jpeg"), picture(64, 160, "webp")]
SDXL_PICTURES = [picture(1216, 832), picture(1024, 1024, "jpeg")]
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
PROMPTS = st.text(CHARACTERS, max_size=30) | st.fixed_dictionaries(
    {"text": st.text(CHARACTERS, max_size=30)},
    optional={"weight": st.floats(-10, 10) | st.integers(-10, 10)},
)


def values_of(rule: object) -> st.SearchStrategy[Any]:
    """Return a strategy for the values that a field's rule takes."""
    if isinstance(rule, fields.Text):
        return st.text(CHARACTERS, min_size=rule.min_chars, max_size=30)
    if isinstance(rule, fields.Choice):
        return st.sampled_from(rule.values)
    if isinstance(rule, fields.Truth):
        return st.booleans()
    if isinstance(rule, Prompts):
        return st.lists(PROMPTS, min_size=1, max_size=3)
    if isinstance(rule, JSONObject):
        return st.dictionaries(st.text(CHARACTERS), st.integers() | st.lists(st.none()), max_size=2)
    if isinstance(rule, fields.Number) and rule.multiple > 1:
        return st.sampled_from([640, 832, 896, 1024, 1152, 1216, 1536])
    if isinstance(rule, fields.Number) and rule.whole:
        return st.integers(int(rule.low), int(rule.high))
    if isinstance(rule, fields.Number):
        return st.floats(rule.low, rule.high)
    assert isinstance(rule, ImageBounds)
    return st.sampled_from(PICTURES)


def _values(endpoint: str, rule: object) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a field, in the sizes of its endpoint."""
    if endpoint.startswith("v1.") and isinstance(rule, ImageBounds):
        return st.sampled_from(SDXL_PICTURES)
    return values_of(rule)


@st.composite
def requests_of(draw: st.DrawFn, endpoint: str) -> GenerationRequest:
    """Draw a request of an endpoint; fields that do not go together are drawn again."""
    request_type = REQUEST_TYPES[endpoint]
    rules = {name: field.validator for name, field in fields_of(request_type).items()}
    del rules["extra_fields"]
    drawn = {name: _values(endpoint, rule) for name, rule in rules.items()}
    if "engine_id" in drawn:
        drawn["engine_id"] = st.just(SDXL)
    needed = required(request_type)
    given = st.fixed_dictionaries(
        {name: drawn[name] for name in needed},
        optional={name: values for name, values in drawn.items() if name not in needed},
    )

    def is_valid(fields_: dict[str, Any]) -> bool:
        try:
            request_type(**fields_)
        except InvalidRequestError:
            return False
        return True

    return request_type(**draw(given.filter(is_valid)))


@functools.cache
def forms_of(endpoint: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for what somebody might send to an endpoint: good and bad values."""
    edges = edges_of(endpoint)
    values = {
        name: st.one_of(*[_values(endpoint, rule)] * 4, st.sampled_from(edges[name]))
        for name, rule in rules_of(endpoint).items()
    }
    needed = required(REQUEST_TYPES[endpoint])
    return st.fixed_dictionaries(
        {name: value for name, value in values.items() if name in needed},
        optional={name: value for name, value in values.items() if name not in needed},
    )
