"""`sd3async result`: fetch an image that was started."""

import click

from sd3async.caller import Accept
from sd3async.cli.generate import fetch, image_options, tell
from sd3async.cli.targets import Target
from sd3async.client import SD3Client
from sd3async.models.results import GeneratedImage


@click.command()
@click.argument("started", metavar="ID")
@image_options
def result(
    *,
    started: str,
    output: str | None,
    force: bool,
    deadline: float | None,
    accept: Accept,
    base_url: str | None,
    emulator: bool,
    as_json: bool,
) -> None:
    """Wait for the image that was started as ID, and print its file's name.

    The service keeps it for 24 hours, for the key that started it. It was paid for at the start.
    """
    target = Target(output, force)
    if as_json and target.is_stdout:
        raise click.UsageError("-o - and --json both want stdout; give one of them")
    target.check()

    async def ask(client: SD3Client) -> list[GeneratedImage]:
        return [await client.result(started, to=target.path, deadline=deadline, accept=accept)]

    images = fetch(ask, "results", target, base_url=base_url, emulator=emulator)
    tell(images, emulated=emulator, as_json=as_json)
