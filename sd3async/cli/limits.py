"""`sd3async limits`: the limits that processes share, as they stand."""

from collections.abc import Sequence
from typing import Any

import click

from sd3async import config
from sd3async.cli.exits import run
from sd3async.cli.options import json_errors, json_option, print_json
from sd3async.limiter import RateLimit, read_share
from sd3async.limiter.record import Record
from sd3async.limiter.sharing import identity
from sd3async.limiter.stores import Store, StoreAwayError, open_store
from sd3async.limiter.stores.machine import stores_here


@click.command()
@click.option(
    "--share",
    metavar="WHERE",
    help="machine, or the URL of a store.  [default: $SD3ASYNC_SHARE, else machine]",
)
@click.option("--base-url", metavar="URL", help="For a store by its URL: where the keys are used.")
@json_option
def limits(*, share: str | None, base_url: str | None, as_json: bool) -> None:
    """Show each shared limit: who sends how much, what is in the window, and until when it is shut.

    On this machine that is every key that some process of yours has used since it was started; in
    a Redis or PostgreSQL it is the keys in STABILITY_API_KEY, with the default rate limit.
    """
    with json_errors(as_json):
        shown = run(_look(_stores(read_share(share), base_url)))
    if as_json:
        print_json({"limits": shown})
    elif not shown:
        click.echo("nothing is shared here")
    for limit in () if as_json else shown:
        click.echo("\n".join(_words(limit)))


def _stores(share: str, base_url: str | None) -> Sequence[Store]:
    if share in ("machine", "process"):
        try:
            return list(stores_here())
        except OSError as error:
            raise click.ClickException(f"the files of limits: {error}") from error
    service = config.read_service(base_url, allow_insecure_http=True)
    keys = config.read_keys(None)
    names = [identity(key, service.base_url, RateLimit()) for key in keys]
    return [open_store(share, name) for name in names]


async def _look(stores: Sequence[Store]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    for store in stores:
        try:
            data, now = await store.change(lambda data, now: (data, (data, now)))
            record = Record.load(data)
        except StoreAwayError as error:
            raise click.ClickException(str(error)) from error
        except ValueError:  # nothing has been written yet
            continue
        finally:
            await store.aclose()
        shown.append({"where": store.name, **_facts(record, now)})
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
