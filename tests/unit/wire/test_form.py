"""From values to form fields."""

from sd3async import CoreRequest, SD3Request
from sd3async.wire import form_fields
from support.pictures import picture


def test_every_set_field_becomes_text_and_nothing_else() -> None:
    """The form takes strings; None means absent, and zero is a value."""
    request = SD3Request(
        "a", model="sd3.5-flash", seed=0, image=picture(), strength=0, cfg_scale=2.5
    )

    assert form_fields(request) == {
        "prompt": "a",
        "seed": "0",
        "output_format": "png",
        "strength": "0",
        "mode": "image-to-image",
        "model": "sd3.5-flash",
        "cfg_scale": "2.5",
    }
    assert form_fields(CoreRequest("b")) == {"prompt": "b", "output_format": "png"}
