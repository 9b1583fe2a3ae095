"""Models of the `transformers` library, found and hashed: a local directory, or a name on the Hugging Face hub.

A directory is read as it is. A name is looked up in the local cache first, and only when it is not there on the hub; so
what was used once works offline. Only weights in safetensors are read, and no code that comes with a model is run.
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
"""Of a model's files, those that decide what it computes."""


def transformers() -> Any:
    """The library. Raises: CheckpointError: it is not installed."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise CheckpointError(
            "encoders of transformers' models take that library: pip install 'boiler[transformers]'"
        ) from error


def snapshot(name: str | os.PathLike[str]) -> Path:
    """The directory of a model: `name` itself, where it is one, else what the hub's cache holds of it, downloaded when
    it is not there.

    Raises: CheckpointError: there is none, neither here nor there.
    """
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(f"{path}: there is no config.json in it: give the directory of a transformers' model")
        return path
    transformers()
    hub: Any = importlib.import_module("huggingface_hub")
    failed: Exception | None = None
    for local_only in (True, False):
        try:
            return Path(
                hub.snapshot_download(os.fspath(name), local_files_only=local_only, allow_patterns=list(HASHED))
            )
        except Exception as error:  # of a dozen kinds, by what is wrong with name, cache, network or account
            failed = error
    raise CheckpointError(
        f"{os.fspath(name)}: is no directory, not in the local cache of the hub, and cannot be fetched "
        f"({(str(failed).splitlines() or ['no reason given'])[0]})"
    ) from failed


def sha256_of(directory: Path) -> str:
    """One hash over the files that decide what the model computes, by name and content."""
    digest = hashlib.sha256()
    found = sorted(path for pattern in HASHED for path in directory.glob(pattern) if path.is_file())
    for path in found:
        digest.update(f"{path.name} {files.sha256_of(path)}\n".encode())
    return digest.hexdigest()


def load(kind: str, directory: Path, **settings: Any) -> Any:
    """`transformers.KIND.from_pretrained(directory)`, from its files alone.

    Raises: CheckpointError: it holds no such model.
    """
    try:
        return getattr(transformers(), kind).from_pretrained(directory, local_files_only=True, **settings)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{directory}: holds no {kind} that transformers can load ({reason})") from error
