"""One row for each endpoint, and the services that serve them.

Source:
    Stable Image generate endpoints, v2beta; for the gateway, the two documents it publishes.
"""

import attrs

from sd3async.models.requests import (
    CoreRequest,
    GenerationRequest,
    SD3Request,
    UltraRequest,
)


@attrs.frozen
class Endpoint:
    """One endpoint.

    Attributes:
        name: Its short name, which is also the client's method.
        path: Its path below the base URL.
        request_type: The request value it takes.
    """

    name: str
    path: str
    request_type: type[GenerationRequest]


ENDPOINTS: dict[str, Endpoint] = {
    row.name: row
    for row in (
        Endpoint("sd3", "/v2beta/stable-image/generate/sd3", SD3Request),
        Endpoint("core", "/v2beta/stable-image/generate/core", CoreRequest),
        Endpoint("ultra", "/v2beta/stable-image/generate/ultra", UltraRequest),
    )
}

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
    if name_or_url in SERVICES:
        return SERVICES[name_or_url]
    base_url = name_or_url.rstrip("/")
    for service in SERVICES.values():
        if service.base_url == base_url:
            return service
    return Service(base_url, base_url)
