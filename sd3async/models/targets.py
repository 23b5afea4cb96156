"""Where an image may be written: mistakes that are told before it is paid for."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from sd3async._files import disk_words
from sd3async.models.fields import refuse

FORMAT_OF_SUFFIX = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}

_SHOWN_CHARS = 200


def check_target(to: Any, output_format: str | None, field: str = "to") -> Path:
    """Return the file an image may be written to.

    Args:
        to: A path (`str` or `Path`). Its folder must exist; a file that is there already is
            replaced.
        output_format: `png`, `jpeg` or `webp`, which the file's suffix must not contradict; None
            when it does not matter.
        field: The parameter to name when it is no good.

    Raises:
        InvalidRequestError: No file can be written there, or it would be misnamed.
    """
    if not isinstance(to, str | os.PathLike):
        raise refuse(field, f"is {type(to).__name__}; a path is needed")
    path, name = Path(cast("str", to)), os.fspath(cast("str", to))
    shown = repr(name[-_SHOWN_CHARS:])
    mode = stat.S_IFREG
    try:
        with suppress(FileNotFoundError):
            mode = path.stat().st_mode
        path.parent.stat()
        if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, "permission denied")
    except (OSError, ValueError) as error:
        raise refuse(field, f"cannot write {shown}: {disk_words(error)}") from error
    if stat.S_ISDIR(mode) or name.endswith("/"):
        raise refuse(field, f"{shown} is a folder; a file's path is needed")
    if not stat.S_ISREG(mode):
        raise refuse(field, f"{shown} is a pipe, a device or a socket, which would be replaced")
    implied = FORMAT_OF_SUFFIX.get(path.suffix.lower(), output_format)
    if output_format is not None and implied != output_format:
        raise refuse(field, f"{shown} ends in {path.suffix}, but the image is {output_format}")
    return path
