"""Any ONNX model as an encoder, run by onnxruntime. The input is a waveform or a log-mel spectrogram, the output a
vector.

Sampling rate and window are given by the user, or read from the file if boiler wrote it (`boiler export --onnx`). With
the option `n_mels` the input of the model is a log-mel spectrogram instead of the waveform, with the parameters
`n_fft`, `hop_samples`, `low_hz`, `high_hz`, `power`, `log` (`ln`, `log10` or `db`), `offset` (added before the
logarithm) and `layout` (`NMF`, `NFM`, `N1MF` or `N1FM`: M bands, F frames).

    $ boiler index ~/sounds ONNXEncoder --pt_path mine.onnx --sample_rate_hz 16000 --window_s 1
    $ boiler index ~/sounds ONNXEncoder --pt_path mel.onnx --sample_rate_hz 22050 --window_s 3 \
        --encoder_option n_mels=64 --encoder_option n_fft=1024 --encoder_option hop_samples=512
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchaudio.transforms import MelSpectrogram

from boiler.arrays import Float32Array
from boiler.audio.windows import WindowSpec
from boiler.encoder import Encoder
from boiler.encoder.torchscript import model_window_spec
from boiler.errors import CheckpointError, SettingsError

ATTACHED = "encoder.onnx"
SETTINGS_ATTACHED = "encoder.onnx.json"
LOGARITHMS = ("ln", "log10", "db")
LAYOUTS = ("NMF", "NFM", "N1MF", "N1FM")


@dataclass(frozen=True)
class LogMelOptions:
    """The parameters of a model's input spectrogram. `high_hz` 0: half the sampling rate. `power`: 1 magnitude, 2
    power."""

    n_mels: int
    n_fft: int = 1024
    hop_samples: int = 512
    low_hz: float = 0.0
    high_hz: float = 0.0
    power: float = 2.0
    log: str = "ln"
    offset: float = 1e-6
    layout: str = "NMF"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> LogMelOptions | None:
        """Parse options, whose values may be text; None if there is no `n_mels`.

        Raises: SettingsError: an invalid value.
        """
        given = {name: value for name, value in options.items() if value is not None}
        if "n_mels" not in given:
            if given:
                raise SettingsError(f"{', '.join(sorted(given))} belong to a log-mel spectrogram: give n_mels, too")
            return None
        defaults = asdict(cls(n_mels=1))
        try:
            made = cls(**{name: type(defaults[name])(value) for name, value in given.items()})
        except ValueError as error:
            raise SettingsError(f"the options of the log-mel spectrogram: {error}") from error
        if (
            made.log not in LOGARITHMS
            or made.layout not in LAYOUTS
            or min(made.n_mels, made.n_fft, made.hop_samples) < 1
        ):
            raise SettingsError(
                f"log is one of {', '.join(LOGARITHMS)}, layout one of {', '.join(LAYOUTS)}, and numbers are above 0"
            )
        return made


class LogMelInput(nn.Module):
    """Waveforms to the input spectrograms of a model. Shape: [N, T] to [N, M, F], or as `layout` says."""

    def __init__(self, options: LogMelOptions, sample_rate_hz: int) -> None:
        super().__init__()
        self.options = options
        self.mel = MelSpectrogram(
            sample_rate_hz,
            n_fft=options.n_fft,
            hop_length=options.hop_samples,
            n_mels=options.n_mels,
            f_min=options.low_hz,
            f_max=options.high_hz or None,
            power=options.power,
        )

    def forward(self, waveform: Tensor) -> Tensor:
        mel = self.mel(waveform) + self.options.offset
        loudness: Tensor = mel.log() if self.options.log == "ln" else mel.log10()
        if self.options.log == "db":
            loudness = loudness * (20 / self.options.power)
        if self.options.layout.endswith("FM"):
            loudness = loudness.transpose(1, 2)
        return loudness[:, None] if "1" in self.options.layout else loudness


class OnnxSession(nn.Module):
    """A model in onnxruntime. It runs on one thread, and is thread-safe."""

    def __init__(self, model: bytes, name: str, mel: LogMelInput | None = None) -> None:
        super().__init__()
        runtime = onnxruntime()
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = 1
        settings.log_severity_level = 3
        try:
            self._model = runtime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many types of exceptions
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise CheckpointError(f"{name}: onnxruntime cannot load it ({reason})") from error
        inputs = self._model.get_inputs()
        if len(inputs) != 1 or "float" not in inputs[0].type:
            raise CheckpointError(f"{name}: takes {[one.name for one in inputs]}; an encoder takes one array of floats")
        self._name = name
        self._input = inputs[0]
        self._mel = mel

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of the model file."""
        return dict(self._model.get_modelmeta().custom_metadata_map)

    def forward(self, waveform: Tensor) -> Tensor:
        """Shape: [B, 1, T] to [B, D], unit length, on the CPU."""
        return torch.from_numpy(self.embed(waveform[:, 0].detach().cpu().float().numpy()))

    def embed(self, samples: Float32Array) -> Float32Array:
        """The vectors of windows. Shape: [B, T] to [B, D], unit length. Raises: CheckpointError: its output is not
        vectors."""
        at_once = self._input.shape[0] if self._input.shape and isinstance(self._input.shape[0], int) else len(samples)
        if len(self._input.shape) == 1:  # one waveform, without a batch
            at_once = 1
        found = [self._run(samples[at : at + at_once]) for at in range(0, len(samples), max(1, at_once))]
        vectors: Float32Array = normalize(torch.from_numpy(np.concatenate(found)), dim=1).numpy()
        return vectors

    def _run(self, samples: Float32Array) -> Float32Array:
        if self._mel is not None:
            with torch.inference_mode():
                given = self._mel(torch.from_numpy(samples)).numpy()
        else:
            given = samples[0] if len(self._input.shape) == 1 else samples
            given = given[:, None] if len(self._input.shape) == 3 else given
        try:
            out = np.asarray(self._model.run(None, {self._input.name: given})[0], np.float32)
        except Exception as error:  # as above
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise CheckpointError(f"{self._name}: does not take an array {list(given.shape)} ({reason})") from error
        if len(self._input.shape) == 1 and out.ndim == 1:
            out = out[None]
        if len(self._input.shape) == 1 and out.ndim == 2 and len(out) != 1:  # frames of the one waveform
            out = out[None]
        if out.ndim == 3:
            out = out.mean(axis=1)
        if out.ndim != 2 or len(out) != len(samples):
            raise CheckpointError(
                f"{self._name}: returns the shape {list(out.shape)} for {len(samples)} windows, not vectors [N, D]"
            )
        return out


