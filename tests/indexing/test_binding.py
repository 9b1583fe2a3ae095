"""The encoder of a model directory is built once, and the same file embeds sounds and queries."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import tone, write

from boiler import encoder, files
from boiler.audio import stream
from boiler.audio.decoder_pool import Decoders
from boiler.audio.windows import DEFAULT_WINDOWS, WINDOW_SAMPLES, WindowSpec
from boiler.catalog import diff, scan
from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.catalog.folder import LocalFolder
from boiler.encoder.runtime import EncoderRuntime
from boiler.errors import ModelDirError
from boiler.indexing import binding
from boiler.indexing import embed as embed_module
from boiler.indexing.binding import Binding, FitSample

BINDING = Binding("MFCCStats", "", "all", 4.096)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sounds").mkdir()
    for n in range(10):
        write(tmp_path / "sounds" / f"{n}.wav", tone(150 * (n + 1), 0.5 + n, 8_000), 8_000)
    return tmp_path / "sounds"


@pytest.fixture
def store(root: Path, tmp_path: Path):
    with Catalog(tmp_path / CATALOG_FILE) as store:
        unreadable = scan.Unreadable()
        found = scan.walk(root, stream.SUFFIXES, unreadable=unreadable)
        changes = diff.compare(store, found, unreadable, embed_module.file_hashes(LocalFolder(root), root))
        diff.apply(store, changes, lambda id: None, "now")
        yield store


@pytest.fixture(scope="module")
def decoders():
    with Decoders(workers=1) as decoders:
        yield decoders


Sample = Callable[..., FitSample]


@pytest.fixture
def sample(store: Catalog, root: Path, decoders: Decoders) -> Iterator[Sample]:
    with contextlib.ExitStack() as opened:

        def draw(seed: int = 0, n_windows: int = 1000) -> FitSample:
            spec = DEFAULT_WINDOWS
            folder = LocalFolder(root)
            return opened.enter_context(
                FitSample(store, folder, decoders, spec=spec, batch_size=4, n_windows=n_windows, seed=seed)
            )

        yield draw


def test_a_new_directory_is_bound_to_its_encoder_and_stays_bound(store: Catalog) -> None:
    assert binding.read_binding(store) is None
    binding.bind_catalog(store, BINDING, force=False)
    binding.bind_catalog(store, BINDING, force=False)
    assert binding.read_binding(store) == BINDING
    other = Binding("MFCCStats", "ab", "first", 4.096)
    with pytest.raises(ModelDirError, match=r"checkpoint_sha256: .*windows: all there, first now"):
        binding.bind_catalog(store, other, force=False)
    binding.bind_catalog(store, other, force=True)
    assert binding.read_binding(store) == other


def test_a_catalog_of_version_0_1_is_bound_to_the_encoder_by_its_new_name(store: Catalog) -> None:
    store.put(binding='{"encoder": "JoinedParts", "checkpoint_sha256": "", "windows": "all", "hop_s": 4.096}')
    assert binding.read_binding(store) == Binding("JoinedDescriptors", "", "all", 4.096)
    binding.bind_catalog(store, Binding("JoinedDescriptors", "", "all", 4.096), force=False)


def test_a_sample_gives_the_same_batches_each_time(sample: Sample) -> None:
    batches = list(sample())
    assert [tuple(batch.shape) for batch in batches[:-1]] == [(4, 1, WINDOW_SAMPLES)] * (len(batches) - 1)
    again = list(sample())
    assert all(torch.equal(one, other) for one, other in zip(batches, again, strict=True))
    elsewhere = list(sample(seed=1))
    assert not torch.equal(batches[0], elsewhere[0])


def test_a_sample_can_be_read_again_and_asked_for_sound_at_any_time(sample: Sample) -> None:
    drawn = sample()
    assert drawn.has_sound()
    assert drawn.has_sound()
    once = torch.cat(list(drawn))
    assert drawn.has_sound()
    assert torch.equal(once, torch.cat(list(drawn)))


def test_what_is_decoded_for_the_sample_and_behind_it_is_kept(sample: Sample) -> None:
    with sample(n_windows=2) as drawn:
        assert len(torch.cat(list(drawn))) == 2
        wait_for(lambda: len(drawn.kept) == 10)


def test_nothing_waits_for_a_long_silence_that_is_decoded_ahead(sample: Sample, root: Path, store: Catalog) -> None:
    write(root / "0.wav", np.zeros(3 * 3600 * 8_000), 8_000)  # takes seconds, and gives no window on the way
    number = next(pending.n for pending in store.queue if pending.found.id == "0.wav")
    with sample(n_windows=1) as drawn:
        assert len(torch.cat(list(drawn))) == 1
    assert number not in drawn.kept
    with sample(n_windows=1) as drawn:
        for _ in range(2):
            assert len(torch.cat(list(drawn))) == 1
            assert number not in drawn.kept


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def test_the_encoder_is_built_once(store: Catalog, sample: Sample) -> None:
    path = binding.bind_encoder(store, "MFCCStats", None, DEFAULT_WINDOWS, sample())
    made = (path.stat().st_mtime_ns, files.sha256_of(path))
    assert binding.bind_encoder(store, "MFCCStats", None, DEFAULT_WINDOWS, sample(seed=5)) == path
    assert (path.stat().st_mtime_ns, files.sha256_of(path)) == made
    assert store.get("encoder_sha256") == made[1]


def test_an_encoder_that_needs_fitting_is_fitted_to_the_folder(store: Catalog, sample: Sample) -> None:
    path = binding.bind_encoder(store, "MFCCStats", None, DEFAULT_WINDOWS, sample())
    windows = next(iter(sample()))[:, 0].numpy()
    learned = EncoderRuntime.load(path).embed(windows)
    with torch.inference_mode():
        plain = encoder.create("MFCCStats")(torch.from_numpy(windows)[:, None]).numpy()
    assert (learned * plain).sum(axis=1).max() < 0.99


def test_a_window_gets_the_same_vector_alone_or_in_a_batch_on_one_thread_or_four(
    store: Catalog, sample: Sample
) -> None:
    path = binding.bind_encoder(store, "MFCCStats", None, DEFAULT_WINDOWS, sample())
    embed = EncoderRuntime.load(path).embed
    windows = np.concatenate([batch[:, 0].numpy() for batch in sample()])
    threads = torch.get_num_threads()
    together = embed(windows)
    try:
        torch.set_num_threads(1 if threads > 1 else 4)
        alone = np.concatenate([embed(window[None]) for window in windows])
    finally:
        torch.set_num_threads(threads)
    assert np.abs(np.linalg.norm(together, axis=1) - 1).max() < 1e-5
    assert (together * alone).sum(axis=1).min() > 0.99999


def test_many_batches_give_identical_vectors_on_any_number_of_threads(store: Catalog, sample: Sample) -> None:
    path = binding.bind_encoder(store, "MFCCStats", None, DEFAULT_WINDOWS, sample())
    windows = np.concatenate([batch[:, 0].numpy() for batch in sample()])
    before = torch.get_num_threads()
    found = []
    try:
        for n_threads in (1, 4):
            torch.set_num_threads(n_threads)
            with EncoderRuntime.load(path).parallel_embed() as embed:
                assert torch.get_num_threads() == 1
                found.append(embed(windows))
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*found)
    assert (found[0] * EncoderRuntime.load(path).embed(windows)).sum(axis=1).min() > 0.99999


@pytest.mark.parametrize("windows", ["all", "first"])
def test_the_windows_of_a_binding_are_those_that_are_cut(windows: str) -> None:
    bound = Binding("MFCCStats", "", windows, 0.5, 48_000, 24_000)
    assert bound.window_spec == WindowSpec(48_000, 24_000, 0.5, windows)  # type: ignore[arg-type]


@pytest.mark.parametrize(("n_files", "is_fitted"), [(7, False), (8, True)])
def test_an_encoder_is_not_fitted_to_less_than_eight_files(
    store: Catalog, sample: Sample, n_files: int, is_fitted: bool
) -> None:
    few = sample(n_windows=n_files)
    assert few.n_files == n_files
    windows = next(iter(few))[:, 0].numpy()
    path = binding.bind_encoder(store, "MFCCStats", None, DEFAULT_WINDOWS, few)
    with torch.inference_mode():
        plain = encoder.create("MFCCStats")(torch.from_numpy(windows)[:, None]).numpy()
    same = (EncoderRuntime.load(path).embed(windows) * plain).sum(axis=1)
    assert same.max() < 0.99 if is_fitted else same.min() > 0.99999


@pytest.mark.parametrize("mine", [0, 1])
def test_a_lost_encoder_is_restored_from_the_generation_that_has_the_same(tmp_path: Path, mine: int) -> None:
    published = [tmp_path / "versions" / name / "encoder.pt" for name in ("000001-ab", "000002-cd")]
    for path in published:
        path.parent.mkdir(parents=True)
        path.write_bytes(path.parent.name.encode())
    with Catalog(tmp_path / CATALOG_FILE) as catalog:
        catalog.put(encoder_sha256=files.sha256_of(published[mine]))
        restored = binding.restore_encoder(catalog)
        assert restored == tmp_path / binding.ENCODER_FILE
        assert restored.read_bytes() == published[mine].read_bytes()
        restored.write_bytes(b"damaged")
        published[mine].write_bytes(b"damaged")
        with pytest.raises(ModelDirError, match="is missing or damaged"):
            binding.restore_encoder(catalog)
