"""From a form to an order: the two APIs have rules and manners of their own, one way in."""

from collections.abc import Mapping
from functools import cached_property
from typing import IO, Any, TypeAlias

import attrs
from PIL import Image

from sd3async.emulator.answers import Refusal
from sd3async.emulator.api_table import Endpoint, Size
from sd3async.emulator.checks import Findings, Strictness, examine
from sd3async.emulator.form import Form
from sd3async.emulator.images import Picture
from sd3async.emulator.orders import Order, order_from
from sd3async.emulator.settings import Settings
from sd3async.emulator.uploads import UndecodableImageError, decode, read_facts
from sd3async.emulator.v1 import examine_v1, order_v1, values_of

__all__ = ["Intake", "Uploads", "strictness_of"]

Uploads: TypeAlias = Mapping[str, Image.Image]


def strictness_of(settings: Settings) -> Strictness:
    """Return how the unsettled rules are to be read."""
    return Strictness(
        settings.strict,
        settings.unknown_fields or ("reject" if settings.strict else "ignore"),
        settings.models,
        settings.turbo_negative_prompt,
    )


@attrs.define(slots=False, eq=False)
class Intake:
    """One form on its way to an order.

    Attributes:
        endpoint: Where it was posted.
        form: What came in; open as long as this is used.
    """

    endpoint: Endpoint
    form: Form

    @cached_property
    def _values(self) -> Mapping[str, Any]:
        return values_of(self.endpoint, self.form)

    @property
    def _streams(self) -> dict[str, IO[bytes]]:
        files = self.form.files
        return {name: files[name] for name in self.endpoint.images if name in files}

    def examine(self, headers: Mapping[str, str], strictness: Strictness) -> Findings:
        """Return everything that is to be said of the request."""
        if self.endpoint.is_v1:
            return examine_v1(self.endpoint, self.form, self._values, headers, strictness)
        return examine(self.endpoint, self.form, headers, strictness)

    def order(self, engine: str, *, as_json: bool, random_seed: int) -> Order:
        """Return what a good request asks for.

        Args:
            engine: In v1, the one that the path names.
            as_json: Whether the answer shall be JSON.
            random_seed: Used when the request names no seed, or zero.

        Raises:
            Refusal: The image would be larger than its format can hold.
        """
        seen = {name: read_facts(stream) for name, stream in self._streams.items()}
        sizes: dict[str, Size] = {
            n: (facts.width, facts.height) for n, facts in seen.items() if facts
        }
        if self.endpoint.is_v1:
            return order_v1(
                self.endpoint,
                engine,
                self._values,
                as_json=as_json,
                random_seed=random_seed,
                uploads=sizes,
            )
        return order_from(
            self.endpoint,
            self.form.fields,
            as_json=as_json,
            random_seed=random_seed,
            uploads=sizes,
        )

    def decode(self, picture: Picture) -> Uploads:
        """Return the pixels of every upload. Takes a while: made for a thread.

        Raises:
            Refusal: One of them is broken.
        """
        enough = picture.size if picture.kind == "drawn" else None
        uploads: dict[str, Image.Image] = {}
        for name, stream in self._streams.items():
            try:
                uploads[name] = decode(stream, enough)
            except UndecodableImageError:
                raise Refusal.bad_request(f"{name}: could not be decoded") from None
        return uploads
