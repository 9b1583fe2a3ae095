"""`Nearest` returns k items if there are as many, and refuses invalid queries."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from boiler import engine
from boiler.api import nearest as door
from boiler.catalog.items import Item
from boiler.errors import ModelDirError, NotASoundError, QueryError, SilentSoundError, UnknownItemError
from boiler.model import checkpoint
from boiler.search import nearest as nearest_module
from boiler.search.nearest import ByItem, ByWindows, GroupLimit, Match, Nearest
from boiler.store import generation
from boiler.store.generation import Header, rows_of

DIM = 8
WINDOWS = [1, 3, 0, 2, 1, 1]
"""How many windows each item has; the third is silent."""


class Spectrum(nn.Module):
    """A minimal encoder: the level of a few frequencies."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(waveform[:, 0]).abs()[:, : 8 * 8000].reshape(len(waveform), 8, -1).sum(dim=2)
        return nn.functional.normalize(spectrum + 1e-9, dim=1)


def write_tone(path: Path, frequency_hz: float, duration_s: float = 1.0, level: float = 0.5) -> None:
    t = np.arange(int(16_000 * duration_s)) / 16_000
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes((level * 32767 * np.sin(2 * np.pi * frequency_hz * t)).astype("<i2").tobytes())


def published(model_dir: Path, seed: int = 0, encoder_pt: Path | None = None, **header: object) -> np.ndarray:
    """Publish random windows of six items and return their vectors."""
    numbers = np.repeat(np.arange(len(WINDOWS)) * 10, WINDOWS)
    vectors = engine.normalize(np.random.default_rng(seed).normal(size=(len(numbers), DIM)))
    starts = np.concatenate([np.arange(count) * 4.0 for count in WINDOWS])
    items = [
        Item(10 * i, f"kind{i % 2}/sound_{i}.wav", url=f"u/{i}", label=f"kind{i % 2}", silent=count == 0)
        for i, count in enumerate(WINDOWS)
    ]
    generation.publish(
        model_dir,
        Header(encoder="Spectrum", dim=DIM, **header),
        vectors,
        rows_of(numbers, start_s=starts, end_s=starts + 8),
        items,
        encoder_pt=encoder_pt,
        meta={"wav_dir": str(model_dir.parent / "sounds")},
    )
    return vectors


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    encoder_pt = tmp_path / "encoder.pt"
    checkpoint.save_script(Spectrum(), encoder_pt, {"encoder": "Spectrum", "dim": DIM})
    published(tmp_path / "model", encoder_pt=encoder_pt)
    return tmp_path / "model"


@pytest.fixture
def nearest(model_dir: Path) -> Nearest:
    return Nearest(model_dir)


def brute_force(vectors: np.ndarray, query: np.ndarray) -> list[tuple[int, float]]:
    """Items by the distance of their best window."""
    apart = np.linalg.norm(vectors - query, axis=1)
    owners = np.repeat(np.arange(len(WINDOWS)) * 10, WINDOWS)
    best = {int(n): float(apart[owners == n].min()) for n in np.unique(owners)}
    return sorted(best.items(), key=lambda pair: pair[1])


def by_vector(match: Match) -> Match:
    """The same match for a query by vector, which has no times."""
    return replace(match, query_start_s=None, query_end_s=None)


@pytest.mark.parametrize("name", ["exact", "annoy"])
@pytest.mark.parametrize("k", [1, 3, 5, 6, 1000])
def test_a_vector_finds_items_by_their_best_window(model_dir: Path, name: str, k: int) -> None:
    nearest = Nearest(model_dir, engine=name)
    vectors = np.asarray(generation.open(model_dir).vectors)
    query = engine.normalize(np.random.default_rng(9).normal(size=DIM))
    found = nearest.search(query, k)
    wanted = brute_force(vectors, query)[:k]
    assert [match.n for match in found] == [n for n, _ in wanted]
    assert [match.distance for match in found] == pytest.approx([distance for _, distance in wanted], abs=1e-6)
    assert len(found) == min(k, 5)
    assert nearest.engine_name == name


