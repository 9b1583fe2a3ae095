"""Binds a model directory to one encoder, which is saved once and only read afterwards.

The same file embeds the sounds of an index and later the queries. The catalog records what the index is bound to
(`Binding`); another encoder, checkpoint or window length needs another model directory.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from boiler import encoder, files
from boiler.audio.windows import DEFAULT_WINDOWS, Which, WindowSpec
from boiler.catalog.catalog import Catalog
from boiler.errors import ModelDirError
from boiler.indexing.fit_sample import FitSample
from boiler.model import checkpoint
from boiler.model.device import keep_freed_memory

ENCODER_FILE = ".encoder.pt"
# Fewer are too few for statistics: the mean of one sound is the sound itself, which whitening would map to zero.
FIT_FILES_AT_LEAST = 8


@dataclass(frozen=True)
class Binding:
    """The properties that must be equal for vectors to be comparable."""

    encoder: str
    checkpoint_sha256: str  # empty for an encoder that needs none
    windows: str
    hop_s: float
    sample_rate_hz: int = DEFAULT_WINDOWS.sample_rate_hz
    window_samples: int = DEFAULT_WINDOWS.window_samples

    @property
    def window_spec(self) -> WindowSpec:
        """The windows of the sounds."""
        which: Which = "first" if self.windows == "first" else "all"
        return WindowSpec(self.sample_rate_hz, self.window_samples, self.hop_s, which)

    def differences(self, other: Binding) -> list[str]:
        """Descriptions of what differs in `other`."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{name}: {mine[name]} there, {theirs[name]} now" for name in mine if mine[name] != theirs[name]]


def read_binding(catalog: Catalog) -> Binding | None:
    """The binding of the catalog; None for a new one."""
    text = catalog.get("binding")
    if text is None:
        return None
    bound = Binding(**json.loads(text))
    return replace(bound, encoder=encoder.RENAMED.get(bound.encoder, bound.encoder))


def bind_catalog(catalog: Catalog, binding: Binding, *, force: bool) -> None:
    """Bind a new catalog, or check that an existing one has the same binding.

    Raises: ModelDirError: it has another binding, and `force` (which embeds everything again) is not given.
    """
    before = read_binding(catalog)
    if before == binding and not (force and _encoder_is_lost(catalog)):
        return
    if before is not None:
        if not force:
            raise ModelDirError(
                f"{catalog.path.parent} has another binding ({'; '.join(before.differences(binding))}): give another"
                " --model_dir, or --force to embed everything again here"
            )
        catalog.queue.clear()
        unbind_encoder(catalog)
    catalog.put(binding=json.dumps(asdict(binding)))


def _encoder_is_lost(catalog: Catalog) -> bool:
    try:
        return catalog.get("encoder_sha256") is not None and not restore_encoder(catalog)
    except ModelDirError:
        return True


def bind_encoder(
    catalog: Catalog,
    name: str,
    pt_path: Path | None,
    spec: WindowSpec,
    sample: FitSample,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """The path of the saved encoder of the directory, which is created, and fitted to `sample`, if it does not exist.

    Raises: ModelDirError: it is missing or damaged, and there are vectors made with it.
    """
    if catalog.get("encoder_sha256") is not None:
        try:
            return restore_encoder(catalog)
        except ModelDirError:
            if catalog.n_rows():
                raise
    path = catalog.path.parent / ENCODER_FILE
    if may_fit := issubclass(encoder.find_encoder(name), encoder.Fitted) and sample.n_files >= FIT_FILES_AT_LEAST:
        sample.start()  # meanwhile the encoder is made
    created = encoder.create(name, pt_path, **(options or {}))
    if isinstance(created, encoder.Fitted) and may_fit and sample.has_sound():
        keep_freed_memory()
        created.fit(sample)
    header = {
        "encoder": name,
        "dim": created.dim,
        "sample_rate_hz": spec.sample_rate_hz,
        "window_samples": spec.window_samples,
        "hop_s": spec.hop_s,
    }
    with files.replacing(path) as aside:
        checkpoint.save_script(
            created.saved_module(),
            aside,
            header | ({"runtime": created.runtime} if created.runtime else {}),
            example=torch.rand(2, 1, spec.window_samples) if created.traced else None,
            attachments=created.attachments(),
        )
    catalog.put(encoder_sha256=files.sha256_of(path), dim=str(created.dim))
    return path


def restore_encoder(catalog: Catalog) -> Path:
    """The path of the saved encoder, restored from a published generation, which has a copy of its own, if it is
    missing or damaged.

    Raises: ModelDirError: all copies are damaged.
    """
    path, saved_sha256 = catalog.path.parent / ENCODER_FILE, catalog.get("encoder_sha256")
    if path.is_file() and saved_sha256 == files.sha256_of(path):
        return path
    for published in catalog.path.parent.glob("versions/*/encoder.pt"):
        if files.sha256_of(published) == saved_sha256:
            with files.replacing(path) as aside:
                shutil.copyfile(published, aside)
            return path
    raise ModelDirError(
        f"{path} is missing or damaged, and the vectors here were made with it: restore it (sha256 {saved_sha256}),"
        f" or embed everything again with boiler index {shlex.quote(str(path.parent))} --force, and --pt_path if it was"
        " made of a checkpoint"
    )


def unbind_encoder(catalog: Catalog) -> None:
    """Delete the saved encoder, which was fitted to a folder without any sound."""
    catalog.unset("encoder_sha256", "dim")
    (catalog.path.parent / ENCODER_FILE).unlink(missing_ok=True)
