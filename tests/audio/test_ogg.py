"""Each recording of a chained Ogg file is found."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from sounds import FORMATS, tone, write

from boiler.audio import stream as stream_module
from boiler.audio.ogg import chain_links
from boiler.audio.windows import Samples

LINKS = {
    "of one kind": (("ogg-vorbis", 44_100, 2), ("ogg-vorbis", 44_100, 2)),
    "of two rates": (("ogg-vorbis", 44_100, 2), ("ogg-vorbis", 22_050, 2)),
    "of one and two channels": (("ogg-opus", 48_000, 1), ("ogg-opus", 48_000, 2)),
    "of two codecs": (("ogg-vorbis", 44_100, 2), ("ogg-opus", 48_000, 2)),
}


def recording(path: Path, frequency_hz: float, form: str, rate_hz: int, channels: int) -> bytes:
    sound = np.stack([tone(frequency_hz, 3.0, rate_hz)] * channels)
    return write(path.with_suffix(FORMATS[form].suffix), sound, rate_hz, form).read_bytes()


def frequencies(samples: Samples, n: int) -> list[int]:
    """Of the middle half of each of the first n seconds, in Hz."""
    parts = [samples[16_000 * at + 4_000 : 16_000 * at + 12_000] for at in range(n)]
    return [int(np.argmax(np.abs(np.fft.rfft(part)))) * 2 for part in parts]


@pytest.mark.parametrize("name", LINKS)
def test_all_recordings_of_a_chained_file_are_decoded(name: str, tmp_path: Path) -> None:
    data = [recording(tmp_path / f"{at}", 440 * (at + 1), *link) for at, link in enumerate(LINKS[name])]
    path = tmp_path / "chained.ogg"
    path.write_bytes(b"".join(data))
    samples = stream_module.load(path)
    assert len(samples) == pytest.approx(6 * 16_000, abs=200)
    assert frequencies(samples, 6) == [440] * 3 + [880] * 3
    assert stream_module.probe(path).duration_s == pytest.approx(len(samples) / 16_000, abs=0.05)
    part = stream_module.load(path, start_s=4.0, end_s=5.5)
    assert np.abs(part - samples[4 * 16_000 : 88_000]).max() < 1e-6


def test_links_are_found_wherever_blocks_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = recording(tmp_path / "one", 440, "ogg-opus", 48_000, 1)
    expected = [(0, len(one)), (len(one), len(one)), (2 * len(one), len(one))]
    for n_bytes in (2**22, len(one) + 3, 1_000, 997):
        monkeypatch.setattr("boiler.audio.ogg._BLOCK_BYTES", n_bytes)
        assert chain_links(io.BytesIO(one * 3)) == expected
    assert chain_links(io.BytesIO(one)) == expected[:1]
    assert chain_links(io.BytesIO(b"RIFF" + one)) == []
    assert chain_links(io.BytesIO(b"OggS")) == []
