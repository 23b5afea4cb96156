"""Asyncio-first client for the Stable Image API: many images, the rate limit kept.

async with SD3Client() as client:
    image = await client.sd3("a lighthouse at dusk", seed=7)
    image.save("lighthouse.png")
"""

from sd3async import _startup as _startup  # first: the other imports take their time
from sd3async.client import SD3Client
from sd3async.config import Timeouts
from sd3async.config import __version__ as __version__
from sd3async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConnectFailedError,
    ContentFilteredError,
    ContentModerationError,
    FailedAttempt,
    InvalidRequestError,
    NotEnoughTimeError,
    PayloadTooLargeError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ResponseReadError,
    SD3Error,
    ServerError,
    TransportError,
    UnexpectedResponseError,
    UnprocessableError,
)
from sd3async.gather import gather_generations, iter_generations
from sd3async.limiter import RateLimit
from sd3async.models.fields import ASPECT_RATIOS, OUTPUT_FORMATS, STYLE_PRESETS
from sd3async.models.requests import (
    SD3_MODELS,
    CoreRequest,
    GenerationRequest,
    SD3Request,
    UltraRequest,
    request_from_dict,
)
from sd3async.models.results import GeneratedImage, Outcome, Timings
from sd3async.retry import RetryPolicy

__all__ = [
    "ASPECT_RATIOS",
    "OUTPUT_FORMATS",
    "SD3_MODELS",
    "STYLE_PRESETS",
    "APIError",
    "AuthenticationError",
    "BadRequestError",
    "ClientClosedError",
    "ConnectFailedError",
    "ContentFilteredError",
    "ContentModerationError",
    "CoreRequest",
    "FailedAttempt",
    "GeneratedImage",
    "GenerationRequest",
    "InvalidRequestError",
    "NotEnoughTimeError",
    "Outcome",
    "PayloadTooLargeError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "RateLimit",
    "RateLimitError",
    "RequestTimeoutError",
    "ResponseReadError",
    "RetryPolicy",
    "SD3Client",
    "SD3Error",
    "SD3Request",
    "ServerError",
    "Timeouts",
    "Timings",
    "TransportError",
    "UltraRequest",
    "UnexpectedResponseError",
    "UnprocessableError",
    "gather_generations",
    "iter_generations",
    "request_from_dict",
]
