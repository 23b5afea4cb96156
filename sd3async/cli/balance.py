"""`sd3async balance`: the credits left."""

import click

from sd3async.cli.exits import run
from sd3async.cli.options import (
    client_from_options,
    json_option,
    print_json,
    server_options,
)


@click.command()
@server_options
@json_option
def balance(*, base_url: str | None, emulator: bool, as_json: bool) -> None:
    """Print the credits left on the account of the key."""

    async def ask() -> float:
        async with client_from_options(base_url=base_url, emulator=emulator) as client:
            return await client.balance()

    credits_left = run(ask())
    if as_json:
        print_json({"credits": credits_left, "emulated": emulator})
    else:
        click.echo(f"{credits_left:,.10g} credits")
