"""Export encoders, weights, vectors and sounds to the formats of other programs.

    $ boiler export exp/sounds/MFCCStats --onnx encoder.onnx
    $ boiler export exp/mine/vqvae_012/PooledVQVAE --onnx encoder.onnx --pt_path exp/mine/vqvae_012.pt
    $ boiler export exp/sounds/MFCCStats --parquet vectors.parquet --audiofolder ~/dataset
    $ boiler export exp/mine/vqvae_012.pt --safetensors weights.safetensors
    $ boiler export exp/sounds/MFCCStats --tfrecord vectors.tfrecord
    $ boiler export tags.safetensors --onnx tags.onnx --torchscript tags.pt

--onnx: the encoder, which runs without boiler and torch. --parquet: a row for each window, with its vector and the
fields of its item. --audiofolder: metadata.csv with file_name, and the sounds (hard links if the disk allows them), as
read by the datasets library and `boiler index`. --safetensors: the weights of a checkpoint, with its settings as
metadata. --tfrecord: a tf.train.Example for each sound: `id`, `labels` (int64: its tags, or its label in an index
without tags) and its vector, `embedding`; beside it a CSV of the names of the labels, as read by `boiler tfrecord`. A
tag model (tags.safetensors) is written as ONNX or TorchScript: vectors in, probabilities out.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from boiler import arguments, encoder, files
from boiler.catalog.items import Item
from boiler.encoder.onnx_export import export_onnx
from boiler.encoder.runtime import EncoderRuntime
from boiler.errors import CheckpointError, SettingsError
from boiler.model import checkpoint
from boiler.search.nearest import Nearest
from boiler.store import generation
from boiler.tagging import tfrecord
from boiler.tagging.export import export_tags_onnx, export_torchscript
from boiler.tagging.model import TagModel
from boiler.tagging.vocabulary import Vocabulary

BATCH_ROWS = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="MODEL_DIR|CHECKPOINT|TAGS", help="what to export from")
    parser.add_argument("--onnx", type=Path, metavar="FILE", help="write the encoder, or the tag model")
    parser.add_argument("--torchscript", type=Path, metavar="FILE", help="write the tag model")
    parser.add_argument("--pt_path", type=Path, help="for --onnx: the checkpoint that the encoder was built from")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="write vectors and metadata")
    parser.add_argument("--audiofolder", type=Path, metavar="DIR", help="write metadata.csv and the sounds")
    parser.add_argument("--safetensors", type=Path, metavar="FILE", help="write the weights of the checkpoint")
    parser.add_argument(
        "--tfrecord", type=Path, metavar="FILE", help="write vectors and labels, and the names of the labels as .csv"
    )


def run(args: argparse.Namespace) -> int:
    writers: dict[str, Callable[[Path], str]] = {
        "onnx": lambda path: (
            write_onnx(args.source, path, args.pt_path) if args.source.is_dir() else write_tag_model(args.source, path)
        ),
        "torchscript": lambda path: write_tag_model(args.source, path, torchscript=True),
        "parquet": lambda path: write_parquet(args.source, path),
        "audiofolder": lambda path: write_audiofolder(args.source, path),
        "safetensors": lambda path: write_safetensors(args.source, path),
        "tfrecord": lambda path: write_tfrecord(args.source, path),
    }
    wanted = [(writer, getattr(args, name)) for name, writer in writers.items() if getattr(args, name) is not None]
    if not wanted:
        raise SettingsError(f"nothing to export: give one of {', '.join(f'--{name}' for name in writers)}")
    for writer, path in wanted:
        print(f"{path}: {writer(path)}")
    return 0


def write_onnx(model_dir: Path, path: Path, pt_path: Path | None = None) -> str:
    """Write the encoder of a model directory as an ONNX model. Returns a description of what was written.

    Raises: ModelDirError: no model directory. CheckpointError: the encoder needs its checkpoint. SettingsError: it
        cannot be exported.
    """
    opened = generation.open(model_dir)
    script = opened.path / "encoder.pt"
    if not script.is_file() or files.sha256_of(script) != opened.header.encoder_sha256:
        raise CheckpointError(f"{script} is not the encoder that this index was made with: index again")
    header = EncoderRuntime.load(script).header
    made = encoder.create(header["encoder"], pt_path)
    # Fitted parameters are in encoder.pt only.
    module, _ = checkpoint.load_script(script)
    # TorchScript saves buffers that are derived from others, too.
    derived = dict(made.named_buffers(remove_duplicate=False)).keys() - made.state_dict().keys()
    try:
        made.load_state_dict({name: value for name, value in module.state_dict().items() if name not in derived})
    except RuntimeError as error:
        raise CheckpointError(f"the encoder of {model_dir} was not built from {pt_path}") from error
    export_onnx(made, path)
    return f"{header['encoder']}, {made.window_samples} samples at {made.sample_rate_hz} Hz to {made.dim} numbers"


def write_tag_model(source: Path, path: Path, *, torchscript: bool = False) -> str:
    """Write a tag model as ONNX or TorchScript. Returns a description of what was written.

    Raises: CheckpointError: not a tag model.
    """
    model = TagModel.load(source)
    (export_torchscript if torchscript else export_tags_onnx)(model, path)
    return f"{model.network}, vectors of {model.dim} numbers to the probabilities of {len(model.tags)} tags"


def write_parquet(model_dir: Path, path: Path) -> str:
    """Write a row for each window: the fields of its item (further metadata as JSON), `start_s`, `end_s`,
    `embedding`."""
    import pyarrow as pa
    import pyarrow.parquet

    opened = generation.open(model_dir)
    with Nearest(model_dir) as nearest:
        items = {item.n: _plain(item) for item in _items(nearest)}
    with files.replacing(path) as aside:
        writer: Any = None
        for start in range(0, len(opened.rows), BATCH_ROWS):
            rows = opened.rows[start : start + BATCH_ROWS]
            vectors = opened.vectors[start : start + BATCH_ROWS]
            table = pa.Table.from_pylist(
                [
                    {**items[int(row["n"])], "start_s": float(row["start_s"]), "end_s": float(row["end_s"])}
                    for row in rows
                ]
            )
            flat = pa.array(vectors.ravel(), pa.float32())
            table = table.append_column("embedding", pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
            if writer is None:
                # A column without any value in the first rows may have one later.
                known = [pa.field(one.name, pa.string()) if pa.types.is_null(one.type) else one for one in table.schema]
                writer = pyarrow.parquet.ParquetWriter(aside, pa.schema(known))
            writer.write_table(table.cast(writer.schema))
        if writer is None:
            raise SettingsError(f"{model_dir} has no vectors: all its sounds are silent")
        writer.close()
    return f"{len(opened.rows)} vectors of {len(items)} sounds"


def write_audiofolder(model_dir: Path, folder: Path) -> str:
    """Write `metadata.csv` with `file_name`, `label` and further metadata, and the sounds.

    Raises: SoundNotHereError: the folder that was indexed is missing.
    """
    with Nearest(model_dir) as nearest:
        items = list(_items(nearest))
        keys = sorted({key for item in items for key in item.metadata} - {"file_name", "label"})
        for item in items:
            target = folder / item.id
            target.parent.mkdir(parents=True, exist_ok=True)
            source = nearest.path(item.n)
            if not target.exists():
                files.hard_link_or_copy(source, target)
    with files.replacing(folder / "metadata.csv") as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["file_name", "label", *keys])
        writer.writeheader()
        for item in items:
            further = {key: item.metadata.get(key, "") for key in keys}
            writer.writerow({"file_name": item.id, "label": item.label or "", **further})
    return f"{len(items)} sounds and metadata.csv"


def write_safetensors(pt_path: Path, path: Path) -> str:
    """Write the weights of the network and the tensors of `Checkpoint.learned` (as `learned.NAME`), with the settings
    of the network and of the mel front end as JSON in the metadata."""
    loaded = checkpoint.load(pt_path)
    tensors = {name: tensor.contiguous() for name, tensor in loaded.weights.items()}
    tensors |= {f"learned.{name}": tensor.contiguous() for name, tensor in loaded.learned.items()}
    metadata = {"network": json.dumps(loaded.network), "mel": json.dumps(loaded.mel), "format": "pt"}
    with files.replacing(path) as aside:
        save_file(tensors, aside, metadata)
    return f"{len(tensors)} tensors"


def write_tfrecord(model_dir: Path, path: Path) -> str:
    """Write an example for each item that has rows: `id`, `labels` and `embedding` (float32 [D], the normalised mean of
    its windows). The labels are the tags that the item has, by a person or else by the model; in an index without tags
    its label. Their names are written beside it, as .csv.

    Raises: SettingsError: the file would be the vocabulary.
    """
    names_path = path.with_suffix(".csv")
    if names_path == path:
        raise SettingsError(f"{path} is where the names of the labels go: call it {path.with_suffix('.tfrecord')}")
    with Nearest(model_dir) as nearest:
        numbers, vectors = nearest.item_vectors()
        items = [nearest.item(n) for n in numbers.tolist()]
        tags = [[one.tag for one in nearest.tags(item.n) if one.has] for item in items]
        if not any(tags):
            tags = [[item.label] if item.label is not None else [] for item in items]
        counts = Counter(tag for some in tags for tag in some)
        names = sorted(counts)
        number_of = {name: number for number, name in enumerate(names)}
        examples = (
            {
                "id": [item.id.encode()],
                "labels": np.array(sorted(number_of[tag] for tag in some), np.int64),
                "embedding": vector,
            }
            for item, some, vector in zip(items, tags, vectors, strict=True)
        )
        n_written = tfrecord.write_records(path, map(tfrecord.encode_example, examples))
        dim = nearest.dim
    Vocabulary(tuple(names), tuple(counts[name] for name in names)).write(names_path)
    return f"{n_written} vectors of {dim} numbers; {names_path}: {len(names)} labels"


def _items(nearest: Nearest) -> Iterator[Item]:
    page = 1_000
    for offset in range(0, len(nearest), page):
        yield from nearest.items(offset=offset, limit=page)


def _plain(item: Item) -> dict[str, Any]:
    return {key: json.dumps(value) if isinstance(value, dict) else value for key, value in asdict(item).items()}


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(
        argv, prog="boiler export", description=__doc__ or "", add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
