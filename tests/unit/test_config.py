"""Settings: refused with a sentence before a client exists, and never with the key in it."""

import pickle

import aiohttp
import pytest

from sd3async import InvalidRequestError, SD3Client, Timeouts
from sd3async.config import count_slots, is_official
from sd3async.endpoints import OFFICIAL, SERVICES, find_service

KEY = "sk-secret0123456789"


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable, comma-separated for a pool."""
    monkeypatch.setenv("STABILITY_API_KEY", "sk-a, sk-b,")

    assert SD3Client().keys == 2


def test_without_a_key_there_is_no_client() -> None:
    """The sentence names both ways to give one."""
    with pytest.raises(InvalidRequestError, match="pass api_key=… or set STABILITY_API_KEY"):
        SD3Client()


@pytest.mark.parametrize("key", ["", "sk secret", "sk-secret\n", "sk-sécret", ["sk-a", "sk-a"]])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str | list[str]) -> None:
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
    assert OFFICIAL in SERVICES.values()


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


def test_only_the_official_service_is_official() -> None:
    """Load without a limiter must never go there."""
    assert is_official("https://api.stability.ai")
    assert not is_official("https://stability.ai.example")
    assert not is_official("http://127.0.0.1:1")


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


@pytest.mark.parametrize("value", ["x" * 257, "a\nb"])
def test_client_ids_fit_in_a_header(value: str) -> None:
    """256 characters are documented; a line break would forge a header."""
    with pytest.raises(InvalidRequestError, match=r"client_user_id: .* at most 256 printable"):
        SD3Client(KEY, client_user_id=value)


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_timeout_is_seconds_or_none(value: float) -> None:
    """Zero would fail every request, and infinity is spelt None."""
    with pytest.raises(ValueError, match="read: is"):
        Timeouts(read=value)


async def test_trace_configs_belong_to_a_session_of_our_own() -> None:
    """Dropping them silently would hide what the caller wants to see."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidRequestError, match="give them to the session you pass"):
            SD3Client(KEY, session=session, trace_configs=[aiohttp.TraceConfig()])
