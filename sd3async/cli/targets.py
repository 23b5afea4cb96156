"""Where a generated image goes: a named file, a file named after its prompt, or stdout."""

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import click

from sd3async.models.results import GeneratedImage
from sd3async.models.targets import FORMAT_OF_SUFFIX, check_target

_STDOUT = "-"
_NAME_CHARS = 48
_SUFFIX_OF_TYPE = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}


@attrs.frozen
class Target:
    """What `-o` and `--force` ask for.

    Attributes:
        output: The value of `-o`: a file, a folder, `-` for stdout, or None.
        force: Whether a file that is there already is replaced.
    """

    output: str | None
    force: bool

    @property
    def is_stdout(self) -> bool:
        """Whether the image goes to stdout."""
        return self.output == _STDOUT

    @property
    def path(self) -> Path | None:
        """The file, when it is known before the image is there."""
        if self.output is None or self.is_stdout or self._folder is not None:
            return None
        return Path(self.output)

    @property
    def _folder(self) -> Path | None:
        with suppress(OSError):  # a name that the disk refuses: `check` will tell
            if self.output and (self.output.endswith("/") or Path(self.output).is_dir()):
                return Path(self.output)
        return None

    def settle_format(self, fields: dict[str, Any]) -> None:
        """Let the file's suffix decide the output format when no option does.

        Args:
            fields: The request's fields; `output_format` is added if need be.

        Raises:
            click.UsageError: Suffix and option disagree.
        """
        suffix = self.path.suffix.lower() if self.path is not None else ""
        implied = FORMAT_OF_SUFFIX.get(suffix)
        if implied is None:
            return
        asked = fields.setdefault("output_format", implied)
        if asked != implied:
            raise click.UsageError(f"-o ends in {suffix}, but --output-format is {asked}")

    def check(self, output_format: str | None = None, *, images: int = 1) -> None:
        """See that the image could be written there, before it is paid for.

        Args:
            output_format: What the image will be, where that is known.
            images: How many there will be.

        Raises:
            click.UsageError: It could not, or a file would be lost.
            InvalidRequestError: No file can be written there.
        """
        if self.output == "":
            raise click.UsageError("-o is empty; a file, a folder or - is needed")
        if self.is_stdout and sys.stdout.isatty():
            raise click.UsageError("-o - would write an image to the terminal; redirect stdout")
        if images > 1 and (self.is_stdout or self.path is not None):
            raise click.UsageError(f"-o: {images} images need a folder, such as -o .")
        folder = self.path.parent if self.path is not None else self._folder
        if folder is not None and not folder.is_dir():
            raise click.UsageError(f"-o: there is no folder {folder}")
        if self.path is None:
            return
        check_target(self.path, output_format, "-o")
        if self.path.exists() and not self.force:
            raise click.UsageError(f"-o: {self.path} is there already; --force replaces it")

    def save(self, image: GeneratedImage) -> Path | None:
        """Put an image where it belongs, unless it is there already.

        Args:
            image: The image, in memory or streamed to `path`.

        Returns:
            Its file; None when it went to stdout.

        Raises:
            OSError: It could not be written.
        """
        if image.path is not None:
            return image.path
        if self.is_stdout:
            sys.stdout.buffer.write(image.data or b"")
            sys.stdout.buffer.flush()
            return None
        return image.save(self._name(image))

    def _name(self, image: GeneratedImage) -> Path:
        seed = "" if image.seed is None else f"-{image.seed}"
        stem = f"{_slug(image.request.prompt or image.request.endpoint)}{seed}"
        suffix = _SUFFIX_OF_TYPE.get(image.content_type, "")
        folder = self._folder or Path()
        path = folder / f"{stem}{suffix}"
        number = 2
        # The image is paid for by now, so a name that is taken is no reason to stop.
        while path.exists() and not self.force:
            path = folder / f"{stem}-{number}{suffix}"
            number += 1
        return path


def _slug(prompt: str) -> str:
    words = re.sub(r"\W+", "-", prompt.lower()).strip("-")
    return words[:_NAME_CHARS].rstrip("-") or "image"
