"""Fields that are sent though no request class knows them."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TypeAlias

from sd3async.models.fields import Text, check_type, refuse, shown, to_plain
from sd3async.models.sources import MAX_BODY_BYTES

ExtraValue: TypeAlias = str | int | float | bool

ABOUT = (
    "Further form fields, sent as they are: text, numbers and bools by name, for what this "
    "package does not know yet. An enumeration that is left at its default may be among them, and "
    "is sent in its place."
)

_NAME = re.compile(r"[\w.\[\]-]{1,100}", re.ASCII)
_ANY_TEXT = Text(max_chars=MAX_BODY_BYTES)


class ExtraFields(Mapping[str, ExtraValue]):
    """Names and values of further form fields; never changes, so a request can be hashed."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, ExtraValue]) -> None:
        self._fields = dict(fields)

    def __getitem__(self, name: str) -> ExtraValue:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __hash__(self) -> int:
        return hash(frozenset(self._fields.items()))

    def __repr__(self) -> str:
        return repr(self._fields)


NO_EXTRAS = ExtraFields({})


def read_extras(fields: Mapping[str, ExtraValue] | None) -> ExtraFields:
    """Return fields as they can be sent.

    Args:
        fields: Text, numbers and bools by the names of their form fields; None for none.

    Raises:
        InvalidRequestError: A name or a value that no form can carry, or an image: for these a
            request class of your own is needed, see `sd3async.register_endpoint`.
    """
    if fields is None or isinstance(fields, ExtraFields):
        return fields or NO_EXTRAS
    check_type("extra_fields", fields, Mapping, "a mapping of field names to values")
    return ExtraFields({_name(name): _value(name, value) for name, value in fields.items()})


def _name(name: object) -> str:
    plain = to_plain(name)
    if not isinstance(plain, str) or not _NAME.fullmatch(plain):
        problem = "letters, digits and _ - . [ ] are allowed, 1 to 100 of them"
        raise refuse("extra_fields", f"has a field named {shown(name)}; {problem}")
    return plain


def _value(name: str, value: object) -> ExtraValue:
    plain = to_plain(value)
    if isinstance(plain, str):
        return _ANY_TEXT.plain(f"extra_fields[{name!r}]", plain)
    if isinstance(plain, bool):
        return plain
    with suppress(OverflowError):  # of an integer that no float can be, which has too many digits
        if isinstance(plain, int | float) and math.isfinite(plain):
            return plain
    needed = "a string, a finite number or a bool is needed"
    raise refuse("extra_fields", f"has {shown(value)} as {name!r}; {needed}")
