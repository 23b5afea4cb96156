"""Fields whose value has parts: v1's weighted prompts, and objects of JSON."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import attrs

from sd3async.models.fields import Rule, Text, refuse, shown, to_plain

TextPrompts: TypeAlias = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]
"""One text, or several; one with a weight is a mapping of `text` and `weight`."""

MAX_TEXT_PROMPT_CHARS = 2_000

_PROMPT_KEYS = ("text", "weight")
_TEXT = Text(max_chars=MAX_TEXT_PROMPT_CHARS)


class Nested(Mapping[str, Any]):
    """An object of JSON that never changes, so a request that holds it can be hashed."""

    __slots__ = ("_text",)

    def __init__(self, members: Mapping[str, Any]) -> None:
        """Keep the members.

        Args:
            members: Names and values.

        Raises:
            ValueError: They are no JSON.
        """
        self._text = json.dumps(dict(members), allow_nan=False)

    def __getitem__(self, name: str) -> Any:
        return self._members()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members())

    def __len__(self) -> int:
        return len(self._members())

    def __hash__(self) -> int:
        return hash(frozenset(self))

    def __repr__(self) -> str:
        return repr(self._members())

    def _members(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self._text))


def to_json(value: Any) -> Any:
    """Return a field's value as JSON has it."""
    if isinstance(value, tuple):
        return [to_json(part) for part in cast("Any", value)]
    return dict(value) if isinstance(value, Nested) else value


@attrs.frozen
class Prompts(Rule):
    """One text or more, each with a weight of its own; a negative one says what to keep out.

    Attributes:
        text: The rule of each text.
    """

    text: Text = _TEXT

    def plain(self, field: str, value: object) -> tuple[Nested, ...]:
        """Return them as the API has them: a `text` each, and a `weight` where one is given."""
        if isinstance(value, str | Mapping):
            return (self._part(field, cast("object", value)),)
        if not isinstance(value, list | tuple):
            raise refuse(field, f"is {shown(value)}; a text or a list of them is needed")
        parts = cast("Sequence[object]", value)
        if not parts:
            raise refuse(field, "is empty; at least one text is needed")
        return tuple(self._part(field, part) for part in parts)

    def bounds(self) -> str:
        """Return what they may be."""
        return (
            f"a text of {self.text.bounds()}, or a list of such texts; one with a weight is "
            '`{"text": "fog", "weight": -1}`'
        )

    def _part(self, field: str, part: object) -> Nested:
        if isinstance(part, Nested):
            return part
        given = (
            dict(cast("Mapping[str, Any]", part)) if isinstance(part, Mapping) else {"text": part}
        )
        for name in given:
            if name not in _PROMPT_KEYS:
                raise refuse(field, f"has {shown(name)} in a prompt; text and weight are known")
        if "text" not in given:
            raise refuse(field, "has a prompt without its text; it is required")
        given["text"] = self.text.plain(field, given["text"])
        weight = to_plain(given.pop("weight", None))
        if weight is None:
            return Nested(given)
        if (
            isinstance(weight, bool)
            or not isinstance(weight, int | float)
            or not _is_finite(weight)
        ):
            raise refuse(field, f"has the weight {shown(weight)}; a finite number is needed")
        return Nested(given | {"weight": weight})


@attrs.frozen
class JSONObject(Rule):
    """An object of JSON: a mapping, or its text."""

    def plain(self, field: str, value: object) -> Nested:
        """Return such an object."""
        if isinstance(value, Nested):
            return value
        try:
            told: object = json.loads(value) if isinstance(value, str) else value
            if isinstance(told, Mapping):
                return Nested(cast("Mapping[str, Any]", told))
        except (ValueError, TypeError, RecursionError):
            pass
        raise refuse(field, f"is {shown(value)}; a mapping that JSON can hold is needed")

    def bounds(self) -> str:
        """Return what it may be."""
        return "a mapping that JSON can hold, or its text"


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer that no float holds
        return False


def given_prompts(value: TextPrompts) -> Any:
    """Say what prompts may be given as; their rule makes them plain, and knows the field's name."""
    return value


def given_object(value: Mapping[str, Any] | str | None) -> Any:
    """Say what an object of JSON may be given as."""
    return value
