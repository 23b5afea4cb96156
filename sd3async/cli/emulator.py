"""`sd3async emulator`: the emulator on its own, for any program to try against."""

import asyncio
from typing import TYPE_CHECKING, Any

import click

from sd3async.cli.exits import run, say
from sd3async.cli.options import json_option, print_json

if TYPE_CHECKING:
    from sd3async.emulator import Emulator, FaultPlan, Latency

DEFAULT_PORT = 8150


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port to listen on; 0 takes any free one.",
)
@click.option("--prefix", metavar="PATH", help="Path before every route, such as /sd.")
@click.option(
    "--limit",
    type=click.Choice(["log", "fixed", "counter", "bucket", "none"]),
    help="How requests are counted: sliding log, fixed windows, sliding counter, token bucket, "
    "or not at all.  [default: log]",
)
@click.option("--max-requests", type=int, metavar="N", help="Allowed in a period.  [default: 150]")
@click.option("--period", type=float, metavar="SECONDS", help="Length of it.  [default: 10]")
@click.option(
    "--lockout",
    type=float,
    metavar="SECONDS",
    help="How long a key is shut out for one request too many.  [default: 60]",
)
@click.option("--lockout-extends", is_flag=True, help="Knocking during a lock-out prolongs it.")
@click.option(
    "--retry-after",
    type=click.Choice(["seconds", "date"]),
    help="Let a 429 say how long.  [default: it does not]",
)
@click.option(
    "--arrival-jitter",
    type=float,
    metavar="SECONDS",
    help="Longest delay before a request is counted: a model of the network.  [default: 0]",
)
@click.option(
    "--latency",
    metavar="SECONDS",
    help="How long a generation takes: 2, or 1..3, or lognormal:4:0.5 (median, sigma), or "
    "exponential:2:1 (mean, minimum).  [default: 0]",
)
@click.option(
    "--result-latency",
    metavar="SECONDS",
    help="How long a started generation is in progress, in the notation of --latency; the start "
    "itself is answered at once.  [default: as --latency]",
)
@click.option(
    "--start-status",
    type=click.Choice(["200", "202"]),
    help="Status that answers the start of a generation.  [default: 200]",
)
@click.option(
    "--start-charge",
    type=click.Choice(["start", "end"]),
    help="When a started generation is booked.  [default: start]",
)
@click.option(
    "--result-field",
    type=click.Choice(["image", "result"]),
    help="Name under which a result in JSON holds its image.  [default: image]",
)
@click.option(
    "--hasty-polls",
    type=click.Choice(["ignore", "refuse"]),
    help="What becomes of requests for a result within 10 s of the last one.  [default: ignore]",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="FAULT",
    help="Trouble for the next generation, in order: 500, 504:paid, 429, reset, truncated, slow:3, "
    "filtered, failed, early:413, unread:3, …; ok lets one pass. FAULT=0.05 strikes by chance instead. "
    "Repeatable.",
)
@click.option("--seed", type=int, metavar="N", help="Decides everything random.  [default: 0]")
@click.option(
    "--credits",
    "credit",
    type=float,
    metavar="N",
    help="Balance of the account; 402 when it is spent.  [default: endless]",
)
@click.option("--key", "keys", multiple=True, help="An accepted key; repeatable.  [default: any]")
@click.option(
    "--model", "models", multiple=True, help="An accepted sd3 model; repeatable.  [default: all]"
)
@click.option(
    "--strict",
    is_flag=True,
    help="Refuse what the service lets pass and no client needs: unknown fields, odd accept "
    "headers, a multipart preamble or epilogue.",
)
@click.option(
    "--unknown-fields",
    type=click.Choice(["reject", "ignore"]),
    help="What to do with fields an endpoint lacks.  [default: ignore, or reject with --strict]",
)
@click.option(
    "--early-refusal",
    type=click.Choice(["read", "close", "reset"]),
    help="Answer 413 and 429 before the body has been read, and then read on, close the "
    "connection or reset it.  [default: not early]",
)
@click.option(
    "--image-bytes",
    type=int,
    metavar="N",
    help="Send quick payloads of about this length instead of drawing.",
)
@json_option
def emulator(*, limit: str | None, faults: tuple[str, ...], as_json: bool, **options: Any) -> None:
    r"""Run a stand-in for the service on a loopback port until Ctrl-C, and print its URL.

    \b
    sd3async emulator --latency lognormal:4:0.5 --fault 500=0.02 &
    STABILITY_API_KEY=any sd3async generate "a fox" --base-url http://127.0.0.1:8150
    """
    from sd3async.emulator import Emulator

    # By identity: a 0 that was given is a value, and equals False.
    given = {
        name: value
        for name, value in options.items()
        if value is not None and value is not False and value != ()
    }
    try:
        server = Emulator(**_settings(given, limit, faults))
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    try:
        run(_serve(server, as_json=as_json))
    except KeyboardInterrupt:  # how a server ends, so nothing went wrong
        stats = server.stats
        say(
            f"stopped after {stats.requests:,} requests: {stats.paid:,} paid, "
            f"{stats.refused:,} refused with 429, {stats.credits_used:,g} credits"
        )


