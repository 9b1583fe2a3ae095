"""Reads picture files, and converts arrays of pixels to the input of a network: 224 x 224 values from -1 to 1.

A picture that is not 224 x 224 is scaled down until its short side is 256, and its middle 224 x 224 pixels are used.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from contextlib import suppress
from pathlib import PurePath

import numpy as np
from PIL import Image, ImageOps

from boiler.arrays import AnyArray, Float32Array, UInt8Array
from boiler.audio.container import Source, source_name
from boiler.audio.sent_file import ReceivedFile, UnopenedFile
from boiler.errors import EmbeddingError

SHORT_SIDE = 256
CROP = 224
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 100_000_000
_SIGNATURE = re.compile(rb"BM|GIF8[79]a|\xff\xd8\xff|\x89PNG\r\n\x1a\n|II\*\0|MM\0\*|RIFF.{4}WEBP", re.DOTALL)


def is_picture(name: str, content: bytes) -> bool:
    """Whether a file is meant as a picture: by how it begins, or else by its suffix. It may still be unreadable.

    >>> is_picture("photo", b"GIF89a..."), is_picture("photo.JPG", b""), is_picture("dog.wav", b"RIFF....WAVE")
    (True, True, False)
    """
    return bool(_SIGNATURE.match(content)) or PurePath(name).suffix.lower() in SUFFIXES


def read_picture(
    source: Source, *, on_white: bool = False, max_pixels: int = MAX_PIXELS, max_side: int | None = None
) -> UInt8Array:
    """Read a picture file as red, green and blue; of an animation the first frame.

    on_white: as a viewer shows it: turned as its Exif orientation says, transparent pixels on white; by default both
        are ignored
    max_side: a picture with a longer side is scaled down to it

    Read untrusted files only through `boiler.vision.frame_pool`, whose worker processes may crash.

    Shape: uint8 [H, W, 3].

    Raises: EmbeddingError: it is not a picture in one of `FORMATS`, or it has too many pixels.
    """
    named = isinstance(source, str | os.PathLike | UnopenedFile | ReceivedFile)
    name = source_name(source) if named else "the picture given"
    if isinstance(source, UnopenedFile):
        reason = "there is no such file" if "no such file" in source.reason else source.reason
        raise EmbeddingError(f"{name}: {reason} ({', '.join(FORMATS)})")
    try:
        data = source if isinstance(source, bytes) else None
        file = io.BytesIO(data) if data is not None else source
        # Pillow warns of many pixels, which are refused below, and of damaged Exif data.
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=FORMATS) as picture:
            if picture.width * picture.height > max_pixels:
                raise EmbeddingError(f"{name}: {picture.width} x {picture.height} pixels; {max_pixels:,} are allowed")
            pixels = pixels_of(picture, on_white=on_white)
            return pixels if max_side is None else scaled_down(pixels, max_side)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = (
            "there is no such file" if isinstance(error, FileNotFoundError) else "it is not a picture that boiler reads"
        )
        raise EmbeddingError(f"{name}: {reason} ({', '.join(FORMATS)})") from error


def pixels_of(picture: Image.Image, *, on_white: bool = False) -> UInt8Array:
    """A picture of Pillow as red, green and blue; `on_white` as in `read_picture`. Shape: uint8 [H, W, 3]"""
    if on_white:
        with suppress(Exception):  # damaged Exif data, of which Pillow raises many types: it is shown as it is
            picture = ImageOps.exif_transpose(picture)
    if on_white and picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return np.asarray(picture.convert("RGB"))


def scaled_down(pixels: UInt8Array, max_side: int) -> UInt8Array:
    """A picture whose longer side has at most `max_side` pixels. Shape: uint8 [H, W, 3] to [H', W', 3]"""
    height, width = pixels.shape[:2]
    if max(height, width) <= max_side:
        return pixels
    scale = max_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def prepare(image: AnyArray) -> Float32Array:
    """Convert pictures of the same size to the input of a network.

    Integers are scaled by the range of their type, so that 0 of an unsigned type is -1; floats are not changed, unless
    their largest magnitude exceeds 1, by which they are then divided.

    Shape: [H, W, 3] or [N, H, W, 3], both sides 224 or longer, to float32 [N, 224, 224, 3], values from -1 to 1.

    Raises: EmbeddingError: another shape, no pixels, or a type that is not numeric.
    """
    if image.size == 0:
        raise EmbeddingError("the picture is empty: it has no pixels")
    if image.ndim not in (3, 4):
        raise EmbeddingError(f"a picture has 3 axes, a batch of pictures 4; this array has {image.ndim}")
    if image.shape[-1] != 3:
        raise EmbeddingError(f"a picture has 3 channels (red, green, blue) in its last axis, not {image.shape[-1]}")
    pictures = image[None] if image.ndim == 3 else image
    height, width = pictures.shape[1:3]
    if min(height, width) < CROP:
        raise EmbeddingError(f"a picture must be at least {CROP} x {CROP} pixels, not {height} x {width}")
    values = scaled(pictures)
    if (height, width) == (CROP, CROP):
        return values
    return np.stack([cropped(shrunk(picture)) for picture in values])


def scaled(image: AnyArray) -> Float32Array:
    """Values of any numeric type as float32 from -1 to 1. Raises: EmbeddingError: not a numeric type."""
    kind = image.dtype.kind
    if kind == "u":
        return (image.astype(np.float64) * (2.0 / np.iinfo(image.dtype).max) - 1.0).astype(np.float32)
    if kind == "i":
        return np.maximum(image.astype(np.float64) / np.iinfo(image.dtype).max, -1.0).astype(np.float32)
    if kind != "f":
        raise EmbeddingError(f"pixels are numbers, not {image.dtype}")
    if not np.isfinite(image).all():
        raise EmbeddingError("the picture has values that are NaN or infinite")
    greatest = max(1.0, float(np.abs(image).max()))
    return (image / greatest).astype(np.float32)


def shrunk(picture: Float32Array, short_side: int = SHORT_SIDE) -> Float32Array:
    """The picture, scaled down until its short side has `short_side` pixels; a smaller one is not changed.

    Shape: [H, W, 3] to [H', W', 3].
    """
    height, width = picture.shape[:2]
    if min(height, width) <= short_side:
        return picture
    scale = short_side / min(height, width)
    size = (round(width * scale), round(height * scale))
    # Pillow's bilinear filter is widened with the scale, which prevents aliasing. Mode F is one channel of floats.
    channels = [
        Image.fromarray(np.ascontiguousarray(picture[..., at])).resize(size, Image.Resampling.BILINEAR)
        for at in range(3)
    ]
    return np.clip(np.stack([np.asarray(channel, np.float32) for channel in channels], axis=-1), -1, 1)


def cropped(picture: Float32Array, size: int = CROP) -> Float32Array:
    """The middle of the picture. Shape: [H, W, 3], H and W at least `size`, to [size, size, 3]."""
    height, width = picture.shape[:2]
    top, left = height // 2 - size // 2, width // 2 - size // 2
    return picture[top : top + size, left : left + size]
