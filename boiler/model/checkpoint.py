"""The files that hold weights: training checkpoints and scripted encoders.

A **training checkpoint** (`vqvae_NNN.pt`) is self-contained: weights, the shape of the network, the mel settings, what
was fitted to the sounds (whitening and the like), and the state that training resumes from, bit for bit. It is read
with `weights_only`, so opening one never runs code.

A **scripted encoder** (`encoder.pt`) is TorchScript with a header inside; loading it needs torch, but not boiler. It
is code: open only files that you trust (a model directory stores the hash of its own). TorchScript is deprecated
upstream and part of our contract, so every call of `torch.jit` is in this file.
"""

from __future__ import annotations

import io
import json
import os
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor, nn

import boiler
from boiler import files
from boiler.errors import CheckpointError, first_line

FORMAT = "boiler training checkpoint"
FORMAT_VERSION = 2
HEADER = "boiler.json"
"""The name of the header inside a scripted encoder."""

PlainDict = dict[str, Any]
"""A dict of plain values and tensors, as `weights_only` reads it."""


@dataclass(frozen=True)
class Checkpoint:
    """The contents of one `vqvae_NNN.pt`."""

    network: PlainDict
    """The fields of `vqvae.NetworkSettings`."""
    mel: PlainDict
    """The fields of `mel.MelSettings`."""
    weights: dict[str, Tensor]
    learned: dict[str, Tensor]
    """What was fitted to the sounds; the keys are `fitter.tensor`, such as `pooled.mean`."""
    epoch: int
    """Number of epochs begun, which is the number in the name of the file."""
    step: int
    """Number of optimizer steps done."""
    seed: int
    """Seed and `step` are the whole random state: the random numbers of a step depend on these two only."""
    settings: PlainDict
    """The fields of `TrainSettings`, paths as text."""
    optimizer: PlainDict
    """The optimizer's `state_dict`."""
    elapsed_s: float
    """Wall-clock time of the run so far, over all its sittings."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Losses, codebook perplexities and shares of codes used, over the last epoch."""

    @property
    def trunk(self) -> str:
        """`NetworkSettings.trunk`, which checkpoints of earlier versions do not state."""
        return str(self.network.get("trunk", "plain"))

    def learned_by(self, name: str) -> dict[str, Tensor]:
        """The tensors fitted by `name`, under their short names.

        Raises: `CheckpointError` when there are none.
        """
        found = fitted_by(self.learned, name)
        if not found:
            raise CheckpointError(
                f"this checkpoint has nothing fitted by {name!r}: it was saved before that step, or by an older "
                "boiler. Resume the training (--load_path), or choose another encoder"
            )
        return found


