"""Every class of request by the name of its endpoint, and what makes requests of other things."""

import inspect
import re
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any, TypeVar, get_args

import attrs

from sd3async.endpoints import ENDPOINTS, Answer, Body, Endpoint
from sd3async.models.base import GenerationRequest, fields_of
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
from sd3async.models.extras import ABOUT as EXTRAS
from sd3async.models.fields import Choice, Number, Rule, Text, check_type, is_missing, refuse
from sd3async.models.generate import CoreRequest, SD3Request, UltraRequest
from sd3async.models.images import ImageBounds
from sd3async.models.upscale import (
    UpscaleConservativeRequest,
    UpscaleCreativeRequest,
    UpscaleFastRequest,
)
from sd3async.models.v1 import V1ImageToImageRequest, V1MaskingRequest, V1TextToImageRequest

R = TypeVar("R", bound=GenerationRequest)

REQUEST_TYPES: dict[str, type[GenerationRequest]] = {}
"""By the names of their endpoints, those of the package first; `register_endpoint` adds to it."""

FIELD_NAMES: set[str] = set()
"""Those of the fields of all of them."""

IMAGE_FIELDS: set[str] = set()
"""Those of the fields that take an image."""

NUMBER_FIELDS: set[str] = set()
"""Those of the fields that take a number."""

_TEXT = Text(1, 200)
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*", re.ASCII)
_PATH = re.compile(r"(/([\w.~%-]|\{[a-z]\w*\})+)+", re.ASCII)
_PRICE = Number(0, 1_000_000)
_ANSWER = Choice(get_args(Answer))
_BODY = Choice(get_args(Body))


def _add(request_type: type[GenerationRequest]) -> None:
    fields = fields_of(request_type)
    REQUEST_TYPES[request_type.endpoint] = request_type
    FIELD_NAMES.update(fields)
    for names, rule in ((IMAGE_FIELDS, ImageBounds), (NUMBER_FIELDS, Number)):
        names.update(name for name, field in fields.items() if isinstance(field.validator, rule))
    request_type.__doc__ = described(request_type)


def described(request_type: type[GenerationRequest]) -> str:
    """Return what a class of requests is and takes, in words: its docstring, with its fields.

    Args:
        request_type: The class.
    """
    written = inspect.cleandoc(request_type.__doc__ or "")  # newer Pythons have done so already
    if "Attributes:\n" in written:
        return written
    summary, _, rest = written.partition("\n")
    about = [f"    {name}: {words}" for name, words in field_words(request_type).items()]
    rules = rule_words(request_type)
    between = [rules, ""] if rules else []
    return "\n".join([summary, "", *between, "Attributes:", *about, rest])


def rule_words(request_type: type[GenerationRequest]) -> str:
    """Return the rules between the fields of a class, in sentences.

    Args:
        request_type: The class.
    """
    words = [rule.words() for rule in request_type.between]
    return " ".join([*words, *(rule.words() for rule in request_type.between_images)])


def field_words(request_type: type[GenerationRequest]) -> dict[str, str]:
    """Return what each field of a class is, and its bounds, in sentences.

    Args:
        request_type: The class.
    """
    rules = {name: field.validator for name, field in fields_of(request_type).items()}
    words = {name: rule.described() for name, rule in rules.items() if isinstance(rule, Rule)}
    return words | {"extra_fields": EXTRAS}


for _request_type in (
    SD3Request,
    CoreRequest,
    UltraRequest,
    UpscaleFastRequest,
    UpscaleConservativeRequest,
    UpscaleCreativeRequest,
    EraseRequest,
    InpaintRequest,
    OutpaintRequest,
    SearchAndReplaceRequest,
    SearchAndRecolorRequest,
    RemoveBackgroundRequest,
    ReplaceBackgroundAndRelightRequest,
    SketchRequest,
    StructureRequest,
    StyleRequest,
    StyleTransferRequest,
    V1TextToImageRequest,
    V1ImageToImageRequest,
    V1MaskingRequest,
):
    _add(_request_type)

BUILT_IN = frozenset(REQUEST_TYPES)
"""The names of the endpoints that the package has."""


