"""An endpoint that the package does not have: one request class and one line for path and price.

Run it with a key against the service that serves it, such as a gateway:

    STABILITY_API_KEY=… STABILITY_BASE_URL=https://gateway.example python declared_endpoint.py
"""

import asyncio
from typing import ClassVar

import attrs

from sd3async import GenerationRequest, SD3Client, register_endpoint
from sd3async.models.fields import Choice, Number, Text
from sd3async.models.images import ImageBounds, given_or_none
from sd3async.models.sources import ImageSource


@register_endpoint("/v2beta/stable-image/generate/postcard", credits=4)
@attrs.frozen(kw_only=True)
class PostcardRequest(GenerationRequest):
    """Draw a postcard."""

    endpoint: ClassVar[str] = "postcard"

    prompt: str = attrs.field(validator=Text(min_chars=1, about="What to draw."), kw_only=False)
    stamp: ImageSource | None = attrs.field(
        default=None,
        converter=given_or_none,
        validator=ImageBounds(min_side=32, max_side=512, about="A picture for the corner."),
    )
    size: str | None = attrs.field(default=None, validator=Choice(("small", "large")))
    gloss: float | None = attrs.field(default=None, validator=Number(0, 1, about="How shiny."))


async def main() -> None:
    """Send one."""
    async with SD3Client() as client:
        image = await client.generate(PostcardRequest("greetings from the coast", size="small"))
        print(image.save("postcard.png"), image.credits, "credits")


if __name__ == "__main__":
    asyncio.run(main())
