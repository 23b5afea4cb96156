"""`sd3async v1 engines` and `sd3async v1 account`: what v1 tells of them."""

import attrs
import click

from sd3async.cli.exits import run
from sd3async.cli.options import client_from_options, json_option, print_json, server_options
from sd3async.models.v1 import V1Account, V1Engine


@click.command()
@server_options
@json_option
def engines(*, base_url: str | None, emulator: bool, as_json: bool) -> None:
    """Print the engines that the key may use."""

    async def ask() -> list[V1Engine]:
        async with client_from_options(base_url=base_url, emulator=emulator) as client:
            return await client.v1.engines()

    found = run(ask())
    if as_json:
        print_json({"engines": [attrs.asdict(engine) for engine in found], "emulated": emulator})
        return
    for engine in found:
        click.echo(f"{engine.id}  {engine.name}, {engine.type.lower()}")


@click.command()
@server_options
@json_option
def account(*, base_url: str | None, emulator: bool, as_json: bool) -> None:
    """Print the account that the key belongs to, and its organizations."""

    async def ask() -> V1Account:
        async with client_from_options(base_url=base_url, emulator=emulator) as client:
            return await client.v1.account()

    found = run(ask())
    if as_json:
        print_json({**attrs.asdict(found), "emulated": emulator})
        return
    click.echo(f"{found.id}  {found.email}")
    for organization in found.organizations:
        default = ", the default" if organization.is_default else ""
        click.echo(
            f"  {organization.id}  {organization.name}, {organization.role.lower()}{default}"
        )
