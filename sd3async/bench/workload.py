"""What is asked for: a mix of endpoints, prompts, seeds, and uploads of a given size."""

import itertools
import math
import random
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence

import attrs

from sd3async.models.base import GenerationRequest
from sd3async.models.generate import CoreRequest, SD3Request, UltraRequest
from sd3async.models.sources import ImageSource, as_source

ENDPOINTS = ("sd3", "core", "ultra")
"""What a prompt is enough for."""

PROMPTS = (
    "a lighthouse at dusk, waves breaking on the rocks",
    "a bowl of oranges on a blue table, morning light",
    "an old tram climbing a steep street in the rain",
    "a fox asleep under a fern, shallow depth of field",
    "isometric drawing of a small workshop full of clocks",
    "portrait of a woman reading on a train, film grain",
    "aerial view of salt ponds, abstract colours",
    "a paper boat in a puddle, neon reflections",
)

MIN_UPLOAD_BYTES = 16_000
MAX_UPLOAD_BYTES = 10_000_000
"""The service takes 10 MiB for the whole body; the rest of the form needs a little of that."""

_STRENGTH = 0.6
_MAX_SEED = 4_294_967_294


@attrs.frozen(kw_only=True)
class Workload:
    """An endless, repeatable stream of requests.

    Attributes:
        mix: Weight of each endpoint; only their ratios matter.
        prompts: Taken in turn.
        model: Model of `sd3`; None is the service's default.
        output_format: `png`, `jpeg` or `webp`.
        upload_bytes: Size of the image that goes with `sd3` and `ultra`, which makes them
            image-to-image [bytes]; 0 is text-to-image.

    Raises:
        ValueError: A value is out of bounds.
    """

    mix: Mapping[str, float] = attrs.field(factory=lambda: {"sd3": 1.0})
    prompts: Sequence[str] = PROMPTS
    model: str | None = None
    output_format: str = "png"
    upload_bytes: int = 0

    def __attrs_post_init__(self) -> None:
        """Check the bounds."""
        for name, weight in self.mix.items():
            if name not in ENDPOINTS:
                raise ValueError(f"mix: {name!r} is unknown; allowed are {', '.join(ENDPOINTS)}")
            if not 0 <= weight < math.inf:
                raise ValueError(f"mix: {name} has weight {weight}; 0 or more is needed")
        if not sum(self.mix.values()) > 0:
            raise ValueError("mix: no endpoint has a weight above 0")
        if not self.prompts:
            raise ValueError("prompts: there is none")
        if self.upload_bytes and not MIN_UPLOAD_BYTES <= self.upload_bytes <= MAX_UPLOAD_BYTES:
            raise ValueError(
                f"upload_bytes: is {self.upload_bytes:,}; {MIN_UPLOAD_BYTES:,} to "
                f"{MAX_UPLOAD_BYTES:,} are allowed"
            )

    @property
    def mean_price(self) -> float:
        """Documented price of one request, on average [credits]."""
        total = sum(self.mix.values())
        prices = (
            self._request(name, "price", None, None).credits * weight
            for name, weight in self.mix.items()
        )
        return sum(prices) / total

    def requests(self, seed: int) -> Iterator[GenerationRequest]:
        """Yield requests without end.

        Each names a seed of its own, so that no cache can answer for the service.

        Args:
            seed: The same one gives the same requests.
        """
        rng = random.Random(seed)  # a workload, not secrets
        names, weights = list(self.mix), list(self.mix.values())
        image = None
        if self.upload_bytes:
            image = as_source(noise_png(self.upload_bytes, seed=seed), "image")
        for prompt in itertools.cycle(self.prompts):
            (name,) = rng.choices(names, weights)
            yield self._request(name, prompt, rng.randint(1, _MAX_SEED), image)

    def _request(
        self, name: str, prompt: str, seed: int | None, image: ImageSource | None
    ) -> GenerationRequest:
        strength = None if image is None else _STRENGTH
        output_format = self.output_format
        if name == "sd3":
            return SD3Request(
                prompt,
                model=self.model,
                seed=seed,
                output_format=output_format,
                image=image,
                strength=strength,
            )
        if name == "ultra":
            return UltraRequest(
                prompt, seed=seed, output_format=output_format, image=image, strength=strength
            )
        return CoreRequest(prompt, seed=seed, output_format=output_format)


def noise_png(size: int, *, seed: int = 0) -> bytes:
    """Return a PNG of random pixels that is exactly `size` long.

    Args:
        size: Length of the file [bytes]; at least `MIN_UPLOAD_BYTES`.
        seed: The same one gives the same file.

    Returns:
        A square RGB image, stored uncompressed and padded with a private chunk to the byte.
    """
    rng = random.Random(seed)  # noise, not secrets
    framing = 200  # [bytes] signature, chunk headers, one filter byte a row is counted below
    side = math.isqrt((size - framing) // 3)
    while True:
        rows = b"".join(b"\0" + rng.randbytes(3 * side) for _ in range(side))
        head = b"\x89PNG\r\n\x1a\n" + _chunk(
            b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        )
        pixels = _chunk(b"IDAT", zlib.compress(rows, level=0))
        tail = _chunk(b"IEND", b"")
        padding = size - len(head) - len(pixels) - len(tail) - len(_chunk(b"paDd", b""))
        if padding >= 0:
            return head + _chunk(b"paDd", b"\0" * padding) + pixels + tail
        side -= 1


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
