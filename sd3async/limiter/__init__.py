"""Keeping a rate limit that punishes: at most so many requests in any period, seen from the server.

The parts, each usable and tested alone: `settings` (what is promised), `window` (what the server
may be counting), `key` (one API key and its lock-outs), `parties` (who takes how much of it),
`supply` and `shared` (where one process gets its slots), `stores` (what processes share),
`permit` (one request's leave), `limiter` (who waits, behind `await acquire()`).
"""

from sd3async.limiter.key import Freeze
from sd3async.limiter.limiter import Limiter, LimiterState
from sd3async.limiter.permit import Permit
from sd3async.limiter.settings import RateLimit, Shape
from sd3async.limiter.sharing import open_supplies, read_share
from sd3async.limiter.supply import PermitLostError

__all__ = [
    "Freeze",
    "Limiter",
    "LimiterState",
    "Permit",
    "PermitLostError",
    "RateLimit",
    "Shape",
    "open_supplies",
    "read_share",
]