async def _serve(server: "Emulator", *, as_json: bool) -> None:
    async with server:
        if as_json:
            print_json({"url": server.url, "emulated": True})
        else:
            click.echo(server.url)
            say("emulating the service until Ctrl-C; any key will do, nothing is charged")
        await asyncio.get_running_loop().create_future()


def _settings(
    settings: dict[str, Any], limit: str | None, faults: tuple[str, ...]
) -> dict[str, Any]:
    """Return the emulator's keywords for what the options say."""
    if "credit" in settings:
        settings["credits"] = settings.pop("credit")
    for name in settings.keys() & {"latency", "result_latency"}:
        settings[name] = latency_from_text(settings[name])
    if "start_status" in settings:
        settings["start_status"] = int(settings["start_status"])
    if limit is not None:
        settings["limit"] = None if limit == "none" else limit
    return settings | {"faults": faults_from_words(faults)}


def latency_from_text(text: str) -> "Latency":
    """Return the distribution that a word stands for.

    Args:
        text: Seconds, or `low..high`, or a distribution's name and its numbers, separated by
            colons.

    Raises:
        ValueError: The word stands for none.
    """
    from sd3async.emulator import Constant, Exponential, LogNormal, Uniform

    kinds: dict[str, type[Constant | Exponential | LogNormal | Uniform]] = {
        "constant": Constant,
        "exponential": Exponential,
        "lognormal": LogNormal,
        "uniform": Uniform,
    }
    low, dots, high = text.partition("..")
    name, *numbers = ["uniform", low, high] if dots else text.split(":")
    if name not in kinds:
        name, numbers = "constant", [name, *numbers]
    try:
        return kinds[name](*[float(number) for number in numbers])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"latency: {text!r} is neither seconds nor one of {', '.join(kinds)} with its numbers"
        ) from error


def faults_from_words(words: tuple[str, ...]) -> "FaultPlan":
    """Return the plan that words stand for.

    Args:
        words: Each a fault for the next generation, `ok` for none, or `fault=probability`.

    Raises:
        ValueError: A word stands for no fault, or the probabilities exceed 1.
    """
    from sd3async.emulator import Fault, FaultPlan

    plan = FaultPlan()
    odds: dict[Fault, float] = {}
    script: list[Fault | None] = []
    for word in words:
        name, separator, probability = word.partition("=")
        if separator:
            odds[Fault.parse(name)] = _probability(word, probability)
        else:
            script.append(None if name == "ok" else Fault.parse(name))
    plan.script(script)
    plan.by_chance(odds)
    return plan


def _probability(word: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"fault: {word!r} needs a probability after =, from 0 to 1") from None
