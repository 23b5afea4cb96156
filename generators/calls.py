"""The coroutines of the client: a signature and a docstring of each request class.

Editors and `help()` read what is written, not what is computed; so it is written, but not by hand.
"""

import inspect
import textwrap
from collections import defaultdict
from typing import Any

import attrs

from sd3async.models import fields, requests
from sd3async.models.base import GenerationRequest, fields_of, is_sent
from sd3async.models.images import ImageBounds
from sd3async.models.nested import JSONObject, Prompts

_WIDTH = 100

_ALIASES = {
    fields.ASPECT_RATIOS: "AspectRatio",
    fields.OUTPUT_FORMATS: "OutputFormat",
    fields.ALPHA_FORMATS: "AlphaFormat",
    fields.STYLE_PRESETS: "StylePreset",
    fields.SD3_MODELS: "SD3Model",
    fields.SD3_MODES: "SD3Mode",
    fields.LIGHT_DIRECTIONS: "LightDirection",
    fields.CLIP_GUIDANCE_PRESETS: "ClipGuidancePreset",
    fields.SAMPLERS: "Sampler",
    fields.INIT_IMAGE_MODES: "InitImageMode",
    fields.MASK_SOURCES: "MaskSource",
}

_TYPES: dict[type[fields.Rule], str] = {
    fields.Truth: "bool",
    ImageBounds: "ImageInput",
    Prompts: "TextPrompts",
    JSONObject: "Mapping[str, Any]",
}
"""What is asked for where a kind of rule has one type only; text otherwise."""

_GROUPS = {
    "": ("GenerateCalls", "Caller", "The generate endpoints, as coroutines of the client."),
    "upscale": ("Upscale", "Group", "The same image, larger: `client.upscale`."),
    "edit": ("Edit", "Group", "An image, changed in part: `client.edit`."),
    "control": ("Control", "Group", "A new image, led by another: `client.control`."),
    "v1": ("V1Calls", "Group", "The older API, as far as it draws: part of `client.v1`."),
}

_HEAD = '''\
"""The coroutine of each endpoint. Written by `python -m generators`: change the request classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
'''

_IMPORTS = {
    "sd3async.caller": ["Accept", "Caller", "Group"],
    "sd3async.models.extras": ["ExtraValue"],
    "sd3async.models.fields": ["Duration", *_ALIASES.values()],
    "sd3async.models.nested": ["TextPrompts"],
    "sd3async.models.results": ["GeneratedImage"],
    "sd3async.models.sources": ["ImageInput"],
}

_OF_THE_CALL = {
    "deadline": "How long the whole call may take, every wait included: seconds or a `timedelta`; "
    "None is for ever.",
    "to": "Stream the image into this file instead of memory.",
    "accept": "`image/*` for the bytes as they are, or `application/json` for base64 in JSON.",
}
_ONE = "GeneratedImage", "generate", "The image; a filtered one is returned, not raised."
_SEVERAL = (
    "list[GeneratedImage]",
    "generate_samples",
    "The images, each with its own seed and finish reason; filtered ones are returned, not raised.",
)
"""What comes, how it is asked for, and in words."""

_CALL_PARAMETERS = """\
        extra_fields: Mapping[str, ExtraValue] | None = None,
        credits: float | None = None,
        deadline: Duration | None = None,
        to: str | Path | None = None,
        accept: Accept = "image/*","""


def source() -> str:
    """Return the module."""
    groups: dict[str, list[type[GenerationRequest]]] = defaultdict(list)
    for name, request_type in requests.REQUEST_TYPES.items():
        if name in requests.BUILT_IN:
            groups[name.rpartition(".")[0]].append(request_type)
    classes = [_class(name, types) for name, types in groups.items()]
    return "\n\n".join([f"{_HEAD}\n{_imports()}", *classes])


def _imports() -> str:
    found = defaultdict(list, {module: list(names) for module, names in _IMPORTS.items()})
    for name in requests.BUILT_IN:
        request_type = requests.REQUEST_TYPES[name]
        found[request_type.__module__].append(request_type.__name__)
    return "".join(
        _import(module, sorted(names, key=str.lower)) for module, names in sorted(found.items())
    )


