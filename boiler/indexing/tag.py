"""Tags the items of an index with a tag model, which then also tags every item that is added.

The model is copied into the model directory, and its hash recorded in the catalog; each generation has its own copy.
The vector of an item is the normalised mean of those of its windows, as in `item_vectors.npy`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from boiler import engine, files
from boiler.arrays import Float32Array, batches
from boiler.catalog.catalog import Catalog
from boiler.errors import ModelDirError
from boiler.indexing.repair import TAG_MODEL_KEY
from boiler.store import build
from boiler.tagging.model import TagModel

MODEL_FILE = ".tags.safetensors"
MIN_PROBABILITY = 0.01
"""Less probable tags are not stored: with thousands of tags they are nearly all. Filters take them as 0."""
_BATCH = 1_024


def set_tag_model(catalog: Catalog, path: Path) -> TagModel:
    """Copy a model into the model directory and make it the one that tags.

    Raises: CheckpointError: not a tag model. WrongEncoderError: trained on vectors of another encoder.
    """
    model = TagModel.load(path)
    model.check_encoder(catalog.get("encoder_sha256") or "", str(catalog.path.parent))
    own = catalog.path.parent / MODEL_FILE
    if not (own.is_file() and own.samefile(path)):
        with files.replacing(own) as aside:
            shutil.copyfile(path, aside)
    with catalog.transaction():
        catalog.put(**{TAG_MODEL_KEY: files.sha256_of(own)})
        catalog.mark_changed()
    return model


def remove_tag_model(catalog: Catalog) -> None:
    """Delete the model and the tags that it gave. Tags by hand are kept."""
    with catalog.transaction():
        catalog.unset(TAG_MODEL_KEY)
        catalog.delete_tags()
        catalog.mark_changed()
    (catalog.path.parent / MODEL_FILE).unlink(missing_ok=True)


def tag_pending(catalog: Catalog) -> int:
    """Tag what the directory's model has not tagged yet. Returns the number of different sounds; 0 without model.

    A model of another encoder than the catalog's, which `--force` can bring about, is removed.

    Raises: ModelDirError: the model is missing or damaged.
    """
    path = restore_tag_model(catalog)
    if path is None:
        return 0
    model = TagModel.load(path)
    if model.encoder_sha256 != catalog.get("encoder_sha256"):
        remove_tag_model(catalog)
        return 0
    sha256 = catalog.get(TAG_MODEL_KEY) or ""
    n_tagged = 0
    with catalog.transaction():
        for batch in batches(_untagged(catalog, sha256, model.dim), _BATCH):
            probabilities = model.probabilities(np.stack([vector for _, vector in batch]))
            catalog.set_tags(
                sha256,
                (
                    (bytes_sha256, stored_tags(model, row))
                    for (bytes_sha256, _), row in zip(batch, probabilities, strict=True)
                ),
            )
            n_tagged += len(batch)
            catalog.commit()
    return n_tagged


def stored_tags(model: TagModel, probabilities: Float32Array) -> dict[str, float]:
    """The tags that are stored, with their probabilities rounded to 4 decimals. Shape: probabilities [C]"""
    kept = np.flatnonzero(probabilities >= MIN_PROBABILITY)
    return {model.tags[at]: round(float(probabilities[at]), 4) for at in kept}


def _untagged(catalog: Catalog, model: str, dim: int) -> Iterator[tuple[str, Float32Array]]:
    """The hash and the vector [D] of what is not silent."""
    for sha256, windows in catalog.untagged(model):
        if windows:
            unit = engine.normalize(np.frombuffer(b"".join(windows), "<f4").reshape(-1, dim))
            yield sha256, engine.normalize(unit.sum(axis=0, keepdims=True))[0]


def restore_tag_model(catalog: Catalog) -> Path | None:
    """The file of the directory's tag model, restored from a generation if it is missing or damaged; None if there is
    no model.

    Raises: ModelDirError: all copies are damaged.
    """
    sha256 = catalog.get(TAG_MODEL_KEY)
    if sha256 is None:
        return None
    path = catalog.path.parent / MODEL_FILE
    if path.is_file() and files.sha256_of(path) == sha256:
        return path
    for published in catalog.path.parent.glob(f"versions/*/{build.TAG_MODEL}"):
        if files.sha256_of(published) == sha256:
            with files.replacing(path) as aside:
                shutil.copyfile(published, aside)
            return path
    raise ModelDirError(
        f"{path} is missing or damaged: give it again with boiler tag {catalog.path.parent} --tags FILE, or remove"
        " its tags with --remove"
    )
