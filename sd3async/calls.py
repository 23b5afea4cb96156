"""The coroutine of each endpoint. Written by `python -m generators`: change the request classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sd3async.caller import Accept, Caller, Group
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
from sd3async.models.extras import ExtraValue
from sd3async.models.fields import (
    AlphaFormat,
    AspectRatio,
    ClipGuidancePreset,
    Duration,
    InitImageMode,
    LightDirection,
    MaskSource,
    OutputFormat,
    Sampler,
    SD3Mode,
    SD3Model,
    StylePreset,
)
from sd3async.models.generate import CoreRequest, SD3Request, UltraRequest
from sd3async.models.nested import TextPrompts
from sd3async.models.results import GeneratedImage
from sd3async.models.sources import ImageInput
from sd3async.models.upscale import (
    UpscaleConservativeRequest,
    UpscaleCreativeRequest,
    UpscaleFastRequest,
)
from sd3async.models.v1 import V1ImageToImageRequest, V1MaskingRequest, V1TextToImageRequest


class GenerateCalls(Caller):
    """The generate endpoints, as coroutines of the client."""

    async def sd3(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        aspect_ratio: AspectRatio | None = None,
        seed: int | None = None,
        style_preset: StylePreset | None = None,
        model: SD3Model | None = None,
        image: ImageInput | None = None,
        strength: float | None = None,
        cfg_scale: float | None = None,
        mode: SD3Mode | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Stable Diffusion 3 and 3.5: 1 megapixel, text-to-image or image-to-image.

        `strength` is required with `image`. `strength` only goes with `image`. `aspect_ratio` does
        not go with `image`: an image keeps its own.

        The model `sd3-large-turbo` takes no `negative_prompt`.

        Args:
            prompt: What to draw, in English. 1 to 10,000 characters.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            aspect_ratio: Width to height. `21:9`, `16:9`, `3:2`, `5:4`, `1:1`, `4:5`, `2:3`, `9:16`
                or `9:21`; the service's default is `1:1`.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            model: Which model draws; it is always sent, and left out it is the default of the
                service that the client uses. `sd3.5-large`, `sd3.5-large-turbo`, `sd3.5-medium`,
                `sd3.5-flash`, `sd3-large`, `sd3-large-turbo` or `sd3-medium`; the service's default
                is `sd3.5-large`.
            image: An image to start from; makes it image-to-image. Each side at least 64 px.
            strength: How far to leave `image`: 0 keeps it, 1 ignores it. 0 to 1.
            cfg_scale: How strictly to follow the prompt. 1 to 10; the service's default is 4 for
                large and medium, 1 for turbo and flash.
            mode: Follows from `image`, so it need not be given. `text-to-image` or
                `image-to-image`.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/generate/sd3; 6.5 (large), 4 (large-turbo), 3.5 (medium) or
            2.5 (flash) credits.
        """
        request = SD3Request(
            prompt,
            negative_prompt=negative_prompt,
            aspect_ratio=aspect_ratio,
            seed=seed,
            style_preset=style_preset,
            model=model,
            image=image,
            strength=strength,
            cfg_scale=cfg_scale,
            **({} if mode is None else {"mode": mode}),
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self.generate(request, deadline=deadline, to=to, accept=accept)

    async def core(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        aspect_ratio: AspectRatio | None = None,
        seed: int | None = None,
        style_preset: StylePreset | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Stable Image Core: the cheapest, 1.5 megapixels, text only.

        Args:
            prompt: What to draw, in English. 1 to 10,000 characters.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            aspect_ratio: Width to height. `21:9`, `16:9`, `3:2`, `5:4`, `1:1`, `4:5`, `2:3`, `9:16`
                or `9:21`; the service's default is `1:1`.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/generate/core; 3 credits.
        """
        request = CoreRequest(
            prompt,
            negative_prompt=negative_prompt,
            aspect_ratio=aspect_ratio,
            seed=seed,
            style_preset=style_preset,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self.generate(request, deadline=deadline, to=to, accept=accept)

    async def ultra(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        aspect_ratio: AspectRatio | None = None,
        seed: int | None = None,
        style_preset: StylePreset | None = None,
        image: ImageInput | None = None,
        strength: float | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Stable Image Ultra: the best, 1 megapixel, from text or from an image with text.

        `strength` is required with `image`. `strength` only goes with `image`.

        Args:
            prompt: What to draw, in English. 1 to 10,000 characters.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            aspect_ratio: Width to height. `21:9`, `16:9`, `3:2`, `5:4`, `1:1`, `4:5`, `2:3`, `9:16`
                or `9:21`; the service's default is `1:1`.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            image: An image to start from. Each side 64 to 16,384 px; at least 4,096 pixels in all.
            strength: How far to leave `image`: 0 keeps it, 1 ignores it. 0 to 1.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/generate/ultra; 8 credits.
        """
        request = UltraRequest(
            prompt,
            negative_prompt=negative_prompt,
            aspect_ratio=aspect_ratio,
            seed=seed,
            style_preset=style_preset,
            image=image,
            strength=strength,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self.generate(request, deadline=deadline, to=to, accept=accept)


class Upscale(Group):
    """The same image, larger: `client.upscale`."""

    async def fast(
        self,
        image: ImageInput,
        *,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Enlarge an image four times, to 16 megapixels at most, in about a second.

        Args:
            image: The image to enlarge. Each side 32 to 1,536 px; 1,024 to 1,048,576 pixels in all.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/upscale/fast; 2 credits.
        """
        request = UpscaleFastRequest(
            image,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)

    async def conservative(
        self,
        image: ImageInput,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        seed: int | None = None,
        creativity: float | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Enlarge an image to 4 megapixels, changing as little as can be.

        Args:
            image: The image to enlarge. Each side at least 64 px; 4,096 to 9,437,184 pixels in all;
                the longer side may be at most 2.5 times the shorter one.
            prompt: What the image shows, in English. 1 to 10,000 characters.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            creativity: How much detail to make up. 0.2 to 0.5; the service's default is 0.35.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/upscale/conservative; 40 credits.
        """
        request = UpscaleConservativeRequest(
            image,
            prompt,
            negative_prompt=negative_prompt,
            seed=seed,
            creativity=creativity,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)

    async def creative(
        self,
        image: ImageInput,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        seed: int | None = None,
        creativity: float | None = None,
        style_preset: StylePreset | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Enlarge a small or poor image up to 4K, drawing the detail anew.

        The service only starts this one; the client waits for the image.

        Args:
            image: The image to enlarge. Each side at least 64 px; 4,096 to 1,048,576 pixels in all.
            prompt: What the image shows, in English. 1 to 10,000 characters.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            creativity: How much detail to make up. 0.1 to 0.5; the service's default is 0.3.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/upscale/creative; 60 credits.
        """
        request = UpscaleCreativeRequest(
            image,
            prompt,
            negative_prompt=negative_prompt,
            seed=seed,
            creativity=creativity,
            style_preset=style_preset,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)


class Edit(Group):
    """An image, changed in part: `client.edit`."""

    async def erase(
        self,
        image: ImageInput,
        *,
        mask: ImageInput | None = None,
        grow_mask: float | None = None,
        seed: int | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Take something out of an image.

        Args:
            image: The image to edit. Each side at least 64 px; 4,096 to 9,437,184 pixels in all.
            mask: A black and white image, resized to that of `image`: what is white is changed.
                Left out, what is transparent in `image` is; of both, the mask counts.
            grow_mask: How far to grow the area on all sides, and soften it [px]. 0 to 20; the
                service's default is 5.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/edit/erase; 5 credits.
        """
        request = EraseRequest(
            image,
            mask=mask,
            grow_mask=grow_mask,
            seed=seed,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)

    async def inpaint(
        self,
        image: ImageInput,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        mask: ImageInput | None = None,
        grow_mask: float | None = None,
        seed: int | None = None,
        style_preset: StylePreset | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Draw something new into a part of an image.

        Args:
            image: The image to edit. Each side at least 64 px; 4,096 to 9,437,184 pixels in all.
            prompt: What to draw there, in English. 1 to 10,000 characters.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            mask: A black and white image, resized to that of `image`: what is white is changed.
                Left out, what is transparent in `image` is; of both, the mask counts.
            grow_mask: How far to grow the area on all sides, and soften it [px]. 0 to 100; the
                service's default is 5.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/edit/inpaint; 5 credits.
        """
        request = InpaintRequest(
            image,
            prompt,
            negative_prompt=negative_prompt,
            mask=mask,
            grow_mask=grow_mask,
            seed=seed,
            style_preset=style_preset,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)

    async def outpaint(
        self,
        image: ImageInput,
        *,
        left: int | None = None,
        right: int | None = None,
        up: int | None = None,
        down: int | None = None,
        creativity: float | None = None,
        prompt: str = "",
        seed: int | None = None,
        style_preset: StylePreset | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Extend an image beyond its edges.

        At least one of `left`, `right`, `up` and `down` is needed.

        Args:
            image: The image to extend. Each side at least 64 px; 4,096 to 9,437,184 pixels in all;
                the longer side may be at most 2.5 times the shorter one.
            left: How far to extend the image to the left [px]. 0 to 2,000; the service's default is
                0.
            right: How far to extend the image to the right [px]. 0 to 2,000; the service's default
                is 0.
            up: How far to extend the image upwards [px]. 0 to 2,000; the service's default is 0.
            down: How far to extend the image downwards [px]. 0 to 2,000; the service's default is
                0.
            creativity: How freely to invent. 0 to 1; the service's default is 0.5.
            prompt: What to draw there, in English, if it matters. At most 10,000 characters.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/edit/outpaint; 4 credits.
        """
        request = OutpaintRequest(
            image,
            left=left,
            right=right,
            up=up,
            down=down,
            creativity=creativity,
            prompt=prompt,
            seed=seed,
            style_preset=style_preset,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)

    async def search_and_replace(
        self,
        image: ImageInput,
        prompt: str,
        search_prompt: str,
        *,
        negative_prompt: str | None = None,
        grow_mask: float | None = None,
        seed: int | None = None,
        style_preset: StylePreset | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Replace something that words can find.

        Args:
            image: The image to edit. Each side at least 64 px; 4,096 to 9,437,184 pixels in all;
                the longer side may be at most 2.5 times the shorter one.
            prompt: What to draw there, in English. 1 to 10,000 characters.
            search_prompt: What to replace: a few words, in English. At most 10,000 characters.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            grow_mask: How far to grow the area on all sides, and soften it [px]. 0 to 20; the
                service's default is 3.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/edit/search-and-replace; 5 credits.
        """
        request = SearchAndReplaceRequest(
            image,
            prompt,
            search_prompt,
            negative_prompt=negative_prompt,
            grow_mask=grow_mask,
            seed=seed,
            style_preset=style_preset,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)

    async def search_and_recolor(
        self,
        image: ImageInput,
        prompt: str,
        select_prompt: str,
        *,
        negative_prompt: str | None = None,
        grow_mask: float | None = None,
        seed: int | None = None,
        style_preset: StylePreset | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Give another colour to something that words can find.

        Args:
            image: The image to edit. Each side at least 64 px; 4,096 to 9,437,184 pixels in all;
                the longer side may be at most 2.5 times the shorter one.
            prompt: The colours to give it, in English. 1 to 10,000 characters.
            select_prompt: What to recolour: a few words, in English. At most 10,000 characters.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            grow_mask: How far to grow the area on all sides, and soften it [px]. 0 to 20; the
                service's default is 3.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/edit/search-and-recolor; 5 credits.
        """
        request = SearchAndRecolorRequest(
            image,
            prompt,
            select_prompt,
            negative_prompt=negative_prompt,
            grow_mask=grow_mask,
            seed=seed,
            style_preset=style_preset,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)

    async def remove_background(
        self,
        image: ImageInput,
        *,
        output_format: AlphaFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Keep what stands in front, on a transparent background.

        Args:
            image: The image to edit. Each side at least 64 px; 4,096 to 4,194,304 pixels in all.
            output_format: How the image is encoded; a jpeg cannot be transparent. `png` or `webp`;
                the service's default is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/edit/remove-background; 5 credits.
        """
        request = RemoveBackgroundRequest(
            image,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)

    async def replace_background_and_relight(
        self,
        subject_image: ImageInput,
        *,
        background_prompt: str | None = None,
        background_reference: ImageInput | None = None,
        foreground_prompt: str | None = None,
        negative_prompt: str | None = None,
        preserve_original_subject: float | None = None,
        original_background_depth: float | None = None,
        keep_original_background: bool | None = None,
        light_source_direction: LightDirection | None = None,
        light_reference: ImageInput | None = None,
        light_source_strength: float | None = None,
        seed: int | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Put what stands in front before another background, and light it alike.

        At least one of `background_prompt` and `background_reference` is needed.
        `light_source_strength` only goes with `light_reference` or `light_source_direction`.

        The service only starts this one; the client waits for the image.

        Args:
            subject_image: The image whose foreground is kept. Each side at least 64 px; 4,096 to
                9,437,184 pixels in all; the longer side may be at most 2.5 times the shorter one.
            background_prompt: The new background, in English. At most 10,000 characters.
            background_reference: An image whose style the new background takes. Each side at least
                64 px; 4,096 to 9,437,184 pixels in all.
            foreground_prompt: What stands in front, in English, to keep the background off it. At
                most 10,000 characters.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            preserve_original_subject: How much of the foreground to keep: at 1 its very pixels. 0
                to 1; the service's default is 0.6.
            original_background_depth: How closely the new background keeps the depth of the old. 0
                to 1; the service's default is 0.5.
            keep_original_background: Whether to keep the background and only light it anew. True or
                False; the service's default is False.
            light_source_direction: Where the light comes from. `left`, `right`, `above` or `below`.
            light_reference: An image whose light is taken. Each side at least 64 px; 4,096 to
                9,437,184 pixels in all.
            light_source_strength: How strong the light is. 0 to 1; the service's default is 0.3.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/edit/replace-background-and-relight; 8 credits.
        """
        request = ReplaceBackgroundAndRelightRequest(
            subject_image,
            background_prompt=background_prompt,
            background_reference=background_reference,
            foreground_prompt=foreground_prompt,
            negative_prompt=negative_prompt,
            preserve_original_subject=preserve_original_subject,
            original_background_depth=original_background_depth,
            keep_original_background=keep_original_background,
            light_source_direction=light_source_direction,
            light_reference=light_reference,
            light_source_strength=light_source_strength,
            seed=seed,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)


class Control(Group):
    """A new image, led by another: `client.control`."""

    async def sketch(
        self,
        image: ImageInput,
        prompt: str,
        *,
        control_strength: float | None = None,
        negative_prompt: str | None = None,
        seed: int | None = None,
        style_preset: StylePreset | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Make a picture of a sketch; it has the size of the sketch.

        Args:
            image: The image whose lines or shapes are followed. Each side at least 64 px; 4,096 to
                9,437,184 pixels in all; the longer side may be at most 2.5 times the shorter one.
            prompt: What to draw, in English. 1 to 10,000 characters.
            control_strength: How strictly to follow `image`. 0 to 1; the service's default is 0.7.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/control/sketch; 5 credits.
        """
        request = SketchRequest(
            image,
            prompt,
            control_strength=control_strength,
            negative_prompt=negative_prompt,
            seed=seed,
            style_preset=style_preset,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)

    async def structure(
        self,
        image: ImageInput,
        prompt: str,
        *,
        control_strength: float | None = None,
        negative_prompt: str | None = None,
        seed: int | None = None,
        style_preset: StylePreset | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Draw something else in the shapes of an image; it has that image's size.

        Args:
            image: The image whose lines or shapes are followed. Each side at least 64 px; 4,096 to
                9,437,184 pixels in all; the longer side may be at most 2.5 times the shorter one.
            prompt: What to draw, in English. 1 to 10,000 characters.
            control_strength: How strictly to follow `image`. 0 to 1; the service's default is 0.7.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/control/structure; 5 credits.
        """
        request = StructureRequest(
            image,
            prompt,
            control_strength=control_strength,
            negative_prompt=negative_prompt,
            seed=seed,
            style_preset=style_preset,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)

    async def style(
        self,
        image: ImageInput,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        aspect_ratio: AspectRatio | None = None,
        fidelity: float | None = None,
        seed: int | None = None,
        style_preset: StylePreset | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Draw in the style of an image, 1 megapixel.

        Args:
            image: The image whose style is taken. Each side at least 64 px; 4,096 to 9,437,184
                pixels in all; the longer side may be at most 2.5 times the shorter one.
            prompt: What to draw, in English. 1 to 10,000 characters.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            aspect_ratio: Width to height. `21:9`, `16:9`, `3:2`, `5:4`, `1:1`, `4:5`, `2:3`, `9:16`
                or `9:21`; the service's default is `1:1`.
            fidelity: How close to keep to the style of `image`. 0 to 1; the service's default is
                0.5.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/control/style; 5 credits.
        """
        request = StyleRequest(
            image,
            prompt,
            negative_prompt=negative_prompt,
            aspect_ratio=aspect_ratio,
            fidelity=fidelity,
            seed=seed,
            style_preset=style_preset,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)

    async def style_transfer(
        self,
        init_image: ImageInput,
        style_image: ImageInput,
        *,
        prompt: str = "",
        negative_prompt: str | None = None,
        seed: int | None = None,
        style_strength: float | None = None,
        composition_fidelity: float | None = None,
        change_strength: float | None = None,
        output_format: OutputFormat = "png",
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> GeneratedImage:
        """Draw one image in the style of another: 1 megapixel, in the shape of the first.

        Args:
            init_image: The image to draw anew. Each side 64 to 16,383 px; 4,096 to 9,437,184 pixels
                in all; the longer side may be at most 2.5 times the shorter one.
            style_image: The image whose style is taken. Each side 64 to 16,383 px; 4,096 to
                9,437,184 pixels in all.
            prompt: What the image shows, in English, if it matters. At most 10,000 characters.
            negative_prompt: What to keep out of the image. At most 10,000 characters.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,294.
            style_strength: How much of the style to take. 0 to 1; the service's default is 1.
            composition_fidelity: How closely to keep the composition of `init_image`. 0 to 1; the
                service's default is 0.9.
            change_strength: How much of `init_image` may change. 0.1 to 1; the service's default is
                0.9.
            output_format: How the image is encoded. `png`, `jpeg` or `webp`; the service's default
                is `png`.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The image; a filtered one is returned, not raised.

        Raises:
            SD3Error: As told at `SD3Client.generate`.

        Source:
            POST /v2beta/stable-image/control/style-transfer; 8 credits.
        """
        request = StyleTransferRequest(
            init_image,
            style_image,
            prompt=prompt,
            negative_prompt=negative_prompt,
            seed=seed,
            style_strength=style_strength,
            composition_fidelity=composition_fidelity,
            change_strength=change_strength,
            output_format=output_format,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate(request, deadline=deadline, to=to, accept=accept)


class V1Calls(Group):
    """The older API, as far as it draws: part of `client.v1`."""

    async def text_to_image(
        self,
        text_prompts: TextPrompts,
        *,
        cfg_scale: float | None = None,
        clip_guidance_preset: ClipGuidancePreset | None = None,
        sampler: Sampler | None = None,
        samples: int | None = None,
        seed: int | None = None,
        steps: int = 30,
        style_preset: StylePreset | None = None,
        extras: Mapping[str, Any] | None = None,
        engine_id: str = "stable-diffusion-xl-1024-v1-0",
        width: int | None = None,
        height: int | None = None,
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> list[GeneratedImage]:
        """Stable Diffusion XL 1.0 (v1), from text: one or several images.

        `width` and `height` make one of the sizes of SDXL 1.0: 1024x1024, 1152x896, 896x1152,
        1216x832, 832x1216, 1344x768, 768x1344, 1536x640, 640x1536.

        Args:
            text_prompts: What to draw, in English; a negative weight keeps it out. A text of at
                most 2,000 characters, or a list of such texts; one with a weight is `{"text":
                "fog", "weight": -1}`.
            cfg_scale: How strictly to follow the prompts. 0 to 35; the service's default is 7.
            clip_guidance_preset: How CLIP guides the drawing. `NONE`, `FAST_BLUE`, `FAST_GREEN`,
                `SIMPLE`, `SLOW`, `SLOWER` or `SLOWEST`; the service's default is `NONE`.
            sampler: How to refine; left out, the service picks one. `DDIM`, `DDPM`, `K_DPMPP_2M`,
                `K_DPMPP_2S_ANCESTRAL`, `K_DPM_2`, `K_DPM_2_ANCESTRAL`, `K_EULER`,
                `K_EULER_ANCESTRAL`, `K_HEUN` or `K_LMS`.
            samples: How many images to draw; each is paid. 1 to 10; the service's default is 1.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,295.
            steps: How often to refine; always sent, left out it is 30. 10 to 150.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            extras: What the engine takes beside that, undocumented. A mapping that JSON can hold,
                or its text.
            engine_id: Which engine draws. 1 to 100 characters.
            width: Of the image [px]. A multiple of 64, at least 128; the service's default is 1024.
            height: Of the image [px]. A multiple of 64, at least 128; the service's default is
                1024.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The images, each with its own seed and finish reason; filtered ones are returned, not
            raised.

        Raises:
            SD3Error: As told at `SD3Client.generate_samples`.

        Source:
            POST /v1/generation/{engine_id}/text-to-image; 0.9 credits for each sample of up to 30
            steps.
        """
        request = V1TextToImageRequest(
            text_prompts,
            cfg_scale=cfg_scale,
            clip_guidance_preset=clip_guidance_preset,
            sampler=sampler,
            samples=samples,
            seed=seed,
            steps=steps,
            style_preset=style_preset,
            extras=extras,
            engine_id=engine_id,
            width=width,
            height=height,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate_samples(request, deadline=deadline, to=to, accept=accept)

    async def image_to_image(
        self,
        init_image: ImageInput,
        text_prompts: TextPrompts,
        *,
        cfg_scale: float | None = None,
        clip_guidance_preset: ClipGuidancePreset | None = None,
        sampler: Sampler | None = None,
        samples: int | None = None,
        seed: int | None = None,
        steps: int = 30,
        style_preset: StylePreset | None = None,
        extras: Mapping[str, Any] | None = None,
        engine_id: str = "stable-diffusion-xl-1024-v1-0",
        init_image_mode: InitImageMode | None = None,
        image_strength: float | None = None,
        step_schedule_start: float | None = None,
        step_schedule_end: float | None = None,
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> list[GeneratedImage]:
        """Stable Diffusion XL 1.0 (v1), from an image and text: one or several images.

        `init_image` has one of the sizes of SDXL 1.0: 1024x1024, 1152x896, 896x1152, 1216x832,
        832x1216, 1344x768, 768x1344, 1536x640, 640x1536.

        Args:
            init_image: The image to start from.
            text_prompts: What to draw, in English; a negative weight keeps it out. A text of at
                most 2,000 characters, or a list of such texts; one with a weight is `{"text":
                "fog", "weight": -1}`.
            cfg_scale: How strictly to follow the prompts. 0 to 35; the service's default is 7.
            clip_guidance_preset: How CLIP guides the drawing. `NONE`, `FAST_BLUE`, `FAST_GREEN`,
                `SIMPLE`, `SLOW`, `SLOWER` or `SLOWEST`; the service's default is `NONE`.
            sampler: How to refine; left out, the service picks one. `DDIM`, `DDPM`, `K_DPMPP_2M`,
                `K_DPMPP_2S_ANCESTRAL`, `K_DPM_2`, `K_DPM_2_ANCESTRAL`, `K_EULER`,
                `K_EULER_ANCESTRAL`, `K_HEUN` or `K_LMS`.
            samples: How many images to draw; each is paid. 1 to 10; the service's default is 1.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,295.
            steps: How often to refine; always sent, left out it is 30. 10 to 150.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            extras: What the engine takes beside that, undocumented. A mapping that JSON can hold,
                or its text.
            engine_id: Which engine draws. 1 to 100 characters.
            init_image_mode: Whether `image_strength` counts, or the two of the schedule.
                `IMAGE_STRENGTH` or `STEP_SCHEDULE`; the service's default is `IMAGE_STRENGTH`.
            image_strength: How much of `init_image` to keep. 0 to 1; the service's default is 0.35.
            step_schedule_start: The share of the steps to leave out first. 0 to 1; the service's
                default is 0.65.
            step_schedule_end: The share of the steps to leave out last. 0 to 1.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The images, each with its own seed and finish reason; filtered ones are returned, not
            raised.

        Raises:
            SD3Error: As told at `SD3Client.generate_samples`.

        Source:
            POST /v1/generation/{engine_id}/image-to-image; 0.9 credits for each sample of up to 30
            steps.
        """
        request = V1ImageToImageRequest(
            init_image,
            text_prompts,
            cfg_scale=cfg_scale,
            clip_guidance_preset=clip_guidance_preset,
            sampler=sampler,
            samples=samples,
            seed=seed,
            steps=steps,
            style_preset=style_preset,
            extras=extras,
            engine_id=engine_id,
            init_image_mode=init_image_mode,
            image_strength=image_strength,
            step_schedule_start=step_schedule_start,
            step_schedule_end=step_schedule_end,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate_samples(request, deadline=deadline, to=to, accept=accept)

    async def masking(
        self,
        init_image: ImageInput,
        text_prompts: TextPrompts,
        mask_source: MaskSource,
        *,
        cfg_scale: float | None = None,
        clip_guidance_preset: ClipGuidancePreset | None = None,
        sampler: Sampler | None = None,
        samples: int | None = None,
        seed: int | None = None,
        steps: int = 30,
        style_preset: StylePreset | None = None,
        extras: Mapping[str, Any] | None = None,
        engine_id: str = "stable-diffusion-xl-1024-v1-0",
        mask_image: ImageInput | None = None,
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*",
    ) -> list[GeneratedImage]:
        """Stable Diffusion XL 1.0 (v1), a part of an image drawn anew: one or several images.

        `mask_image` is required, but for the source `INIT_IMAGE_ALPHA`. `init_image` has one of the
        sizes of SDXL 1.0: 1024x1024, 1152x896, 896x1152, 1216x832, 832x1216, 1344x768, 768x1344,
        1536x640, 640x1536. `mask_image` has the size of `init_image`.

        Args:
            init_image: The image to start from.
            text_prompts: What to draw, in English; a negative weight keeps it out. A text of at
                most 2,000 characters, or a list of such texts; one with a weight is `{"text":
                "fog", "weight": -1}`.
            mask_source: Which part is drawn anew. `MASK_IMAGE_WHITE`, `MASK_IMAGE_BLACK` or
                `INIT_IMAGE_ALPHA`.
            cfg_scale: How strictly to follow the prompts. 0 to 35; the service's default is 7.
            clip_guidance_preset: How CLIP guides the drawing. `NONE`, `FAST_BLUE`, `FAST_GREEN`,
                `SIMPLE`, `SLOW`, `SLOWER` or `SLOWEST`; the service's default is `NONE`.
            sampler: How to refine; left out, the service picks one. `DDIM`, `DDPM`, `K_DPMPP_2M`,
                `K_DPMPP_2S_ANCESTRAL`, `K_DPM_2`, `K_DPM_2_ANCESTRAL`, `K_EULER`,
                `K_EULER_ANCESTRAL`, `K_HEUN` or `K_LMS`.
            samples: How many images to draw; each is paid. 1 to 10; the service's default is 1.
            seed: Start of the randomness; left out, or 0, the service picks one. 0 to
                4,294,967,295.
            steps: How often to refine; always sent, left out it is 30. 10 to 150.
            style_preset: A style to lean towards. `3d-model`, `analog-film`, `anime`, `cinematic`,
                `comic-book`, `digital-art`, `enhance`, `fantasy-art`, `isometric`, `line-art`,
                `low-poly`, `modeling-compound`, `neon-punk`, `origami`, `photographic`, `pixel-art`
                or `tile-texture`.
            extras: What the engine takes beside that, undocumented. A mapping that JSON can hold,
                or its text.
            engine_id: Which engine draws. 1 to 100 characters.
            mask_image: The mask: its white or its black is drawn anew.
            extra_fields: Further form fields, sent as they are: text, numbers and bools by name,
                for what this package does not know yet. An enumeration that is left at its default
                may be among them, and is sent in its place.
            credits: The price of one success [credits], where you know it better than the
                documents; caps and sums go by it. It is not sent. 0 to 1,000,000.
            deadline: How long the whole call may take, every wait included: seconds or a
                `timedelta`; None is for ever.
            to: Stream the image into this file instead of memory.
            accept: `image/*` for the bytes as they are, or `application/json` for base64 in JSON.

        Returns:
            The images, each with its own seed and finish reason; filtered ones are returned, not
            raised.

        Raises:
            SD3Error: As told at `SD3Client.generate_samples`.

        Source:
            POST /v1/generation/{engine_id}/image-to-image/masking; 0.9 credits for each sample of
            up to 30 steps.
        """
        request = V1MaskingRequest(
            init_image,
            text_prompts,
            mask_source,
            cfg_scale=cfg_scale,
            clip_guidance_preset=clip_guidance_preset,
            sampler=sampler,
            samples=samples,
            seed=seed,
            steps=steps,
            style_preset=style_preset,
            extras=extras,
            engine_id=engine_id,
            mask_image=mask_image,
            extra_fields=extra_fields,
            credits=credits,
        )
        return await self._client.generate_samples(request, deadline=deadline, to=to, accept=accept)
