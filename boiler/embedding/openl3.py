"""The functions of the package openl3 (version 0.4) under the same names: embeddings of sounds, pictures and videos,
from arrays and files.

A sound is mixed to mono (mean of its channels), resampled to 48 kHz and cut into frames of one second, `hop_size`
seconds apart; `timestamps[i] = i * hop_size` is the middle of frame i with `center`, else its start. The items of a
list are processed together, in batches that may have frames of several items; the result is a list, too.

Models: `model=None` is OpenL3's own network; it needs the published weights (the file or folder that
`BOILER_OPENL3_WEIGHTS` names). `model` may also be the path of such a file, the name of an encoder of boiler, a
checkpoint, or a model directory: then frames are resampled to the encoder's rate, and the vectors are those of the
encoder.

Differences from the published package: if some files of a list cannot be used, the others are finished before the error
is raised; values of unsigned-integer pictures always range from -1 to 1 (in the package only if they are not scaled);
frames of a video keep their aspect ratio; sound files can have any format that boiler decodes.

    >>> import numpy as np
    >>> from boiler.embedding import openl3
    >>> embedding, timestamps = openl3.get_audio_embedding(np.ones(48_000), 48_000, model="MFCCStats", hop_size=0.5)
    >>> embedding.shape, timestamps
    ((2, 80), array([0. , 0.5]))
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import soxr
import torch

from boiler import files
from boiler.arrays import AnyArray, Float32Array, Float64Array
from boiler.audio.decoder_pool import Decoders
from boiler.embedding import models
from boiler.embedding.framing import FrameCutter, Framing, in_batches
from boiler.embedding.models import AudioModel, ImageModel
from boiler.errors import BoilerError, EmbeddingError
from boiler.model import l3
from boiler.progress import meter
from boiler.vision import image as vision_image
from boiler.vision.frame_pool import FramePool

FilePath: TypeAlias = str | os.PathLike[str]

TARGET_SR = l3.SAMPLE_RATE_HZ
OpenL3Error = EmbeddingError


class OpenL3Warning(UserWarning):
    """The input can be embedded but is probably a mistake: silence, or less than a frame."""


def load_audio_embedding_model(
    input_repr: str = "mel256", content_type: str = "music", embedding_size: int = 6144, frontend: str = "kapre"
) -> models.L3AudioModel:
    """OpenL3's audio network with its published weights.

    Arguments:
        input_repr: `linear`, `mel128` or `mel256`: its input spectrogram.
        content_type: `music` or `env`: the videos that it was trained on.
        embedding_size: 6144 or 512.
        frontend: `kapre` or `librosa`: the library whose spectrogram is computed.

    Raises: OpenL3Error: a value that is not one of these. CheckpointError: the weights are missing.
    """
    _check_names(input_repr, content_type)
    models.audio_size(embedding_size)
    models.known_frontend(frontend)
    path = models.weights_file("audio", input_repr, content_type)
    return models.load_audio_network(path, input_repr, embedding_size, frontend)


def load_audio_embedding_model_from_path(
    model_path: FilePath, input_repr: str, embedding_size: int, frontend: str = "kapre"
) -> models.L3AudioModel:
    """OpenL3's audio network with the weights in `model_path`. Raises: as `load_audio_embedding_model`."""
    models.known_input(input_repr)
    return models.load_audio_network(model_path, input_repr, embedding_size, frontend)


def load_image_embedding_model(
    input_repr: str = "mel256", content_type: str = "music", embedding_size: int = 8192
) -> models.L3ImageModel:
    """OpenL3's image network, which was trained together with an audio network whose input is `input_repr`.

    Raises: OpenL3Error: an unknown value (sizes are 8192 and 512). CheckpointError: the weights are missing.
    """
    _check_names(input_repr, content_type)
    models.image_size(embedding_size)
    return models.load_image_network(models.weights_file("image", input_repr, content_type), embedding_size)


def load_image_embedding_model_from_path(model_path: FilePath, embedding_size: int) -> models.L3ImageModel:
    """OpenL3's image network with the weights in `model_path`. Raises: as `load_image_embedding_model`."""
    return models.load_image_network(model_path, embedding_size)


