"""Calls what LiteLLM knows of the API, and prints what it returned: a line of JSON for each call.

Arguments: URL, an image, a mask. Run by the interpreter that has LiteLLM.
"""

import base64
import json
import sys
from pathlib import Path

import litellm

url, image, mask = sys.argv[1:]
OPEN = {"api_base": url, "api_key": "sk-any"}
WORDS = {"prompt": "a fox"}

DRAWN = {
    "stability/sd3.5-large": {"size": "1024x1024"},
    "stability/sd3.5-medium": {"size": "1792x1024"},
    "stability/stable-image-ultra": {},
    "stability/stable-image-core": {"size": "1024x1792"},
}
MADE_OF_IMAGES = {
    "stability/inpaint": {"mask": True},
    "stability/erase": {"mask": True},
    "stability/outpaint": {"left": 20},
    "stability/search-and-replace": {"search_prompt": "hen"},
    "stability/search-and-recolor": {"select_prompt": "hen"},
    "stability/remove-background": {},
    "stability/fast": {},
    "stability/conservative": {},
    "stability/sketch": {"control_strength": 0.5},
    "stability/structure": {},
    "stability/style": {},
}


def tell(name, answer):
    sizes = [len(base64.b64decode(made.b64_json)) for made in answer.data]
    print(json.dumps({"name": name, "sizes": sizes}), flush=True)


for model, options in DRAWN.items():
    tell(model, litellm.image_generation(model=model, **WORDS, **OPEN, **options))
for model, options in MADE_OF_IMAGES.items():
    if options.pop("mask", False):
        options["mask"] = Path(mask).read_bytes()
    upload = Path(image).read_bytes()
    tell(model, litellm.image_edit(model=model, image=upload, **WORDS, **OPEN, **options))
