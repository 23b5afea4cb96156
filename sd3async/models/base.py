"""What all requests are: frozen values, valid since they exist.

A class of a request is data: its fields, each with a rule, and the rules between fields.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, Self
from urllib.parse import quote

import attrs

from sd3async.endpoints import ENDPOINTS, Endpoint
from sd3async.models.extras import NO_EXTRAS, ExtraFields, read_extras
from sd3async.models.fields import (
    OUTPUT_FORMATS,
    Choice,
    Number,
    OutputFormat,
    check_type,
    is_missing,
    refuse,
)
from sd3async.models.images import ImageBounds
from sd3async.models.nested import to_json
from sd3async.models.sources import ImageFacts, ImageSource

NOT_SENT = {"is_sent": False}
"""The metadata of a field that tells this client something, and the service nothing."""

PRICE = Number(
    0,
    1_000_000,
    about="The price of one success [credits], where you know it better than the documents; caps "
    "and sums go by it. It is not sent.",
)


class Between(Protocol):
    """A rule between fields."""

    def check(self, request: object) -> None:
        """Hold a request to the rule.

        Raises:
            InvalidRequestError: It breaks the rule.
        """
        ...

    def words(self) -> str:
        """Return the rule as a sentence."""
        ...


class BetweenImages(Protocol):
    """A rule of which the sizes of images are a part."""

    def check(self, request: Any, facts: Mapping[str, ImageFacts]) -> None:
        """Hold a request to the rule, as far as its images are known.

        Args:
            request: The request.
            facts: What the images' headers say, by the names of their fields.

        Raises:
            InvalidRequestError: It breaks the rule.
        """
        ...

    def words(self) -> str:
        """Return the rule as a sentence."""
        ...


@attrs.frozen
class Needs:
    """A field that is required with another.

    Attributes:
        field: The one that is required.
        other: The one that requires it.
    """

    field: str
    other: str

    def check(self, request: object) -> None:
        """See that it is there, if it must be."""
        if _is_given(request, self.other) and not _is_given(request, self.field):
            raise refuse(self.field, f"is missing; it is required with `{self.other}`")

    def words(self) -> str:
        """Return the rule as a sentence."""
        return f"`{self.field}` is required with `{self.other}`."


@attrs.frozen
class OnlyWith:
    """A field that only goes with one of others.

    Attributes:
        field: The one that needs company.
        others: Any of these is enough.
    """

    field: str
    others: tuple[str, ...]

    def check(self, request: object) -> None:
        """See that it is not alone."""
        is_alone = not any(_is_given(request, other) for other in self.others)
        if _is_given(request, self.field) and is_alone:
            raise refuse(self.field, f"is set; it only goes with {_names(self.others, 'or')}")

    def words(self) -> str:
        """Return the rule as a sentence."""
        return f"`{self.field}` only goes with {_names(self.others, 'or')}."


@attrs.frozen
class NotWith:
    """A field that does not go with another.

    Attributes:
        field: The one that must go.
        other: The one it does not go with.
        reason: Why, in words.
    """

    field: str
    other: str
    reason: str

    def check(self, request: object) -> None:
        """See that they are not both there."""
        if _is_given(request, self.field) and _is_given(request, self.other):
            raise refuse(self.field, f"is set; {self.reason}, so leave it out")

    def words(self) -> str:
        """Return the rule as a sentence."""
        return f"`{self.field}` does not go with `{self.other}`: {self.reason}."


@attrs.frozen
class OneOf:
    """Fields of which one at least must say something: zero and empty text say nothing.

    Attributes:
        fields: Their names.
    """

    fields: tuple[str, ...]

    def check(self, request: object) -> None:
        """See that one does."""
        if not any(getattr(request, field) for field in self.fields):
            raise refuse(self.fields[0], f"at least one of {_names(self.fields, 'and')} is needed")

    def words(self) -> str:
        """Return the rule as a sentence."""
        return f"At least one of {_names(self.fields, 'and')} is needed."


def _is_given(request: object, field: str) -> bool:
    return getattr(request, field) not in (None, "")


def _names(fields: tuple[str, ...], joint: str) -> str:
    *most, last = (f"`{field}`" for field in fields)
    return f"{', '.join(most)} {joint} {last}" if most else last


class _Common:
    """What any request can be asked for, though not every endpoint takes it.

    No attrs class, or each endpoint's own field would keep this one's place among the arguments.
    """

    __slots__ = ()

    prompt: str = ""
    seed: int | None = None
    samples: int | None = None


@attrs.frozen(kw_only=True)
class GenerationRequest(_Common):
    """What to generate; each endpoint has a class of its own.

    Attributes:
        prompt: The words to follow; empty where an endpoint takes none.
        seed: Start of the randomness; None where none is given or taken.
        samples: How many images it asks for; None is one.
        output_format: How the image is encoded.
        extra_fields: Further form fields, sent as they are: for what a class does not know yet.
            Text, numbers and bools; images are refused. One that the class knows is refused too,
            except for an enumeration that is left at its default: there the extra field wins
            (`extra_fields={"model": "sd4"}` is the way past `model`).
    """

    endpoint: ClassVar[str]
    between: ClassVar[tuple[Between, ...]] = ()
    """The rules between fields."""
    between_images: ClassVar[tuple[BetweenImages, ...]] = ()
    """Those that look at images."""

    output_format: OutputFormat = attrs.field(
        default="png",
        validator=Choice(OUTPUT_FORMATS, about="How the image is encoded.", default="`png`"),
    )
    extra_fields: ExtraFields = attrs.field(
        default=NO_EXTRAS, converter=read_extras, metadata=NOT_SENT
    )
    _credits: float | None = attrs.field(
        default=None, validator=PRICE, alias="credits", repr=False, metadata=NOT_SENT
    )

    def __attrs_post_init__(self) -> None:
        """Hold the fields to the rules between them."""
        for rule in self.between:
            rule.check(self)
        if self.between_images:
            known = {name: source.facts for name, source in self.images() if source.facts}
            self._check_between_images(known)
        for name in self.extra_fields:
            self._check_extra(name)

    @property
    def row(self) -> Endpoint:
        """Path, price and kind of answer of its endpoint."""
        row = ENDPOINTS.get(getattr(self, "endpoint", ""))
        if row is None:
            raise refuse(
                "endpoint", f"{type(self).__name__} has none; call register_endpoint first"
            )
        return row

    @property
    def image_count(self) -> int:
        """How many images a success is."""
        return self.samples or 1 if self.row.answer == "artifacts" else 1

    @property
    def path(self) -> str:
        """Where it is sent, below the base URL."""
        row = self.row
        values = {name: quote(str(getattr(self, name)), safe="") for name in row.path_fields}
        return row.path.format_map(values)

    @property
    def credits(self) -> float:
        """The price of one success [credits]: the one given, else the documented one."""
        if self._credits is not None:
            return self._credits
        model = self.extra_fields.get("model", getattr(self, "model", None))
        return self.row.price(
            None if model is None else str(model),
            steps=getattr(self, "steps", None),
            samples=self.samples,
        )

    def given(self) -> dict[str, Any]:
        """Return the fields that are set and sent, as they are; extra fields are apart."""
        return {
            name: value
            for name, default in _sent_of(type(self))
            if (value := getattr(self, name)) is not None and (value != "" or default != "")
        }

    def images(self) -> Iterator[tuple[str, ImageSource]]:
        """Yield the images to upload, by the names of their fields."""
        for name, value in self.given().items():
            if isinstance(value, ImageSource):
                yield name, value

    def check_images(self, facts: Mapping[str, ImageFacts]) -> None:
        """Hold the images to their bounds, when more is known than at construction.

        Args:
            facts: What their headers say, by the names of their fields.

        Raises:
            InvalidRequestError: One breaks them.
        """
        for name, known in facts.items():
            rule = fields_of(type(self))[name].validator
            if isinstance(rule, ImageBounds):
                rule.check(name, known)
        self._check_between_images(facts)

    def for_service(self, default_model: str) -> Self:
        """Return the request as it is sent to a service.

        Args:
            default_model: The model that the service documents as the default of `sd3`.
        """
        del default_model
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set, and `endpoint`, ready for JSON.

        Raises:
            InvalidRequestError: An image was given as a stream, a callable or a Pillow image.
        """
        fields = {"endpoint": self.endpoint, **self.given()}
        for name, value in fields.items():
            fields[name] = value.to_text(name) if isinstance(value, ImageSource) else to_json(value)
        if self.extra_fields:
            fields["extra_fields"] = dict(self.extra_fields)
        if self._credits is not None:
            fields["credits"] = self._credits
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Make a request from what `to_dict` returned, or from a line of a manifest.

        Args:
            fields: Field names and values; `endpoint`, if there, must be this class's own. None
                means not given, and so does what tables have in an empty cell: NaN (no field may
                be one) and pandas' NA.

        Raises:
            InvalidRequestError: An unknown or missing field, or a wrong value.
        """
        check_type("fields", fields, Mapping, "a mapping")
        given = {name: value for name, value in fields.items() if not is_missing(value)}
        Choice((cls.endpoint,)).plain("endpoint", given.pop("endpoint", cls.endpoint))
        known = fields_of(cls)
        for name in given:
            if name not in known:
                raise refuse(str(name), f"is no field of {cls.endpoint}; {', '.join(known)} are")
        for name in required(cls):
            if name not in given:
                raise refuse(name, "is missing; it is required")
        return cls(**given)

    def _check_between_images(self, facts: Mapping[str, ImageFacts]) -> None:
        for rule in self.between_images:
            rule.check(self, facts)

    def _check_extra(self, name: str) -> None:
        field = fields_of(type(self)).get(name)
        if field is None:
            return
        if not is_sent(field) or not isinstance(field.validator, Choice):
            raise refuse("extra_fields", f"names {name}, which is a field; pass {name}=… instead")
        is_derived = hasattr(field.default, "factory")
        if not is_derived and getattr(self, name) != field.default:
            raise refuse("extra_fields", f"names {name}, which is given too; leave one out")


@attrs.frozen(kw_only=True)
class StartedRequest(GenerationRequest):
    """A request of which no more is known than that it has been started."""

    endpoint: ClassVar[str] = "results"


_FIELDS: "dict[type[GenerationRequest], Mapping[str, attrs.Attribute[Any]]]" = {}


def fields_of(request_type: type[GenerationRequest]) -> "Mapping[str, attrs.Attribute[Any]]":
    """Return the fields of a class by the names that callers use, positional ones first.

    Args:
        request_type: A class of requests.
    """
    if request_type not in _FIELDS:
        fields = [field for field in attrs.fields(request_type) if field.init]
        fields.sort(
            key=lambda field: (field.kw_only, not is_sent(field), field.name == "output_format")
        )
        _FIELDS[request_type] = {field.alias or field.name: field for field in fields}
    return _FIELDS[request_type]


# Every call asks for these, more than once.
_SENT: dict[type[GenerationRequest], tuple[tuple[str, Any], ...]] = {}


def _sent_of(request_type: type[GenerationRequest]) -> tuple[tuple[str, Any], ...]:
    """Return the names of the fields that go into the form, and their defaults."""
    if request_type not in _SENT:
        fields = fields_of(request_type)
        _SENT[request_type] = tuple(
            (name, field.default) for name, field in fields.items() if is_sent(field)
        )
    return _SENT[request_type]


def required(request_type: type[GenerationRequest]) -> tuple[str, ...]:
    """Return the names of the fields that have no default.

    Args:
        request_type: A class of requests.
    """
    fields = fields_of(request_type)
    return tuple(name for name, field in fields.items() if field.default is attrs.NOTHING)


def is_sent(field: "attrs.Attribute[Any]") -> bool:
    """Whether a field goes into the form."""
    return bool(field.metadata.get("is_sent", True))
