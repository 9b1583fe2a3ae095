"""The audio network of L3 as an encoder: of a training on videos (`boiler.train_l3`), or OpenL3's published weights.

Good for: sounds that go with things that are seen, such as those of videos. A window is one second at 48 kHz. The file
is an `l3_NNN.pt`, or one of the `.h5` files of OpenL3 (`pip install 'boiler[openl3]'`), whose name says which
spectrogram it is for.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import normalize

from boiler.encoder import Encoder
from boiler.errors import CheckpointError
from boiler.model import keras_weights, l3_joint
from boiler.model.l3 import FRAME_SAMPLES, INPUT_REPRESENTATIONS, SAMPLE_RATE_HZ, AudioNetwork

OPENL3_SIZE = 512
"""The shorter of the two vectors that OpenL3 has: an index of 6,144 numbers a second would be large."""


class L3Encoder(Encoder):
    """The audio network of L3; see the module. D = 128 with the default training, 512 with OpenL3's weights."""

    needs_checkpoint: ClassVar[bool] = True
    checkpoint_hint: ClassVar[str] = "a checkpoint (--pt_path l3_NNN.pt of python -m boiler.train_l3, or OpenL3's .h5)"
    sample_rate_hz = SAMPLE_RATE_HZ
    window_samples = FRAME_SAMPLES

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        network = _network(Path(pt_path or ""))
        super().__init__(network.embedding_size)
        self.network = network
        self.to(device)

    def forward(self, waveform: Tensor) -> Tensor:
        return normalize(self.network(waveform.float()), dim=1)


def _network(path: Path) -> AudioNetwork:
    """Raises: CheckpointError: it is neither a checkpoint of `boiler.train_l3` nor one of OpenL3's files."""
    if path.suffix.lower() not in (".h5", ".hdf5"):
        return l3_joint.load(path).build().audio
    found = re.search("|".join(INPUT_REPRESENTATIONS), path.name)
    if found is None:
        raise CheckpointError(
            f"{path}: its name must say which spectrogram it is for ({', '.join(INPUT_REPRESENTATIONS)}), as the "
            "published names do"
        )
    network = AudioNetwork(found[0], OPENL3_SIZE)
    network.tower.load_keras(keras_weights.read_layers(path))
    return network
