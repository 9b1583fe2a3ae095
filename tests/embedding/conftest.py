"""Random weights in Keras's layout under the published names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from keras_files import l3_layers, write_layers

from boiler.embedding.models import L3AudioModel, L3ImageModel
from boiler.model import l3
from boiler.model.l3 import AudioNetwork, ImageNetwork


@pytest.fixture(scope="session")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a weight file for every published network; those of sound are identical. Do not write there."""
    folder = tmp_path_factory.mktemp("weights")
    for modality, channels, last in (("audio", 1, "audio_embedding_layer"), ("image", 3, "vision_embedding_layer")):
        first = folder / f"{modality}.h5"
        write_layers(first, l3_layers(len(modality), channels, l3.CHANNELS, last))
        for input_repr in l3.INPUT_REPRESENTATIONS:
            for content_type in ("music", "env"):
                os.link(first, folder / f"openl3_{modality}_{input_repr}_{content_type}-v0_4_0.h5")
    return folder


@pytest.fixture(scope="session")
def small_sound_model() -> L3AudioModel:
    """A small sound network, D = 48."""
    network = AudioNetwork("mel128", 6144, channels=(1, 1, 1, 4))
    return L3AudioModel(network)


@pytest.fixture(scope="session")
def small_picture_model() -> L3ImageModel:
    """A small image network, D = 64."""
    return L3ImageModel(ImageNetwork(8192, channels=(1, 1, 1, 4)))


@pytest.fixture(scope="session")
def openl3_data() -> Path:
    """The folder with OpenL3's public sample files: `openl3` under BOILER_TEST_DATA."""
    named = os.environ.get("BOILER_TEST_DATA")
    folder = Path(named or "") / "openl3"
    if not named or not folder.is_dir():
        pytest.skip("BOILER_TEST_DATA does not name a folder with openl3, the sample files of OpenL3")
    return folder
