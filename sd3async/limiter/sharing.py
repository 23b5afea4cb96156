"""Who shares the limit of a key with whom."""

import hashlib
import logging
import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager

import attrs

from sd3async._clock import SYSTEM_CLOCK, Clock
from sd3async.limiter import record
from sd3async.limiter.key import Key
from sd3async.limiter.settings import RateLimit
from sd3async.limiter.shared import SharedSupply
from sd3async.limiter.stores import open_store
from sd3async.limiter.supply import Supply, Unlimited
from sd3async.models.fields import check_type, refuse

logger = logging.getLogger("sd3async.limiter")

_WAYS = '"machine", "process", or the URL of a store: redis://… or postgresql://…'
_SCHEMES = ("redis://", "rediss://", "unix://", "postgresql://", "postgres://")
_OF_THIS_PROCESS: dict[str, tuple[Key, AbstractContextManager[object]]] = {}


def read_share(share: str | None) -> str:
    """Return who shares the limit, by default `$SD3ASYNC_SHARE`, or all of this machine.

    Raises:
        InvalidRequestError: It is none of the ways; it is not shown, since it may hold a password.
    """
    if share is None:
        share = os.environ.get("SD3ASYNC_SHARE") or "machine"
    check_type("share", share, str, _WAYS)
    if share not in ("machine", "process") and not share.startswith(_SCHEMES):
        raise refuse("share", f"is nothing that can be shared through; allowed are {_WAYS}")
    return share


def open_supplies(
    share: str, keys: Sequence[str], *, base_url: str, limit: RateLimit, clock: Clock
) -> list[Supply]:
    """Return where the slots of each key come from.

    Args:
        share: `"machine"`, `"process"`, or the URL of a store.
        keys: The keys.
        base_url: Where the API is served: elsewhere the same key has another limit.
        limit: What the server allows each key.
        clock: Time; what is not the system's cannot be shared.
    """
    if limit.is_unlimited:
        return [Unlimited(index, limit, clock) for index in range(len(keys))]
    if clock is not SYSTEM_CLOCK:
        return [Supply(index, limit, clock) for index in range(len(keys))]
    names = [identity(key, base_url, limit) for key in keys]
    if share != "process":
        try:
            return [
                SharedSupply(index, limit, clock, open_store(share, name), base_url)
                for index, name in enumerate(names)
            ]
        except OSError as error:
            logger.warning(
                "The limit is kept for this process alone: no file that others could share can be "
                "made (%s). Choose share='process', or a store by its URL, to say what you want.",
                error,
            )
    return [_supply_of_this_process(index, name, limit, clock) for index, name in enumerate(names)]


def identity(key: str, base_url: str, limit: RateLimit) -> str:
    """Return a name for what is shared, from which nobody can tell the key."""
    promise = [str(record.FORMAT), base_url, *map(repr, attrs.astuple(limit.shared))]
    return hashlib.blake2b(
        "\n".join(promise).encode(), key=_digest(key), digest_size=12
    ).hexdigest()


def _digest(key: str) -> bytes:
    return hashlib.sha512(key.encode()).digest()


def _supply_of_this_process(index: int, name: str, limit: RateLimit, clock: Clock) -> Supply:
    key, lock = _OF_THIS_PROCESS.setdefault(name, (Key(limit), threading.RLock()))
    return Supply(index, limit, clock, key, lock)