def get_audio_embedding(
    audio: AnyArray | list[AnyArray],
    sr: float | list[float],
    model: object = None,
    input_repr: str = "mel256",
    content_type: str = "music",
    embedding_size: int = 6144,
    center: bool = True,
    hop_size: float = 0.1,
    batch_size: int = 32,
    frontend: str = "kapre",
    verbose: bool = True,
) -> tuple[Any, Any]:
    """Embeddings of a sound, or of each of a list, and their times in seconds.

    Arguments:
        audio: one sound or a list; each [N] or [N, C], any rate; C channels are averaged.
        sr: sampling rate in Hz, above 0: one number, or one for each sound.
        model: see the module; if given, `input_repr`, `content_type` and `embedding_size` are used for `.h5` files
            only.
        center: prepend half a frame of zeros, so that times are the middles of frames.
        hop_size: seconds from frame to frame, above 0.
        batch_size: number of frames per batch.
        verbose: show progress on stderr.

    Shape: `(float32 [n, D], float64 [n])`, or a list of each.

    Warns: OpenL3Warning: silence, or shorter than a frame.

    Raises: OpenL3Error: an argument out of range, an empty sound, more than two axes, or lists of different lengths.
        CheckpointError, ModelDirError, UnknownNameError: the model is missing.
    """
    _check_audio_settings(input_repr, content_type, embedding_size, center, hop_size, batch_size, frontend, verbose)
    sounds = _as_list(audio, "audio")
    rates = _one_for_each(sr, len(sounds), "sr", "sample rates")
    used = models.audio_model(model, input_repr, content_type, embedding_size, frontend)
    framing = _framing(used, hop_size, center)
    jobs = (
        (n, _frames_of_array(sound, rate, used.sample_rate_hz, framing, f"sound {n}" if len(sounds) > 1 else "audio"))
        for n, (sound, rate) in enumerate(zip(sounds, rates, strict=True))
    )
    found = _collected(jobs, used.predict, batch_size, "embedding sounds", len(sounds), verbose)
    times = [_times(len(embedding), hop_size) for embedding in found]
    return (found, times) if isinstance(audio, list) else (found[0], times[0])


def preprocess_audio(
    audio: AnyArray,
    sr: float,
    hop_size: float = 0.1,
    input_repr: str | None = None,
    center: bool = True,
) -> Float32Array:
    """The input of an audio network: frames, or with `input_repr` their spectrograms of the `librosa` front end.

    Shape: [n, 1, 48000], or [n, rows, columns, 1].

    Raises: OpenL3Error: as `get_audio_embedding`.
    """
    check_hop(hop_size, center)
    framing = Framing(l3.FRAME_SAMPLES, _hop_samples(hop_size, TARGET_SR), bool(center))
    frames = np.concatenate(list(_frames_of_array(audio, sr, TARGET_SR, framing, "audio")))
    if input_repr is None:
        return frames[:, None]
    spectrogram = l3.Spectrogram(models.known_input(input_repr), "librosa")
    with torch.inference_mode():
        columns: Float32Array = spectrogram(torch.from_numpy(frames[:, None])).permute(0, 2, 3, 1).numpy()
    return columns


def process_audio_file(
    filepath: FilePath | Sequence[FilePath],
    output_dir: FilePath | None = None,
    suffix: str | None = None,
    model: object = None,
    input_repr: str = "mel256",
    content_type: str = "music",
    embedding_size: int = 6144,
    center: bool = True,
    hop_size: float = 0.1,
    batch_size: int = 32,
    overwrite: bool = False,
    frontend: str = "kapre",
    verbose: bool = True,
) -> None:
    """Write the embeddings of sound files, each to `<name>[_<suffix>].npz` with `embedding` and `timestamps`.

    Arguments: as `get_audio_embedding`, and
        filepath: one file or a list.
        output_dir: the folder to write to; None: that of each file.
        overwrite: embed files that already have an `.npz` again; by default they are skipped.

    Raises: OpenL3Error: an invalid argument, or files that could not be embedded, with the reasons; the other files are
        finished. CheckpointError, ModelDirError, UnknownNameError: the model is missing.
    """
    _check_audio_settings(input_repr, content_type, embedding_size, center, hop_size, batch_size, frontend, verbose)
    jobs = _jobs_of(filepath, output_dir, suffix, "", overwrite, verbose)
    used = models.audio_model(model, input_repr, content_type, embedding_size, frontend)
    with _shown("embedding sounds", len(jobs.waiting), verbose) as step:
        failed = jobs.failed + embed_sound_files(jobs.waiting, used, bool(center), hop_size, batch_size, step)
    _raise(failed)


