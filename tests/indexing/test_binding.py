"""The encoder of a model directory is built once, and the same file embeds sounds and queries."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from boiler import encoder, files
from boiler.audio.windows import DEFAULT_WINDOWS, WindowSpec
from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.encoder.runtime import EncoderRuntime
from boiler.errors import ModelDirError
from boiler.indexing import binding
from boiler.indexing.binding import Binding
from boiler.indexing.fit_sample import FitSample

Sample = Callable[..., FitSample]
BINDING = Binding("MFCCStats", "", "all", 4.096)


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


def test_the_sample_is_decoded_while_the_encoder_is_made(
    store: Catalog, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = sample()

    def create(*arguments: Any, **options: Any) -> encoder.Encoder:
        ends_at = time.monotonic() + 30
        while drawn._waiting.empty():
            assert time.monotonic() < ends_at
            time.sleep(0.02)
        return made(*arguments, **options)

    made = encoder.create
    monkeypatch.setattr(encoder, "create", create)
    assert binding.bind_encoder(store, "MFCCStats", None, DEFAULT_WINDOWS, drawn).is_file()


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
