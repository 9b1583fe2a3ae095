"""Images: values from -1 to 1 for every type, centre crop of the scaled image, errors with the file name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image

from boiler.errors import EmbeddingError
from boiler.vision import image
from boiler.vision.frame_pool import FramePool


@pytest.mark.parametrize(
    ("dtype", "lowest", "highest"),
    [
        (np.uint8, 0, 255),
        (np.uint16, 0, 65_535),
        (np.uint32, 0, 2**32 - 1),
        (np.int8, -127, 127),
        (np.int16, -32_767, 32_767),
        (np.int64, -(2**63) + 1, 2**63 - 1),
        (np.float16, -1.0, 1.0),
        (np.float64, -1.0, 1.0),
    ],
)
def test_the_range_of_any_type_becomes_minus_one_to_one(dtype: npt.DTypeLike, lowest: float, highest: float) -> None:
    pixels = np.zeros((224, 224, 3), dtype)
    pixels[0], pixels[1] = lowest, highest
    prepared = image.prepare(pixels)
    assert prepared.dtype == np.float32
    assert prepared.shape == (1, 224, 224, 3)
    assert prepared[0, 0].max() == pytest.approx(-1, abs=1e-6)
    assert prepared[0, 1].min() == pytest.approx(1, abs=1e-6)


def test_the_minimum_of_a_signed_type_is_minus_one() -> None:
    assert image.prepare(np.full((224, 224, 3), -128, np.int8)).min() == -1


def test_floats_above_one_are_divided_by_their_maximum() -> None:
    pixels = np.full((224, 224, 3), 2.0)
    pixels[0] = -4
    prepared = image.prepare(pixels)
    assert prepared.min() == -1
    assert prepared.max() == 0.5
    kept = np.full((224, 224, 3), 0.25)
    assert np.array_equal(image.prepare(kept)[0], kept.astype(np.float32))


def test_a_large_image_is_scaled_to_256_and_centre_cropped() -> None:
    rows = np.linspace(0, 255, 512).astype(np.uint8)
    pixels = np.broadcast_to(rows[:, None, None], (512, 700, 3))
    prepared = image.prepare(pixels)
    assert prepared.shape == (1, 224, 224, 3)
    # Row r of the scaled picture covers rows 2 r and 2 r + 1; the crop begins at row 128 - 112.
    by_hand = (rows.reshape(256, 2).mean(axis=1)[16:240] / 255) * 2 - 1
    np.testing.assert_allclose(prepared[0, :, 100, 1], by_hand, atol=0.01)


def test_an_image_between_224_and_256_is_cropped_without_scaling() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (230, 250, 3), dtype=np.uint8)
    expected = pixels[3:227, 13:237] / 127.5 - 1
    np.testing.assert_allclose(image.prepare(pixels)[0], expected, atol=1e-6)


def test_several_images_keep_their_order() -> None:
    pixels = np.stack([np.full((300, 300, 3), level, np.uint8) for level in (0, 100, 255)])
    assert image.prepare(pixels)[:, 0, 0, 0] == pytest.approx([-1, 100 / 127.5 - 1, 1], abs=1e-5)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.empty((0, 224, 3)), "empty"),
        (np.zeros((224, 224)), "2"),
        (np.zeros((1, 1, 224, 224, 3)), "5"),
        (np.zeros((224, 224, 4)), "3 channels"),
        (np.zeros((223, 400, 3)), "223 x 400"),
        (np.full((224, 224, 3), np.nan), "NaN or infinite"),
        (np.zeros((224, 224, 3), complex), "complex"),
    ],
)
def test_an_invalid_image_is_refused(pixels: npt.NDArray[Any], reason: str) -> None:
    with pytest.raises(EmbeddingError, match=reason):
        image.prepare(pixels)


def test_a_file_is_read_as_rgb(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    assert np.array_equal(image.read_picture(tmp_path / "a.png"), pixels[..., :3])
    Image.fromarray(pixels[..., 0], "L").save(tmp_path / "grey.png")
    assert np.array_equal(
        image.read_picture((tmp_path / "grey.png").read_bytes()), np.repeat(pixels[..., :1], 3, axis=2)
    )


def test_a_file_that_is_no_image_is_refused_by_name(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for path in (text, tmp_path / "missing.png"):
        with pytest.raises(EmbeddingError, match=path.name):
            image.read_picture(path)
    Image.new("RGB", (20, 20)).save(tmp_path / "large.png")
    assert image.read_picture(tmp_path / "large.png", max_pixels=400).shape == (20, 20, 3)
    assert image.read_picture(tmp_path / "large.png", max_side=20).shape == (20, 20, 3)
    with FramePool() as pool:
        assert pool.picture(tmp_path / "large.png", max_side=10).shape == (10, 10, 3)
    with pytest.raises(EmbeddingError, match="20 x 20 pixels"):
        image.read_picture(tmp_path / "large.png", max_pixels=399)


def test_transparent_pixels_are_white_if_wanted(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = image.read_picture(tmp_path / "a.png", on_white=True)
    assert found[0, 0].tolist() == [10, 20, 30]
    assert (found[1] == 255).all()
    with FramePool() as pool:
        assert np.array_equal(pool.picture(tmp_path / "a.png", on_white=True), found)


@pytest.mark.parametrize("orientation", [1, 6, 8, "damaged"])
def test_a_photograph_is_turned_as_its_exif_orientation_says(tmp_path: Path, orientation: int | str) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :15] = 255  # white on the left
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6 if orientation == "damaged" else orientation
    content = exif.tobytes()
    Image.fromarray(pixels).save(
        tmp_path / "a.jpg", exif=content[:-9] if orientation == "damaged" else content, quality=95
    )
    found = image.read_picture(tmp_path / "a.jpg", on_white=True)
    expected = {6: np.rot90(pixels, -1), 8: np.rot90(pixels)}.get(orientation, pixels)  # type: ignore[call-overload]
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 10
    assert image.read_picture(tmp_path / "a.jpg").shape == (20, 30, 3)