class ONNXEncoder(Encoder):
    """Any ONNX model; see the module. An output [N, F, D] is averaged over F."""

    needs_checkpoint: ClassVar[bool] = True
    checkpoint_hint: ClassVar[str] = "an ONNX model (--pt_path FILE.onnx)"
    runtime: ClassVar[str] = "onnx"

    def __init__(
        self,
        pt_path: str | os.PathLike[str] | None,
        device: str = "cpu",
        *,
        sample_rate_hz: int | str | None = None,
        window_s: float | str | None = None,
        n_mels: int | str | None = None,
        n_fft: int | str | None = None,
        hop_samples: int | str | None = None,
        low_hz: float | str | None = None,
        high_hz: float | str | None = None,
        power: float | str | None = None,
        log: str | None = None,
        offset: float | str | None = None,
        layout: str | None = None,
    ) -> None:
        """`device` is ignored: onnxruntime runs the model on the CPU."""
        self._model = _read(pt_path)
        options = LogMelOptions.from_options(
            {
                "n_mels": n_mels,
                "n_fft": n_fft,
                "hop_samples": hop_samples,
                "low_hz": low_hz,
                "high_hz": high_hz,
                "power": power,
                "log": log,
                "offset": offset,
                "layout": layout,
            }
        )
        spec = _spec(self._model, sample_rate_hz, window_s, str(pt_path))
        mel = None if options is None else LogMelInput(options, spec.sample_rate_hz)
        session = OnnxSession(self._model, str(pt_path), mel)
        super().__init__(session.embed(np.zeros((1, spec.window_samples), np.float32)).shape[1])
        self.sample_rate_hz, self.window_samples = spec.sample_rate_hz, spec.window_samples
        self._options = options
        self._session = session

    @classmethod
    def window_spec(cls, pt_path: str | os.PathLike[str] | None = None, **options: Any) -> WindowSpec:
        return _spec(_read(pt_path), options.get("sample_rate_hz"), options.get("window_s"), str(pt_path))

    def forward(self, waveform: Tensor) -> Tensor:
        vectors: Tensor = self._session(waveform)
        return vectors

    def saved_module(self) -> nn.Module:
        return ONNXPlaceholder(self.dim)

    def attachments(self) -> dict[str, bytes]:
        settings = {"sample_rate_hz": self.sample_rate_hz, "mel": self._options and asdict(self._options)}
        return {ATTACHED: self._model, SETTINGS_ATTACHED: json.dumps(settings).encode()}


class ONNXPlaceholder(nn.Module):
    """The module of an `encoder.pt` whose model, an attachment, is run by onnxruntime."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, waveform: Tensor) -> Tensor:
        raise RuntimeError("this encoder is run by onnxruntime: open it with boiler.encoder.runtime")


def open_session(model: bytes, settings: bytes, name: str) -> OnnxSession:
    """The session of a model, from the two files of `ONNXEncoder.attachments`. `name`: for errors."""
    stored = json.loads(settings)
    mel = None if stored["mel"] is None else LogMelInput(LogMelOptions(**stored["mel"]), stored["sample_rate_hz"])
    return OnnxSession(model, name, mel)


def onnxruntime() -> Any:
    """The library. Raises: CheckpointError: it is not installed."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise CheckpointError("ONNX models need onnxruntime: pip install 'boiler[onnx]'") from error


def _read(pt_path: str | os.PathLike[str] | None) -> bytes:
    try:
        return Path(pt_path or "").read_bytes()
    except OSError as error:
        raise CheckpointError(f"{pt_path}: cannot be read ({error.strerror}): give an .onnx file") from error


def _spec(model: bytes, sample_rate_hz: int | str | None, window_s: float | str | None, name: str) -> WindowSpec:
    stated = {} if sample_rate_hz is not None and window_s is not None else OnnxSession(model, name).metadata
    return model_window_spec(stated, sample_rate_hz, window_s, name)
