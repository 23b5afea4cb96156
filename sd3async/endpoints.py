"""One row for each endpoint, and the services that serve them.

Source:
    Stable Image generate endpoints, v2beta; for the gateway, the two documents it publishes.
"""

import attrs


@attrs.frozen
class Endpoint:
    """One endpoint.

    Attributes:
        path: Its path below the base URL.
    """

    path: str


ENDPOINTS = {
    "sd3": Endpoint("/v2beta/stable-image/generate/sd3"),
    "core": Endpoint("/v2beta/stable-image/generate/core"),
    "ultra": Endpoint("/v2beta/stable-image/generate/ultra"),
}
"""By the names that requests, the client's methods and manifests call them."""

BALANCE_PATH = "/v1/user/balance"


@attrs.frozen
class Service:
    """Who serves the API: the official service, or a gateway that resells it.

    Attributes:
        name: A name that `SD3Client(base_url=…)` takes instead of a URL.
        base_url: Where its paths begin.
        default_model: The model it documents as the default of `sd3`.
    """

    name: str
    base_url: str
    default_model: str = "sd3.5-large"


OFFICIAL = Service("official", "https://api.stability.ai")

SERVICES: dict[str, Service] = {
    service.name: service
    for service in (
        OFFICIAL,
        # Documents the names of 2024 only.
        Service("mjdjourney", "https://api.mjdjourney.cn/sd", default_model="sd3-large"),
    )
}


def find_service(name_or_url: str) -> Service:
    """Return the service of a preset's name or of a URL.

    Args:
        name_or_url: A key of `SERVICES`, or a base URL with its path prefix.

    Returns:
        The preset whose name or URL it is, else an unnamed service with the official defaults.
    """
    wanted = name_or_url.rstrip("/")
    for service in SERVICES.values():
        if wanted in (service.name, service.base_url):
            return service
    return Service(wanted, base_url=wanted)
