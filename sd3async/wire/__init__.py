"""Between values and bytes, without a network: what a request says, and what an answer means.

Source:
    Stable Image API v2beta: headers, success bodies and error bodies; those of v1; error bodies
    of gateways.
"""

from sd3async.wire.artifacts import ArtifactsReader
from sd3async.wire.form import ACCEPT_VALUES, form_fields, json_document
from sd3async.wire.images import MAX_IMAGE_BYTES, ImageReader
from sd3async.wire.lookups import read_account, read_engines
from sd3async.wire.refusals import read_balance, read_error, read_request_id, read_started, redact
from sd3async.wire.waits import MAX_RETRY_AFTER, read_retry_after

__all__ = [
    "ACCEPT_VALUES",
    "MAX_IMAGE_BYTES",
    "MAX_RETRY_AFTER",
    "ArtifactsReader",
    "ImageReader",
    "form_fields",
    "json_document",
    "read_account",
    "read_balance",
    "read_engines",
    "read_error",
    "read_request_id",
    "read_retry_after",
    "read_started",
    "redact",
]
