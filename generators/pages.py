"""The page of endpoints: what each takes and costs, between two marks."""

import inspect
from collections.abc import Iterator, Mapping

from sd3async.endpoints import ENDPOINTS, PRICES_DATE, PRICES_SOURCE, PriceBySteps
from sd3async.models import requests
from sd3async.models.base import GenerationRequest, fields_of, is_sent, required
from sd3async.models.fields import STYLE_PRESETS, Choice, Rule

_BEGIN = "<!-- what follows is written by `python -m generators` -->"
_END = "<!-- end -->"


def brought_up_to_date(page: str) -> str:
    """Return the page with its generated part anew.

    Args:
        page: The page as it is.
    """
    before, _, rest = page.partition(_BEGIN)
    after = rest.partition(_END)[2]
    return before + "\n".join([_BEGIN, "", *_lines(), "", _END]) + after


def _lines() -> Iterator[str]:
    yield f"Prices are as of {PRICES_DATE}, from {PRICES_SOURCE}."
    yield from ("", f"**Styles**, for `style_preset`: {Choice(STYLE_PRESETS).bounds()}.")
    for name, request_type in requests.REQUEST_TYPES.items():
        if name in requests.BUILT_IN:
            yield from _section(name, request_type)


def _section(name: str, request_type: type[GenerationRequest]) -> Iterator[str]:
    doc = inspect.cleandoc(request_type.__doc__ or "").split("\n\n")
    told = [text for text in doc if not text.startswith(("Attributes:", "Source:"))]
    method = name.replace("-", "_")
    yield from ("", f"### `{name}`", "")
    yield f"`client.{method}({_arguments(request_type)})` · `{request_type.__name__}` · {_price(name)}"
    for paragraph in told:
        yield from ("", " ".join(paragraph.split()))
    yield from ("", "| field | what it is | allowed | default |", "| --- | --- | --- | --- |")
    for field, attribute in fields_of(request_type).items():
        rule = attribute.validator
        if isinstance(rule, Rule) and is_sent(attribute):
            default = "" if rule.default is None else str(rule.default)
            if field in required(request_type):
                default = "**required**"
            yield f"| `{field}` | {rule.about} | {_allowed(rule)} | {default} |"


def _allowed(rule: Rule) -> str:
    if isinstance(rule, Choice) and rule.values == STYLE_PRESETS:
        return "one of the styles"
    return rule.bounds()


def _arguments(request_type: type[GenerationRequest]) -> str:
    return ", ".join([*required(request_type), "…"])


def _price(name: str) -> str:
    prices = ENDPOINTS[name].credits
    if isinstance(prices, PriceBySteps):
        return prices.words()
    if not isinstance(prices, Mapping):
        return f"{prices:g} credits"
    return ", ".join(f"{price:g} (`{model}`)" for model, price in prices.items()) + " credits"
