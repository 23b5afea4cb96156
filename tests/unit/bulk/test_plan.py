"""Plans: exact, and nothing is sent or written."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async import RateLimit
from sd3async.bulk import Defaults, ManifestError
from sd3async.bulk.plan import plan, soonest_end
from support.pictures import picture

ENDPOINTS = ("sd3", "core", "ultra")


async def test_count_and_credits_are_exact(tmp_path: Path) -> None:
    """An estimate is not something to set a cap by."""
    manifest = tmp_path / "prompts.jsonl"
    rows: list[Any] = [
        {"prompt": f"p{number}", "endpoint": ENDPOINTS[number % 3]} for number in range(100)
    ]
    rows += [{"prompt": "twin", "endpoint": "core", "seed": 9}] * 3
    manifest.write_text("\n".join(json.dumps(row) for row in rows))
    planned = await plan(manifest, out=tmp_path / "out")

    assert (planned.total, planned.to_send, planned.linked) == (103, 101, 2)
    assert planned.credits == 34 * 6.5 + 33 * 3.0 + 33 * 8.0 + 3.0
    assert planned.dollars == pytest.approx(planned.credits / 100)
    assert not (tmp_path / "out").exists()


async def test_variations_are_counted(tmp_path: Path) -> None:
    """`--repeat 4` costs four times as much."""
    planned = await plan(["a", "b"], defaults=Defaults(repeat=4))

    assert (planned.to_send, planned.credits) == (8, 52.0)


async def test_a_bad_manifest_has_no_plan() -> None:
    """A price for lines that cannot be sent would be wrong."""
    with pytest.raises(ManifestError):
        await plan(["fine", ""])

    assert (await plan(["fine", ""], skip_invalid=True)).invalid == 1


@pytest.mark.parametrize(
    ("requests", "limit", "keys", "seconds"),
    [
        (1, RateLimit(), 1, 0.0),
        (150, RateLimit(), 1, 0.0),
        (300, RateLimit(), 1, 10.0),
        (300, RateLimit(), 2, 0.0),
        (11, RateLimit(max_rate=2.0), 1, 5.0),
        (10**6, RateLimit.unlimited(), 1, 0.0),
        (1_000_000, RateLimit(), 1, 66_656.67),
    ],
)
def test_the_soonest_end_is_what_the_limit_allows(
    requests: int, limit: RateLimit, keys: int, seconds: float
) -> None:
    """Somebody plans a night by it."""
    assert soonest_end(requests, limit, keys) == pytest.approx(seconds)


@given(st.integers(1, 10**6), st.integers(1, 10))
def test_more_keys_are_never_slower(requests: int, keys: int) -> None:
    """A pool must shorten a job."""
    limit = RateLimit()

    assert soonest_end(requests, limit, keys + 1) <= soonest_end(requests, limit, keys)


async def test_a_csv_needs_no_prompt_where_its_endpoint_takes_none(tmp_path: Path) -> None:
    """A folder of images to enlarge is a list of files."""
    (tmp_path / "small.png").write_bytes(picture())
    manifest = tmp_path / "images.csv"
    manifest.write_text("image\nsmall.png\nsmall.png\n")
    planned = await plan(manifest, defaults=Defaults(endpoint="upscale.fast"))

    assert (planned.to_send, planned.credits) == (2, 4.0)