def get_image_embedding(
    image: AnyArray | list[AnyArray],
    frame_rate: float | list[float] | None = None,
    model: object = None,
    input_repr: str = "mel256",
    content_type: str = "music",
    embedding_size: int = 8192,
    batch_size: int = 32,
    verbose: bool = True,
) -> Any:
    """Embeddings of pictures; with `frame_rate` (pictures per second), also their times in seconds.

    Arguments:
        image: [H, W, 3] or [n, H, W, 3], at least 224 x 224, of any type of number, or a list of these.
        frame_rate: one number, or one for each item of the list.

    Shape: float32 [n, D], or `(float32 [n, D], float64 [n])`, or lists of them.

    Warns: OpenL3Warning: a picture all zeros.

    Raises: as `get_audio_embedding`.
    """
    _check_image_settings(input_repr, content_type, embedding_size, batch_size, verbose)
    pictures = _as_list(image, "image")
    rates: list[float] | None = None
    if frame_rate is not None:
        rates = _one_for_each(frame_rate, len(pictures), "frame_rate", "frame rates")
        for rate in rates:
            _check_positive(rate, "frame_rate")
    used = models.image_model(model, input_repr, content_type, embedding_size)
    jobs = ((n, _prepared(picture)) for n, picture in enumerate(pictures))
    found = _collected(jobs, used.predict, batch_size, "embedding pictures", len(pictures), verbose)
    if rates is None:
        return found if isinstance(image, list) else found[0]
    times = [np.arange(len(embedding)) / rate for embedding, rate in zip(found, rates, strict=True)]
    return (found, times) if isinstance(image, list) else (found[0], times[0])


def process_image_file(
    filepath: FilePath | Sequence[FilePath],
    output_dir: FilePath | None = None,
    suffix: str | None = None,
    model: object = None,
    input_repr: str = "mel256",
    content_type: str = "music",
    embedding_size: int = 8192,
    batch_size: int = 32,
    overwrite: bool = False,
    verbose: bool = True,
) -> None:
    """Write the embeddings of picture files, each to `<name>[_<suffix>].npz` with `embedding`. Transparency is dropped.

    Arguments: as `process_audio_file`. Raises: as `process_audio_file`.
    """
    _check_image_settings(input_repr, content_type, embedding_size, batch_size, verbose)
    jobs = _jobs_of(filepath, output_dir, suffix, "", overwrite, verbose)
    used = models.image_model(model, input_repr, content_type, embedding_size)
    with _shown("embedding pictures", len(jobs.waiting), verbose) as step:
        failed = jobs.failed + embed_picture_files(jobs.waiting, used, batch_size, step)
    _raise(failed)


def process_video_file(
    filepath: FilePath | Sequence[FilePath],
    output_dir: FilePath | None = None,
    suffix: str | None = None,
    audio_model: object = None,
    image_model: object = None,
    input_repr: str = "mel256",
    content_type: str = "music",
    audio_embedding_size: int = 6144,
    audio_center: bool = True,
    audio_hop_size: float = 0.1,
    image_embedding_size: int = 8192,
    audio_batch_size: int = 32,
    image_batch_size: int = 32,
    audio_frontend: str = "kapre",
    overwrite: bool = False,
    verbose: bool = True,
) -> None:
    """Write the embeddings of videos: of their sound to `<name>_audio[_<suffix>].npz`, of every frame, at the video's
    own rate, to `<name>_image[_<suffix>].npz`; each with `embedding` and `timestamps`.

    Arguments: as `process_audio_file` and `get_image_embedding`. Raises: as `process_audio_file`.
    """
    _check_audio_settings(
        input_repr,
        content_type,
        audio_embedding_size,
        audio_center,
        audio_hop_size,
        audio_batch_size,
        audio_frontend,
        verbose,
    )
    _check_image_settings(input_repr, content_type, image_embedding_size, image_batch_size, verbose)
    sounds = _jobs_of(filepath, output_dir, suffix, "_audio", overwrite, verbose)
    pictures = _jobs_of(filepath, output_dir, suffix, "_image", overwrite, verbose)
    of_sound = models.audio_model(audio_model, input_repr, content_type, audio_embedding_size, audio_frontend)
    of_pictures = models.image_model(image_model, input_repr, content_type, image_embedding_size)
    failed = list(sounds.failed)  # `pictures.failed` has the same ones
    with _shown("embedding videos", len(sounds.waiting) + len(pictures.waiting), verbose) as step:
        failed += embed_sound_files(
            sounds.waiting, of_sound, bool(audio_center), audio_hop_size, audio_batch_size, step
        )
        failed += embed_video_files(pictures.waiting, of_pictures, image_batch_size, step)
    _raise(failed)


