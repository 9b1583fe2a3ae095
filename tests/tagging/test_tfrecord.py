"""TFRecord files: what is written is read, every damage is named, and hostile files end nothing."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boiler.tagging import tfrecord
from boiler.tagging.tfrecord import (
    YOUTUBE_8M,
    Damage,
    FeatureSpec,
    NotAnExampleError,
    dequantize,
    encode_example,
    labelled_example,
    masked_crc,
    parse_example,
    read_records,
    write_records,
)

SMALL = (FeatureSpec("mean_rgb", 4), FeatureSpec("mean_audio", 2))


def example(number: int = 0, **changed: object) -> bytes:
    features = {
        "id": [f"v{number}".encode()],
        "labels": np.array([2, 1]),
        "mean_rgb": np.arange(4, dtype=np.float32) + number,
        "mean_audio": np.array([0.5, -0.5], np.float32),
    }
    return encode_example({name: value for name, value in (features | changed).items() if value is not None})


def read(path: Path) -> tuple[list[bytes], list[Damage]]:
    damages: list[Damage] = []
    return [record.data for record in read_records(path, damages.append)], damages


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("records") / "a.tfrecord"
    assert write_records(path, records) == len(records)
    assert read(path) == (records, [])


def test_tensorboard_reads_the_records(tmp_path: Path) -> None:
    """An independent reader of the format that checks the checksums."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    records = [example(number) for number in range(3)]
    write_records(tmp_path / "a.tfrecord", records)
    reader = PyRecordReader_New(str(tmp_path / "a.tfrecord"))
    found = []
    for _ in records:
        reader.GetNext()
        found.append(reader.record())
    assert found == records


@given(st.data())
def test_a_changed_byte_is_named_and_other_records_are_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("changed") / "a.tfrecord"
    records = [example(number) for number in range(4)]
    write_records(path, records)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    size = len(content) // 4
    number, within = divmod(at, size)
    good, damages = read(path)
    assert [damage.number for damage in damages] == [number]
    assert damages[0].offset == number * size
    # Behind a wrong length it is unknown where the next record begins.
    assert good == records[:number] + ([] if within < 12 else records[number + 1 :])


@given(st.integers(0, 10_000))
def test_a_truncated_file_gives_its_whole_records(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.tfrecord"
    records = [example(number) for number in range(3)]
    write_records(path, records)
    content = path.read_bytes()
    size, cut = len(content) // 3, cut % len(content)
    path.write_bytes(content[:cut])
    good, damages = read(path)
    assert good == records[: cut // size]
    assert len(damages) == (cut % size > 0)


def test_a_length_of_two_gigabytes_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    length = struct.pack("<Q", 2 << 30)
    head = length + struct.pack("<I", masked_crc(length))
    (tmp_path / "a.tfrecord").write_bytes(head + b"x" * 100)
    good, damages = read(tmp_path / "a.tfrecord")
    assert good == []
    assert "which has 2147483648" in damages[0].reason
    # The same in a file that is long enough, here sparse: it is skipped, and the next record is read.
    with (tmp_path / "b.tfrecord").open("wb") as stream:
        stream.write(head)
        stream.seek((2 << 30) + 4, 1)
        write_records(tmp_path / "c.tfrecord", [b"good"])
        stream.write((tmp_path / "c.tfrecord").read_bytes())
    good, damages = read(tmp_path / "b.tfrecord")
    assert good == [b"good"]
    assert "more than 268435456" in damages[0].reason


def test_features_come_back_by_type() -> None:
    parsed = parse_example(example(3, labels=np.array([7, 0, 2**40])))
    assert parsed.features["id"] == [b"v3"]
    assert parsed.features["labels"].tolist() == [7, 0, 2**40]
    assert parsed.features["mean_rgb"].dtype == np.float32
    assert parsed.features["mean_rgb"].tolist() == [3, 4, 5, 6]
    assert parse_example(example(mean_rgb=np.zeros(0, np.float32))).features["mean_rgb"].tolist() == []


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=200), st.sampled_from(["packed", "single", "blocks"]))
def test_floats_are_read_in_every_encoding(numbers: list[float], encoding: str) -> None:
    def tagged(number: int, wire: int, content: bytes) -> bytes:
        return bytes([number << 3 | wire]) + content

    def block(number: int, content: bytes) -> bytes:
        length, size = b"", len(content)
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return tagged(number, 2, length + bytes([size]) + content)

    values = [struct.pack("<f", number) for number in numbers]
    content = {
        "packed": lambda: block(1, b"".join(values)),
        "single": lambda: b"".join(tagged(1, 5, value) for value in values),
        "blocks": lambda: block(1, b"".join(values[:3])) + b"".join(tagged(1, 5, one) for one in values[3:]),
    }[encoding]()
    entry = block(1, b"x") + block(2, block(2, content))
    parsed = parse_example(block(1, block(1, entry)))
    assert parsed.features["x"].tolist() == np.array(numbers, np.float32).tolist()


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_one_error(data: bytes) -> None:
    try:
        parsed = parse_example(data)
        labelled_example(parsed, SMALL, 4)
    except NotAnExampleError:
        pass


