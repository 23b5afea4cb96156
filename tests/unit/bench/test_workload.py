"""What is asked for."""

import itertools
from collections import Counter
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sd3async import CoreRequest, SD3Request, UltraRequest
from sd3async.bench.workload import MIN_UPLOAD_BYTES, Workload, noise_png


def test_a_mix_is_kept_in_the_long_run() -> None:
    """A mix of three to one that is not measures other prices and other latencies."""
    mix = {"sd3": 3.0, "core": 1.0, "ultra": 1.0}
    names = Counter(item.endpoint for item in itertools.islice(Workload(mix=mix).requests(1), 5000))

    assert names["sd3"] == pytest.approx(3000, rel=0.05)
    assert names["core"] == pytest.approx(1000, rel=0.1)


def test_prompts_are_taken_in_turn_and_every_seed_is_new() -> None:
    """A cache that answers for the service would be measured instead of it."""
    found = list(itertools.islice(Workload(prompts=("a", "b")).requests(1), 100))

    assert [item.prompt for item in found[:4]] == ["a", "b", "a", "b"]
    assert len({item.seed for item in found}) == 100


def test_a_seed_decides_the_requests() -> None:
    """A run that cannot be repeated cannot be compared."""
    workload = Workload(mix={"sd3": 1, "core": 1})
    first = list(itertools.islice(workload.requests(7), 20))

    assert list(itertools.islice(workload.requests(7), 20)) == first
    assert list(itertools.islice(workload.requests(8), 20)) != first


def test_the_mean_price_follows_the_mix_and_the_model() -> None:
    """It is what people are told before they spend it."""
    assert Workload(mix={"sd3": 1, "core": 3}).mean_price == pytest.approx((6.5 + 9) / 4)
    assert Workload(model="sd3.5-flash").mean_price == 2.5
    assert Workload(mix={"ultra": 2}).mean_price == 8.0


def test_an_upload_goes_with_the_endpoints_that_take_one() -> None:
    """Core is text only: an image there would be refused before it is sent."""
    workload = Workload(mix={"sd3": 1, "core": 1, "ultra": 1}, upload_bytes=20_000)
    found = list(itertools.islice(workload.requests(1), 30))

    assert all(item.image for item in found if isinstance(item, SD3Request | UltraRequest))
    assert any(isinstance(item, CoreRequest) for item in found)


@settings(max_examples=20)
@given(size=st.integers(MIN_UPLOAD_BYTES, 300_000))
def test_an_upload_is_a_picture_of_exactly_the_size_asked_for(size: int) -> None:
    """`--upload-size 2MB` that sends 1.9 measures another upload."""
    data = noise_png(size)

    assert len(data) == size
    assert data.startswith(b"\x89PNG")


def test_an_upload_can_be_decoded() -> None:
    """A service that looks into the picture must find one."""
    with Image.open(BytesIO(noise_png(50_000))) as image:
        image.load()

        assert image.mode == "RGB"
        assert min(image.size) > 64


@pytest.mark.parametrize(
    "wrong",
    [
        {"mix": {"video": 1.0}},
        {"mix": {"sd3": -1.0}},
        {"mix": {"sd3": 0.0}},
        {"prompts": ()},
        {"upload_bytes": 100},
        {"upload_bytes": 11_000_000},
    ],
    ids=str,
)
def test_values_out_of_bounds_are_refused(wrong: dict[str, object]) -> None:
    """A run of an hour is the wrong place to find a typing error."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Workload(**wrong)  # type: ignore[arg-type]  # on purpose
