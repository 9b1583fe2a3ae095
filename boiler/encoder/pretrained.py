"""Finds, hashes and loads models of the `transformers` library: a local directory, or a name on the Hugging Face hub.

A name is looked up in the local cache first, and on the hub only if it is not there; so a model that was used once
works offline. Only weights in safetensors are read, and code that comes with a model is never run.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from pathlib import Path
from typing import Any

from boiler import files
from boiler.errors import CheckpointError

HASHED = ("*.json", "*.safetensors")
"""The files of a model that determine what it computes."""


def transformers() -> Any:
    """The library. Raises: CheckpointError: it is not installed."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise CheckpointError(
            "this encoder needs the library transformers: pip install 'boiler[transformers]'"
        ) from error


def model_directory(name: str | os.PathLike[str]) -> Path:
    """The directory of a model: `name` itself if it is one, else that in the cache of the hub, to which the model is
    downloaded if it is not there yet.

    Raises: CheckpointError: there is no such model, or it cannot be downloaded.
    """
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(f"{path}: has no config.json: give the directory of a model of transformers")
        return path
    transformers()
    hub: Any = importlib.import_module("huggingface_hub")
    failed: Exception | None = None
    for local_only in (True, False):
        try:
            return Path(
                hub.snapshot_download(os.fspath(name), local_files_only=local_only, allow_patterns=list(HASHED))
            )
        except Exception as error:  # a dozen kinds, for a wrong name, cache, network or account
            failed = error
    raise CheckpointError(
        f"{os.fspath(name)}: is not a directory, not in the local cache of the hub, and cannot be downloaded "
        f"({(str(failed).splitlines() or ['no reason given'])[0]})"
    ) from failed


def model_sha256(directory: Path) -> str:
    """One SHA-256, in hex, over the names and contents of the files that determine what the model computes."""
    digest = hashlib.sha256()
    found = sorted(path for pattern in HASHED for path in directory.glob(pattern) if path.is_file())
    for path in found:
        digest.update(f"{path.name} {files.sha256_of(path)}\n".encode())
    return digest.hexdigest()


def load_pretrained(kind: str, directory: Path, **settings: Any) -> Any:
    """`transformers.KIND.from_pretrained(directory)`, from local files only.

    Raises: CheckpointError: the directory has no such model.
    """
    try:
        return getattr(transformers(), kind).from_pretrained(directory, local_files_only=True, **settings)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{directory}: has no {kind} that transformers can load ({reason})") from error