def register_endpoint(
    path: str, *, credits: float, answer: Answer = "image", body: Body = "form"
) -> Callable[[type[R]], type[R]]:
    """Make an endpoint known by its request class: a decorator, to stand above `attrs.frozen`.

    From then on `client.generate` takes such requests, and manifests, `request_from_dict` and the
    commands know the endpoint by the `endpoint` of the class. The same name may be registered
    again, as a notebook does; the names of the package may not.

    Args:
        path: Below the base URL, such as `/v2beta/stable-image/generate/next`; a `{field}` in it
            stands for the value of that field, which is then not sent otherwise.
        credits: The price of one success [credits], 0 to 1,000,000; for caps and sums.
        answer: `image` where a success is the image, `started` where it is an id by which the
            image is fetched later, `artifacts` where it is v1's list of images.
        body: `form` for `multipart/form-data`, `json` for JSON, which carries no images.

    Returns:
        The decorator; it returns the class.

    Raises:
        InvalidRequestError: A value is no good, or what is decorated is no frozen attrs class
            derived from `GenerationRequest` with an `endpoint` of its own.
    """
    if not _PATH.fullmatch(_TEXT.plain("path", path)):
        raise refuse("path", f"is {path!r:.60}; it begins with / and is appended to the base URL")
    price = _PRICE.plain("credits", credits)
    _ANSWER.plain("answer", answer)
    _BODY.plain("body", body)

    def register(request_type: type[R]) -> type[R]:
        name = _check_type_of_request(request_type)
        ENDPOINTS[name] = _checked(Endpoint(name, path, price, answer, body), request_type)
        _add(request_type)
        return request_type

    return register


def _checked(row: Endpoint, request_type: type[GenerationRequest]) -> Endpoint:
    """Return a row, if it goes with its class."""
    fields = fields_of(request_type)
    for name in row.path_fields:
        if name not in fields:
            raise refuse("path", f"has {{{name}}}, which is no field of the class")
    for name, field in fields.items():
        if row.body == "json" and isinstance(field.validator, ImageBounds):
            raise refuse("body", f"is json, which carries no images, and {name} is one")
    return row


def _check_type_of_request(request_type: Any) -> str:
    own: Mapping[str, Any] = vars(request_type) if isinstance(request_type, type) else {}
    if "__attrs_attrs__" not in own or not issubclass(request_type, GenerationRequest):
        needed = "@attrs.frozen(kw_only=True) on a class derived from GenerationRequest"
        raise refuse("request_type", f"is {request_type!r:.60}; {needed} is needed")
    name = _TEXT.plain("endpoint", own.get("endpoint"))
    if not _NAME.fullmatch(name):
        problem = "words of letters, digits, _ and -, with dots between, are needed"
        raise refuse("endpoint", f"is {name!r:.60}; {problem}")
    if name in BUILT_IN:
        raise refuse("endpoint", f"is {name!r}, which the package has; choose another name")
    return name


@attrs.frozen
class _EndpointName(Rule):
    """The name of an endpoint that is known by now."""

    def plain(self, field: str, value: object) -> str:
        """Return such a name."""
        return Choice(tuple(REQUEST_TYPES)).plain(field, value)

    def bounds(self) -> str:
        """Return the names."""
        return Choice(tuple(REQUEST_TYPES)).bounds()


ENDPOINT = _EndpointName()


def request_from_dict(fields: Mapping[str, Any], *, endpoint: str = "sd3") -> GenerationRequest:
    """Make the request that a mapping describes.

    Args:
        fields: Field names and values, as for `GenerationRequest.from_dict`; `endpoint` picks the
            class.
        endpoint: The class when `fields` names none.

    Raises:
        InvalidRequestError: An unknown endpoint or field, or a wrong value.
    """
    check_type("fields", fields, Mapping, "a mapping")
    named = fields.get("endpoint")
    name = ENDPOINT.plain("endpoint", endpoint if is_missing(named) else named)
    return REQUEST_TYPES[name].from_dict(fields)


def check_single(request: GenerationRequest, instead: str) -> None:
    """See that a request asks for one image.

    Args:
        request: The request.
        instead: Where to ask for several, in words.

    Raises:
        InvalidRequestError: It asks for more.
    """
    if request.image_count > 1:
        raise refuse("samples", f"is {request.samples}, and one image comes of this; {instead}")


_CSV_ROWS = "[{**row, 'seed': int(row['seed'])} for row in csv.DictReader(file)]: cells are text"


def check_requests(field: str, source: object) -> None:
    """See that a source gives requests, one after the other.

    Most containers can be iterated over, and what comes out of many are letters, names of columns
    or lines with their ends: each would be taken for a prompt, and paid.

    Args:
        field: The parameter to name.
        source: What the caller passed as an iterable or async iterable of requests.

    Raises:
        InvalidRequestError: It is something else; the sentence says how to make it one.
    """
    kind = type(source)
    is_table = not callable(getattr(source, "columns", callable))  # pandas, polars, Arrow, Spark
    if isinstance(source, str | GenerationRequest):
        instead = "an iterable of them, such as a list"
    elif isinstance(source, Mapping) or is_table:
        instead = "a list of mappings, such as [fields] or frame.to_dict('records')"
    elif hasattr(source, "readline"):
        instead = f"[line.strip() for line in file], or for a CSV {_CSV_ROWS}"
    elif kind.__module__ == "_csv":
        instead = _CSV_ROWS
    elif not issubclass(kind, Iterable | AsyncIterable) or kind in (bytes, bytearray, memoryview):
        instead = "an iterable of prompts, requests or mappings of fields"
    else:
        return
    raise refuse(field, f"is a single {kind.__name__}; pass {instead}")
