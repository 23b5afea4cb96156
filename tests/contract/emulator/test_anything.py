"""Whatever a form says: an image, an id or a 400, never a failure of the emulator's own."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.emulator.caller import Reply, caller, picture
from sd3async.emulator import Emulator
from sd3async.emulator.api_table import ENDPOINTS, Endpoint

ODD_TEXTS = ["", "0", "-0", "1e400", "1e-400", "NaN", "05", "0x5", " 7", "\x00", "é" * 10_001, "{}"]
IMAGES = [picture(), picture((64, 2000), "jpeg"), picture((31, 31), "webp"), b"", b"no image"]


def texts(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    """Return texts for a field: its choices, numbers about its bounds, oddities, anything."""
    near = [str(schema[bound]) for bound in ("minimum", "maximum", "default") if bound in schema]
    return st.one_of(
        st.sampled_from([*schema.get("enum", []), *near, *ODD_TEXTS]),
        st.floats(allow_nan=False).map(str),
        st.integers(-5, 3000).map(str),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    )


@st.composite
def forms(draw: st.DrawFn, endpoint: Endpoint) -> dict[str, Any]:
    """Return a form of some of an endpoint's fields, and sometimes another one."""
    names = draw(st.sets(st.sampled_from(sorted(endpoint.fields)))) | set(endpoint.required)
    if draw(st.booleans()):
        names -= {draw(st.sampled_from(sorted(endpoint.fields)))}
    fields: dict[str, Any] = {
        name: draw(
            st.sampled_from(IMAGES)
            if name in endpoint.images
            else texts(dict(endpoint.fields[name]))
        )
        for name in sorted(names)
    }
    if draw(st.integers(0, 9)) == 0:
        fields["another"] = "field"
    return fields


@pytest.mark.parametrize("path", sorted(ENDPOINTS))
def test_any_form_gets_an_answer_that_is_documented(path: str, shared: Emulator) -> None:
    """A 500 of ours would look like trouble of the service; a 400 has to say of which field."""
    endpoint = ENDPOINTS[path]
    allowed = {*endpoint.fields, "another"}

    async def post(fields: dict[str, Any]) -> Reply:
        async with caller(shared) as client:
            return await client.post(path.removeprefix("/v2beta/stable-image/"), **fields)

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(forms(endpoint))
    def check(fields: dict[str, Any]) -> None:
        reply = asyncio.run(post(fields))

        assert reply.status in (200, 400), reply.body
        if reply.status == 400:
            assert {error.partition(":")[0] for error in reply.errors} <= allowed

    check()
