"""`sd3async generate`: one image."""

import sys
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs
import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sd3async._threads import in_thread
from sd3async.caller import Accept
from sd3async.cli.exits import Interrupted, run, say
from sd3async.cli.fields import field_options, given_fields, of_prompts
from sd3async.cli.options import (
    client_from_options,
    json_option,
    print_json,
    server_options,
)
from sd3async.cli.targets import Target
from sd3async.client import SD3Client
from sd3async.endpoints import POLL_SECONDS
from sd3async.errors import UnexpectedResponseError
from sd3async.models.base import GenerationRequest, fields_of
from sd3async.models.requests import REQUEST_TYPES, request_from_dict
from sd3async.models.results import GeneratedImage
from sd3async.progress import stderr_console
from sd3async.telemetry import (
    Answered,
    AttemptSent,
    Event,
    Frozen,
    PermitGranted,
    Retried,
    Started,
)
from sd3async.wire import ACCEPT_VALUES

F = TypeVar("F", bound=Callable[..., object])


@attrs.frozen(kw_only=True)
class _Call:
    """What is asked of the client, besides the request."""

    deadline: float | None
    accept: Accept
    base_url: str | None
    emulator: bool


def image_options(command: F) -> F:
    """Add the options of every command that makes one image, but for the fields.

    Args:
        command: The function that becomes the command; it hands them to `make_image`.
    """
    options: list[Callable[[F], F]] = [
        click.option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where the image goes: a file, a folder, or - for stdout.  [default: a new file "
            "named after prompt and seed]",
        ),
        click.option("--force", is_flag=True, help="Replace the file if it is there already."),
        click.option(
            "--deadline",
            type=float,
            metavar="SECONDS",
            help="Give up after so long, every wait included.",
        ),
        click.option(
            "--accept",
            type=click.Choice(ACCEPT_VALUES),
            default=ACCEPT_VALUES[0],
            show_default=True,
            help="Whether the answer is the image itself or JSON that holds it.",
        ),
        server_options,
        json_option,
    ]
    for add in reversed(options):
        command = add(command)
    return command


def make_image(
    endpoint: str,
    options: dict[str, Any],
    *,
    output: str | None,
    force: bool,
    deadline: float | None,
    accept: Accept,
    base_url: str | None,
    emulator: bool,
    as_json: bool,
) -> None:
    """Generate one image and print its file's name.

    Args:
        endpoint: The endpoint's name.
        options: The fields, as `field_options` and `field_arguments` give them.
        output: The value of `-o`.
        force: The value of `--force`.
        deadline: The value of `--deadline` [s].
        accept: The value of `--accept`.
        base_url: The value of `--base-url`.
        emulator: The value of `--emulator`.
        as_json: The value of `--json`.

    Raises:
        click.UsageError: The options contradict each other.
        InvalidRequestError: A field is no good.
    """
    target = Target(output, force)
    if as_json and target.is_stdout:
        raise click.UsageError("-o - and --json both want stdout; give one of them")
    call = _Call(deadline=deadline, accept=accept, base_url=base_url, emulator=emulator)
    given = given_fields(options)
    if "output_format" in fields_of(REQUEST_TYPES[endpoint]):
        target.settle_format(given)
    if "prompt" in given:
        given["prompt"] = _read_prompt(given["prompt"])
    request = request_from_dict(given, endpoint=endpoint)
    target.check(request.output_format, images=request.image_count)
    images = _generate(request, target, call)
    tell(images, emulated=emulator, as_json=as_json)


@click.command()
@click.argument("prompt")
@click.option(
    "--endpoint",
    type=click.Choice(list(of_prompts())),
    default="sd3",
    show_default=True,
    help="Which generator to use.",
)
@field_options(of_prompts().values())
@image_options
def generate(*, endpoint: str, **options: Any) -> None:
    r"""Generate one image from PROMPT (- reads it from stdin) and print its file's name.

    \b
    sd3async generate "a lighthouse at dusk" --seed 7 -o lighthouse.png
    sd3async generate "in winter" --image lighthouse.png --strength 0.6
    """
    run_with_options(endpoint, options)


def run_with_options(endpoint: str, options: dict[str, Any]) -> None:
    """Hand what a command got to `make_image`, the fields apart from the rest.

    Args:
        endpoint: The endpoint's name.
        options: All keywords of the command.
    """
    names = ("output", "force", "deadline", "accept", "base_url", "emulator", "as_json")
    own = {name: options.pop(name) for name in names}
    make_image(endpoint, options, **own)


def _read_prompt(prompt: str) -> str:
    if prompt != "-":
        return prompt
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"PROMPT: stdin holds no text: {error.reason}") from error


def _generate(request: GenerationRequest, target: Target, call: _Call) -> list[GeneratedImage]:
    def ask(client: SD3Client) -> Awaitable[list[GeneratedImage]]:
        return client.generate_samples(
            request, to=target.path, deadline=call.deadline, accept=call.accept
        )

    return fetch(ask, request.endpoint, target, base_url=call.base_url, emulator=call.emulator)


