"""A service that only takes down what arrives, and answers each form with a picture."""

from typing import Any

import attrs
from aiohttp import web

from support.pictures import picture


@attrs.define
class Form:
    """One request, as it arrived.

    Attributes:
        path: Where.
        fields: Its text fields; a name that comes twice holds both texts.
        files: Its images.
        headers: Its headers, case-insensitive.
    """

    path: str
    headers: Any
    fields: dict[str, str] = attrs.field(factory=dict[str, str])
    files: dict[str, bytes] = attrs.field(factory=dict[str, bytes])


class Forms:
    """Takes forms down; strict about what a form is.

    Attributes:
        taken: The forms so far.
        fail_first: How many to answer with 500 before the first picture.
    """

    def __init__(self, *, fail_first: int = 0) -> None:
        self.taken: list[Form] = []
        self._to_fail = fail_first

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.path.endswith("/balance"):
            return web.json_response({"credits": 1_000})
        if request.method == "GET":
            return web.Response(body=picture(), content_type="image/png")
        assert request.content_type == "multipart/form-data"
        form = Form(request.path, request.headers)
        parts: Any = await request.multipart()
        async for part in parts:
            name, data = part.name, bytes(await part.read())
            assert name not in (None, *form.fields, *form.files), "a field twice"
            if part.filename is None:
                form.fields[name] = data.decode()
            else:
                assert part.headers["content-type"].startswith("image/")
                form.files[name] = data
        self.taken.append(form)
        if self._to_fail:
            self._to_fail -= 1
            error = {"id": "0" * 32, "name": "internal_error", "errors": ["try again"]}
            return web.json_response(error, status=500)
        headers = {"finish-reason": "SUCCESS", "seed": form.fields.get("seed", "5")}
        kind: Any = form.fields.get("output_format", "png")
        return web.Response(body=picture(kind=kind), content_type=f"image/{kind}", headers=headers)
