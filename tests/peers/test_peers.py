"""Published clients of others, unmodified but for the base URL, against the emulator.

What they send was written by people who had the real service before them. `tests/peers/install`
installs them, and `tests/run` says where: in `SD3ASYNC_PEERS`.
"""

import asyncio
import io
import json
import os
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sd3async.emulator import Emulator
from support.pictures import picture
from support.proxies import find_program

PROGRAMS = Path(__file__).parent / "programs"
PEERS = os.environ.get("SD3ASYNC_PEERS", "")  # every test forgets such variables
_PATIENCE = 120.0  # [s] LiteLLM takes 5 s to import on an idle machine

STABLE_IMAGE = "/v2beta/stable-image"


@pytest.fixture
def peers() -> Path:
    """The folder in which they are installed."""
    folder = Path(PEERS)
    if not PEERS or not all((folder / f"{kind}.done").exists() for kind in ("python", "node")):
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up("the clients of others are not installed: use tests/run tests/peers")
    return folder.resolve()


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    """An emulator as it is without options, but for a generation that takes a moment."""
    async with Emulator(result_latency=0.15) as running:
        yield running


@pytest.fixture
def images(tmp_path: Path) -> tuple[str, str]:
    """Files of an image and of a mask for it."""
    for name, hue in (("image.png", 90), ("mask.png", 255)):
        (tmp_path / name).write_bytes(picture(160, 128, hue=hue))
    return str(tmp_path / "image.png"), str(tmp_path / "mask.png")


async def told_by(*command: object) -> list[dict[str, Any]]:
    """Run a program to its end, and return the lines of JSON that it printed."""
    program = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},  # it would ask the internet
    )
    try:
        said, complaints = await asyncio.wait_for(program.communicate(), _PATIENCE)
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    assert program.returncode == 0, complaints.decode()[-2_000:]
    return [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]


def paths_served(emulator: Emulator) -> Counter[str]:
    """Return how often each path was posted to; none may have been refused."""
    posts = [visit for visit in emulator.requests if visit.method == "POST"]
    assert {visit.status for visit in posts} == {200}
    return Counter(visit.path.removeprefix(STABLE_IMAGE) for visit in posts)


async def test_the_npm_package_gets_all_that_it_knows_of(
    peers: Path, emulator: Emulator, images: tuple[str, str]
) -> None:
    """stability-ai 0.7.0: generate, upscale, edit, control, results by both paths, and v1."""
    script, package = PROGRAMS / "stability_ai.js", peers / "node/node_modules/stability-ai"
    told = await told_by(find_program("node"), script, emulator.url, package, *images)

    assert [call for call in told if "error" in call] == []
    assert len(told) == 19
    made = [call for call in told if "size" in call]
    assert len(made) == 16
    assert all(call["size"] > 500 for call in made)
    served = paths_served(emulator)
    assert served.total() == 16
    assert served["/generate/sd3"] == 2
    assert set(served) >= {"/upscale/creative", "/edit/replace-background-and-relight"}


async def test_litellm_gets_all_that_its_provider_knows_of(
    peers: Path, emulator: Emulator, images: tuple[str, str]
) -> None:
    """LiteLLM 1.106.2: image generation, edits, upscales and control, in OpenAI's shape."""
    python = peers / "python/bin/python"
    told = await told_by(python, PROGRAMS / "litellm_calls.py", emulator.url, *images)

    assert len(told) == 15
    assert all(len(call["sizes"]) == 1 and call["sizes"][0] > 500 for call in told)
    served = paths_served(emulator)
    assert served.total() == 15
    assert served["/generate/sd3"] == 2
    sent = {visit.path.rpartition("/")[2]: visit for visit in emulator.requests}
    assert sent["inpaint"].fields["prompt"] == "a fox"
    assert {part.name for part in sent["inpaint"].parts} >= {"image", "mask"}
    assert sent["search-and-replace"].fields["search_prompt"] == "hen"
    assert sent["outpaint"].fields["left"] == "20"


async def test_the_vendors_own_sample_gets_its_lighthouse(
    peers: Path, emulator: Emulator, tmp_path: Path
) -> None:
    """Its form has an empty file named "none", for `requests` would send no form without one."""
    python, file = peers / "python/bin/python", tmp_path / "lighthouse.webp"
    await told_by(python, PROGRAMS / "vendors_sample.py", emulator.url, file)

    assert paths_served(emulator) == {"/generate/ultra": 1}
    with Image.open(io.BytesIO(file.read_bytes())) as lighthouse:
        assert (lighthouse.format, lighthouse.size) == ("WEBP", (1024, 1024))
    [visit] = emulator.requests
    assert visit.ignored == ("none",)
