"""One row for each endpoint: where it is, what it costs, what it answers; and who serves them.

Source:
    Stable Image API, v2beta, and v1; for the gateway, the two documents it publishes.
"""

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

Answer: TypeAlias = Literal["image", "started", "artifacts"]
"""What a success is: the image itself, the id of a generation that has been started, or v1's list
of artifacts, of which each is an image."""

Body: TypeAlias = Literal["form", "json"]
"""How the fields of a request are laid out."""

_FIELD = re.compile(r"\{(\w+)\}")


@attrs.frozen
class PriceBySteps:
    """A price that grows with the steps beyond a number that it includes, and with the samples.

    Attributes:
        credits: For each sample [credits].
        steps: How many are included.
    """

    credits: float
    steps: int

    def of(self, steps: int | None, samples: int | None) -> float:
        """Return the price of one success [credits].

        Args:
            steps: How many are asked for; None is no more than are included.
            samples: How many; None is one.
        """
        share = max(1.0, (steps or 0) / self.steps)
        return round(self.credits * share * (samples or 1), 9)

    def words(self) -> str:
        """Return it in words."""
        return (
            f"{self.credits:g} credits for each sample of up to {self.steps} steps, "
            "more steps in proportion"
        )


@attrs.frozen
class Endpoint:
    """One row of the table.

    Attributes:
        name: By which requests, manifests and commands call it.
        path: Below the base URL; `{engine_id}` in it stands for the value of that field.
        credits: The documented price of one success [credits]; or prices by model, or by steps.
        answer: `image`, or `started` where the image has to be fetched later, or `artifacts`.
        body: `form` for `multipart/form-data`, or `json`.
    """

    name: str
    path: str
    credits: float | Mapping[str, float] | PriceBySteps
    answer: Answer = "image"
    body: Body = "form"

    def price(
        self, model: str | None = None, *, steps: int | None = None, samples: int | None = None
    ) -> float:
        """Return the price of one success [credits]: of a model, else of the dearest one.

        Args:
            model: The model, where prices go by it; one that has no price costs the most.
            steps: How many are asked for, where prices go by them.
            samples: How many are asked for, where prices go by them.
        """
        if isinstance(self.credits, PriceBySteps):
            return self.credits.of(steps, samples)
        if not isinstance(self.credits, Mapping):
            return self.credits
        return self.credits.get(model or "", max(self.credits.values()))

    @property
    def path_fields(self) -> list[str]:
        """The names of the fields that stand in the path."""
        return _FIELD.findall(self.path)


PRICES_DATE = "2026-06"
"""Month of the document that the prices below are from."""
PRICES_SOURCE = (
    "the service's own API document (v2beta; of v1 the one of 2024), in credits for each successful "
    "result"
)
DOLLARS_PER_CREDIT = 0.01
"""Source: pricing page, "1,000 credits for 10 dollars"."""

_STABLE_IMAGE = "/v2beta/stable-image"
_V1 = "/v1/generation/{engine_id}"
_V1_PRICE = PriceBySteps(0.9, steps=30)

ENDPOINTS: dict[str, Endpoint] = {
    row.name: row
    for row in (
        Endpoint(
            "sd3",
            f"{_STABLE_IMAGE}/generate/sd3",
            {
                "sd3.5-large": 6.5,
                "sd3.5-large-turbo": 4.0,
                "sd3.5-medium": 3.5,
                "sd3.5-flash": 2.5,
                # Names of 2024: re-routed to their successors, at the same price.
                "sd3-large": 6.5,
                "sd3-large-turbo": 4.0,
                "sd3-medium": 3.5,
            },
        ),
        Endpoint("core", f"{_STABLE_IMAGE}/generate/core", 3.0),
        Endpoint("ultra", f"{_STABLE_IMAGE}/generate/ultra", 8.0),
        Endpoint("upscale.fast", f"{_STABLE_IMAGE}/upscale/fast", 2.0),
        Endpoint("upscale.conservative", f"{_STABLE_IMAGE}/upscale/conservative", 40.0),
        Endpoint("upscale.creative", f"{_STABLE_IMAGE}/upscale/creative", 60.0, "started"),
        Endpoint("edit.erase", f"{_STABLE_IMAGE}/edit/erase", 5.0),
        Endpoint("edit.inpaint", f"{_STABLE_IMAGE}/edit/inpaint", 5.0),
        Endpoint("edit.outpaint", f"{_STABLE_IMAGE}/edit/outpaint", 4.0),
        Endpoint("edit.search-and-replace", f"{_STABLE_IMAGE}/edit/search-and-replace", 5.0),
        Endpoint("edit.search-and-recolor", f"{_STABLE_IMAGE}/edit/search-and-recolor", 5.0),
        Endpoint("edit.remove-background", f"{_STABLE_IMAGE}/edit/remove-background", 5.0),
        Endpoint(
            "edit.replace-background-and-relight",
            f"{_STABLE_IMAGE}/edit/replace-background-and-relight",
            8.0,
            "started",
        ),
        Endpoint("control.sketch", f"{_STABLE_IMAGE}/control/sketch", 5.0),
        Endpoint("control.structure", f"{_STABLE_IMAGE}/control/structure", 5.0),
        Endpoint("control.style", f"{_STABLE_IMAGE}/control/style", 5.0),
        Endpoint("control.style-transfer", f"{_STABLE_IMAGE}/control/style-transfer", 8.0),
        Endpoint("v1.text-to-image", f"{_V1}/text-to-image", _V1_PRICE, "artifacts", "json"),
        Endpoint("v1.image-to-image", f"{_V1}/image-to-image", _V1_PRICE, "artifacts"),
        Endpoint("v1.masking", f"{_V1}/image-to-image/masking", _V1_PRICE, "artifacts"),
    )
}
"""By name; `sd3async.register_endpoint` adds to it."""

BALANCE_PATH = "/v1/user/balance"
ACCOUNT_PATH = "/v1/user/account"
ENGINES_PATH = "/v1/engines/list"
RESULTS_PATH = "/v2beta/results"
"""Where what an endpoint has started is fetched, by its id."""
POLL_SECONDS = 10.0
"""Between two looks for a result. Source: "no more than once every 10 seconds"."""

EMULATOR_HEADER = "x-emulator"
"""In every answer of this package's emulator, and in none of a service."""


@attrs.frozen
class Service:
    """Who serves the API: the official service, or a gateway that resells it.

    Attributes:
        base_url: Where its paths begin.
        default_model: The model it documents as the default of `sd3`.
    """

    base_url: str
    default_model: str = "sd3.5-large"


SERVICES = {
    "official": Service("https://api.stability.ai"),
    # Documents the names of 2024 only.
    "mjdjourney": Service("https://api.mjdjourney.cn/sd", default_model="sd3-large"),
}
"""By the names that `SD3Client(base_url=…)` takes instead of a URL."""


def find_service(name_or_url: str) -> Service:
    """Return the service of a preset's name or of a URL.

    Args:
        name_or_url: A key of `SERVICES`, or a base URL with its path prefix.

    Returns:
        The preset whose name or URL it is, else a service with the official defaults.
    """
    wanted = name_or_url.rstrip("/")
    for name, service in SERVICES.items():
        if wanted in (name, service.base_url):
            return service
    return Service(wanted)