def fitted_by(learned: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of `Checkpoint.learned` that were fitted by `name`, under their short names."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in learned.items() if key.startswith(prefix)}


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint atomically: readers see the old file or the new one."""
    contents = {item.name: getattr(checkpoint, item.name) for item in fields(checkpoint)}
    contents |= {"format": FORMAT, "format_version": FORMAT_VERSION, "boiler_version": boiler.__version__}
    with files.replacing(path) as aside:
        torch.save(contents, aside)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a training checkpoint, of this format or an earlier one, onto the CPU.

    Raises: `CheckpointError` when the file is missing, damaged, not a checkpoint of boiler, or of a later format.
    """
    where = Path(path)
    if not where.is_file():
        raise CheckpointError(f"{where}: no such file. boiler train writes vqvae_NNN.pt under its --save_path")
    try:
        contents = torch.load(where, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{where}: cannot be read ({first_line(error)})") from error
    except Exception as error:
        # The file may be anything, and the reader fails in many ways (an IndexError on plain text). Its own message is
        # left out: it suggests reading the file without `weights_only`, which would run the code in it.
        raise CheckpointError(f"{where}: not a checkpoint, or damaged. Give a vqvae_NNN.pt of boiler train") from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise CheckpointError(f"{where}: not written by boiler train. Give a vqvae_NNN.pt of boiler train")
    version = contents.get("format_version")
    if version == 1:
        contents = _upgrade_from_1(contents)
    elif version != FORMAT_VERSION:
        raise CheckpointError(
            f"{where}: format {version} (boiler {contents.get('boiler_version')}), but this boiler reads formats 1 to "
            f"{FORMAT_VERSION}: use that version of boiler, or train again"
        )
    names = {item.name for item in fields(Checkpoint)}
    missing = names - contents.keys()
    if missing:
        raise CheckpointError(f"{where}: damaged, {', '.join(sorted(missing))} is missing. Give another checkpoint")
    return Checkpoint(**{name: contents[name] for name in names})


def load_run(path: Path, format_name: str, format_version: int, *, command: str, files_named: str) -> PlainDict:
    """The contents of a checkpoint of another training, read without running code.

    command: the module of `boiler` that writes it, as `files_named`; for the errors

    Raises: `CheckpointError`: missing, damaged, or not a checkpoint of that training.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file. python -m boiler.{command} writes {files_named}")
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
        if contents["format"] == format_name and contents["format_version"] == format_version:
            return dict(contents)
    except Exception as error:  # the file may be anything, and the reader fails in many ways
        raise CheckpointError(f"{path}: not a checkpoint, or damaged ({first_line(error)})") from error
    raise CheckpointError(f"{path}: not a checkpoint of {command}, or of a newer boiler")


_FIELDS_OF_1 = {"optimiser": "optimizer", "measured": "metrics"}
_NETWORK_OF_1 = {
    "top_words": "n_top_codes",
    "bottom_words": "n_bottom_codes",
    "word_length": "code_dim",
    "low_channels": "fine_channels",
    "high_channels": "coarse_channels",
    "contrast_length": "projection_dim",
    "bottom_drop": "bottom_dropout",
}
_LEARNED_OF_1 = {
    "parts.parts.course.": "descriptors.descriptors.mfcc_contour.",
    "parts.parts.cepstrum.": "descriptors.descriptors.mfcc_moments.",
    "parts.parts.together.least": "descriptors.descriptors.mfcc_covariance.ridge",
    "parts.parts.together.": "descriptors.descriptors.mfcc_covariance.",
    "parts.parts.words.words": "descriptors.descriptors.patch_codes.codebook",
    "parts.parts.words.": "descriptors.descriptors.patch_codes.",
    "parts.parts.shapes.": "descriptors.descriptors.patch_filters.",
    "parts.parts.": "descriptors.descriptors.",
    "parts.head.curved.": "descriptors.head.projection.",
    "parts.": "descriptors.",
}
"""Prefixes of the keys of `learned` in format 1 and their replacements; the first that matches counts."""


def _upgrade_from_1(contents: PlainDict) -> PlainDict:
    """The contents of format 1 under the names of format 2. `load` reports what is missing."""

    def renamed(plain: PlainDict, names: dict[str, str]) -> PlainDict:
        return {names.get(key, key): value for key, value in plain.items()}

    upgraded = renamed(contents, _FIELDS_OF_1)
    if "scheduler" in contents:
        upgraded["elapsed_s"] = contents["scheduler"]["spent_s"]
    if "network" in contents:
        upgraded["network"] = renamed(contents["network"], _NETWORK_OF_1)
    if "settings" in contents:
        settings = contents["settings"]
        upgraded["settings"] = settings | {"network": renamed(settings.get("network", {}), _NETWORK_OF_1)}
    if "weights" in contents:
        upgraded["weights"] = {
            f"decoder.{key.removeprefix('draw.')}" if key.startswith("draw.") else key: value
            for key, value in contents["weights"].items()
        }
    if "learned" in contents:
        upgraded["learned"] = {_learned_name(key): value for key, value in contents["learned"].items()}
    return upgraded


def _learned_name(key: str) -> str:
    for old, new in _LEARNED_OF_1.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


def save_script(
    module: nn.Module,
    path: Path,
    header: PlainDict,
    *,
    example: Tensor | None = None,
    attachments: Mapping[str, bytes] | None = None,
) -> None:
    """Script `module` (in eval mode, on the CPU) and write it atomically, with `header` and `attachments` inside.

    example: trace the module with this input instead, a batch of two or more; the result takes batches of any size
    """
    module = module.eval().cpu()
    if example is None:
        scripted = torch.jit.script(module)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about shapes that are constant here, and from other libraries
            scripted = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
    extra: dict[str, Any] = {HEADER: json.dumps(header, sort_keys=True), **(attachments or {})}
    # Not written to the file by torch: it would put its name, here a temporary one, into the archive.
    archive = io.BytesIO()
    torch.jit.save(scripted, archive, _extra_files=extra)
    with files.replacing(path) as aside:
        _write_canonical(archive, aside)


_CONSTANTS = re.compile(rb"(?:^  \w+ : Final\[.*\n)+", re.MULTILINE)


def _write_canonical(archive: BinaryIO, path: Path) -> None:
    """Write an archive so that the same encoder gives the same bytes: torch writes the constants of a module in the
    order of a Python set, which differs from process to process, and an id that follows from it."""
    with zipfile.ZipFile(archive) as given, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as written:
        for name in given.namelist():
            content = given.read(name)
            if name.endswith("/.data/serialization_id"):
                content = b"0" * len(content)
            elif "/code/" in name and name.endswith(".py"):
                content = _CONSTANTS.sub(lambda found: b"".join(sorted(found[0].splitlines(True))), content)
            written.writestr(zipfile.ZipInfo(name), content)


def attachment(path: str | os.PathLike[str], name: str) -> bytes:
    """The contents of a file that is stored inside a scripted encoder.

    Raises: `CheckpointError` when there is none of that name.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.endswith(f"/extra/{name}"):
                    return archive.read(member)
    except (OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: not a scripted encoder, or damaged ({first_line(error)})") from error
    raise CheckpointError(f"{path}: there is no {name} in it. Build the index again")


def load_foreign_script(path: str | os.PathLike[str], sha256: str) -> tuple[nn.Module, PlainDict]:
    """A TorchScript file of any origin, in eval mode on the CPU, and boiler's header if it has one. It is code, so it
    is loaded only if its hash is `sha256`.

    Raises: `CheckpointError` when it is missing, has another hash, or is no TorchScript.
    """
    where = Path(path)
    if not where.is_file():
        raise CheckpointError(f"{where}: no such file")
    found = files.sha256_of(where)
    if found != sha256.lower():
        raise CheckpointError(f"{where}: its sha256 is {found}, not {sha256}: it is code, so it is not run")
    extra: dict[str, Any] = {HEADER: ""}
    try:
        module = torch.jit.load(str(where), map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{where}: not TorchScript, or damaged ({first_line(error)})") from error
    return cast(nn.Module, module.eval()), json.loads(extra[HEADER] or "{}")


def load_script(path: str | os.PathLike[str], device: str = "cpu") -> tuple[nn.Module, PlainDict]:
    """A scripted encoder in eval mode, and its header. Loading runs code: use it for trusted files only.

    Raises: `CheckpointError` when the file is missing or not a scripted encoder of boiler.
    """
    where = Path(path)
    if not where.is_file():
        raise CheckpointError(f"{where}: no such file. boiler index writes encoder.pt")
    extra: dict[str, Any] = {HEADER: ""}
    try:
        module = torch.jit.load(str(where), map_location=device, _extra_files=extra)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{where}: not a scripted encoder, or damaged ({first_line(error)}). Build the index again"
        ) from error
    if not extra[HEADER]:
        raise CheckpointError(f"{where}: has no boiler header, so its encoder is unknown. Build the index again")
    return cast(nn.Module, module.eval()), json.loads(extra[HEADER])
