"""`sd3async bench`: measure how concurrency behaves, and report it."""

import datetime
import math
import sys
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console

from sd3async import config
from sd3async.bench import surroundings
from sd3async.bench.compare import compare
from sd3async.bench.knee import KneeSearch
from sd3async.bench.load import CreditCap, Load
from sd3async.bench.report import Report, print_comparison, print_report
from sd3async.bench.runner import Bench
from sd3async.bench.samples import Header, ResultsError, Session, read_session
from sd3async.bench.target import ClientTarget
from sd3async.cli import exits
from sd3async.cli.bench_emulator import emulator_process
from sd3async.cli.bench_options import (
    NEW_FILE,
    RESULTS,
    ReportOptions,
    RunOptions,
    options_of,
    taken,
)
from sd3async.cli.bench_plan import Plan, check_spending, emulator_of, plan_of, resolve_base_url
from sd3async.cli.options import (
    EMULATED_KEY,
    check_server,
    json_option,
    print_json,
    server_options,
)
from sd3async.client import SD3Client
from sd3async.progress import Snapshot, Usage, display


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


@bench.command()
@server_options
@options_of(RunOptions)
@click.option(
    "--out",
    type=NEW_FILE,
    metavar="FILE",
    help="Raw results; must not exist.  [default: bench-DATE-TIME.jsonl]",
)
@options_of(ReportOptions)
@json_option
def run(*, base_url: str | None, emulator: bool, out: Path | None, **options: Any) -> int:
    r"""Run loads, keep every sample, and report.

    \b
    sd3async bench --emulator --concurrency 1,4,16,64,128 --slo 5s --html report.html
    sd3async bench --emulator --rate 5,10,14 --arrival poisson --repeat 3
    sd3async bench --emulator --find-knee --emulator-latency 2..8
    """
    wanted, shown_as = taken(RunOptions, options), taken(ReportOptions, options)
    check_server(base_url=base_url, emulator=emulator)
    plan = plan_of(wanted)
    keys = (EMULATED_KEY,) if emulator else config.read_keys(None)
    with ExitStack() as stack:
        if emulator:
            url = stack.enter_context(emulator_process(**emulator_of(wanted))).url
            exits.say("emulated: images come from an emulator beside this process, for free")
        else:
            url = resolve_base_url(base_url)
            check_spending(plan, base_url=url, keys=len(keys))
        path = out or Path(f"bench-{datetime.datetime.now():%Y%m%d-%H%M%S}.jsonl")  # noqa: DTZ005  # a name for people
        file = stack.enter_context(_open_new(path))
        budget = CreditCap(math.inf if wanted.max_credits is None else wanted.max_credits)
        try:
            share = "process" if emulator else None
            exits.run(_measure(plan, file, url=url, keys=keys, share=share, budget=budget))
        except KeyboardInterrupt:
            with suppress(ResultsError):  # too early for any
                _show(read_session(path), shown_as)
            exits.say(f"raw results so far: {path}")
            raise
    found = _show(read_session(path), shown_as)
    exits.say(f"raw results: {path}")
    return _exit_code(found, budget)


@bench.command()
@click.argument("results", type=RESULTS)
@options_of(ReportOptions)
@json_option
def report(*, results: Path, **options: Any) -> None:
    """Report results again, without running anything."""
    _show(_read(results), taken(ReportOptions, options))


@bench.command("compare")
@click.argument("before", type=RESULTS)
@click.argument("after", type=RESULTS)
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
    budget: CreditCap,
) -> None:
    header = Header(
        created=surroundings.now(),
        command=surroundings.command_line(sys.argv[1:], secrets=keys),
        versions=surroundings.versions(),
        machine=surroundings.machine(),
        base_url=url,
        seed=plan.told.seed,
        keys=len(keys),
        limit=surroundings.limit(plan.limit),
        max_in_flight=plan.max_in_flight,
        workload=surroundings.workload(plan.workload),
        slo=plan.told.slo,
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
        if plan.told.find_knee:
            await session.find_knee(plan.scenarios[0], KneeSearch(plan.told.most))
        else:
            await session.run(plan.scenarios, repeats=plan.told.repeat)


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


def _show(session: Session, wanted: ReportOptions) -> Report:
    """Print the report, and write the page and the pictures."""
    found = Report.of(session)
    if wanted.as_json:
        print_json(found.to_dict())
    else:
        print_report(found, _console())
    if wanted.html is not None:
        from sd3async.bench.page import render_page

        wanted.html.write_text(render_page(found, session), encoding="utf-8")
        exits.say(f"page: {wanted.html}")
    if wanted.plots is not None:
        from sd3async.bench.plots import draw_all, save

        wanted.plots.mkdir(parents=True, exist_ok=True)
        for name, figure in draw_all(found, session).items():
            save(figure, wanted.plots / f"{name}.{wanted.plot_format}", wanted.plot_format)
        exits.say(f"pictures: {wanted.plots}")
    return found


def _console() -> Console:
    # A table squeezed into 80 columns cannot be read: a pipe or a small window gets it whole.
    console = Console()
    console.width = max(console.width, 150)
    return console


def _exit_code(found: Report, budget: CreditCap) -> int:
    errors = {error for scenario in found.scenarios for error in scenario.errors}
    if budget.is_exhausted or any(error.startswith("PaymentRequiredError") for error in errors):
        return exits.OUT_OF_CREDITS
    return exits.SOME_FAILED if errors else exits.ALL_DONE
