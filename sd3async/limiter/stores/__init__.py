"""Where the record of a key is kept that several processes share: a file, Redis or PostgreSQL.

A store keeps some bytes, changes them for one process at a time, and has a clock. What the bytes
mean is known to `limiter.shared` alone.
"""

from sd3async.limiter.stores.base import Store, StoreAwayError
from sd3async.limiter.stores.machine import MachineStore, folder, since_boot

__all__ = ["MachineStore", "Store", "StoreAwayError", "open_store"]


def open_store(share: str, name: str) -> Store:
    """Return the store of one key.

    Args:
        share: `"machine"`, or the URL of a Redis or PostgreSQL server.
        name: The record's.

    Raises:
        OSError: `"machine"`, and no file can be made.
        ImportError: The extra that the URL needs is not installed.
    """
    # Imported here: who shares nothing with other hosts need not have these installed.
    if share.startswith(("redis://", "rediss://", "unix://")):
        from sd3async.limiter.stores.redis import RedisStore

        return RedisStore(share, name)
    if share.startswith(("postgresql://", "postgres://")):
        from sd3async.limiter.stores.postgres import PostgresStore

        return PostgresStore(share, name)
    return MachineStore(folder() / since_boot(name))
