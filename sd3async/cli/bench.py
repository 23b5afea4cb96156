"""`sd3async bench`: measure how concurrency behaves, and report it."""

import datetime
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, TextIO, TypeVar

import attrs
import click
from rich.console import Console

from sd3async import config
from sd3async.bench import surroundings
from sd3async.bench.arrivals import ARRIVALS
from sd3async.bench.compare import compare
from sd3async.bench.knee import KneeSearch
from sd3async.bench.load import Budget, Load
from sd3async.bench.report import Report, print_comparison, print_report
from sd3async.bench.runner import Bench
from sd3async.bench.samples import Header, ResultsError, Session, read_session
from sd3async.bench.target import ClientTarget
from sd3async.bench.units import parse_bytes, parse_numbers, parse_seconds
from sd3async.cli import exits
from sd3async.cli.bench_emulator import emulator_process
from sd3async.cli.bench_plan import Plan, check_spending, emulator_of, plan_of, resolve_base_url
from sd3async.cli.options import (
    EMULATED_KEY,
    check_server,
    json_option,
    print_json,
    server_options,
)
from sd3async.client import SD3Client
from sd3async.models.fields import OUTPUT_FORMATS
from sd3async.models.requests import SD3_MODELS
from sd3async.progress import Snapshot, Usage, display

F = TypeVar("F", bound=Callable[..., object])


def _parsed_by(parse: Callable[[str], object]) -> Callable[..., object]:
    """Return what turns an option's word into a value, and a ValueError into bad usage."""

    def convert(ctx: click.Context, param: click.Parameter, word: str | None) -> object:
        try:
            return None if word is None else parse(word)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx=ctx, param=param) from error

    return convert


_SECONDS = _parsed_by(parse_seconds)
_BYTES = _parsed_by(parse_bytes)
_COUNTS = _parsed_by(lambda text: parse_numbers(text, int))
_RATES = _parsed_by(lambda text: parse_numbers(text, float))
_RESULTS = click.Path(exists=True, dir_okay=False, path_type=Path)


