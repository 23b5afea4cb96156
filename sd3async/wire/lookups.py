"""What the answers say that tell of engines and accounts."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from sd3async.errors import UnexpectedResponseError
from sd3async.models.v1 import V1Account, V1Engine, V1Organization
from sd3async.wire.refusals import one_line

_MOST = 1_000


def read_engines(status: int, body: bytes, secrets: Sequence[str]) -> list[V1Engine]:
    """Return the engines that an answer lists.

    Raises:
        UnexpectedResponseError: It lists none.
    """
    told = _read(body)
    listed = [_texts(entry, secrets) for entry in _objects(told)]
    names = ("id", "name", "description", "type")
    if not isinstance(told, list) or not all("id" in entry for entry in listed):
        raise UnexpectedResponseError("the answer lists no engines", status=status)
    return [V1Engine(**{name: entry.get(name, "") for name in names}) for entry in listed]


def read_account(status: int, body: bytes, secrets: Sequence[str]) -> V1Account:
    """Return the account that an answer tells of.

    Raises:
        UnexpectedResponseError: It tells of none.
    """
    found = _objects([_read(body)])
    texts = _texts(found[0], secrets) if found else {}
    if "id" not in texts:
        raise UnexpectedResponseError("the answer tells of no account", status=status)
    return V1Account(
        id=texts["id"],
        email=texts.get("email", ""),
        organizations=tuple(_organizations(found[0].get("organizations"), secrets)),
        profile_picture=texts.get("profile_picture", ""),
    )


def _organizations(listed: object, secrets: Sequence[str]) -> list[V1Organization]:
    return [
        V1Organization(
            id=texts.get("id", ""),
            name=texts.get("name", ""),
            role=texts.get("role", ""),
            is_default=entry.get("is_default") is True,
        )
        for entry in _objects(listed)
        if (texts := _texts(entry, secrets))
    ]


def _read(body: bytes) -> object:
    with suppress(ValueError, RecursionError):
        return json.loads(body)
    return None


def _objects(value: object) -> list[Mapping[str, Any]]:
    listed = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Mapping[str, Any]", entry) for entry in listed[:_MOST] if isinstance(entry, dict)]


def _texts(entry: Mapping[str, Any], secrets: Sequence[str]) -> dict[str, str]:
    """Return the members that are words, as they can be printed."""
    return {
        name: one_line(value, secrets) for name, value in entry.items() if isinstance(value, str)
    }
