"""Reads picture files, and converts arrays of pixels to the input of a network: 224 x 224 values from -1 to 1.

A picture that is not 224 x 224 is scaled down until its short side is 256, and its middle 224 x 224 pixels are used.
"""

from __future__ import annotations

import io
import os
import warnings

import numpy as np
from PIL import Image

from boiler.arrays import AnyArray, Float32Array, UInt8Array
from boiler.audio.container import Source, source_name
from boiler.audio.sent_file import ReceivedFile, UnopenedFile
from boiler.errors import EmbeddingError

SHORT_SIDE = 256
CROP = 224
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 100_000_000


def read_picture(source: Source) -> UInt8Array:
    """Read a picture file as red, green and blue. Transparency is dropped; of an animation the first frame is returned.

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
        with warnings.catch_warnings(), Image.open(file, formats=FORMATS) as picture:
            warnings.simplefilter("ignore")  # Pillow's, about many pixels: such pictures are refused below
            if picture.width * picture.height > MAX_PIXELS:
                raise EmbeddingError(f"{name}: {picture.width} x {picture.height} pixels; {MAX_PIXELS:,} are allowed")
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = (
            "there is no such file" if isinstance(error, FileNotFoundError) else "it is not a picture that boiler reads"
        )
        raise EmbeddingError(f"{name}: {reason} ({', '.join(FORMATS)})") from error


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
