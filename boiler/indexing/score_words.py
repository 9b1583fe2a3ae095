"""Scores the windows of an index for queries in words, where its encoder is the general one.

The word model (`boiler.crossmodal.word_model`) takes the vectors of the general encoder's weights that it was trained
with. `GeneralEncoder` gives these; `JoinedGeneral` gives them whitened, beside the folder's descriptors and after
a mean shift. The whitening is inverted; the mean shift is not, as shifted vectors are as good for words
(exp/records/general.md). An index of other weights, or of another encoder, is published without scores.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from boiler import engine
from boiler.arrays import Float32Array
from boiler.catalog.catalog import Catalog
from boiler.crossmodal import word_model
from boiler.indexing.binding import read_binding, restore_encoder
from boiler.model import checkpoint
from boiler.store.build import WordScoring

GENERAL, JOINED = "GeneralEncoder", "JoinedGeneral"


def word_scoring(catalog: Catalog) -> WordScoring | None:
    """What scores the rows of this catalog's index; None if the model is not for its encoder, or there are no rows.

    Raises: CheckpointError: the model is damaged. ModelDirError: the encoder is.
    """
    binding = read_binding(catalog)
    if binding is None or binding.encoder not in (GENERAL, JOINED) or not catalog.n_rows():
        return None
    model_file = word_model.FILE
    model = word_model.load(model_file)
    if binding.checkpoint_sha256 != model.encoder_sha256:
        return None
    general = engine.normalize if binding.encoder == GENERAL else unjoined(restore_encoder(catalog))
    return WordScoring(model_file, len(model.classes), lambda unit: model.scores(general(unit)))


def unjoined(encoder_pt: Path) -> Callable[[Float32Array], Float32Array]:
    """A function from vectors of a `JoinedGeneral` to those of its general encoder. Shape: [N, D] to [N, 256]

    Whitened vectors are y = s (g - mean) M, where s makes them of unit length; g has unit length itself, so that
    |mean + y M^-1 / s| = 1 gives s. What a folder of fewer sounds than components cannot tell is taken as its mean.
    """
    state = checkpoint.load_script(encoder_pt)[0].state_dict()
    mean = state["whitening.mean"].double().numpy()
    inverse = np.linalg.pinv(state["whitening.matrix"].double().numpy(), rcond=1e-7)

    def general(vectors: Float32Array) -> Float32Array:
        away = engine.normalize(vectors[:, : len(inverse)].astype(np.float64)) @ inverse
        # The positive root of t: |mean + t away|^2 = 1.
        a = np.maximum((away * away).sum(axis=1), 1e-30)
        b, c = away @ mean, float(mean @ mean) - 1
        length = (np.sqrt(np.maximum(b * b - a * c, 0)) - b) / a
        return engine.normalize(np.asarray(mean + length[:, None] * away, np.float32))

    return general