def test_a_match_has_all_fields_of_its_item(nearest: Nearest) -> None:
    vectors = nearest._context.snapshot.vectors
    match = nearest.search(vectors[2], 1)[0]
    assert (match.id, match.n, match.url, match.label) == ("kind1/sound_1.wav", 10, "u/1", "kind1")
    assert (match.start_s, match.end_s) == (4.0, 12.0)
    assert (match.distance, match.similarity) == pytest.approx((0.0, 1.0), abs=1e-6)
    assert match.closer_than is None  # five items are too few to compare with


@pytest.mark.parametrize("kind", [list, np.asarray, torch.tensor, lambda v: torch.tensor(v, requires_grad=True)])
def test_lists_arrays_and_tensors_of_any_norm_give_the_same_results(nearest: Nearest, kind) -> None:
    vector = [0.5 * (i - 3) for i in range(DIM)]
    assert nearest.search(kind(vector), 3) == nearest.search([1e20 * x for x in vector], 3)


@pytest.mark.parametrize("item", [10, "kind1/sound_1.wav"])
def test_a_query_by_item_uses_all_its_windows_and_excludes_it(nearest: Nearest, item: int | str) -> None:
    vectors = np.asarray(nearest._context.snapshot.vectors)
    found = nearest.by_item(item, 100)
    assert [match.n for match in found] != [10]
    assert {match.n for match in found} == {0, 30, 40, 50}
    best = {n: min(dict(brute_force(vectors, query))[n] for query in vectors[1:4]) for n in (0, 30, 40, 50)}
    assert [match.n for match in found] == sorted(best, key=best.__getitem__)
    assert [match.distance for match in found] == pytest.approx(sorted(best.values()), abs=1e-6)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ([1.0] * 7, "7 numbers"),
        ([], "0 numbers"),
        (1.0, "a vector has 8 numbers"),
        ([float("nan")] * DIM, "NaN"),
        ([1e308 * 10] * DIM, "infinite"),
        ([0.0] * DIM, "all zeros"),
        (["a"] * DIM, "the type <U1"),
        (["1"] * DIM, "the type <U1"),
        ([True] * DIM, "the type bool"),
        (None, "numbers"),
        ([[1.0] * DIM] * 2, "shape"),
        ([[1.0] * DIM, [1.0]], "not a rectangular array"),
    ],
)
def test_an_invalid_vector_is_refused(nearest: Nearest, query, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        nearest.search(query)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3", None])
def test_k_must_be_an_integer_of_at_least_1(nearest: Nearest, k) -> None:
    with pytest.raises(QueryError, match="k is a whole number"):
        nearest.search([1.0] * DIM, k)


def test_a_sound_is_embedded_from_path_bytes_and_file_object(nearest: Nearest, tmp_path: Path) -> None:
    write_tone(tmp_path / "tone.wav", 440)
    by_path = nearest.by_sound(tmp_path / "tone.wav", 3)
    assert by_path == nearest.by_sound((tmp_path / "tone.wav").read_bytes(), 3)
    with (tmp_path / "tone.wav").open("rb") as stream:
        assert by_path == nearest.by_sound(stream, 3)
    embedded = nearest.embed(tmp_path / "tone.wav")
    again = ByWindows([one.vector for one in embedded], [one.window for one in embedded])
    assert by_path == list(nearest.query(again, 3).matches)
    assert [tuple(one.window) for one in embedded] == [(0.0, 1.0)]
    assert {(match.query_start_s, match.query_end_s) for match in by_path} == {(0.0, 1.0)}
    assert nearest.search(embedded[0].vector, 3) == [by_vector(match) for match in by_path]
    assert nearest.search_windows([embedded[0].vector], 3) == [by_vector(match) for match in by_path]


def test_a_part_of_a_sound_can_be_the_query(nearest: Nearest, tmp_path: Path) -> None:
    write_tone(tmp_path / "tone.wav", 440, duration_s=4)
    part = nearest.embed(tmp_path / "tone.wav", start_s=1, end_s=2)
    assert [tuple(one.window) for one in part] == [(1.0, 2.0)]
    found = nearest.by_sound(tmp_path / "tone.wav", 2, start_s=1, end_s=2)
    assert [by_vector(match) for match in found] == nearest.search(part[0].vector, 2)
    for start_s, end_s in ((-1, None), (2, 2), (2, 1)):
        with pytest.raises(QueryError, match="part of a sound"):
            nearest.by_sound(tmp_path / "tone.wav", start_s=start_s, end_s=end_s)


def test_silence_and_invalid_files_are_refused_by_name(nearest: Nearest, tmp_path: Path) -> None:
    write_tone(tmp_path / "silent.wav", 440, level=0)
    with pytest.raises(SilentSoundError, match=r"silent\.wav"):
        nearest.by_sound(tmp_path / "silent.wav")
    (tmp_path / "text.wav").write_text("this is no sound")
    with pytest.raises(NotASoundError, match=r"text\.wav"):
        nearest.by_sound(tmp_path / "text.wav")
    with pytest.raises(SilentSoundError, match="sound_2"):
        nearest.by_item(20)


def test_items_are_found_by_number_id_text_and_label(nearest: Nearest) -> None:
    assert len(nearest) == 6
    assert nearest.item(10).id == nearest.item("kind1/sound_1.wav").id == "kind1/sound_1.wav"
    assert [item.n for item in nearest.items(offset=1, limit=2)] == [10, 20]
    assert [item.n for item in nearest.items(text="SOUND_4")] == [40]
    assert [item.n for item in nearest.items(label="kind0")] == [0, 20, 40]
    assert nearest.items(text="%") == nearest.items(text="sound.4") == []
    for unknown in (11, "nothing.wav", "' OR 1=1 --"):
        with pytest.raises(UnknownItemError):
            nearest.item(unknown)


def test_the_path_of_an_item_is_inside_the_folder_of_sounds(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="give it with"):
        Nearest(model_dir).path(0)
    (tmp_path / "elsewhere/kind0").mkdir(parents=True)
    write_tone(tmp_path / "elsewhere/kind0/sound_0.wav", 440)
    assert Nearest(model_dir, wav_dir=tmp_path / "elsewhere").path(0) == tmp_path / "elsewhere/kind0/sound_0.wav"


def test_a_newer_generation_is_opened_and_running_queries_finish_on_the_old(model_dir: Path) -> None:
    nearest = Nearest(model_dir)
    old = nearest.generation
    assert nearest.refresh() is False
    query = engine.normalize(np.arange(1, DIM + 1))
    before = nearest.search(query, 3)
    wrong: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        known: set[tuple[float, ...]] = set()
        while not stop.is_set():
            known.add(tuple(match.distance for match in nearest.search(query, 3)))
        if len(known) > 2:
            wrong.append("answers of a mixture")

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    published(model_dir, seed=1)
    assert nearest.refresh() is True
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert nearest.generation != old
    assert nearest.search(query, 3) != before


def test_an_item_has_the_tags_that_people_gave_it_by_number_and_id(nearest: Nearest) -> None:
    assert nearest.tags(10) == nearest.tags("kind1/sound_1.wav") == []
    nearest.add_tag(10, "dog")
    nearest.add_tag("kind1/sound_1.wav", "rain", False)
    (dog, rain) = nearest.tags("kind1/sound_1.wav")
    assert nearest.tags(10) == [dog, rain]
    assert (dog.tag, dog.by_hand, dog.has, dog.probability) == ("dog", True, True, None)
    assert (rain.tag, rain.by_hand, rain.has) == ("rain", False, False)
    with pytest.raises(UnknownItemError):
        nearest.tags(11)


def test_without_encoder_all_queries_but_sounds_work(tmp_path: Path) -> None:
    published(tmp_path / "model")
    write_tone(tmp_path / "tone.wav", 440)
    nearest = Nearest(tmp_path / "model")
    assert len(nearest.by_item(0, 2)) == 2
    with pytest.raises(ModelDirError, match="without an encoder"):
        nearest.by_sound(tmp_path / "tone.wav")


def test_a_directory_with_a_missing_or_changed_file_is_refused_with_advice(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelDirError, match="boiler index"):
        Nearest(tmp_path / "nothing")
    folder = (model_dir / "current").resolve()
    for name in ("vectors.npy", "meta.sqlite", "encoder.pt", "boiler.json"):
        copy = tmp_path / f"without_{name}"
        shutil.copytree(folder, copy / "current")
        assert Nearest(copy).dim == DIM  # a copy without links is a model directory too
        (copy / "current" / name).unlink()
        with pytest.raises(ModelDirError, match="index"):
            Nearest(copy)
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed / "current")
    data = bytearray((changed / "current/encoder.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (changed / "current/encoder.pt").write_bytes(data)
    with pytest.raises(ModelDirError, match="not the encoder"):
        Nearest(changed)


def test_queries_by_vector_and_item_do_not_load_torch(model_dir: Path) -> None:
    code = (
        "import sys; from boiler.search.nearest import Nearest\n"
        f"n = Nearest({str(model_dir)!r}); n.search([1.0] * {DIM}); n.by_item(0); n.items()\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("old", "new"),
    [("Answer", "QueryResult"), ("Group", "DuplicateGroup"), ("Part", "TimeSpan"), ("PerGroup", "GroupLimit")],
)
def test_deprecated_types_can_still_be_imported(old: str, new: str) -> None:
    for module in (door, nearest_module):
        with pytest.deprecated_call(match=f"{module.__name__}.{new}"):
            assert getattr(module, old) is getattr(module, new)


def test_deprecated_methods_and_arguments_still_work(nearest: Nearest) -> None:
    with pytest.deprecated_call(match="Nearest.query_vector"):
        np.testing.assert_array_equal(nearest.direction(ByItem(0)), nearest.query_vector(ByItem(0)))
    vector = nearest.query_vector(ByItem(0))
    with pytest.deprecated_call(match="Nearest.rank$"):
        np.testing.assert_array_equal(nearest.ranked(vector, 3)[1].rows, nearest.rank(vector, 3)[1].rows)
    with pytest.deprecated_call(match="Nearest.rank_many"):
        assert len(nearest.ranked_each(vector[None], 3)[1]) == 1
    with pytest.deprecated_call(match=r"duplicates\(max_distance=...\)"):
        assert nearest.duplicates(nearer_than=0.01) == nearest.duplicates(0.01)  # type: ignore[call-arg]
    with pytest.deprecated_call(match=r"GroupLimit\(limit=...\)"):
        assert GroupLimit("label", most=2) == GroupLimit("label", 2)  # type: ignore[call-arg]
    nearest.add_feedback(ByItem(0), 10, like=True, user="ann")
    with pytest.deprecated_call(match=r"feedback_for\(query=...\)"):
        assert nearest.feedback_for(question=ByItem(0)).likes == ("kind1/sound_1.wav",)  # type: ignore[call-arg]
    with pytest.deprecated_call(match=r"feedback_for\(user=...\)"):
        assert nearest.feedback_for(ByItem(0), who="bob").likes == ()  # type: ignore[call-arg]
    result = nearest.query(ByItem(0), 3)
    with pytest.deprecated_call(match="QueryResult.shortfall"):
        assert result.short == result.shortfall
    with pytest.deprecated_call(match="QueryResult.engine_reason"):
        assert result.why == result.engine_reason


def test_plain_values_are_queries_and_an_invalid_query_names_the_types_to_import(nearest: Nearest) -> None:
    by_item = nearest.query(ByItem(0), 3)
    assert nearest.query(0, 3) == nearest.query("kind0/sound_0.wav", 3) == by_item
    vector = nearest.query_vector(0)
    assert [match.n for match in nearest.query(vector, 3).matches] == [match.n for match in nearest.search(vector, 3)]
    with pytest.raises(QueryError, match=r"ByItem, .* of boiler\.api\.nearest"):
        nearest.query({"id": 0})  # type: ignore[arg-type]


def test_results_are_tables_in_notebooks_and_nearest_has_a_repr(tmp_path: Path) -> None:
    items = [Item(0, "a<b>.wav", label="&"), Item(1, "c.wav")]
    generation.publish(
        tmp_path, Header(encoder="Spectrum", dim=2), np.eye(2, dtype=np.float32), rows_of(np.arange(2)), items
    )
    with Nearest(tmp_path) as nearest:
        table = nearest.query([1.0, 0.0])._repr_html_()
        assert "<td>a&lt;b&gt;.wav</td><td>&amp;</td>" in table
        assert table.count("<tr>") == 3
        assert repr(nearest) == f"<Nearest {str(tmp_path)!r}: 2 items, Spectrum, exact>"
    assert repr(nearest) == f"<Nearest {str(tmp_path)!r}, closed>"
