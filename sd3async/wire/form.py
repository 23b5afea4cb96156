"""What a request says: the text fields of its form."""

from sd3async.models.base import GenerationRequest
from sd3async.models.sources import ImageSource

ACCEPT_VALUES = ("image/*", "application/json")


def form_fields(request: GenerationRequest) -> dict[str, str]:
    """Return a request's text fields as they go into the form.

    Args:
        request: The request.

    Returns:
        Names and values, without the images. Zero is a value; only None is left out. An extra
        field stands in the place of a modelled one of its name.
    """
    fields = {**request.given(), **request.extra_fields}
    return {
        name: _text(value) for name, value in fields.items() if not isinstance(value, ImageSource)
    }


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return repr(value).lower() if isinstance(value, bool) else repr(value)
