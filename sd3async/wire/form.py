"""What a request says: the text fields of its form."""

import attrs

from sd3async.models.requests import GenerationRequest
from sd3async.models.sources import ImageSource

ACCEPT_VALUES = ("image/*", "application/json")


def form_fields(request: GenerationRequest) -> dict[str, str]:
    """Return a request's text fields as they go into the form.

    Args:
        request: The request.

    Returns:
        Names and values, without the image. Zero is a value; only None is left out.
    """
    fields: dict[str, str] = {}
    for name, value in attrs.asdict(request, recurse=False).items():
        if value is not None and not isinstance(value, ImageSource):
            fields[name] = value if isinstance(value, str) else repr(value)
    return fields
