"""TFRecord files of `tf.train.Example` and `tf.train.SequenceExample`, read and written without TensorFlow.

A record is its length (uint64), the masked CRC-32C of these 8 bytes, the data, and the masked CRC-32C of the data, all
little-endian. A record whose data do not match their checksum is left out, and reading continues behind it; where the
length is damaged, the rest of the file is left out. Whoever reads is told of every damage (`Damage`).

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord; the messages are those of
tensorflow/core/example/{feature,example}.proto.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder) / "a.tfrecord"
...     n = write_records(path, [encode_example({"id": [b"one"], "labels": np.array([3, 5])})])
...     [record] = read_records(path, print)
>>> parse_example(record.data).features["labels"].tolist()
[3, 5]
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from boiler import files
from boiler.arrays import AnyArray, Float32Array, Int64Array

MAX_RECORD_BYTES = 1 << 28
"""Longer records are damage. Five minutes of features at one frame per second take a third of a megabyte."""

_LENGTH = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8

FeatureValue = AnyArray | list[bytes]
"""float32 [n] of a `FloatList`, int64 [n] of an `Int64List`, or the values of a `BytesList`."""


class RawRecord(NamedTuple):
    """The data of a record, and where it is: its number in the file, from 0, and its first byte."""

    path: Path
    number: int
    offset: int
    data: bytes


class Damage(NamedTuple):
    """A record that was left out, and why."""

    path: Path
    number: int
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: record {self.number} at byte {self.offset}: {self.reason}"


OnDamage = Callable[[Damage], object]


class NotAnExampleError(ValueError):
    """The data of a record are not an example, or not one with the features that are needed."""


@dataclass(frozen=True)
class TFExample:
    """An `Example`, or a `SequenceExample`: the features of the whole, and lists with a feature for each frame."""

    features: Mapping[str, FeatureValue]
    feature_lists: Mapping[str, Sequence[FeatureValue]]


# ------------------------------------------------------------------------------------------------------- records


def masked_crc(data: bytes) -> int:
    """The checksum as TFRecord files store it: rotated by 15 bits, plus a constant."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFF_FFFF


def read_records(path: Path, on_damage: OnDamage) -> Iterator[RawRecord]:
    """The undamaged records of a file, one at a time.

    Raises: OSError: the file cannot be read.
    """
    with path.open("rb", buffering=1 << 20) as stream:
        size = os.fstat(stream.fileno()).st_size
        number = offset = 0
        while offset < size:
            data, reason, is_last = _read_record(stream, size - offset)
            if data is None:
                on_damage(Damage(path, number, offset, reason))
                if is_last:
                    return
            else:
                yield RawRecord(path, number, offset, data)
            number, offset = number + 1, stream.tell()


def _read_record(stream: BinaryIO, left: int) -> tuple[bytes | None, str, bool]:
    """The data, or None, what is wrong, and whether nothing behind can be read."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None, f"the file ends {_LENGTH.size - len(head)} bytes before the end of the record's head", True
    length, length_crc = _LENGTH.unpack(head)
    if masked_crc(head[:8]) != length_crc:
        return None, f"its length does not match its checksum: the rest of the file ({left} bytes) is skipped", True
    missing = _LENGTH.size + length + _CRC.size - left
    if missing > 0:
        return None, f"the file ends {missing} bytes before the end of the record, which has {length}", True
    if length > MAX_RECORD_BYTES:
        stream.seek(length + _CRC.size, os.SEEK_CUR)
        return None, f"it has {length} bytes, more than {MAX_RECORD_BYTES}", False
    data = stream.read(length)
    (data_crc,) = _CRC.unpack(stream.read(_CRC.size))
    if masked_crc(data) != data_crc:
        return None, "its data do not match their checksum", False
    return data, "", False


def write_records(path: Path, records: Iterable[bytes]) -> int:
    """Write a file, which replaces `path` when it is complete. Returns the number of records."""
    count = 0
    with files.replacing(path) as aside, aside.open("wb") as stream:
        for data in records:
            length = struct.pack("<Q", len(data))
            stream.write(length + _CRC.pack(masked_crc(length)) + data + _CRC.pack(masked_crc(data)))
            count += 1
    return count


# ------------------------------------------------------------------------------------------------------ messages

_TYPES = descriptor_pb2.FieldDescriptorProto


def _message_types(package: str, floats: int) -> dict[str, Any]:
    """The classes of the messages. `floats`: the type of the values of `FloatList`."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int | str, bool]) -> Any:
        made = file.message_type.add(name=name)
        for number, (field, _, kind, repeated) in enumerate(fields, 1):
            added = made.field.add(name=field, number=number)
            added.label = _TYPES.LABEL_REPEATED if repeated else _TYPES.LABEL_OPTIONAL
            if isinstance(kind, str):
                added.type, added.type_name = _TYPES.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                added.type = kind
        return made

    def mapping(name: str, field: str, kind: str) -> None:
        made = file.message_type.add(name=name)
        entry = made.nested_type.add(name="Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=_TYPES.TYPE_STRING, label=_TYPES.LABEL_OPTIONAL)
        value = entry.field.add(name="value", number=2, type=_TYPES.TYPE_MESSAGE, label=_TYPES.LABEL_OPTIONAL)
        value.type_name = f".{package}.{kind}"
        of = made.field.add(name=field, number=1, type=_TYPES.TYPE_MESSAGE, label=_TYPES.LABEL_REPEATED)
        of.type_name = f".{package}.{name}.Entry"

    message("BytesList", ("value", 1, _TYPES.TYPE_BYTES, True))
    message("FloatList", ("value", 1, floats, True))
    message("Int64List", ("value", 1, _TYPES.TYPE_INT64, True))
    kinds = ("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")
    feature = message("Feature", *((field, at, kind, False) for at, (field, kind) in enumerate(kinds, 1)))
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    mapping("Features", "feature", "Feature")
    message("FeatureList", ("feature", 1, "Feature", True))
    mapping("FeatureLists", "feature_list", "FeatureList")
    message("SequenceExample", ("context", 1, "Features", False), ("feature_lists", 2, "FeatureLists", False))
    pool = descriptor_pool.DescriptorPool()  # of its own: TensorFlow may be loaded beside it
    pool.Add(file)
    names = (one.name for one in file.message_type)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in names}


