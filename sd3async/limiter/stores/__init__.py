"""Where the record of a key is kept that several processes share: a file, Redis or PostgreSQL.

A store keeps some bytes, changes them for one process at a time, and has a clock. What the bytes
mean is known to `limiter.shared` alone.
"""

from sd3async.limiter.stores.base import Store, StoreAwayError
from sd3async.limiter.stores.machine import MachineStore, folder, since_boot
from sd3async.limiter.stores.remote import RemoteStore
from sd3async.models.fields import refuse

__all__ = ["MachineStore", "RemoteStore", "Store", "StoreAwayError", "open_store"]


def open_store(share: str, name: str) -> Store:
    """Return the store of one key.

    Args:
        share: `"machine"`, or the URL of a Redis or PostgreSQL server.
        name: The record's.

    Raises:
        OSError: `"machine"`, and no file can be made.
        InvalidRequestError: A URL that is none, or the extra that it needs is not installed.
    """
    extra = ""
    try:
        # Imported here: who shares nothing with other hosts need not have these installed.
        if share.startswith(("redis://", "rediss://", "unix://")):
            extra = "redis"
            from sd3async.limiter.stores.redis import RedisStore

            return RedisStore(share, name)
        if share.startswith(("postgresql://", "postgres://")):
            extra = "postgres"
            from sd3async.limiter.stores.postgres import PostgresStore

            return PostgresStore(share, name)
    except ImportError:
        raise refuse("share", f"needs sd3async[{extra}]: pip install 'sd3async[{extra}]'") from None
    return MachineStore(folder() / since_boot(name))