def _import(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}\n"
    if len(line) <= _WIDTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")\n"


def _class(group: str, request_types: list[type[GenerationRequest]]) -> str:
    name, base, words = _GROUPS[group]
    receiver = "self._client" if group else "self"
    methods = "\n".join(_method(request_type, receiver) for request_type in request_types)
    return f'class {name}({base}):\n    """{words}"""\n\n{methods}'


def _method(request_type: type[GenerationRequest], receiver: str) -> str:
    name = request_type.endpoint.rpartition(".")[2].replace("-", "_")
    sent = {name: field for name, field in fields_of(request_type).items() if is_sent(field)}
    positional = [_parameter(name, field) for name, field in sent.items() if not field.kw_only]
    by_name = [_parameter(name, field) for name, field in sent.items() if field.kw_only]
    parameters = "\n".join(f"        {parameter}," for parameter in [*positional, "*", *by_name])
    arguments = "\n".join(f"            {_argument(name, field)}," for name, field in sent.items())
    kind, sender, _ = _result_of(request_type)
    return f"""\
    async def {name}(
        self,
{parameters}
{_CALL_PARAMETERS}
    ) -> {kind}:
{_docstring(request_type)}
        request = {request_type.__name__}(
{arguments}
            extra_fields=extra_fields,
            credits=credits,
        )
        return await {receiver}.{sender}(request, deadline=deadline, to=to, accept=accept)
"""


def _result_of(request_type: type[GenerationRequest]) -> tuple[str, str, str]:
    return _SEVERAL if "samples" in fields_of(request_type) else _ONE


def _parameter(name: str, field: "attrs.Attribute[Any]") -> str:
    kind = _type_of(field.validator)
    if field.default is attrs.NOTHING:
        return f"{name}: {kind}"
    if isinstance(field.default, str):
        return f'{name}: {kind} = "{field.default}"'
    if isinstance(field.default, int):
        return f"{name}: {kind} = {field.default}"
    return f"{name}: {kind} | None = None"


def _argument(name: str, field: "attrs.Attribute[Any]") -> str:
    if not field.kw_only:
        return name
    if hasattr(field.default, "factory"):
        return f'**({{}} if {name} is None else {{"{name}": {name}}})'
    return f"{name}={name}"


def _type_of(rule: object) -> str:
    if isinstance(rule, fields.Choice):
        return _ALIASES[rule.values]
    if isinstance(rule, fields.Number):
        return "int" if rule.whole else "float"
    for kind, name in _TYPES.items():
        if isinstance(rule, kind):
            return name
    return "str"


def _docstring(request_type: type[GenerationRequest]) -> str:
    paragraphs = inspect.cleandoc(request_type.__doc__ or "").split("\n\n")
    told = [text for text in paragraphs if not text.startswith(("Attributes:", "Source:"))]
    origin = [text.split("\n", 1)[1].split() for text in paragraphs if text.startswith("Source:")]
    lines = [f'"""{told[0]}', ""]
    for paragraph in told[1:]:
        lines += [*textwrap.wrap(" ".join(paragraph.split()), _WIDTH - 8), ""]
    lines += ["Args:", *_argument_lines(request_type), ""]
    _, sender, words = _result_of(request_type)
    lines += ["Returns:", *_wrapped(words), ""]
    lines += ["Raises:", f"    SD3Error: As told at `SD3Client.{sender}`.", ""]
    lines += ["Source:", *_wrapped(" ".join(origin[0])), '"""']
    return "\n".join(f"        {line}".rstrip() for line in lines)


def _argument_lines(request_type: type[GenerationRequest]) -> list[str]:
    told = requests.field_words(request_type)
    told["credits"] = told.pop("credits")  # last of the request's own
    return [
        line
        for name, words in {**told, **_OF_THE_CALL}.items()
        for line in _wrapped(f"{name}: {words}")
    ]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH - 8,
        initial_indent="    ",
        subsequent_indent="        " if ":" in text.split(" ")[0] else "    ",
        break_on_hyphens=False,
        break_long_words=False,
    )
