"""Write sound files in every format that boiler reads, with PyAV."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from boiler.arrays import Float32Array, FloatArray


@dataclass(frozen=True)
class Format:
    """How a format is written, and how accurately it is decoded."""

    suffix: str
    codec: str
    sample_format: str
    exact: float | None = None  # largest error of a sample in a lossless format; None: lossy
    rates_hz: tuple[int, ...] = (8_000, 16_000, 44_100, 48_000)
    channels: tuple[int, ...] = (1, 2, 6)
    bit_rate: int | None = None
    options: dict[str, str] = field(default_factory=dict)


# AAC may store "noise of this level" instead of samples, which decodes to different noise each time.
NO_NOISE_SUBSTITUTION = {"aac_pns": "0"}

FORMATS = {
    "wav-u8": Format(".wav", "pcm_u8", "u8", 2**-7),
    "wav-s16": Format(".wav", "pcm_s16le", "s16", 2**-15),
    "wav-s24": Format(".wav", "pcm_s24le", "s32", 2**-23),
    "wav-s32": Format(".wav", "pcm_s32le", "s32", 2**-23),
    "wav-float": Format(".wav", "pcm_f32le", "flt", 2**-23),
    "wav-double": Format(".wav", "pcm_f64le", "dbl", 2**-23),
    "wav-ulaw": Format(".wav", "pcm_mulaw", "s16", 2**-5),
    "wav-alaw": Format(".wav", "pcm_alaw", "s16", 2**-5),
    "wav-adpcm": Format(".wav", "adpcm_ms", "s16", channels=(1, 2)),
    "w64": Format(".w64", "pcm_s16le", "s16", 2**-15),
    "au": Format(".au", "pcm_s16be", "s16", 2**-15),
    "aiff": Format(".aiff", "pcm_s16be", "s16", 2**-15),
    "aiff-s24": Format(".aif", "pcm_s24be", "s32", 2**-23),
    "caf": Format(".caf", "pcm_s16be", "s16", 2**-15),
    "flac": Format(".flac", "flac", "s16", 2**-15),
    "flac-s24": Format(".flac", "flac", "s32", 2**-23),
    "alac": Format(".m4a", "alac", "s16p", 2**-15),
    "mov-pcm": Format(".mov", "pcm_s16le", "s16", 2**-15),
    "mka-flac": Format(".mka", "flac", "s16", 2**-15),
    "mp3": Format(".mp3", "libmp3lame", "fltp", channels=(1, 2)),
    "ogg-vorbis": Format(".ogg", "vorbis", "fltp", channels=(2,), options={"strict": "-2"}),
    "ogg-opus": Format(".opus", "libopus", "flt", rates_hz=(8_000, 16_000, 48_000)),
    "webm-opus": Format(".webm", "libopus", "flt", rates_hz=(8_000, 16_000, 48_000)),
    "m4a-aac": Format(".m4a", "aac", "fltp", options=NO_NOISE_SUBSTITUTION),
    "mp4-aac": Format(".mp4", "aac", "fltp", options=NO_NOISE_SUBSTITUTION),
    "mov-aac": Format(".mov", "aac", "fltp", options=NO_NOISE_SUBSTITUTION),
    "aac": Format(".aac", "aac", "fltp", options=NO_NOISE_SUBSTITUTION),
    "avi": Format(".avi", "pcm_s16le", "s16", 2**-15),
    "mp2": Format(".mp2", "mp2", "s16", rates_hz=(16_000, 44_100, 48_000), channels=(1, 2)),
    "ac3": Format(".ac3", "ac3", "fltp", rates_hz=(44_100, 48_000)),
    "eac3": Format(".eac3", "eac3", "fltp", rates_hz=(44_100, 48_000)),
    "wv": Format(".wv", "wavpack", "s16p", 2**-15),
    "tta": Format(".tta", "tta", "s16", 2**-15),
    "wma": Format(".wma", "wmav2", "fltp", rates_hz=(16_000, 44_100, 48_000), channels=(1, 2), bit_rate=96_000),
}
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 6: "5.1", 8: "7.1"}


def noise(n: int, seed: int = 0) -> Float32Array:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, n).astype(np.float32)


def write(path: Path, sound: FloatArray, rate_hz: int, form: str = "wav-s16", *, video: bool = False) -> Path:
    """Write `sound` ([T] or [channels, T], within ±1) to `path`; video formats get a few frames as well. Integer
    samples are rounded here, so that any further loss is that of the format."""
    made = FORMATS[form]
    sound = np.atleast_2d(np.asarray(sound, np.float64))
    layout = LAYOUTS[len(sound)]
    with av.open(path, "w") as container:
        stream = container.add_stream(made.codec, rate=rate_hz, options=made.options)
        stream.codec_context.layout = layout
        stream.codec_context.format = made.sample_format
        if made.bit_rate:
            stream.codec_context.bit_rate = made.bit_rate
        pictures = container.add_stream("libvpx" if made.suffix == ".webm" else "mpeg4", rate=10) if video else None
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            for n in range(round(10 * sound.shape[1] / rate_hz)):
                picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), n % 256, np.uint8), format="rgb24")
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode(None))
        n_frame = stream.codec_context.frame_size or 4096
        for begin in range(0, sound.shape[1], n_frame):
            frame = _frame(sound[:, begin : begin + n_frame], made.sample_format, layout)
            frame.sample_rate = rate_hz
            frame.pts, frame.time_base = begin, Fraction(1, rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _frame(sound: FloatArray, sample_format: str, layout: str) -> av.AudioFrame:
    kind = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "flt": np.float32, "dbl": np.float64}
    dtype = np.dtype(kind[sample_format.removesuffix("p")])
    if dtype.kind in "iu":
        half = 2.0 ** (8 * dtype.itemsize - 1)
        sound = np.clip(np.rint(sound * half), -half, half - 1) + (half if dtype.kind == "u" else 0)
    array = sound.astype(dtype)
    if not sample_format.endswith("p"):
        array = array.T.reshape(1, -1)
    return av.AudioFrame.from_ndarray(np.ascontiguousarray(array), format=sample_format, layout=layout)


def tone(frequency_hz: float, seconds: float, rate_hz: int, level: float = 0.5) -> FloatArray:
    """A sine. Shape: [T]"""
    return level * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate_hz)) / rate_hz)


def wav_bytes(
    samples: bytes, *, rate_hz: int = 16_000, channels: int = 1, bits: int = 16, tag: int = 1, claim: int | None = None
) -> bytes:
    """A WAV file with an arbitrary header. `tag`: 1 integers, 3 floats. `claim`: the stated bytes of samples."""
    claim = len(samples) if claim is None else claim
    block = min(channels * bits // 8, 65_535)
    heads = struct.pack("<HHIIHH", tag, channels, rate_hz, min(rate_hz * block, 2**32 - 1), block, bits)
    riff = b"WAVEfmt " + struct.pack("<I", len(heads)) + heads + b"data" + struct.pack("<I", min(claim, 2**32 - 1))
    return b"RIFF" + struct.pack("<I", min(len(riff) + claim, 2**32 - 1)) + riff + samples


def peak_hz(samples: FloatArray, rate_hz: int) -> float:
    """The loudest frequency, interpolated between FFT bins."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    top = int(np.argmax(spectrum[1:-1])) + 1
    left, middle, right = np.log(spectrum[top - 1 : top + 2] + 1e-12)
    return float((top + 0.5 * (left - right) / (left - 2 * middle + right)) * rate_hz / len(samples))
