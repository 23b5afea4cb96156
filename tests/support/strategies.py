"""Random requests of every endpoint, made by the rules of their fields."""

from typing import Any

from hypothesis import strategies as st

from sd3async import GenerationRequest, InvalidRequestError
from sd3async.models import fields
from sd3async.models.base import fields_of, required
from sd3async.models.images import ImageBounds
from sd3async.models.requests import REQUEST_TYPES
from support.pictures import picture

PICTURES = [picture(96, 64), picture(80, 80, "jpeg"), picture(64, 160, "webp")]
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def values_of(rule: object) -> st.SearchStrategy[Any]:
    """Return a strategy for the values that a field's rule takes."""
    if isinstance(rule, fields.Text):
        return st.text(CHARACTERS, min_size=rule.min_chars, max_size=30)
    if isinstance(rule, fields.Choice):
        return st.sampled_from(rule.values)
    if isinstance(rule, fields.Truth):
        return st.booleans()
    if isinstance(rule, fields.Number) and rule.whole:
        return st.integers(int(rule.low), int(rule.high))
    if isinstance(rule, fields.Number):
        return st.floats(rule.low, rule.high)
    assert isinstance(rule, ImageBounds)
    return st.sampled_from(PICTURES)


@st.composite
def requests_of(draw: st.DrawFn, endpoint: str) -> GenerationRequest:
    """Draw a request of an endpoint; fields that do not go together are drawn again."""
    request_type = REQUEST_TYPES[endpoint]
    rules = {name: field.validator for name, field in fields_of(request_type).items()}
    del rules["extra_fields"]
    needed = required(request_type)
    given = st.fixed_dictionaries(
        {name: values_of(rules[name]) for name in needed},
        optional={name: values_of(rule) for name, rule in rules.items() if name not in needed},
    )

    def is_valid(fields_: dict[str, Any]) -> bool:
        try:
            request_type(**fields_)
        except InvalidRequestError:
            return False
        return True

    return request_type(**draw(given.filter(is_valid)))
