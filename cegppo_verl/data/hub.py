"""Files of a data set from the Hugging Face hub or a mirror of it (HF_ENDPOINT), through its own cache.

A file appears in the cache when it is whole; a connection that breaks is taken up again by huggingface_hub
with a range request, and the same command after a kill goes on with the files that are still missing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cegppo_verl.data.catalog import COMMIT
from cegppo_verl.data.source import Source, digest
from cegppo_verl.errors import UserError

MAIN = "main"


def fetch(repo: str, files: tuple[str, ...], revision: str, *, offline: bool) -> tuple[list[Source], str]:
    """The files, each compared with the checksum that the hub states, and the commit they are of.

    Args:
        revision: a commit, branch or tag; what is not a commit is resolved once, for all files.
        offline: only what the cache holds already.

    Raises:
        UserError: no such repository, revision or file, no connection, or a damaged file.
    """
    found: list[Source] = []
    commit = revision
    for name in files:
        path = _one(repo, name, commit, offline)
        commit = _commit(path, commit, repo)
        found.append(Source(name, path, digest(path), _verified(path, repo, name)))
    return found, commit


def _one(repo: str, name: str, revision: str, offline: bool) -> Path:
    hub = _package()
    endpoint = os.environ.get("HF_ENDPOINT") or None
    with _explained(repo, name, revision, offline):
        return Path(
            hub.hf_hub_download(
                repo, name, repo_type="dataset", revision=revision, endpoint=endpoint,
                local_files_only=offline or _offline_asked(),
            )
        )  # fmt: skip


def _package():  # type: ignore[no-untyped-def]  # a module
    try:
        import huggingface_hub
    except ImportError as error:
        hint = "pip install huggingface_hub, or give a folder with --from"
        raise UserError("downloading needs the package huggingface_hub", hint=hint) from error
    return huggingface_hub


def _offline_asked() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


@contextmanager
def _explained(repo: str, name: str, revision: str, offline: bool) -> Iterator[None]:
    import httpx
    from huggingface_hub import errors

    where = f"{repo}/{name}"
    try:
        yield
    except errors.RevisionNotFoundError as error:
        hint = "leave --revision out to take the catalogue's, or give a commit of that repository"
        raise UserError(f"{repo} has no revision '{revision}'", key="--revision", hint=hint) from error
    except errors.GatedRepoError as error:
        hint = "accept its terms on its page, then log in with: hf auth login"
        raise UserError(f"{repo} asks for consent first", hint=hint) from error
    except errors.RepositoryNotFoundError as error:
        hint = "check HF_ENDPOINT if you use a mirror; a private one needs: hf auth login"
        raise UserError(f"no data set {repo} on the hub", hint=hint) from error
    except errors.LocalEntryNotFoundError as error:
        raise _not_here(where, revision, offline or _offline_asked()) from error
    except errors.EntryNotFoundError as error:
        hint = "that revision names its files otherwise; leave --revision out"
        raise UserError(f"{where}: no such file at revision {revision}", hint=hint) from error
    except (errors.HfHubHTTPError, httpx.HTTPError, OSError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        hint = "the same command goes on where it stopped; HF_ENDPOINT names a mirror, --from a local folder"
        raise UserError(f"{where}: the download broke off: {reason}", hint=hint) from error


def _not_here(where: str, revision: str, offline: bool) -> UserError:
    if offline:
        hint = "fetch it once with a connection, or give the files with --from FOLDER"
        return UserError(f"{where} at {revision} is not in the cache, and this is offline", hint=hint)
    hint = "the same command goes on where it stopped; HF_ENDPOINT names a mirror, --from a local folder"
    return UserError(f"{where}: the hub cannot be reached, and the cache does not have it", hint=hint)


def _commit(path: Path, asked: str, repo: str) -> str:
    """The commit is part of a file's path in the cache: …/snapshots/<commit>/…"""
    parts = path.parts
    found = parts[parts.index("snapshots") + 1] if "snapshots" in parts else asked
    if COMMIT.fullmatch(asked) and found != asked:
        hint = "use another mirror (HF_ENDPOINT), or the hub itself"
        raise UserError(f"{repo}: the hub answers with commit {found}, not {asked}", hint=hint)
    return found


def _verified(path: Path, repo: str, name: str) -> str:
    """Compare a cached file with the checksum that it is filed under: Git's for small, SHA-256 for large."""
    stated = Path(os.readlink(path)).name if path.is_symlink() else ""  # one step: blobs/<checksum>
    computed = {64: digest, 40: _git_blob}.get(len(stated))
    if computed is None or not set(stated) <= set("0123456789abcdef"):
        return "no"
    if computed(path) != stated:
        hint = f"the file in the cache is damaged; remove {path.resolve()} and fetch again"
        raise UserError(f"{repo}/{name}: its checksum is not the hub's", hint=hint)
    return "against the hub's checksum"


def _git_blob(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
