"""One row for each endpoint, and the services that serve them.

Source:
    Stable Image generate endpoints, v2beta; for the gateway, the two documents it publishes.
"""

import attrs

PATHS = {
    "sd3": "/v2beta/stable-image/generate/sd3",
    "core": "/v2beta/stable-image/generate/core",
    "ultra": "/v2beta/stable-image/generate/ultra",
}
"""Paths below the base URL, by the names that requests, methods and manifests use."""

BALANCE_PATH = "/v1/user/balance"

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
