"""The programs in `examples/`, run as they stand against a server on loopback."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from support.forms import Forms
from support.pictures import picture
from support.servers import serve

EXAMPLES = Path(__file__).parents[2] / "examples"


async def run_program(url: str, folder: Path, *args: str, **variables: str) -> str:
    """Run a Python program that talks to `url`, and return what it printed."""
    environment = os.environ | {"STABILITY_API_KEY": "sk-test", "STABILITY_BASE_URL": url}
    return await asyncio.to_thread(
        lambda: (
            subprocess.run(
                [sys.executable, "-W", "error", *args],
                check=True,
                cwd=folder,
                env=environment | variables,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
        )
    )


async def test_a_declared_endpoint_is_called_like_any_other(tmp_path: Path) -> None:
    """One class and one line are enough, from outside of the package."""
    forms = Forms()
    async with serve(forms.take) as url:
        printed = await run_program(url, tmp_path, str(EXAMPLES / "declared_endpoint.py"))

    assert printed == "postcard.png 4 credits\n"
    [form] = forms.taken
    assert form.path == "/v2beta/stable-image/generate/postcard"
    assert form.fields == {
        "prompt": "greetings from the coast", "size": "small", "output_format": "png",
    }  # fmt: skip
    assert (tmp_path / "postcard.png").read_bytes() == picture()


async def test_the_commands_know_a_declared_endpoint(tmp_path: Path) -> None:
    """Named by a variable, its module is imported before a command is made."""
    (tmp_path / "stamp.png").write_bytes(picture())
    lines = [
        {"prompt": "a", "endpoint": "postcard", "stamp": "stamp.png", "gloss": 0.5},
        {"prompt": "b"},
    ]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    forms = Forms()
    declared = {
        "SD3ASYNC_ENDPOINTS": "declared_endpoint",
        "PYTHONPATH": os.pathsep.join(
            [str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    async with serve(forms.take) as url:
        command = ["-m", "sd3async"]
        prices = await run_program(url, tmp_path, *command, "prices", **declared)
        args = ["generate", "greetings", "--endpoint", "postcard", "--gloss", "1", "-o", "x.png"]
        await run_program(url, tmp_path, *command, *args, **declared)
        job = ["bulk", "jobs.jsonl", "--out", "job", "--endpoint", "postcard"]
        await run_program(url, tmp_path, *command, *job, **declared)

    assert "postcard" in prices
    posted = [form for form in forms.taken if form.path.endswith("postcard")]
    assert len(posted) == 3
    assert posted[0].fields["gloss"] == "1.0"
    assert sorted(form.fields["prompt"] for form in posted[1:]) == ["a", "b"]
    assert [form.files for form in posted if form.files] == [{"stamp": picture()}]
