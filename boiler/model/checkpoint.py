"""What training writes and encoders are made of, and the scripted encoders themselves: every file with weights in it.

A **training checkpoint** is one file, whole by itself: weights, the shape of the network, the mel settings, what was
learned at the end of training (whitenings and the like), and all that training needs to go on exactly where it stopped.
It is read with `weights_only`, so it cannot run code.

A **scripted encoder** (`encoder.pt`) is TorchScript with a header inside, and needs no boiler to be loaded. It is code:
open only what you trust (a model directory knows the hash of its own). TorchScript is deprecated upstream and is our
format by contract; every call of it stands here.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

import boiler
from boiler import files
from boiler.errors import CheckpointError, SettingsError

FORMAT = "boiler training checkpoint"
FORMAT_VERSION = 1
HEADER = "boiler.json"
"""The name of the header inside a scripted encoder."""

Plain = dict[str, Any]
"""A dict of plain values and tensors, as `weights_only` reads them."""


@dataclass(frozen=True)
class Checkpoint:
    """The contents of one `vqvae_NNN.pt`."""

    network: Plain
    """The fields of `vqvae.NetworkSettings`."""
    mel: Plain
    """The fields of `mel.MelSettings`."""
    weights: dict[str, Tensor]
    learned: dict[str, Tensor]
    """What was learned at the end, by the name of its learner and a name of its own: `"pooled.mean"`."""
    epoch: int
    """Epochs begun: the number in the file's name."""
    step: int
    """Steps done."""
    seed: int
    """With `step`, the whole state of chance: every draw of a step is made from these two numbers."""
    settings: Plain
    """The fields of `train_vqvae.TrainSettings`, paths as text."""
    optimiser: Plain
    scheduler: Plain
    measured: dict[str, float] = field(default_factory=dict)
    """The last epoch's losses, perplexities and shares of words used."""

    def learned_of(self, name: str) -> dict[str, Tensor]:
        """What `name` learned, by short name.

        Raises: `CheckpointError` when it learned nothing here.
        """
        found = {key[len(name) + 1 :]: value for key, value in self.learned.items() if key.startswith(f"{name}.")}
        if not found:
            raise CheckpointError(
                f"this checkpoint holds nothing learned by {name!r}: it was written before that existed. Go on "
                "training from it for an epoch (--load_path), or choose another encoder"
            )
        return found


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write it, replacing `path` whole or not at all."""
    contents = {item.name: getattr(checkpoint, item.name) for item in fields(checkpoint)}
    contents |= {"format": FORMAT, "format_version": FORMAT_VERSION, "boiler_version": boiler.__version__}
    with files.replacing(path) as aside:
        torch.save(contents, aside)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a training checkpoint; its tensors come to the CPU.

    Raises: `CheckpointError` when there is no such file, it is damaged, not one of ours, or of another version.
    """
    where = Path(path)
    if not where.is_file():
        raise CheckpointError(f"{where}: there is no such file. boiler train writes vqvae_NNN.pt under its --save_path")
    try:
        contents = torch.load(where, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{where}: cannot be read ({_first_line(error)})") from error
    except Exception as error:
        # Any bytes may be in it, and the reader breaks over them in many ways (an IndexError over plain text). Its own
        # words stay out: they would advise to read the file without `weights_only`, which runs what is in it.
        raise CheckpointError(f"{where}: is no checkpoint, or damaged. Give a vqvae_NNN.pt of boiler train") from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise CheckpointError(f"{where}: was not written by boiler train. Give a vqvae_NNN.pt of boiler train")
    if contents["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{where}: is of format {contents['format_version']} (boiler {contents.get('boiler_version')}), this "
            f"boiler reads format {FORMAT_VERSION}: use that version of boiler, or train again"
        )
    names = {item.name for item in fields(Checkpoint)}
    missing = names - contents.keys()
    if missing:
        raise CheckpointError(f"{where}: lacks {', '.join(sorted(missing))}: the file is damaged, take another")
    return Checkpoint(**{name: contents[name] for name in names})


def device_of(name: str) -> str:
    """The device of that name, where it can be used; `auto` is the quickest there is.

    Raises: `SettingsError` when it cannot.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"--device is {name}, which cannot be used here ({_first_line(error)}): leave it out, or give cpu"
        ) from error
    return name


@contextmanager
def one_thread() -> Iterator[None]:
    """Each operation of torch stays on the thread that calls it. Of small ones many threads make hardly less, and where
    the cores have other work, too, they wait for each other, spinning: learning from 48 windows took 86 s on two
    threads of a busy machine, 7 on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def save_script(module: nn.Module, path: Path, header: Plain) -> None:
    """Script `module` (in eval mode, on the CPU) and write it with `header` inside, replacing `path` whole."""
    scripted = torch.jit.script(module.eval().cpu())
    with files.replacing(path) as aside:
        torch.jit.save(scripted, str(aside), _extra_files={HEADER: json.dumps(header, sort_keys=True)})


def load_script(path: str | os.PathLike[str], device: str = "cpu") -> tuple[nn.Module, Plain]:
    """A scripted encoder in eval mode, and its header. Only for files you trust: loading one runs code.

    Raises: `CheckpointError` when there is no such file, or it is not a scripted encoder of ours.
    """
    where = Path(path)
    if not where.is_file():
        raise CheckpointError(f"{where}: there is no such file. boiler index writes encoder.pt")
    extra: dict[str, Any] = {HEADER: ""}
    try:
        module = torch.jit.load(str(where), map_location=device, _extra_files=extra)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{where}: is not a scripted encoder that can be read ({_first_line(error)}). Build the index again"
        ) from error
    if not extra[HEADER]:
        raise CheckpointError(f"{where}: has no header of boiler's inside, so it is not known what it makes of a sound")
    return cast(nn.Module, module.eval()), json.loads(extra[HEADER])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
