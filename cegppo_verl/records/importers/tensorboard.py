"""TensorBoard's event files (``events.out.tfevents.*``): scalars by step. Needs the package tensorboard."""

from __future__ import annotations

import importlib
import struct
from pathlib import Path
from typing import Any

from cegppo_verl.errors import UserError
from cegppo_verl.records.importers.found import Found, Options, require, whole_step

HEAD, FOOT = 12, 4  # bytes around a record: length and its checksum, checksum of the record
_PATTERN = "*tfevents*"


def files(path: Path) -> list[Path]:
    """The event files of one run, oldest first.

    Raises:
        UserError: none there, or those of several runs.
    """
    found = sorted([path] if path.is_file() else path.rglob(_PATTERN))
    folders = sorted({str(file.parent.name) for file in found}) if path.is_dir() else []
    if len({file.parent for file in found}) > 1:
        shown = ", ".join(folders[:5])
        raise UserError(f"event files of several runs: {shown}", file=path, hint="name the folder of one run")
    if not found:
        raise UserError("no event files", file=path, hint=f"name a folder that holds {_PATTERN}")
    return found


def read(path: Path, options: Options) -> Found:  # every importer has these arguments
    """Every scalar; of two values of a step the later counts (a run that was resumed).

    Raises:
        UserError: ``tensorboard`` is not installed, or a file is damaged. A last record that is cut off (the
            writer was stopped) is noted.
    """
    found = Found()
    for file in files(path):
        whole, cut = _records(file)
        if cut:
            found.notes.append(f"{file.name}: the last record is cut off")
        events = _events(file)
        if len(events) != whole:
            raise UserError(f"damaged after {len(events)} of {whole} records", file=file)
        for event in events:
            _place(found, file, event)
    return require(found, path, "scalars")


def _records(file: Path) -> tuple[int, bool]:
    """How many whole records the lengths speak of, and whether more follows."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=file) from None
    place = count = 0
    while place + HEAD <= len(data):
        after = place + HEAD + struct.unpack_from("<Q", data, place)[0] + FOOT
        if after > len(data):
            break
        place, count = after, count + 1
    return count, place != len(data)


def _events(file: Path) -> list[Any]:
    try:
        loader = importlib.import_module("tensorboard.backend.event_processing.event_file_loader")
    except ImportError:
        hint = "install the package tensorboard"
        raise UserError("event files need tensorboard", file=file, hint=hint) from None
    try:
        return list(loader.EventFileLoader(str(file)).Load())
    except Exception as error:  # whatever its parser makes of a damaged record
        raise UserError(f"no readable event file: {error}", file=file) from None


def _place(found: Found, file: Path, event: Any) -> None:
    for value in event.summary.value:
        number = _scalar(value)
        if number is not None:
            step = whole_step(event.step, file, value.tag)
            found.metrics.setdefault(step, {})[value.tag] = number


def _scalar(value: Any) -> float | None:
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if value.HasField("tensor") and value.metadata.plugin_data.plugin_name == "scalars":
        util = importlib.import_module("tensorboard.util.tensor_util")
        return float(util.make_ndarray(value.tensor).item())
    return None