_WRITTEN = _message_types("boiler.example", _TYPES.TYPE_FLOAT)
# Packed floats have the wire format of bytes. Read as bytes they become an array without a Python object for each: 2
# instead of 60 microseconds for 1,152 of them.
_READ = _message_types("boiler.example_read", _TYPES.TYPE_BYTES)


def parse_example(data: bytes) -> TFExample:
    """The features of an `Example` or a `SequenceExample`, whose first field is the same.

    Raises: NotAnExampleError: neither.
    """
    try:
        parsed = _READ["SequenceExample"].FromString(data)
    except DecodeError as error:
        raise NotAnExampleError("it is not a tf.train.Example") from error
    features = parsed.context.feature
    lists = parsed.feature_lists.feature_list
    found = {name: _value(features[name], name) for name in features}
    if not found and not lists:
        raise NotAnExampleError("it is not a tf.train.Example, or one without features")
    return TFExample(found, {name: [_value(one, name) for one in lists[name].feature] for name in lists})


def _value(feature: Any, name: str) -> FeatureValue:
    match feature.WhichOneof("kind"):
        case "float_list":
            return _floats(feature.float_list, name)
        case "int64_list":
            return np.array(list(feature.int64_list.value), np.int64)  # a list is faster than the field
        case "bytes_list":
            return list(feature.bytes_list.value)
    return []


