"""The smallest request that each endpoint takes, for tests that go through all of them."""

from typing import Any

from support.pictures import picture

PICTURE = picture()

_PROMPT: dict[str, Any] = {"prompt": "a fox"}
_IMAGE: dict[str, Any] = {"image": PICTURE}

MINIMAL: dict[str, dict[str, Any]] = {
    "sd3": _PROMPT,
    "core": _PROMPT,
    "ultra": _PROMPT,
    "upscale.fast": _IMAGE,
    "upscale.conservative": _IMAGE | _PROMPT,
    "upscale.creative": _IMAGE | _PROMPT,
    "edit.erase": _IMAGE,
    "edit.inpaint": _IMAGE | _PROMPT,
    "edit.outpaint": _IMAGE | {"left": 1},
    "edit.search-and-replace": _IMAGE | _PROMPT | {"search_prompt": "hen"},
    "edit.search-and-recolor": _IMAGE | _PROMPT | {"select_prompt": "hen"},
    "edit.remove-background": _IMAGE,
    "edit.replace-background-and-relight": {"subject_image": PICTURE, "background_prompt": "sea"},
    "control.sketch": _IMAGE | _PROMPT,
    "control.structure": _IMAGE | _PROMPT,
    "control.style": _IMAGE | _PROMPT,
    "control.style-transfer": {"init_image": PICTURE, "style_image": PICTURE},
}
"""Of v2beta."""

SDXL_PICTURE = picture(1216, 832)

V1_MINIMAL: dict[str, dict[str, Any]] = {
    "v1.text-to-image": {"text_prompts": "a fox"},
    "v1.image-to-image": {"init_image": SDXL_PICTURE, "text_prompts": "a fox"},
    "v1.masking": {
        "init_image": SDXL_PICTURE,
        "text_prompts": "a fox",
        "mask_source": "INIT_IMAGE_ALPHA",
    },
}