class _RunByDefault(click.Group):
    """A group whose `run` may be left out: `bench --rate 5` is `bench run --rate 5`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        wants_help = bool(args) and args[0] in ctx.help_option_names
        if not wants_help and not (args and args[0] in self.commands):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_RunByDefault)
def bench() -> None:
    """Measure how concurrency behaves: against the emulator, a gateway or the service.

    `run` may be left out: `sd3async bench --emulator` sweeps 1, 4, 16 and 64 callers.
    """


def _load_options(command: F) -> F:
    options = (
        click.option(
            "--concurrency",
            callback=_COUNTS,
            metavar="N,N,…",
            help="Closed loop: so many callers, each sending when its last request has ended. "
            "Several numbers are a sweep.  [default: 1,4,16,64]",
        ),
        click.option(
            "--rate",
            callback=_RATES,
            metavar="R,R,…",
            help="Open loop: so many starts a second, whatever the service does. Latency counts "
            "from the intended start.",
        ),
        click.option(
            "--arrival",
            type=click.Choice(ARRIVALS),
            default="poisson",
            show_default=True,
            help="How the starts of an open loop are spread.",
        ),
        click.option(
            "--burstiness",
            type=float,
            default=1.0,
            show_default=True,
            help="For gamma arrivals: below 1 burstier than poisson, above 1 smoother.",
        ),
        click.option(
            "--find-knee",
            is_flag=True,
            help="Search the least concurrency that gets nearly all the throughput.",
        ),
        click.option(
            "--most",
            type=click.IntRange(1),
            default=256,
            show_default=True,
            help="How many callers --find-knee may try.",
        ),
        click.option(
            "--duration", callback=_SECONDS, metavar="TIME", help="Measure so long.  [default: 15s]"
        ),
        click.option(
            "--requests",
            type=click.IntRange(1),
            metavar="N",
            help="Measure so many requests; with --duration, whichever is first.",
        ),
        click.option(
            "--warmup",
            callback=_SECONDS,
            metavar="TIME",
            help="Send, but do not count, for so long.  [default: two periods of the limit or "
            "a fifth of --duration, the longer; none with --requests alone]",
        ),
        click.option(
            "--ramp",
            callback=_SECONDS,
            metavar="TIME",
            default="0",
            show_default=True,
            help="Reach the whole load over so long.",
        ),
        click.option(
            "--drain",
            callback=_SECONDS,
            metavar="TIME",
            default="2m",
            show_default=True,
            help="Wait so long for the last requests. ",
        ),
        click.option(
            "--cooldown",
            callback=_SECONDS,
            metavar="TIME",
            help="Pause between runs.  [default: two periods of the limit, none "
            "after so long a warm-up]",
        ),
        click.option(
            "--repeat",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Run everything so many times and show the spread.",
        ),
        click.option(
            "--slo",
            callback=_SECONDS,
            metavar="TIME",
            help="Longest response that counts as good: adds goodput.",
        ),
        click.option(
            "--seed", type=int, default=0, show_default=True, help="Decides everything random."
        ),
    )
    return _add(command, options)


def _work_options(command: F) -> F:
    options = (
        click.option(
            "--mix",
            default="sd3",
            show_default=True,
            metavar="E=W,…",
            help="Endpoints and their weights, such as sd3=3,core=1,ultra=1.",
        ),
        click.option(
            "--prompts", type=_RESULTS, metavar="FILE", help="Prompts, one a line, taken in turn."
        ),
        click.option("--model", type=click.Choice(SD3_MODELS), help="Model of sd3."),
        click.option(
            "--output-format", type=click.Choice(OUTPUT_FORMATS), default="png", show_default=True
        ),
        click.option(
            "--upload-size",
            callback=_BYTES,
            metavar="SIZE",
            default="0",
            help="Image-to-image with a picture of this size, such as 2MB.",
        ),
        click.option(
            "--limit",
            default="150/10s",
            show_default=True,
            metavar="N/T",
            help="The rate limit of each key.",
        ),
        click.option(
            "--shape",
            type=click.Choice(["paced", "burst", "bucket"]),
            default="paced",
            show_default=True,
            help="How the limiter follows it.",
        ),
        click.option(
            "--no-limit",
            is_flag=True,
            help="Switch the client's limiter off; never with the official service.",
        ),
        click.option(
            "--max-in-flight",
            type=click.IntRange(1),
            metavar="N",
            help="Connection slots of the client.  [default: 300, or the most callers]",
        ),
        click.option(
            "--attempts",
            type=click.IntRange(1),
            default=5,
            show_default=True,
            help="Attempts for each request; 1 shows every failure.",
        ),
        click.option("--yes", is_flag=True, help="Do spend credits."),
        click.option(
            "--max-credits",
            type=click.FloatRange(0),
            metavar="N",
            help="Stop before more than this is spent.",
        ),
    )
    return _add(command, options)


def _emulator_options(command: F) -> F:
    options = (
        click.option(
            "--emulator-latency",
            default="1..3",
            show_default=True,
            metavar="SPEC",
            help="How long a generation takes: 2, 2..8, lognormal:4:0.5 (median, sigma), exponential:2:1.",
        ),
        click.option(
            "--emulator-image-size",
            callback=_BYTES,
            metavar="SIZE",
            default="1.5MB",
            show_default=True,
            help="Size of each image.",
        ),
        click.option(
            "--emulator-fault",
            "emulator_faults",
            multiple=True,
            metavar="FAULT=P",
            help="Trouble by chance, such as 500=0.02 or reset=0.01. Repeatable.",
        ),
        click.option(
            "--emulator-limit",
            type=click.Choice(["log", "fixed", "counter", "bucket", "none"]),
            help="How it counts.  [default: log; none with --no-limit]",
        ),
    )
    return _add(command, options)


def _output_options(command: F) -> F:
    options = (
        click.option(
            "--html",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Write a page with tables and pictures (extra sd3async[bench]).",
        ),
        click.option(
            "--plots",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Write the pictures into this folder.",
        ),
        click.option(
            "--plot-format", type=click.Choice(["png", "svg"]), default="png", show_default=True
        ),
    )
    return _add(command, options)


def _add(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        command = option(command)
    return command


@bench.command()
@server_options
@_load_options
@_work_options
@_emulator_options
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Raw results; must not exist.  [default: bench-DATE-TIME.jsonl]",
)
@_output_options
@json_option
def run(
    *,
    base_url: str | None,
    emulator: bool,
    out: Path | None,
    html: Path | None,
    plots: Path | None,
    plot_format: str,
    as_json: bool,
    **options: Any,
) -> int:
    r"""Run loads, keep every sample, and report.

    \b
    sd3async bench --emulator --concurrency 1,4,16,64,128 --slo 5s --html report.html
    sd3async bench --emulator --rate 5,10,14 --arrival poisson --repeat 3
    sd3async bench --emulator --find-knee --emulator-latency 2..8
    """
    outputs = _Outputs(html, plots, plot_format, as_json)
    check_server(base_url=base_url, emulator=emulator)
    plan = plan_of(options)
    keys = (EMULATED_KEY,) if emulator else config.read_keys(None)
    with ExitStack() as stack:
        if emulator:
            url = stack.enter_context(emulator_process(**emulator_of(options, plan))).url
            exits.say("emulated: images come from an emulator beside this process, for free")
        else:
            url = resolve_base_url(base_url)
            check_spending(plan, options, base_url=url, keys=len(keys))
        path = out or Path(f"bench-{datetime.datetime.now():%Y%m%d-%H%M%S}.jsonl")  # noqa: DTZ005  # a name for people
        file = stack.enter_context(_open_new(path))
        cap = options["max_credits"]
        budget = Budget() if cap is None else Budget(cap)
        try:
            share = "process" if emulator else None
            exits.run(_measure(plan, file, url=url, keys=keys, share=share, budget=budget))
        except KeyboardInterrupt:
            with suppress(ResultsError):  # too early for any
                outputs.show(read_session(path))
            exits.say(f"raw results so far: {path}")
            raise
    found = outputs.show(read_session(path))
    exits.say(f"raw results: {path}")
    return _exit_code(found, budget)


@bench.command()
@click.argument("results", type=_RESULTS)
@_output_options
@json_option
def report(
    *, results: Path, html: Path | None, plots: Path | None, plot_format: str, as_json: bool
) -> None:
    """Report results again, without running anything."""
    _Outputs(html, plots, plot_format, as_json).show(_read(results))


@bench.command("compare")
@click.argument("before", type=_RESULTS)
@click.argument("after", type=_RESULTS)
@json_option
def compare_command(*, before: Path, after: Path, as_json: bool) -> None:
    """Show the ratios of AFTER to BEFORE, load by load."""
    comparison = compare(_read(before), _read(after))
    if as_json:
        print_json(comparison.to_dict())
    else:
        print_comparison(comparison, _console())


async def _measure(
    plan: Plan,
    file: TextIO,
    *,
    url: str,
    keys: tuple[str, ...],
    share: str | None,
    budget: Budget,
) -> None:
    header = Header(
        created=surroundings.now(),
        command=surroundings.command_line(sys.argv[1:], secrets=keys),
        versions=surroundings.versions(),
        machine=surroundings.machine(),
        base_url=url,
        seed=plan.seed,
        keys=len(keys),
        limit=surroundings.limit(plan.limit),
        max_in_flight=plan.max_in_flight,
        workload=surroundings.workload(plan.workload),
        slo=plan.slo,
    )
    async with SD3Client(
        keys,
        base_url=url,
        rate_limit=plan.limit,
        share=share,
        retry=plan.retry,
        max_in_flight=plan.max_in_flight,
    ) as client:
        session = Bench(
            header,
            file,
            ClientTarget(client),
            plan.workload,
            budget=budget,
            cooldown=plan.cooldown,
            display=lambda load, words: _display(client, load, words),
        )
        if plan.most_callers is not None:
            await session.find_knee(plan.scenarios[0], KneeSearch(plan.most_callers))
        else:
            await session.run(plan.scenarios, repeats=plan.repeats)


def _display(client: SD3Client, load: Load, words: str) -> AbstractContextManager[object]:
    def read() -> Snapshot:
        return Snapshot(
            total=load.scenario.requests,
            done=load.ended - load.failed,
            failed=load.failed,
            in_flight=load.in_flight,
            credits=load.credits,
            note=words,
            usage=Usage.of(client),
            frozen_for=client.frozen_for,
        )

    return display(read)


def _open_new(path: Path) -> TextIO:
    try:
        return path.open("x", encoding="utf-8")
    except FileExistsError as error:
        raise click.UsageError(f"--out: {path} exists; results are never overwritten") from error


def _read(path: Path) -> Session:
    try:
        return read_session(path)
    except ResultsError as error:
        raise click.UsageError(str(error)) from error


@attrs.frozen
class _Outputs:
    """How a session is to be shown."""

    html: Path | None
    plots: Path | None
    plot_format: str
    as_json: bool

    def show(self, session: Session) -> Report:
        """Print the report, and write the page and the pictures."""
        found = Report.of(session)
        if self.as_json:
            print_json(found.to_dict())
        else:
            print_report(found, _console())
        if self.html is not None:
            from sd3async.bench.page import render_page

            self.html.write_text(render_page(found, session), encoding="utf-8")
            exits.say(f"page: {self.html}")
        if self.plots is not None:
            from sd3async.bench.plots import draw_all, save

            self.plots.mkdir(parents=True, exist_ok=True)
            for name, figure in draw_all(found, session).items():
                save(figure, self.plots / f"{name}.{self.plot_format}", self.plot_format)
            exits.say(f"pictures: {self.plots}")
        return found


def _console() -> Console:
    # A table squeezed into 80 columns cannot be read: a pipe or a small window gets it whole.
    console = Console()
    console.width = max(console.width, 150)
    return console


def _exit_code(found: Report, budget: Budget) -> int:
    errors = {error for scenario in found.scenarios for error in scenario.errors}
    if budget.is_exhausted or any(error.startswith("PaymentRequiredError") for error in errors):
        return exits.OUT_OF_CREDITS
    return exits.SOME_FAILED if errors else exits.ALL_DONE