def get_output_path(filepath: FilePath, suffix: str, output_dir: FilePath | None = None) -> str:
    """The path of the `.npz` for a file.

    >>> get_output_path("sounds/dog.wav", "embedding.npz", "out"), get_output_path("sounds/dog.wav", ".npz")
    ('out/dog_embedding.npz', 'sounds/dog.npz')
    """
    path = Path(filepath)
    joint = "" if suffix.startswith(".") else "_"
    return str((path.parent if output_dir is None else Path(output_dir)) / f"{path.stem}{joint}{suffix}")


class FileJob(NamedTuple):
    """A file to embed, and the `.npz` to write."""

    source: Path
    output: Path


class FileFailure(NamedTuple):
    """A file that could not be embedded, and why."""

    source: Path
    reason: str


Step: TypeAlias = Callable[[], None]
"""Called after each file."""


def embed_sound_files(
    jobs: Sequence[FileJob], model: AudioModel, center: bool, hop_size: float, batch_size: int, step: Step
) -> list[FileFailure]:
    """Embed the sound of files and write the results. Returns the files that failed."""
    framing = _framing(model, hop_size, center)
    with Decoders() as decoders:
        pieces = ((job, _frames_of_file(decoders, job.source, model.sample_rate_hz, framing)) for job in jobs)
        return _written(pieces, model.predict, batch_size, step, lambda n, _: _times(n, hop_size))


def embed_picture_files(jobs: Sequence[FileJob], model: ImageModel, batch_size: int, step: Step) -> list[FileFailure]:
    """Embed picture files and write the results. Returns the files that failed."""
    with FramePool() as pool:
        pieces = ((job, _picture_of_file(pool, job.source)) for job in jobs)
        return _written(pieces, model.predict, batch_size, step, lambda n, _: None)


def embed_video_files(jobs: Sequence[FileJob], model: ImageModel, batch_size: int, step: Step) -> list[FileFailure]:
    """Embed all frames of videos and write the results. Returns the files that failed."""
    rates: dict[Path, float] = {}

    def frames(pool: FramePool, path: Path) -> Iterator[Float32Array]:
        for rate_hz, pictures in pool.frames(path):
            rates[path] = rate_hz
            yield vision_image.prepare(pictures)

    with FramePool() as pool:
        pieces = ((job, frames(pool, job.source)) for job in jobs)
        return _written(pieces, model.predict, batch_size, step, lambda n, job: np.arange(n) / rates[job.source])


def _written(
    pieces: Iterable[tuple[FileJob, Iterator[Float32Array]]],
    predict: Callable[[Float32Array], Float32Array],
    batch_size: int,
    step: Step,
    times: Callable[[int, FileJob], Float64Array | None],
) -> list[FileFailure]:
    failed = []
    for job, result in in_batches(pieces, predict, batch_size):
        if isinstance(result, BoilerError):
            failed.append(FileFailure(job.source, str(result).removeprefix(f"{job.source}: ")))
        else:
            timestamps = times(len(result), job)
            named: dict[str, Any] = {"embedding": result}
            if timestamps is not None:
                named["timestamps"] = timestamps
            try:
                job.output.parent.mkdir(parents=True, exist_ok=True)
                with files.replacing(job.output) as aside:
                    np.savez(aside, **named)
            except OSError as error:
                failed.append(FileFailure(job.source, f"{job.output} cannot be written: {error.strerror}"))
        step()
    return failed


