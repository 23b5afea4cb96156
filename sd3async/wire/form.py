"""What a request says: the text fields of its form."""

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
    for name, value in request.given().items():
        if isinstance(value, str):
            fields[name] = value
        elif not isinstance(value, ImageSource):
            fields[name] = repr(value)
    return fields
