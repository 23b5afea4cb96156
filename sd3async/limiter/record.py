"""What processes write down of a key that they share."""

import functools
import json
import os
import secrets
import struct
from typing import Self

import attrs

from sd3async.limiter.key import Key
from sd3async.limiter.parties import Parties
from sd3async.limiter.settings import RateLimit

FORMAT = 1
"""Part of a record's name: releases that write it otherwise must not read each other's."""

_HEAD = struct.Struct("<q8sI")  # 429s so far, which every process looks at; then see `Record`


@attrs.define
class Record:
    """A key's standing, the parties that use it, and what it is.

    Attributes:
        key: What is known of the key.
        parties: Who uses it.
        base_url: Where.
        beginning: A mark of its own for every new record: one that is another was lost between.
    """

    key: Key
    parties: Parties
    base_url: str
    beginning: bytes

    @classmethod
    def new(cls, limit: RateLimit, base_url: str) -> Self:
        """Begin with nothing."""
        key = Key(limit)
        # Uploads may be out that were numbered by another record.
        key.given = secrets.randbits(48)
        return cls(key, Parties(limit.max_requests), base_url, os.urandom(8))

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Read what `dump` wrote.

        Raises:
            ValueError: Something else did.
        """
        try:
            _, beginning, length = _HEAD.unpack_from(data)
            end = _HEAD.size + length
            limit, base_url = _read_words(data[_HEAD.size : end])
            record = cls(Key(limit), Parties(limit.max_requests), base_url, beginning)
            record.parties.load(record.key.load(data[end:]))
        except (struct.error, KeyError, TypeError) as error:
            raise ValueError(f"no record of a limit: {error}") from error
        return record

    def dump(self) -> bytes:
        """Write it down; the first eight bytes change with every 429."""
        words = _write_words(self.key.limit, self.base_url)
        head = _HEAD.pack(self.key.freezes, self.beginning, len(words))
        return b"".join([head, words, self.key.dump(), self.parties.dump()])


@functools.lru_cache  # for the words of a key are the same every time
def _read_words(words: bytes) -> tuple[RateLimit, str]:
    what = json.loads(words)
    return RateLimit(**what["limit"]), what["base_url"]


@functools.lru_cache
def _write_words(limit: RateLimit, base_url: str) -> bytes:
    return json.dumps({"limit": attrs.asdict(limit.shared), "base_url": base_url}).encode()