def _frames_of_file(decoders: Decoders, path: Path, sample_rate_hz: int, framing: Framing) -> Iterator[Float32Array]:
    cutter = FrameCutter(framing)
    for block in decoders.stream(path, sample_rate_hz=sample_rate_hz):
        yield cutter.push(block)
    yield cutter.end()
    _warn_of(cutter, framing, str(path))


def _frames_of_array(
    audio: AnyArray, sr: float, sample_rate_hz: int, framing: Framing, name: str
) -> Iterator[Float32Array]:
    if not isinstance(audio, np.ndarray):
        raise EmbeddingError(f"{name} must be an array of samples, not {type(audio)}")
    if audio.size == 0:
        raise EmbeddingError(f"{name} is empty: it has no samples")
    if audio.ndim > 2:
        raise EmbeddingError(f"{name} has {audio.ndim} axes; a sound is [N], or [N, C] with C channels")
    _check_positive(sr, "sr")
    mono = np.asarray(audio.mean(axis=1) if audio.ndim == 2 else audio, np.float32)
    if not np.isfinite(mono).all():
        raise EmbeddingError(f"{name} has samples that are NaN or infinite")
    if sr != sample_rate_hz:
        mono = soxr.resample(mono, sr, sample_rate_hz, quality="HQ")
    cutter = FrameCutter(framing)
    yield cutter.push(mono)
    yield cutter.end()
    _warn_of(cutter, framing, name)


def _picture_of_file(pool: FramePool, path: Path) -> Iterator[Float32Array]:
    yield from _prepared(pool.picture(path))


def _prepared(picture: AnyArray) -> Iterator[Float32Array]:
    if not isinstance(picture, np.ndarray):
        raise EmbeddingError(f"a picture must be an array of pixels, not {type(picture)}")
    if picture.size and not picture.any():
        warnings.warn("the picture is all zeros", OpenL3Warning, stacklevel=4)
    yield vision_image.prepare(picture)


def _warn_of(cutter: FrameCutter, framing: Framing, name: str) -> None:
    if cutter.peak == 0:
        warnings.warn(f"{name} is all zeros", OpenL3Warning, stacklevel=4)
    if cutter.n_samples < framing.frame_samples:
        warnings.warn(f"{name} is shorter than a frame and is filled with zeros", OpenL3Warning, stacklevel=4)


def _collected(
    jobs: Iterable[tuple[int, Iterator[Float32Array]]],
    predict: Callable[[Float32Array], Float32Array],
    batch_size: int,
    what: str,
    total: int,
    verbose: bool,
) -> list[Float32Array]:
    """The embeddings of all jobs, in order. Raises: the first error."""
    found = []
    with _shown(what, total, verbose) as step:
        for _, result in in_batches(jobs, predict, batch_size):
            if isinstance(result, BoilerError):
                raise result
            found.append(result)
            step()
    return found


class JobSelection(NamedTuple):
    """Jobs that are to be embedded, jobs whose `.npz` exists already, and files that cannot be embedded."""

    waiting: list[FileJob]
    present: list[FileJob]
    failed: list[FileFailure]


def _jobs_of(
    filepath: FilePath | Sequence[FilePath],
    output_dir: FilePath | None,
    suffix: str | None,
    modality: str,
    overwrite: bool,
    verbose: bool,
) -> JobSelection:
    """The jobs for `filepath`. Raises: OpenL3Error: neither a path nor a list of paths."""
    if isinstance(filepath, str | os.PathLike):
        filepath = [filepath]
    if not isinstance(filepath, list | tuple):
        raise EmbeddingError(f"filepath must be a path or a list of paths, not {type(filepath)}")
    jobs = []
    for path in filepath:
        if not isinstance(path, str | os.PathLike):
            raise EmbeddingError(f"filepath must be a path or a list of paths; there is a {type(path)} in it")
        name = f"{Path(path).stem}{modality}{Path(path).suffix}"
        ending = f"{suffix}.npz" if suffix else ".npz"
        jobs.append(FileJob(Path(path), Path(get_output_path(Path(path).with_name(name), ending, output_dir))))
    todo = select_jobs(jobs, overwrite=overwrite)
    if verbose:
        for job in todo.present:
            print(f"{job.output} exists and overwriting is not enabled: skipped")
    return todo


