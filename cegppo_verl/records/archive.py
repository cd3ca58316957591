"""Many runs in one file: what of a run directory is a record, packed; the same records give the same bytes.

For grids of hundreds of short runs, whose plain files would be hundreds of megabytes. Unpacking puts them
where they were; reports read run directories only.
"""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from cegppo_verl.errors import UserError
from cegppo_verl.records import atomic

RECORDS = (  # everything else is derived, belongs to a machine, or is too large
    "cell.json",
    "manifest.json",
    "attempts/*/attempt.json",
    "attempts/*/command.txt",
    "attempts/*/metrics.jsonl",
    "validation/*.jsonl",
)
ENDING = ".tar.xz"


def pack(runs: Iterable[Path], root: Path, file: Path) -> int:
    """Write the records of run directories below ``root`` to ``file``; returns how many files they are.

    Raises:
        OSError: a record cannot be read or ``file`` not written; an older ``file`` is then unchanged.
    """
    paths = sorted(path for run in runs for pattern in RECORDS for path in run.glob(pattern))
    buffer = io.BytesIO()
    with lzma.open(buffer, "wb", preset=6) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for path in paths:
            data = path.read_bytes()
            archive.addfile(_entry(path.relative_to(root).as_posix(), len(data)), io.BytesIO(data))
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(file, buffer.getvalue())
    return len(paths)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """Without owner and times, which differ between machines."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


def unpack(file: Path, root: Path) -> int:
    """Restore the records in ``file`` below ``root``; returns how many files were missing there.

    A file that is there already and holds the same is left; nothing is ever replaced.

    Raises:
        UserError: not such an archive, a name in it that leads elsewhere, or a file there that differs.
    """
    wanted = dict(_contents(file))
    places = {root / name: data for name, data in wanted.items()}
    missing = [place for place, data in places.items() if not _is_there(place, data, file)]
    for place in missing:
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(place, places[place])
    return len(missing)


def _contents(file: Path) -> Iterator[tuple[str, bytes]]:
    try:
        whole = lzma.decompress(file.read_bytes())  # all of it first: a reader of parts misses a cut end
        with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
            for entry in archive:
                part = archive.extractfile(entry) if entry.isreg() else None
                if part is None or not _is_record(entry.name):
                    hint = "use a file that `cegppo pack` wrote"
                    raise UserError(f"'{entry.name}' in it is no record of a run", file=file, hint=hint)
                yield entry.name, part.read()
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
        raise UserError(f"not readable as an archive: {error}", file=file, hint="fetch it again") from error


def _is_record(name: str) -> bool:
    """``<grid>/<run>/<a record>`` and nothing that climbs out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or len(path.parts) < 3:
        return False
    inner = PurePosixPath(*path.parts[2:])
    return any(inner.match(pattern) and len(inner.parts) == pattern.count("/") + 1 for pattern in RECORDS)


def _is_there(place: Path, data: bytes, file: Path) -> bool:
    if not place.exists():
        return False
    if place.read_bytes() == data:
        return True
    hint = "move the run's folder away if the archive is the one to keep"
    raise UserError(f"differs from the record in {file.name}", file=place, hint=hint)
