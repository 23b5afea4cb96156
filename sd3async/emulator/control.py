"""Routes under `/_emulator/` for tests in another process: what happened, and what shall happen."""

from collections.abc import Callable
from typing import Any

import attrs
from aiohttp import web

from sd3async.emulator.answers import to_json
from sd3async.emulator.app import Service
from sd3async.emulator.faults import Fault
from sd3async.emulator.ledger import Stats
from sd3async.emulator.settings import Settings

__all__ = ["add_control_routes"]


def _json(value: Any) -> web.Response:
    return web.Response(body=to_json(value), content_type="application/json")


def add_control_routes(
    app: web.Application, service: Service, settings: Settings, stats: Callable[[], Stats]
) -> None:
    """Add the control routes; the limit does not count them, nor does the journal show them.

    GET `stats` and `requests` tell, POST `reset` forgets, POST `faults` with
    `{"script": ["500", null, "reset"]}` queues faults in the notation of `Fault.parse`.

    Args:
        app: Gets the routes.
        service: Is told about and reset.
        settings: Holds the faults.
        stats: Returns the totals.
    """

    async def get_stats(_: web.Request) -> web.Response:
        return _json(attrs.asdict(stats()))

    async def get_requests(_: web.Request) -> web.Response:
        return _json([attrs.asdict(seen) for seen in service.journal.snapshot()])

    async def reset(_: web.Request) -> web.Response:
        service.reset()
        return _json({})

    async def script_faults(request: web.Request) -> web.Response:
        try:
            words: list[str | None] = (await request.json())["script"]
            settings.faults.script(
                [None if word is None else Fault.parse(str(word)) for word in words]
            )
        except (KeyError, TypeError, ValueError) as wrong:
            raise web.HTTPBadRequest(text=f"script: {wrong}") from wrong
        return _json({})

    app.router.add_get("/_emulator/stats", get_stats)
    app.router.add_get("/_emulator/requests", get_requests)
    app.router.add_post("/_emulator/reset", reset)
    app.router.add_post("/_emulator/faults", script_faults)
