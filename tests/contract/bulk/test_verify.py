"""Checking every image of a job, long after it has ended."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sd3async.bulk import FolderError
from sd3async.bulk.keeping.verify import verify
from sd3async.cli.program import program
from support.journals import forget_the_end

PROMPTS = [f"p{number}" for number in range(10)]


def image(out: Path, number: int) -> Path:
    return out / f"images/000000/{number:08d}.png"


async def finished(site: Any) -> Path:
    here = await site()
    async with here.job(PROMPTS) as job:
        await job.run()
    out: Path = here.out
    return out


def spoil(out: Path) -> None:
    """Harm images 0 to 4, each in another way, and add one of unknown origin."""
    image(out, 0).unlink()
    image(out, 1).write_bytes(b"")
    image(out, 2).write_bytes(image(out, 2).read_bytes()[:-10])
    data = bytearray(image(out, 3).read_bytes())
    data[len(data) // 2] ^= 1
    image(out, 3).write_bytes(data)
    shutil.copy(image(out, 9), image(out, 70))


async def test_every_kind_of_harm_is_named(site: Any) -> None:
    """A folder that came back from a backup must be checked by something."""
    out = await finished(site)
    size = image(out, 2).stat().st_size
    spoil(out)
    found = verify(out)

    assert found.images == 10
    assert found.decoded
    assert [(Path(flaw.file).stem[-2:], flaw.problem) for flaw in found.flaws] == [
        ("00", "is gone"),
        ("01", "is empty"),
        ("02", f"has {size - 10:,} bytes; {size:,} were received"),
        ("03", "is not what was received: its SHA-256 differs"),
        ("70", "is in no journal"),
    ]


async def test_what_does_not_decode_is_told_also_where_no_hash_is_kept(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service can send bytes that begin and end like a picture."""
    out = await finished(site)
    monkeypatch.setattr("sd3async.bulk.keeping.tables.json.loads", _forgetting_hashes(json.loads))
    data = bytearray(image(out, 3).read_bytes())
    data[20:30] = b"\0" * 10
    image(out, 3).write_bytes(data)
    (flaw,) = verify(out).flaws

    assert flaw.problem.startswith("does not decode: ")


def _forgetting_hashes(loads: Any) -> Any:
    def forgetting(text: str) -> Any:
        value = loads(text)
        return {**value, "sha256": None} if "sha256" in value else value

    return forgetting


async def test_whole_jobs_pass_and_nothing_is_changed(site: Any) -> None:
    """A check that writes is one more thing to be afraid of."""
    out = await finished(site)
    before = {path: path.stat() for path in out.rglob("*")}

    assert verify(out).flaws == ()
    for path, stat in before.items():
        assert path.stat().st_mtime_ns == stat.st_mtime_ns or path == out


async def test_an_image_that_has_just_arrived_is_no_flaw(site: Any) -> None:
    """A check beside a running job must not call its newest images strangers."""
    out = await finished(site)
    forget_the_end(out, 3)

    assert verify(out).flaws == ()


async def test_shared_images_are_looked_at_once(site: Any) -> None:
    """Three items of one image have one image."""
    here = await site()
    async with here.job([{"prompt": "twin", "seed": 3}] * 3) as job:
        await job.run()
    image(here.out, 0).unlink()
    found = verify(here.out)

    assert (found.images, len(found.flaws)) == (1, 1)


async def test_a_folder_without_a_job_is_said_to_have_none(tmp_path: Path) -> None:
    """No images checked is not all images whole."""
    with pytest.raises(FolderError, match=r"holds no job: there is no journal\.sqlite"):
        verify(tmp_path)

    assert list(tmp_path.iterdir()) == []


def run(*args: str) -> Result:
    return CliRunner().invoke(program, ["bulk", *args])


async def test_the_command_prints_the_flaws_and_leaves_with_1(site: Any) -> None:
    """Its output is for the next program in the pipe, its code for the script."""
    out = await finished(site)
    whole = run("--verify", str(out))
    image(out, 4).unlink()
    broken, as_json = run("--verify", str(out)), run("--verify", str(out), "--json")
    told = json.loads(as_json.stdout)

    assert (whole.exit_code, broken.exit_code, as_json.exit_code) == (0, 1, 1)
    assert "all 10 images are as received" in whole.stderr
    assert broken.stdout == "images/000000/00000004.png: is gone\n"
    assert told["images"] == 10
    assert told["flaws"] == [{"file": "images/000000/00000004.png", "problem": "is gone"}]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "MANIFEST is missing"),
        (("p.txt",), "--out is missing"),
        (("p.txt", "--verify", "x"), "--verify DIR takes neither a manifest nor --out"),
        (("--verify", ""), "out: is empty"),
        (("--verify", "nowhere"), "holds no job"),
    ],
)
def test_the_command_says_what_it_lacks(args: tuple[str, ...], words: str) -> None:
    """A manifest is needed for a run, and only for that."""
    result = run(*args)

    assert result.exit_code == 2
    assert words in result.stderr
