"""Settings: refused with a sentence before a client exists, and never with the key in it."""

import pickle
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sd3async import (
    InvalidRequestError,
    RateLimit,
    RetryPolicy,
    SD3Client,
    SD3Request,
    Timeouts,
)
from sd3async.config import (
    check_proxy,
    count_slots,
    read_ca_file,
    read_deadline,
)
from sd3async.endpoints import find_service
from sd3async.telemetry import Event, log_event

KEY = "sk-secret0123456789"


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable, comma-separated for a pool."""
    monkeypatch.setenv("STABILITY_API_KEY", "sk-a, sk-b,")

    assert SD3Client().keys == 2


def test_without_a_key_there_is_no_client() -> None:
    """The sentence names both ways to give one."""
    with pytest.raises(InvalidRequestError, match="pass api_key=… or set STABILITY_API_KEY"):
        SD3Client()


@pytest.mark.parametrize(
    "key",
    [
        *("", "sk secret", "sk-secret\n", "sk-sécret", ["sk-a", "sk-a"]),
        *(b"sk-secret", 5, [None], [b"sk-secret"], {"sk-secret": 1}, ["sk-a", "secret\ud800"]),
    ],
)
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: Any) -> None:
    """A pasted newline would otherwise fail deep inside, with the key in the message."""
    with pytest.raises(InvalidRequestError) as caught:
        SD3Client(key)

    assert "secret" not in str(caught.value)
    assert caught.value.field == "api_key"


def test_neither_repr_nor_pickle_holds_the_key() -> None:
    """Both end up in logs and queues."""
    client = SD3Client(KEY)

    assert KEY not in repr(client)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(client)


def test_the_base_url_may_be_a_url_a_preset_or_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway is a base URL with its path prefix."""
    assert SD3Client(KEY).base_url == "https://api.stability.ai"
    assert SD3Client(KEY, base_url="mjdjourney").base_url == "https://api.mjdjourney.cn/sd"
    monkeypatch.setenv("STABILITY_BASE_URL", "https://gateway.example/sd/")
    assert SD3Client(KEY).base_url == "https://gateway.example/sd"