def select_jobs(jobs: Iterable[FileJob], *, overwrite: bool) -> JobSelection:
    """Sort jobs into those to embed, those that are done, and those that fail: the file is missing, or its `.npz` is
    also that of another file. `overwrite`: embed files again whose `.npz` exists."""
    waiting, present, failed = [], [], []
    taken: dict[Path, Path] = {}
    for job in jobs:
        if not job.source.is_file():
            failed.append(FileFailure(job.source, "there is no such file"))
        elif job.output in taken:
            failed.append(FileFailure(job.source, f"{taken[job.output]} is written to {job.output}, too: rename one"))
        elif job.output.exists() and not overwrite:
            present.append(job)
            taken[job.output] = job.source
        else:
            waiting.append(job)
            taken[job.output] = job.source
    return JobSelection(waiting, present, failed)


def _raise(failed: Sequence[FileFailure]) -> None:
    if failed:
        raise EmbeddingError("; ".join(f"{source}: {reason}" for source, reason in failed))


@contextmanager
def _shown(what: str, total: int, verbose: bool) -> Iterator[Step]:
    """Context manager: a function to call after each item; shows the progress if `verbose`."""
    if not verbose:
        yield lambda: None
        return
    with meter(what, total) as progress:
        yield progress.step


def _framing(model: AudioModel, hop_size: float, center: bool) -> Framing:
    return Framing(model.frame_samples, _hop_samples(hop_size, model.sample_rate_hz), bool(center))


def _hop_samples(hop_size: float, sample_rate_hz: int) -> int:
    hop_samples = int(hop_size * sample_rate_hz)
    if hop_samples < 1:
        raise EmbeddingError(f"hop_size must be at least one sample ({1 / sample_rate_hz:g} s), not {hop_size!r}")
    return hop_samples


def _times(n: int, hop_size: float) -> Float64Array:
    return np.arange(n, dtype=np.float64) * hop_size


def _as_list(value: AnyArray | list[AnyArray], name: str) -> list[AnyArray]:
    if isinstance(value, np.ndarray):
        return [value]
    if not isinstance(value, list):
        raise EmbeddingError(f"{name} must be an array or a list of arrays, not {type(value)}")
    return value


def _one_for_each(value: float | list[float], count: int, name: str, plural: str) -> list[float]:
    if isinstance(value, Real):
        return [float(value)] * count
    if not isinstance(value, list):
        raise EmbeddingError(f"{name} must be a number or a list of numbers, not {type(value)}")
    if len(value) != count:
        raise EmbeddingError(f"there are {count} inputs and {len(value)} {plural}: give one for each, or one for all")
    return value


def _check_positive(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < float("inf"):
        raise EmbeddingError(f"{name} must be a number above 0, not {value!r}")


def check_hop(hop_size: object, center: object) -> None:
    """Raises: EmbeddingError: `hop_size` is not a number above 0, or `center` is neither True nor False."""
    _check_positive(hop_size, "hop_size")
    if center not in (True, False):
        raise EmbeddingError(f"center must be True or False, not {center!r}")


def _check_names(input_repr: str, content_type: str) -> None:
    models.known_input(input_repr)
    models.known_content(content_type)


def _check_audio_settings(
    input_repr: str,
    content_type: str,
    embedding_size: int,
    center: object,
    hop_size: object,
    batch_size: object,
    frontend: str,
    verbose: object,
) -> None:
    _check_names(input_repr, content_type)
    models.audio_size(embedding_size)
    models.known_frontend(frontend)
    check_hop(hop_size, center)
    _check_run(batch_size, verbose)


def _check_image_settings(
    input_repr: str, content_type: str, embedding_size: int, batch_size: object, verbose: object
) -> None:
    _check_names(input_repr, content_type)
    models.image_size(embedding_size)
    _check_run(batch_size, verbose)


def _check_run(batch_size: object, verbose: object) -> None:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise EmbeddingError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    if verbose not in (True, False):
        raise EmbeddingError(f"verbose must be True or False, not {verbose!r}")
