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
from sd3async.models.base import GenerationRequest
from sd3async.models.control import (
    SketchRequest,
    StructureRequest,
    StyleRequest,
    StyleTransferRequest,
)
from sd3async.models.edit import (
    EraseRequest,
    InpaintRequest,
    OutpaintRequest,
    RemoveBackgroundRequest,
    ReplaceBackgroundAndRelightRequest,
    SearchAndRecolorRequest,
    SearchAndReplaceRequest,
)
from sd3async.models.fields import (
    ASPECT_RATIOS,
    OUTPUT_FORMATS,
    SD3_MODELS,
    STYLE_PRESETS,
    AspectRatio,
    OutputFormat,
    SD3Model,
    StylePreset,
)
from sd3async.models.generate import CoreRequest, SD3Request, UltraRequest
from sd3async.models.requests import register_endpoint, request_from_dict
from sd3async.models.results import GeneratedImage, Outcome, PendingImage, Timings
from sd3async.models.upscale import (
    UpscaleConservativeRequest,
    UpscaleCreativeRequest,
    UpscaleFastRequest,
)
from sd3async.models.v1 import (
    V1Account,
    V1Engine,
    V1ImageToImageRequest,
    V1MaskingRequest,
    V1Organization,
    V1TextToImageRequest,
)
from sd3async.retry import RetryPolicy

__all__ = [
    "ASPECT_RATIOS",
    "OUTPUT_FORMATS",
    "SD3_MODELS",
    "STYLE_PRESETS",
    "APIError",
    "AspectRatio",
    "AuthenticationError",
    "BadRequestError",
    "ClientClosedError",
    "ConnectFailedError",
    "ContentFilteredError",
    "ContentModerationError",
    "CoreRequest",
    "EraseRequest",
    "FailedAttempt",
    "GeneratedImage",
    "GenerationRequest",
    "InpaintRequest",
    "InvalidRequestError",
    "NotEnoughTimeError",
    "Outcome",
    "OutpaintRequest",
    "OutputFormat",
    "PayloadTooLargeError",
    "PaymentRequiredError",
    "PendingImage",
    "PermissionDeniedError",
    "RateLimit",
    "RateLimitError",
    "RemoveBackgroundRequest",
    "ReplaceBackgroundAndRelightRequest",
    "RequestTimeoutError",
    "ResponseReadError",
    "RetryPolicy",
    "SD3Client",
    "SD3Error",
    "SD3Model",
    "SD3Request",
    "SearchAndRecolorRequest",
    "SearchAndReplaceRequest",
    "ServerError",
    "SketchRequest",
    "StructureRequest",
    "StylePreset",
    "StyleRequest",
    "StyleTransferRequest",
    "Timeouts",
    "Timings",
    "TransportError",
    "UltraRequest",
    "UnexpectedResponseError",
    "UnprocessableError",
    "UpscaleConservativeRequest",
    "UpscaleCreativeRequest",
    "UpscaleFastRequest",
    "V1Account",
    "V1Engine",
    "V1ImageToImageRequest",
    "V1MaskingRequest",
    "V1Organization",
    "V1TextToImageRequest",
    "gather_generations",
    "iter_generations",
    "register_endpoint",
    "request_from_dict",
]