@pytest.mark.parametrize(
    ("name_or_url", "model"),
    [
        ("official", "sd3.5-large"),
        ("https://api.stability.ai/", "sd3.5-large"),
        ("mjdjourney", "sd3-large"),
        ("https://api.mjdjourney.cn/sd", "sd3-large"),
        ("https://other.example", "sd3.5-large"),
    ],
)
def test_the_default_model_is_the_services_own(name_or_url: str, model: str) -> None:
    """One gateway documents only the names of 2024."""
    assert find_service(name_or_url).default_model == model


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://api.stability.ai", "would send the key unencrypted"),
        ("http://192.168.0.1:80", "would send the key unencrypted"),
        ("ftp://a", "an http"),
        ("api.stability.ai", "a preset's name"),
        ("https://a/?x=1", "has a query"),
        ("https://user:pw@a/", "a password"),
    ],
)
def test_a_base_url_that_would_leak_or_lose_is_refused(url: str, words: str) -> None:
    """The key goes with every request."""
    with pytest.raises(InvalidRequestError, match=words):
        SD3Client(KEY, base_url=url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8", "http://localhost", "http://[::1]:9"])
def test_plain_http_to_this_machine_is_fine(url: str) -> None:
    """The emulator lives there."""
    assert SD3Client(KEY, base_url=url).base_url == url


def test_plain_http_elsewhere_must_be_asked_for_by_name() -> None:
    """Somebody's gateway on a private network."""
    client = SD3Client(KEY, base_url="http://10.0.0.1", allow_insecure_http=True)

    assert client.base_url == "http://10.0.0.1"


def test_in_flight_defaults_to_what_one_key_needs() -> None:
    """15 requests a second that take up to 20 s each."""
    assert SD3Client(KEY).max_in_flight == 300
    assert SD3Client(["sk-a", "sk-b"]).max_in_flight == 600
    assert SD3Client(KEY, max_in_flight=7).max_in_flight == 7
    with pytest.raises(InvalidRequestError, match="max_in_flight: is 0"):
        SD3Client(KEY, max_in_flight=0)


async def test_a_given_sessions_pool_bounds_what_is_in_flight() -> None:
    """A permit that waits for a connection arrives in the wrong window."""
    async with aiohttp.ClientSession() as session:
        assert count_slots(None, 1, session) == 100
    unbounded = aiohttp.TCPConnector(limit=0, limit_per_host=40)
    async with aiohttp.ClientSession(connector=unbounded) as session:
        assert count_slots(None, 1, session) == 40


@pytest.mark.parametrize("value", ["x" * 257, "a\nb", "\ud800", 5, b"anna", True])
def test_client_ids_fit_in_a_header(value: Any) -> None:
    """256 characters are documented; a line break would forge a header."""
    with pytest.raises(InvalidRequestError, match=r"^client_user_id: "):
        SD3Client(KEY, client_user_id=value)
    with pytest.raises(InvalidRequestError, match=r"^client_user_id: "):
        SD3Client(KEY).with_options(client_user_id=value)


@pytest.mark.parametrize(
    "value",
    [0, -1, float("inf"), float("nan"), True, "30", timedelta(0), timedelta.min],
)
def test_a_duration_is_seconds_above_zero(value: Any) -> None:
    """Zero would fail every request, and infinity is spelt None."""
    with pytest.raises(InvalidRequestError, match=r"^read: is"):
        Timeouts(read=value)
    with pytest.raises(InvalidRequestError, match=r"^deadline: is"):
        read_deadline(value)
    with pytest.raises(InvalidRequestError, match=r"^period: is"):
        RateLimit(period=value)


@pytest.mark.parametrize(
    ("given", "environment"), [(KEY, ""), ([KEY], ""), (None, KEY), (None, "sk secret")]
)
def test_no_refusal_leads_to_the_key(
    given: Any, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Error trackers keep the locals of every frame, and a client that was refused is one."""
    monkeypatch.setenv("STABILITY_API_KEY", environment)
    with pytest.raises(InvalidRequestError) as caught:
        SD3Client(given, retry=3)  # type: ignore[arg-type]  # as a caller without types would

    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    ours = [frame.locals for frame in frames if frame.filename != __file__]
    assert len(ours) > 1
    assert "secret" not in str(ours)


def test_a_duration_may_be_a_timedelta() -> None:
    """Programs keep durations as such, and seconds are what they mean."""
    minute = timedelta(minutes=1)

    assert Timeouts(connect=minute, read=None) == Timeouts(connect=60.0, read=None)
    assert RateLimit(lockout=minute, period=timedelta(seconds=5)).ceiling == 30
    assert read_deadline(timedelta(milliseconds=500)) == 0.5
    assert read_deadline(None) is None


async def _never(_: Event) -> None: ...


def _hears_nothing(_: Event) -> Iterator[None]:
    yield


class _AsyncObserver:
    async def __call__(self, _: Event) -> None: ...


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "seconds for timeouts": ({"timeouts": 30}, r"timeouts: is int; pass Timeouts\(…\)"),
    "a rate for a limit": ({"rate_limit": 15}, r"rate_limit: is int; pass RateLimit\(…\)"),
    "a number of retries": ({"retry": 3}, r"retry: is int; pass RetryPolicy\(…\)"),
    "a class": ({"retry": RetryPolicy}, r"retry: is type; pass RetryPolicy"),
    "one observer": ({"observers": log_event}, "observers: must be a list of callables"),
    "no observer": ({"observers": [5]}, "observers: must be a list of callables"),
    "a generator function": ({"observers": [_hears_nothing]}, "none of them async or a generator"),
    "an async observer": ({"observers": [_never]}, "none of them async"),
    "an async object": ({"observers": [_AsyncObserver()]}, "none of them async"),
    "one trace": ({"trace_configs": aiohttp.TraceConfig()}, "must be a list of aiohttp.Trace"),
    "no session": ({"session": aiohttp.ClientSession}, "session: is type; pass an aiohttp"),
    "a bool in flight": ({"max_in_flight": True}, "max_in_flight: is True; a whole number"),
    "half in flight": ({"max_in_flight": 2.5}, "max_in_flight: is 2.5; a whole number"),
    "a word for a bool": ({"allow_insecure_http": "no"}, "is str; pass True or False"),
    "a word for trust": ({"trust_env": "no"}, "trust_env: is str; pass True or False"),
    "a port for a proxy": ({"proxy": 3128}, "proxy: is int; pass a URL"),
    "a proxy's brackets": ({"proxy": "http://u:p@[::1"}, "proxy: is nothing that can be called"),
    "a proxy's port": ({"proxy": "http://p:99999"}, "proxy: is nothing that can be called"),
    "an empty proxy": ({"proxy": ""}, "proxy: is nothing that can be called"),
    "no CA file": ({"ca_file": 5}, "ca_file: holds no certificates"),
    "an empty CA file": ({"ca_file": ""}, "ca_file: holds no certificates"),
    "no text as URL": ({"base_url": b"https://a"}, "base_url: is bytes; pass an http"),
    "an empty URL": ({"base_url": ""}, "base_url: is nothing that can be called"),
    "an impossible port": ({"base_url": "https://a:99999"}, "base_url: is nothing"),
    "brackets": ({"base_url": "https://[::1"}, "base_url: is nothing"),
    "a line break": ({"base_url": "https://a\n.b"}, "base_url: is nothing"),
}


@pytest.mark.parametrize(("options", "words"), WRONG.values(), ids=WRONG)
def test_an_option_of_the_wrong_kind_is_refused_at_once(
    options: dict[str, Any], words: str
) -> None:
    """An `AttributeError` in the middle of the first call tells nobody what to change."""
    with pytest.raises(InvalidRequestError, match=words) as caught:
        SD3Client(KEY, **options)

    assert caught.value.field == next(iter(options))


def variant_of(name: str, value: Any) -> SD3Client:
    return SD3Client(KEY).with_options(**{name: value})


@pytest.mark.parametrize("name", ["timeouts", "retry", "observers"])
def test_a_variant_checks_its_options_too(name: str) -> None:
    """A variant is made in the middle of a program, where a wrong one surprises most."""
    with pytest.raises(InvalidRequestError, match=f"^{name}: "):
        variant_of(name, 3)


def test_a_url_in_the_wrong_place_is_not_shown() -> None:
    """Arguments get mixed up, and a key or a password among them must stay secret."""
    for url in ("sk-secret", "ftp://me:secret@host", "https://me:secret@host"):
        with pytest.raises(InvalidRequestError) as caught:
            SD3Client(KEY, base_url=url)
        assert "secret" not in str(caught.value)
    with pytest.raises(InvalidRequestError) as caught:
        check_proxy("socks5://me:secret@host:1080")
    assert "secret" not in str(caught.value)


def test_a_proxy_is_an_http_url_that_may_hold_a_password() -> None:
    """aiohttp speaks to no other kind."""
    check_proxy(None)
    check_proxy("http://me:secret@proxy.example:3128")
    with pytest.raises(InvalidRequestError, match=r"^proxy: is int; pass a URL"):
        check_proxy(3128)  # type: ignore[arg-type]  # as a caller without types would


@pytest.mark.parametrize("text", [None, "", "no certificate"], ids=["missing", "empty", "text"])
def test_a_ca_file_holds_certificates(text: str | None, tmp_path: Path) -> None:
    """Found out at the first call it would look like a broken connection."""
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)

    assert read_ca_file(None) is True
    for ca_file in (path, str(path), "", "a\0b", 5):
        with pytest.raises(InvalidRequestError, match=r"^ca_file: holds no certificates"):
            read_ca_file(ca_file)  # type: ignore[arg-type]  # as a caller without types would


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("generate", ("a cat",), {}, r"request: is str; .* client\.sd3\(prompt\)"),
    ("generate", ({"prompt": "a"},), {}, "request: is dict; pass a request value"),
    ("generate", (SD3Request("a"),), {"deadline": "30"}, "deadline: is '30'; a number of seconds"),
    ("sd3", ("a",), {"deadline": True}, "deadline: is True"),
    ("balance", (), {"deadline": float("nan")}, "deadline: is nan"),
    ("sd3", ("half a \ud83d",), {}, "prompt: holds .*lone surrogate"),
    ("sd3", ("a\0b",), {}, "prompt: holds .* NUL"),
    ("core", ("a",), {"seed": float("1e999")}, "seed: is inf; a whole number"),
    ("core", ("a",), {"seed": "7"}, "seed: is '7'; a whole number"),
    ("core", ("a",), {"seed": 10**5_000}, "seed: is a huge int; a whole number"),
]


@pytest.mark.parametrize(("method", "arguments", "options", "words"), CALLS, ids=range(len(CALLS)))
async def test_a_call_with_a_wrong_argument_costs_nothing(
    method: str, arguments: tuple[Any, ...], options: dict[str, Any], words: str
) -> None:
    """It ends with a sentence before anything is sent: nothing listens at that address."""
    client = SD3Client(KEY, base_url="http://127.0.0.1:9")
    with pytest.raises(InvalidRequestError, match=words):
        await getattr(client, method)(*arguments, **options)


async def test_trace_configs_belong_to_a_session_of_our_own() -> None:
    """Dropping them silently would hide what the caller wants to see."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidRequestError, match="give it to the session you pass"):
            SD3Client(KEY, session=session, trace_configs=[aiohttp.TraceConfig()])


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        *[({name: "x"}, "sets itself") for name in ("Authorization", "HOST", "content-length")],
        *[({name: "x"}, "sets itself") for name in ("content-type", "Accept", "transfer-encoding")],
        ({"x y": "z"}, "no name of a header"),
        ({"": "z"}, "no name of a header"),
        ({"x:": "z"}, "no name of a header"),
        ({7: "z"}, "no name of a header"),
        ({"x": "a\r\nauthorization: b"}, "cannot be sent"),
        ({"x": 7}, "cannot be sent"),
        ({"x": "y" * 8_001}, "cannot be sent"),
        ([("x", "y")], "is list; pass a mapping"),
    ],
    ids=repr,
)
def test_extra_headers_are_none_of_the_clients_own(headers: Any, words: str) -> None:
    """One of them would replace the key, or forge a second request."""
    with pytest.raises(InvalidRequestError, match=words) as caught:
        SD3Client("sk-test", extra_headers=headers)

    assert caught.value.field == "extra_headers"
    assert "authorization: b" not in str(caught.value)


def test_the_values_of_extra_headers_are_never_shown() -> None:
    """A gateway's own key may be among them."""
    client = SD3Client("sk-test", extra_headers={"x-gateway-key": "hush"})

    assert "hush" not in repr(vars(client))
