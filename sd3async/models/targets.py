"""Where an image may be written: mistakes that are told before it is paid for."""

import errno
import os
import stat
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
    try:
        name = os.fsencode(cast("str", to))
    except TypeError:
        raise refuse(field, f"is {type(to).__name__}; a path is needed") from None
    except UnicodeEncodeError:
        raise refuse(field, "holds half a character, which no file name can") from None
    if not name or b"\0" in name:
        problem = "holds a NUL character" if name else "is empty"
        raise refuse(field, f"{problem}; a file's path is needed")
    path = Path(os.fsdecode(name))
    shown = repr(str(path)[-_SHOWN_CHARS:])
    try:
        _check_folder(path)
        mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    except OSError as error:
        where = str(path.parent)[-_SHOWN_CHARS:]
        raise refuse(field, f"cannot write in {where!r}: {disk_words(error)}") from error
    if name.endswith(b"/") or stat.S_ISDIR(mode):
        raise refuse(field, f"{shown} is a folder; a file's path is needed")
    if not stat.S_ISREG(mode):
        raise refuse(field, f"{shown} is a pipe, a device or a socket, which would be replaced")
    implied = FORMAT_OF_SUFFIX.get(path.suffix.lower(), output_format)
    if output_format is not None and implied != output_format:
        raise refuse(field, f"{shown} ends in {path.suffix}, but the image is {output_format}")
    return path


def _check_folder(path: Path) -> None:
    folder = path.parent
    if not stat.S_ISDIR(folder.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is no folder")
    size, most = len(os.fsencode(path.name)), os.pathconf(folder, "PC_NAME_MAX")
    if size > most:
        raise OSError(errno.ENAMETOOLONG, f"the name has {size} bytes; {most} are allowed")
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, "permission is denied")
