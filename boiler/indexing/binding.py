"""The encoder of a model directory: made once, written down as `encoder.pt`, and from then on only read from there.

What embeds the sounds of an index is the very file that later embeds the queries. The catalog holds what the index is
bound to (`Binding`); another encoder, checkpoint or way to cut windows is another index.
"""

from __future__ import annotations

import collections
import itertools
import json
import random
import shutil
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from boiler import encoder, files
from boiler.arrays import Float32Array
from boiler.audio.decoder_pool import Decoders, Piece
from boiler.audio.windows import DEFAULT_WINDOWS, Which, Window, WindowSpec
from boiler.catalog.catalog import Catalog
from boiler.errors import ModelDirError
from boiler.model import checkpoint

FILE = ".encoder.pt"
FIT_WINDOWS_PER_FILE = 4
# With fewer there is nothing to learn: of one sound, the mean is that sound, and nothing would be left of it.
FIT_FILES_AT_LEAST = 8


@dataclass(frozen=True)
class Binding:
    """What vectors must share to be compared."""

    encoder: str
    checkpoint_sha256: str  # empty for an encoder that needs none
    windows: str
    hop_s: float
    sample_rate_hz: int = DEFAULT_WINDOWS.sample_rate_hz
    window_samples: int = DEFAULT_WINDOWS.window_samples

    @property
    def window_spec(self) -> WindowSpec:
        """How sounds are cut."""
        which: Which = "first" if self.windows == "first" else "all"
        return WindowSpec(self.sample_rate_hz, self.window_samples, self.hop_s, which)

    def differences(self, other: Binding) -> list[str]:
        """In words, what of `other` is not as here."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{name}: {mine[name]} there, {theirs[name]} now" for name in mine if mine[name] != theirs[name]]


def binding_of(catalog: Catalog) -> Binding | None:
    """What the catalog is bound to; None for a new one."""
    text = catalog.get("binding")
    return None if text is None else Binding(**json.loads(text))


def bind(catalog: Catalog, binding: Binding, *, force: bool) -> None:
    """Bind a new catalog, or see that an old one is bound to the same.

    Raises: ModelDirError: it is bound to something else, and `force` (which begins anew) is not given.
    """
    before = binding_of(catalog)
    if before == binding:
        return
    if before is not None:
        if not force:
            raise ModelDirError(
                f"{catalog.path.parent} was made otherwise ({'; '.join(before.differences(binding))}): give another"
                " --model_dir, or --force to embed everything anew here"
            )
        catalog.forget_all()
        thaw(catalog)
    catalog.put(binding=json.dumps(asdict(binding)))


class Sample:
    """Windows for an encoder to learn from: the first few of each of many files, drawn with `seed`, `n_windows` in
    all. Each iteration decodes them again, in the same order.

    Shape: float32 [B, 1, T], the last of them shorter.
    """

    def __init__(
        self,
        catalog: Catalog,
        root: Path,
        decoders: Decoders,
        *,
        spec: WindowSpec,
        batch_size: int,
        n_windows: int,
        seed: int,
    ) -> None:
        numbers = [pending.n for pending in catalog.pending()]  # not the paths of all: there may be millions
        drawn = random.Random(seed).sample(numbers, min(n_windows, len(numbers)))
        chosen = set(drawn)
        paths = {one.n: one.found.path(root) for one in catalog.pending() if one.n in chosen}
        self._files = [(n, paths[n]) for n in drawn]
        self._decoders, self._spec = decoders, spec
        self._batch_size, self._n_windows = batch_size, n_windows

    @property
    def n_files(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[torch.Tensor]:
        batch: list[Float32Array] = []
        with closing(self._windows()) as windows:
            for window in itertools.islice(windows, self._n_windows):
                batch.append(window.samples)
                if len(batch) == self._batch_size:
                    yield _tensor(np.stack(batch))
                    batch.clear()
        if batch:
            yield _tensor(np.stack(batch))

    def sounds(self) -> bool:
        """Whether there is anything to be heard in it."""
        with closing(self._windows()) as windows:
            return next(windows, None) is not None

    def _windows(self) -> Generator[Window]:
        taken: collections.Counter[int] = collections.Counter()
        with closing(self._decoders.windows(self._files, self._spec, ordered=True)) as events:
            for event in events:
                if isinstance(event, Piece):
                    windows = event.windows[: FIT_WINDOWS_PER_FILE - taken[event.key]]
                    taken[event.key] += len(windows)
                    yield from windows


def _tensor(samples: Float32Array) -> torch.Tensor:
    """[B, T] to [B, 1, T]."""
    return torch.from_numpy(samples).unsqueeze(1)


def freeze(catalog: Catalog, name: str, pt_path: Path | None, spec: WindowSpec, sample: Sample) -> Path:
    """The path of the directory's encoder, which is made when it is not there yet."""
    path = catalog.path.parent / FILE
    frozen_sha256 = catalog.get("encoder_sha256")
    if path.is_file() and frozen_sha256 == files.sha256_of(path):
        return path
    if frozen_sha256 is not None:  # every published index holds it, too
        for published in catalog.path.parent.glob("versions/*/encoder.pt"):
            if files.sha256_of(published) == frozen_sha256:
                with files.replacing(path) as aside:
                    shutil.copyfile(published, aside)
                return path
    if frozen_sha256 is not None and catalog.n_rows():
        raise ModelDirError(
            f"{path} is missing or damaged, and the vectors here were made with it: bring it back (it is encoder.pt of"
            f" sha256 {frozen_sha256}), or give --force to embed everything anew"
        )
    made = encoder.create(name, pt_path)
    if isinstance(made, encoder.Fitted) and sample.n_files >= FIT_FILES_AT_LEAST and sample.sounds():
        made.fit(sample)
    header = {
        "encoder": name,
        "dim": made.dim,
        "sample_rate_hz": spec.sample_rate_hz,
        "window_samples": spec.window_samples,
        "hop_s": spec.hop_s,
    }
    with files.replacing(path) as aside:
        checkpoint.save_script(made, aside, header)
    catalog.put(encoder_sha256=files.sha256_of(path), dim=str(made.dim))
    return path


def thaw(catalog: Catalog) -> None:
    """Forget the encoder, where it has learned from a folder in which nothing was to be heard."""
    catalog.unset("encoder_sha256", "dim")
    (catalog.path.parent / FILE).unlink(missing_ok=True)