def _floats(message: Any, name: str) -> Float32Array:
    blocks, n_bytes = message.value, message.ByteSize()
    if len(blocks) == 1:
        block = blocks[0]
        if n_bytes == len(block) + 1 + max(1, -(-len(block).bit_length() // 7)):
            if len(block) % 4:
                raise NotAnExampleError(f"{name} is not a list of floats")
            return np.frombuffer(block, "<f4")
    if not n_bytes:
        return np.zeros(0, np.float32)
    try:  # one field for each float, or several packed blocks: rare, but allowed
        values = _WRITTEN["FloatList"].FromString(message.SerializeToString()).value
    except DecodeError as error:
        raise NotAnExampleError(f"{name} is not a list of floats") from error
    return np.array(values, np.float32)


def encode_example(
    features: Mapping[str, FeatureValue], feature_lists: Mapping[str, Sequence[FeatureValue]] | None = None
) -> bytes:
    """The bytes of an `Example`, or with `feature_lists` of a `SequenceExample`. Floats are stored as float32."""
    example = _WRITTEN["SequenceExample"]()
    for name, value in features.items():
        _set_value(example.context.feature[name], value)
    for name, values in (feature_lists or {}).items():
        for value in values:
            _set_value(example.feature_lists.feature_list[name].feature.add(), value)
    data: bytes = example.SerializeToString(deterministic=True)
    return data


def _set_value(feature: Any, value: FeatureValue) -> None:
    if isinstance(value, list):
        feature.bytes_list.value.extend(value)
    elif value.dtype.kind == "f":
        feature.float_list.value.extend(value.tolist())
    else:
        feature.int64_list.value.extend(value.tolist())


# ---------------------------------------------------------------------------------------------- labelled examples


@dataclass(frozen=True)
class FeatureSpec:
    """A feature of an example that a model reads, and its size. Frames of it are called as it is, without `mean_`.

    >>> FeatureSpec.parse("mean_audio:128")
    FeatureSpec(name='mean_audio', size=128)
    """

    name: str
    size: int

    @classmethod
    def parse(cls, text: str) -> FeatureSpec:
        """From `NAME:SIZE`. Raises: ValueError."""
        name, colon, size = text.rpartition(":")
        if not colon or not name or not size.isdecimal() or int(size) < 1:
            raise ValueError(f"{text!r} does not state a feature and its size, as mean_audio:128 does")
        return cls(name, int(size))

    def __str__(self) -> str:
        return f"{self.name}:{self.size}"


YOUTUBE_8M = (FeatureSpec("mean_rgb", 1024), FeatureSpec("mean_audio", 128))
"""The features of the YouTube-8M data set: 1,152 numbers."""
QUANTIZED_MIN, QUANTIZED_MAX = -2.0, 2.0


def dequantize(frames: AnyArray) -> Float32Array:
    """Numbers from 8 bits, as YouTube-8M stores the features of frames: 256 bins between -2 and 2, each its centre.

    Source: https://github.com/google/youtube-8m, utils.py

    >>> dequantize(np.array([0, 255], np.uint8)).tolist()
    [-1.9921875, 2.0078125]
    """
    span = QUANTIZED_MAX - QUANTIZED_MIN
    values: Float32Array = frames.astype(np.float32) * np.float32(span / 255) + np.float32(span / 512 + QUANTIZED_MIN)
    return values


@dataclass(frozen=True)
class LabelledExample:
    """An example to learn from. features: float32 [D]; labels: int64 [n], ascending, each once"""

    id: str
    features: Float32Array
    labels: Int64Array


def labelled_example(example: TFExample, specs: Sequence[FeatureSpec], n_classes: int) -> LabelledExample:
    """The features, one after the other, the labels and the id of an example. Frames are dequantised and averaged.

    Raises: NotAnExampleError: a feature is missing, or has another type, size or range.
    """
    id = example.features.get("id", example.features.get("video_id"))
    if not isinstance(id, list) or len(id) != 1:
        raise NotAnExampleError("it has no id, or one that is not one text")
    labels = example.features.get("labels")
    if not isinstance(labels, np.ndarray) or labels.dtype != np.int64:
        if labels is not None and len(labels):
            raise NotAnExampleError("its labels are not a list of int64")
        labels = np.zeros(0, np.int64)
    given = sorted({*labels.tolist()})
    if given and not 0 <= given[0] <= given[-1] < n_classes:
        raise NotAnExampleError(f"a label is not in the vocabulary, which has {n_classes} tags: {labels.tolist()}")
    parts = [_feature(example, spec) for spec in specs]
    features = parts[0] if len(parts) == 1 else np.concatenate(parts)
    # The sum of squares is finite if all are, unless it overflows, and ten times as fast to compute.
    if not np.isfinite(features.dot(features)) and not np.isfinite(features).all():
        raise NotAnExampleError("a feature has values that are not finite")
    return LabelledExample(id[0].decode("utf-8", "replace"), features, np.array(given, np.int64))


def _feature(example: TFExample, spec: FeatureSpec) -> Float32Array:
    value = example.features.get(spec.name)
    if value is None:
        name = spec.name.removeprefix("mean_")
        frames = example.feature_lists.get(name)
        if frames is None:
            raise NotAnExampleError(f"it has no feature {spec.name}, and no frames called {name}")
        return _mean_frame(frames, name, spec.size)
    if not isinstance(value, np.ndarray) or value.dtype != np.float32:
        raise NotAnExampleError(f"{spec.name} is not a list of floats")
    if len(value) != spec.size:
        raise NotAnExampleError(f"{spec.name} has {len(value)} numbers, not {spec.size}")
    return value


def _mean_frame(frames: Sequence[FeatureValue], name: str, size: int) -> Float32Array:
    """The mean of dequantised frames. Shape: -> [size]"""
    if not frames:
        raise NotAnExampleError(f"{name} has no frames")
    for frame in frames:
        if not isinstance(frame, list) or len(frame) != 1 or len(frame[0]) != size:
            raise NotAnExampleError(f"a frame of {name} is not {size} bytes")
    flat = np.frombuffer(b"".join(frame[0] for frame in frames), np.uint8)
    # The mean of the numbers is the number of the mean, and the sum of bytes is exact.
    return dequantize(flat.reshape(-1, size).mean(axis=0, dtype=np.float64))
