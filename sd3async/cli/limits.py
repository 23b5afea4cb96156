"""`sd3async limits`: the limits that processes share, as they stand."""

from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Any, cast

import click

from sd3async.cli.exits import run
from sd3async.cli.options import json_option, print_json
from sd3async.limiter import read_share
from sd3async.limiter.record import Record
from sd3async.limiter.stores import RemoteStore, Store, StoreAwayError, open_store
from sd3async.limiter.stores.machine import stores_here


@click.command()
@click.option(
    "--share",
    metavar="WHERE",
    help="machine, or the URL of a store.  [default: $SD3ASYNC_SHARE, else machine]",
)
@json_option
def limits(*, share: str | None, as_json: bool) -> None:
    """Show each shared limit: who sends how much, what is in the window, and until when it is shut.

    On this machine that is every key that some process of yours has used since it was started; in
    a Redis every key of the last day, and in a PostgreSQL every key there ever was.
    """
    shown = run(_look(read_share(share)))
    if as_json:
        print_json({"limits": shown})
    elif not shown:
        click.echo("nothing is shared here")
    for limit in () if as_json else shown:
        click.echo("\n".join(_words(limit)))


async def _stores(share: str) -> Sequence[Store]:
    if share in ("machine", "process"):
        try:
            return list(stores_here())
        except OSError as error:
            raise click.ClickException(f"the files of limits: {error}") from error
    async with aclosing(cast("RemoteStore[Any]", open_store(share, ""))) as server:
        return [open_store(share, name) for name in await server.names()]


async def _look(share: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    try:
        for store in await _stores(share):
            async with aclosing(store):
                data, now = await store.change(lambda data, now: (data, (data, now)))
            with suppress(ValueError):  # nothing has been written yet
                shown.append({"where": store.name, **_facts(Record.load(data), now)})
    except StoreAwayError as error:
        raise click.ClickException(str(error)) from error
    return shown


def _facts(record: Record, now: float) -> dict[str, Any]:
    key = record.key
    key.opens_at(now)  # which forgets what is over
    frozen_until = key.frozen_until(now)
    return {
        "base_url": record.base_url,
        "max_requests": key.limit.max_requests,
        "period": key.limit.period,
        "allowed_now": key.max_requests(now),
        "in_window": key.in_period(now),
        "going_out": len(key.window.dump()[2]),
        "frozen_for": max(0.0, (frozen_until or now) - now),
        "retired": key.retired_until > now,
        "stage": key.stage.name.lower(),
        "lockouts": key.freezes,
        "processes": [
            {"process": f"{who:x}"[:6], "taken": party.taken, "waiting": party.due > now}
            for who, party in sorted(record.parties.known.items())
        ],
    }


def _words(limit: dict[str, Any]) -> list[str]:
    rate = limit["in_window"] / limit["period"]
    shut = f", shut for {limit['frozen_for']:.0f} s more" if limit["frozen_for"] else ""
    lines = [
        f"{limit['base_url']}, {limit['max_requests']} in {limit['period']:g} s ({limit['where']})",
        f"  {limit['stage']}{shut}{', retired' if limit['retired'] else ''}: "
        f"{limit['in_window']} of {limit['allowed_now']} in the window ({rate:.1f}/s), "
        f"{limit['going_out']} going out, {limit['lockouts']} lock-outs so far",
    ]
    return lines + [
        f"  process {party['process']}: {party['taken']} taken"
        + (", waiting for more" if party["waiting"] else "")
        for party in limit["processes"]
    ]
