"""Runs an encoder on numpy arrays. All embedding in boiler uses `EncoderRuntime`.

>>> runtime = EncoderRuntime.load("exp/esc10/MFCCStats/encoder.pt")  # doctest: +SKIP
>>> runtime.embed(windows).shape, runtime.window_spec.window_s  # doctest: +SKIP
((16, 80), 8.192)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from boiler.arrays import AnyArray, Float32Array, Int64Array
from boiler.audio.windows import DEFAULT_WINDOWS, WindowSpec
from boiler.model import checkpoint
from boiler.model.device import keep_freed_memory, single_threaded

# On a CPU a small batch fits into the cache (MFCCStats on one core takes 2.9 ms per window in batches of 16, 1.5 ms in
# batches of 2), and a batch of 16 needs 100 MB more memory.
CPU_BATCH = 2

OLD_METHODS = {"activations": "presence"}
"""Exported methods that an `encoder.pt` of version 0.1 has under another name."""


class EncoderRuntime:
    """An encoder, its header and the device it runs on. Safe to call from several threads.

    Creating one changes how the process allocates memory (`boiler.model.device.keep_freed_memory`).

    Attributes: `header`, the header of the `encoder.pt`.
    """

    def __init__(self, module: nn.Module, header: Mapping[str, Any] | None = None, device: str = "cpu") -> None:
        """`module`: scripted or not, in eval mode and on `device`."""
        self.header = dict(header or {})
        self._module = module
        self._device = device
        keep_freed_memory()

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "cpu") -> EncoderRuntime:
        """Open an `encoder.pt`. It is code: open only files that you trust.

        Raises: CheckpointError: not an `encoder.pt`.
        """
        module, header = checkpoint.load_script(path, device)
        if header.get("runtime") == "onnx":
            from boiler.encoder import onnx  # needs onnxruntime, an extra

            model = checkpoint.attachment(path, onnx.ATTACHED)
            settings = checkpoint.attachment(path, onnx.SETTINGS_ATTACHED)
            return cls(onnx.open_session(model, settings, str(path)), header)
        return cls(module, header, device)

    @property
    def window_spec(self) -> WindowSpec:
        """The windows of its input; the defaults if the header lacks them."""
        return WindowSpec(
            self.header.get("sample_rate_hz", DEFAULT_WINDOWS.sample_rate_hz),
            self.header.get("window_samples", DEFAULT_WINDOWS.window_samples),
            self.header.get("hop_s", DEFAULT_WINDOWS.hop_s),
        )

    @property
    def has_activations(self) -> bool:
        """Whether its vectors are bags of codes, with `activations`."""
        return self._method("activations") is not None

    @property
    def has_codes(self) -> bool:
        """Whether it has `codes`."""
        return self._method("codes") is not None

    def embed(self, samples: Float32Array) -> Float32Array:
        """The vectors of windows, unit length. Shape: [B, T] to [B, D]."""
        vectors: Float32Array = self.run(self._module, samples)
        return vectors

    def activations(self, samples: Float32Array) -> Float32Array:
        """The share of each code in each of F equal time steps. Shape: [B, T] to [B, K, F].

        Raises: AttributeError: not `has_activations`.
        """
        shares: Float32Array = self.run(self._required("activations"), samples)
        return shares

    def codes(self, samples: Float32Array) -> Int64Array:
        """The nearest code of each cell. Shape: [B, T] to [B, cells].

        Raises: AttributeError: not `has_codes`.
        """
        codes: Int64Array = self.run(self._required("codes"), samples)
        return codes

    def run(self, function: Callable[[Tensor], Tensor], samples: Float32Array) -> AnyArray:
        """Apply a function of tensors [B, 1, T], such as a method of the module, to windows [B, T]."""
        size = CPU_BATCH if self._device == "cpu" else max(len(samples), 1)
        if len(samples) > size:
            parts = [self.run(function, samples[start : start + size]) for start in range(0, len(samples), size)]
            return np.concatenate(parts)
        # With TF32, cosines differ by a thousandth between GPUs. They are not thread-safe, and not needed on a CPU.
        flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), nullcontext() if self._device == "cpu" else flags:
            result = function(torch.from_numpy(samples).unsqueeze(1).to(self._device))
            array: AnyArray = (result.float() if result.is_floating_point() else result).cpu().numpy()
        return array

    @contextmanager
    def parallel_embed(self) -> Iterator[Callable[[Float32Array], Float32Array]]:
        """Context manager: `embed` for bulk work. On a CPU it uses as many threads as torch may, each for windows of
        its own.

        While decoders use the cores, too, two threads that share one window mostly wait for each other (the joined
        encoder on two busy cores: 47 ms of CPU time per window, and 16 ms this way). The vectors do not depend on the
        number of threads, to the bit.
        """
        if self._device != "cpu":
            yield self.embed
            return
        n_threads = torch.get_num_threads()
        with single_threaded(), ThreadPoolExecutor(n_threads) as threads:

            def embed(samples: Float32Array) -> Float32Array:
                batches = [samples[start : start + CPU_BATCH] for start in range(0, len(samples), CPU_BATCH)]
                return np.concatenate(list(threads.map(self.embed, batches)))

            yield embed

    def _method(self, name: str) -> Callable[[Tensor], Tensor] | None:
        method: Callable[[Tensor], Tensor] | None = getattr(self._module, name, None)
        if method is None and name in OLD_METHODS:
            method = getattr(self._module, OLD_METHODS[name], None)
        return method

    def _required(self, name: str) -> Callable[[Tensor], Tensor]:
        method = self._method(name)
        if method is None:
            raise AttributeError(f"the encoder {self.header.get('encoder', '')} has no {name}")
        return method