def fetch(
    ask: Callable[[SD3Client], Awaitable[list[GeneratedImage]]],
    endpoint: str,
    target: Target,
    *,
    base_url: str | None,
    emulator: bool,
) -> list[GeneratedImage]:
    """Ask a client for images, telling on stderr what the wait is for, and keep them.

    Args:
        ask: Asks for them.
        endpoint: Whose images they are.
        target: Where they go.
        base_url: The value of `--base-url`.
        emulator: The value of `--emulator`.
    """
    watcher = Watcher(endpoint)

    async def work() -> list[GeneratedImage]:
        async with client_from_options(
            base_url=base_url, emulator=emulator, observers=[watcher]
        ) as client:
            with watcher.shown():
                try:
                    images = await ask(client)
                except UnexpectedResponseError as error:  # those that came with it were paid for
                    for image in await _kept(error.images, target):
                        say(f"kept {image.path}, which is good")
                    raise
        return await _kept(images, target)

    try:
        return run(work())
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {watcher.charge_words}") from None


async def _kept(images: Iterable[GeneratedImage], target: Target) -> list[GeneratedImage]:
    return [attrs.evolve(image, path=await in_thread(target.save, image)) for image in images]


class Watcher:
    """Tells on stderr what the wait is for: an observer of the client."""

    def __init__(self, endpoint: str) -> None:
        self._console = stderr_console(highlight=False, soft_wrap=True)
        self._spinner = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._generating = f"generating with {endpoint}"
        self._task = self._spinner.add_task(self._generating)
        self._is_under_way = False
        self._was_cut_off = False
        self._started = ""

    @contextmanager
    def shown(self) -> Generator[None]:
        """Turn a spinner while the block runs, on a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with self._spinner:
            yield

    @property
    def charge_words(self) -> str:
        """What an interruption may cost."""
        if self._started:
            return f"it is started and charged: sd3async result {self._started} fetches it later"
        if self._is_under_way or self._was_cut_off:
            return "the request was on its way, so it may be charged all the same"
        return "nothing was charged"

    def __call__(self, event: Event) -> None:
        """Note an event, and say what a person should know."""
        match event:
            case PermitGranted():
                self._spinner.update(self._task, description=self._generating)
            case AttemptSent():
                self._is_under_way = True
            case Started(id=started):
                self._started = started
                self._say(f"started as {started}; it is looked for every {POLL_SECONDS:g} s")
            case Answered(status=status) if status >= 400:  # not charged, by the documents
                self._is_under_way = False
            case Frozen(seconds=seconds):
                self._spinner.update(self._task, description="waiting for the lock-out to end")
                self._say(f"the service answered 429: the key is locked out for {seconds:g} s")
            case Retried():
                self._was_cut_off |= event.may_be_charged
                self._is_under_way = False
                problem = event.problem.rstrip(".")
                if event.wait > 0:
                    self._say(
                        f"attempt {event.attempt}: {problem}; trying again in {event.wait:.1f} s"
                    )
            case _:
                pass

    def _say(self, words: str) -> None:
        self._console.print(f"sd3async: {words}", markup=False)


def tell(images: list[GeneratedImage], *, emulated: bool, as_json: bool) -> None:
    """Print what came of it: the files' names, or all facts as JSON.

    Args:
        images: The images, with the paths they are at.
        emulated: Whether an emulator made them.
        as_json: The value of `--json`.
    """
    for image in images:
        if image.is_filtered:
            say("warning: the service blurred this image, because it broke the content policy")
        if not as_json:
            _tell_one(image, emulated=emulated)
    if as_json:
        facts = [_facts(image, emulated=emulated) for image in images]
        print_json(facts[0] if len(facts) == 1 else {"images": facts})


def _tell_one(image: GeneratedImage, *, emulated: bool) -> None:
    source = "emulated" if emulated else image.request.endpoint
    say(
        f"{source}: {image.content_type}, {image.size:,} bytes, seed {image.seed}, "
        f"{image.credits:g} credits, {image.attempts} "
        f"{'attempt' if image.attempts == 1 else 'attempts'}, {image.timings.total:.1f} s"
    )
    if image.path is not None:
        click.echo(image.path)


def _facts(image: GeneratedImage, *, emulated: bool) -> dict[str, Any]:
    return {
        "path": None if image.path is None else str(image.path),
        "emulated": emulated,
        "request": image.request.to_dict(),
        "seed": image.seed,
        "finish_reason": image.finish_reason,
        "content_type": image.content_type,
        "size": image.size,
        "request_id": image.request_id,
        "credits": image.credits,
        "attempts": image.attempts,
        "unknown_charges": image.unknown_charges,
        "timings": attrs.asdict(image.timings),
    }