def test_an_example_becomes_one_vector_with_its_labels() -> None:
    found = labelled_example(parse_example(example(1, labels=np.array([2, 0, 2]))), SMALL, 3)
    assert found.id == "v1"
    assert found.features.tolist() == [1, 2, 3, 4, 0.5, -0.5]
    assert found.labels.tolist() == [0, 2]
    assert labelled_example(parse_example(example(labels=None)), SMALL, 3).labels.tolist() == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"id": None}, "no id"),
        ({"id": np.array([1])}, "no id"),
        ({"labels": np.array([1.0])}, "not a list of int64"),
        ({"labels": [b"dog"]}, "not a list of int64"),
        ({"labels": np.array([3])}, "not in the vocabulary"),
        ({"labels": np.array([-1])}, "not in the vocabulary"),
        ({"mean_rgb": np.arange(4)}, "mean_rgb is not a list of floats"),
        ({"mean_rgb": [b"1234"]}, "mean_rgb is not a list of floats"),
        ({"mean_rgb": np.zeros(5)}, "mean_rgb has 5 numbers, not 4"),
        ({"mean_rgb": np.array([0, 0, 0, np.nan])}, "not finite"),
        ({"mean_audio": None}, "no feature mean_audio"),
    ],
)
def test_what_is_wrong_with_an_example_is_said(changed: dict[str, object], reason: str) -> None:
    with pytest.raises(NotAnExampleError, match=reason):
        labelled_example(parse_example(example(**changed)), SMALL, 3)


def test_frames_are_dequantised_and_averaged() -> None:
    rng = np.random.default_rng(0)
    rgb, audio = rng.integers(0, 256, (7, 4), np.uint8), rng.integers(0, 256, (7, 2), np.uint8)
    lists = {"rgb": [[one.tobytes()] for one in rgb], "audio": [[one.tobytes()] for one in audio]}
    data = encode_example({"id": [b"v"], "labels": np.array([0])}, lists)
    found = labelled_example(parse_example(data), SMALL, 3)
    expected = np.concatenate([dequantize(rgb).mean(axis=0), dequantize(audio).mean(axis=0)])
    np.testing.assert_allclose(found.features, expected, atol=1e-5)


@pytest.mark.parametrize("frames", [[], [[b"123"]], [[b"1234", b"1234"]], [np.zeros(4)]])
def test_frames_of_another_size_are_refused(frames: list[object]) -> None:
    data = encode_example({"id": [b"v"]}, {"rgb": frames or [[b"1234"]], "audio": [[b"12"]]})
    parsed = parse_example(data)
    if not frames:
        parsed = tfrecord.TFExample(parsed.features, {"rgb": [], "audio": []})
    with pytest.raises(NotAnExampleError, match="rgb"):
        labelled_example(parsed, SMALL, 3)


def test_the_features_of_youtube_8m_are_1152() -> None:
    assert sum(spec.size for spec in YOUTUBE_8M) == 1152


@pytest.mark.parametrize("text", ["", "mean_rgb", "mean_rgb:", ":3", "a:0", "a:-1", "a:1.5"])
def test_a_feature_without_a_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not state a feature and its size"):
        FeatureSpec.parse(text)
