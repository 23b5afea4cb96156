"""Formats that other tools read, written by the libraries made for them."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from sd3async.bulk.records import ItemRecord
from sd3async.bulk.report.write import Records
from sd3async.errors import SD3Error
from sd3async.models.fields import Choice, refuse

ExportFormat: TypeAlias = Literal["webdataset", "parquet"]


_LIBRARIES: dict[ExportFormat, str] = {"webdataset": "webdataset", "parquet": "pyarrow"}
_FORMAT = Choice(get_args(ExportFormat))


def check_formats(formats: Sequence[ExportFormat]) -> tuple[ExportFormat, ...]:
    """See that formats could be written, before anything is paid for.

    Args:
        formats: Their names.

    Returns:
        Each of them once.

    Raises:
        InvalidRequestError: There is no such format, or its library is not installed.
    """
    if isinstance(formats, str):
        raise refuse("formats", f"is {formats!r}; a list of names is needed, such as [{formats!r}]")
    for name in formats:
        library = _LIBRARIES[_FORMAT.plain("formats", name)]  # type: ignore[index]
        if find_spec(library) is None:
            raise refuse("formats", f"{name} needs {library}: pip install 'sd3async[{name}]'")
    return tuple(dict.fromkeys(formats))


def export(
    out: Path,
    records: Records,
    format: ExportFormat,  # noqa: A002  # the command line's word
) -> list[Path]:
    """Write a finished job's results in a format that other tools read.

    Args:
        out: The job's folder.
        records: Called for a fresh pass over the items, in manifest order; it is streamed.
        format: `webdataset` for tar shards of the images, `parquet` for a table of the facts.

    Returns:
        The files written.

    Raises:
        SD3Error: The library that writes the format is not installed.
        ValueError: There is no such format.
        OSError: Something could not be written; each file is whole or not there.
    """
    if format not in get_args(ExportFormat):
        raise ValueError(f"format: is {format!r}; {' or '.join(get_args(ExportFormat))} is needed")
    try:
        return _write(out, records(), format)
    except ModuleNotFoundError as error:
        raise SD3Error(
            f"the format {format} needs {error.name}: pip install 'sd3async[{format}]'"
        ) from error


def _write(out: Path, records: Iterable[ItemRecord], format_: ExportFormat) -> list[Path]:
    if format_ == "parquet":
        from sd3async.bulk.report.table import write_table

        return [write_table(out, records)]
    from sd3async.bulk.report.shards import write_shards

    return write_shards(out, records)
