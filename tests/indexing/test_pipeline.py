"""Index a folder: what an update changes and keeps, and what is refused."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hostile
import numpy as np
import pytest
import torch
from sounds import tone, write

from boiler.audio.decoder_pool import Decoders
from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.errors import CatalogError, CheckpointError, CorpusError, ModelDirError, SettingsError, UnknownNameError
from boiler.indexing import pipeline
from boiler.indexing.pipeline import IndexSettings
from boiler.store import generation
from boiler.store.projector import METADATA, TENSORS


@pytest.fixture
def folder(labelled_folder: Path, tmp_path: Path) -> Path:
    """A writable folder of six sounds of two kinds."""
    for name in ("hum", "whistle"):
        (tmp_path / "sounds" / name).mkdir(parents=True)
        for n in range(3):
            shutil.copy(labelled_folder / name / f"{name}-{n}.wav", tmp_path / "sounds" / name)
    return tmp_path / "sounds"


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> IndexSettings:
    return IndexSettings(folder, encoder="MFCCStats", model_dir=tmp_path / "m", workers=1)


def table(model_dir: Path) -> list[list[str]]:
    return [line.split("\t") for line in (model_dir / METADATA).read_text().splitlines()]


def column(model_dir: Path, name: str) -> list[object]:
    with closing(generation.open(model_dir).connect()) as connection:
        return [row[name] for row in connection.execute("SELECT * FROM items ORDER BY n")]


def test_indexing_writes_all_files_of_a_model_directory(settings: IndexSettings, tmp_path: Path) -> None:
    report = pipeline.index(settings)
    assert (report.n_items, report.n_rows, report.tally.embedded, report.failures) == (6, 6, 6, [])
    top = tmp_path / "m"
    for name in ("encoder.pt", "annoy", METADATA, TENSORS, "projector_config.pbtxt", "boiler.json", "vectors.npy"):
        assert (top / name).is_file(), name
    assert list(top.glob("events.out.tfevents.*"))
    opened = generation.check(top)
    assert opened.header.encoder == "MFCCStats"
    rows = table(top)
    assert rows[0] == ["id", "url", "start_s", "end_s", "label"]
    assert [row[0] for row in rows[1:]] == sorted(
        f"{name}/{name}-{n}.wav" for name in ("hum", "whistle") for n in range(3)
    )
    assert {row[4] for row in rows[1:]} == {"hum", "whistle"}
    assert all(row[0] == row[1] for row in rows[1:])


@pytest.mark.slow
def test_encoder_pt_gives_the_vectors_in_tensors_tsv_where_boiler_cannot_be_imported(
    settings: IndexSettings, folder: Path, tmp_path: Path
) -> None:
    from boiler.audio import stream
    from boiler.audio.windows import fill_window

    pipeline.index(settings)
    paths = [folder / row[0] for row in table(tmp_path / "m")[1:]]
    np.save(tmp_path / "windows.npy", np.stack([fill_window(stream.load(path)) for path in paths]))
    script = textwrap.dedent("""
        import sys
        sys.modules["boiler"] = None
        import warnings
        import numpy, torch
        warnings.simplefilter("ignore")
        encoder = torch.jit.load(sys.argv[1])
        windows = torch.from_numpy(numpy.load(sys.argv[2]))
        with torch.inference_mode():
            alone = torch.cat([encoder(window[None, None]) for window in windows])
        tensors = torch.from_numpy(numpy.loadtxt(sys.argv[3], dtype=numpy.float32, delimiter="\\t"))
        assert torch.cosine_similarity(alone, tensors).min() > 0.99999
        assert (tensors.norm(dim=1) - 1).abs().max() < 1e-5
    """)
    arguments = [tmp_path / "m" / "encoder.pt", tmp_path / "windows.npy", tmp_path / "m" / TENSORS]
    subprocess.run([sys.executable, "-c", script, *map(str, arguments)], check=True, cwd=tmp_path)


@pytest.mark.slow
def test_the_same_folder_gives_a_byte_identical_index(settings: IndexSettings, tmp_path: Path) -> None:
    pipeline.index(settings)
    pipeline.index(replace(settings, model_dir=tmp_path / "again", workers=2))
    for name in ("annoy", "vectors.npy", "pairs.npy", METADATA, TENSORS):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


@pytest.mark.slow
def test_the_size_of_the_batch_does_not_change_a_vector(settings: IndexSettings, tmp_path: Path) -> None:
    pipeline.index(settings)
    other = pipeline.index(replace(settings, model_dir=tmp_path / "n", batch_size=1))
    assert other.n_rows == 6
    one, two = generation.open(tmp_path / "m").vectors, generation.open(tmp_path / "n").vectors
    assert (one * two).sum(axis=1).min() > 0.99999


def test_the_stages_of_a_run_take_no_longer_than_the_whole(
    settings: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = itertools.count(1_000.0, 10.0)  # a clock that goes on when it is read
    monkeypatch.setattr(pipeline, "time", SimpleNamespace(monotonic=lambda: next(readings)))
    report = pipeline.index(settings)
    stages_s = (report.scan_s, report.tally.prepare_s, report.publish_s)
    assert min(stages_s) > 0
    assert sum(stages_s) <= report.wall_s < 1_000


def test_without_a_model_directory_it_is_named_after_folder_and_encoder(
    settings: IndexSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(pipeline.plan(replace(settings, model_dir=None)).new) == 6
    for name in ("MFCCStats", "JoinedParts"):  # the second is the old name of JoinedDescriptors
        (tmp_path / "exp" / "sounds" / name).mkdir(parents=True)
        (tmp_path / "exp" / "sounds" / name / CATALOG_FILE).write_bytes(b"no catalog" * 100)
    for encoder, place in (("MFCCStats", "MFCCStats"), ("JoinedDescriptors", "JoinedParts")):
        with pytest.raises(CatalogError, match=f"^exp/sounds/{place}/"):
            pipeline.plan(replace(settings, model_dir=None, encoder=encoder))


def test_a_second_run_does_nothing_and_reports_it(settings: IndexSettings, tmp_path: Path) -> None:
    first = pipeline.index(settings)
    again = pipeline.index(settings)
    assert pipeline.tag(tmp_path / "m", None)[1] == 0  # no tags to remove
    assert (again.published, again.generation, again.tally.embedded) == (False, first.generation, 0)
    assert "nothing changed" in "\n".join(again.lines())


def test_only_what_changed_is_embedded(settings: IndexSettings, folder: Path, tmp_path: Path) -> None:
    pipeline.index(settings)
    before = (tmp_path / "m" / METADATA).read_text().splitlines()
    (folder / "hum" / "hum-0.wav").unlink()
    (folder / "hum" / "hum-1.wav").rename(folder / "whistle" / "moved.wav")
    write(folder / "new.wav", tone(500, 1.0, 16_000), 16_000)
    write(folder / "whistle" / "whistle-0.wav", tone(900, 2.0, 16_000), 16_000)
    report = pipeline.index(settings)
    assert report.changes.new == ["new.wav"]
    assert report.changes.changed == ["whistle/whistle-0.wav"]
    assert report.changes.moved == [("hum/hum-1.wav", "whistle/moved.wav")]
    assert report.changes.gone == ["hum/hum-0.wav"]
    assert report.tally.embedded == 2
    after = {row[0]: row[4] for row in table(tmp_path / "m")[1:]}
    assert after["whistle/moved.wav"] == "whistle"
    assert after["new.wav"] == ""
    assert "hum/hum-0.wav" not in after
    assert before[3] in (tmp_path / "m" / METADATA).read_text().splitlines()  # to the letter
    assert column(tmp_path / "m", "n") == [2, 3, 4, 5, 6, 7]


@pytest.mark.slow
def test_an_updated_index_equals_a_fresh_one(settings: IndexSettings, folder: Path, tmp_path: Path) -> None:
    pipeline.index(settings)
    write(folder / "a.wav", tone(500, 30.0, 16_000), 16_000)
    (folder / "hum" / "hum-1.wav").unlink()
    pipeline.index(settings)
    shutil.copytree(tmp_path / "m", tmp_path / "fresh", symlinks=True)
    # the same encoder, everything embedded again
    with closing(pipeline.Catalog(tmp_path / "fresh" / "catalogue.sqlite")) as store:
        store.queue.clear()
    pipeline.index(replace(settings, model_dir=tmp_path / "fresh"))
    one, other = generation.open(tmp_path / "m"), generation.open(tmp_path / "fresh")
    assert (tmp_path / "m" / METADATA).read_bytes() == (tmp_path / "fresh" / METADATA).read_bytes()
    assert (one.vectors * other.vectors).sum(axis=1).min() > 0.99999


def test_broken_files_are_listed_and_all_others_indexed(settings: IndexSettings, folder: Path, tmp_path: Path) -> None:
    (folder / "empty.wav").write_bytes(b"")
    (folder / "zip.wav").write_bytes(b"PK\x03\x04" + b"x" * 500)
    report = pipeline.index(settings)
    assert report.n_items == 6
    assert [failure.id for failure in report.failures] == ["empty.wav", "zip.wav"]
    assert len(list(report.failure_lines())) == 3
    with closing(generation.open(tmp_path / "m").connect()) as connection:
        assert [row["id"] for row in connection.execute("SELECT * FROM failures")] == ["empty.wav", "zip.wav"]
    again = pipeline.index(settings)
    assert (len(again.failures), again.tally.failed, again.published) == (2, 0, False)
    assert pipeline.index(replace(settings, retry_failed=True)).tally.failed == 2


@pytest.mark.slow
def test_of_a_hostile_corpus_every_file_is_indexed_or_refused_with_a_reason(
    settings: IndexSettings, folder: Path, tmp_path: Path
) -> None:
    ids = hostile.write_corpus(folder / "hostile")
    report = pipeline.index(settings)
    reasons = {failure.id.removeprefix("hostile/"): failure.reason for failure in report.failures}
    kept = [str(id) for id in column(tmp_path / "m", "id")]
    inside = {id.removeprefix("hostile/") for id in kept if id.startswith("hostile/")}
    assert inside | reasons.keys() == {*ids, "names/to itself.wav", "names/to nowhere.wav"}
    assert not inside & reasons.keys()
    assert all(reasons.values())
    assert not [reason for reason in reasons.values() if "crash" in reason or "killed" in reason]
    assert len(kept) - len(inside) == 6  # all the good ones
    assert {"header/claims 4 GB, has 1 kB.wav", "samples/silence.wav", "names/caf\\xe9.wav"} <= inside
    assert {"disguised/zip.wav", "header/10000 channels.wav", "header/rate of 1 Hz.wav"} <= reasons.keys()
    assert generation.check(tmp_path / "m").header.n_items == len(kept)
    again = pipeline.index(settings)
    assert (again.published, again.tally.failed) == (False, 0)


def test_a_folder_of_broken_and_silent_files_is_refused_with_the_reason(
    settings: IndexSettings, tmp_path: Path
) -> None:
    (tmp_path / "bad").mkdir()
    for n in range(10):
        (tmp_path / "bad" / f"{n}.wav").write_bytes(bytes(n))
    write(tmp_path / "bad" / "silent.wav", np.zeros(16_000), 16_000)
    bad = replace(settings, wav_dir=tmp_path / "bad")
    report = pipeline.index(bad)
    assert (report.published, report.generation, len(report.failures)) == (False, "", 10)
    shutil.copytree(settings.wav_dir, tmp_path / "bad" / "good")
    report = pipeline.index(bad)
    assert (report.n_items, report.n_rows) == (7, 6)


def test_a_silent_sound_is_an_item_without_rows(settings: IndexSettings, folder: Path, tmp_path: Path) -> None:
    write(folder / "silent.wav", np.zeros(30_000), 16_000)
    report = pipeline.index(settings)
    assert (report.n_items, report.n_rows) == (7, 6)
    assert column(tmp_path / "m", "silent") == [0, 0, 0, 1, 0, 0, 0]
    assert "silent.wav" not in (tmp_path / "m" / METADATA).read_text()


@pytest.mark.slow
def test_long_sounds_have_many_windows_or_only_the_first(settings: IndexSettings, folder: Path, tmp_path: Path) -> None:
    write(folder / "long.wav", tone(300, 40.0, 8_000), 8_000)
    all_of_it = pipeline.index(replace(settings, include=("long.wav",)))
    first = pipeline.index(replace(settings, include=("long.wav",), windows="first", model_dir=tmp_path / "f"))
    far = pipeline.index(replace(settings, include=("long.wav",), hop_s=8.192, model_dir=tmp_path / "h"))
    assert (all_of_it.n_rows, first.n_rows, far.n_rows) == (9, 1, 5)
    assert table(tmp_path / "f")[1][2:4] == ["0.000", "8.192"]


def test_urls_are_built_from_the_template(settings: IndexSettings, folder: Path, tmp_path: Path) -> None:
    (folder / "hum" / "hum-0.wav").rename(folder / "hum" / "a b.wav")
    pipeline.index(settings)
    report = pipeline.index(replace(settings, url_template="https://x.org/{folder}/{stem}?{name}"))
    assert report.published  # the addresses changed, though no sound did
    assert column(tmp_path / "m", "url")[0] == "https://x.org/hum/a%20b?a%20b.wav"
    assert not pipeline.index(settings).published  # what is not said stays as it was
    with pytest.raises(UnknownNameError, match="url_template"):
        pipeline.index(replace(settings, url_template="{title}"))


def test_a_table_gives_labels_and_columns_for_filters(settings: IndexSettings, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("file_name,label,bpm\nhum/hum-0.wav,low,60\n")
    pipeline.index(replace(settings, metadata=tmp_path / "m.csv"))
    assert column(tmp_path / "m", "label") == ["low", "hum", "hum", "whistle", "whistle", "whistle"]
    assert json.loads(str(column(tmp_path / "m", "metadata")[0])) == {"bpm": 60}
    (tmp_path / "m.csv").write_text("file_name,label,bpm\nhum/hum-0.wav,lower,60\n")
    report = pipeline.index(replace(settings, metadata=tmp_path / "m.csv"))
    assert report.published
    assert report.tally.embedded == 0
    assert column(tmp_path / "m", "label")[0] == "lower"


def test_planning_writes_nothing(settings: IndexSettings, folder: Path, tmp_path: Path) -> None:
    assert len(pipeline.plan(settings).new) == 6
    assert not (tmp_path / "m").exists()
    pipeline.index(settings)
    write(folder / "new.wav", tone(500, 1.0, 16_000), 16_000)
    name = generation.current_name(tmp_path / "m")
    assert pipeline.plan(settings).new == pipeline.plan(settings).new == ["new.wav"]
    assert generation.current_name(tmp_path / "m") == name


# --- refused ---------------------------------------------------------------------------------------------------------


def test_another_encoder_or_other_windows_need_force(settings: IndexSettings, tmp_path: Path) -> None:
    pipeline.index(settings)
    name = generation.current_name(tmp_path / "m")
    with pytest.raises(ModelDirError, match=r"windows: all there, first now.*--model_dir, or --force"):
        pipeline.index(replace(settings, windows="first"))
    assert generation.current_name(tmp_path / "m") == name
    forced = pipeline.index(replace(settings, windows="first", force=True))
    assert (forced.tally.embedded, generation.open(tmp_path / "m").header.windows) == (6, "first")


def test_a_file_that_was_decoded_for_the_fit_is_not_decoded_again(
    settings: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    windows = Decoders.windows

    def spy(decoders: Decoders, jobs: Iterable[tuple[int, Path]], *args: Any, **options: Any) -> Any:
        def noted() -> Iterator[tuple[int, Path]]:
            for key, path in jobs:
                decoded.append(path.name)
                yield key, path

        return windows(decoders, noted(), *args, **options)

    monkeypatch.setattr(Decoders, "windows", spy)
    assert pipeline.index(settings).n_items == 6
    assert sorted(decoded) == sorted(f"{name}-{n}.wav" for name in ("hum", "whistle") for n in range(3))


def test_omitted_settings_are_those_of_the_last_run(settings: IndexSettings, folder: Path, tmp_path: Path) -> None:
    pipeline.index(replace(settings, windows="first", hop_s=2.0, exclude=("whistle",)))
    report = pipeline.index(IndexSettings(folder, model_dir=tmp_path / "m", workers=1))
    assert (report.published, report.n_items) == (False, 3)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"encoder": "MFCCStat"}, UnknownNameError),
        ({"encoder": "BagTopVQVAE"}, CheckpointError),
        ({"encoder": "BagTopVQVAE", "pt_path": Path("missing.pt")}, CheckpointError),
        ({"wav_dir": Path("missing")}, CorpusError),
        ({"include": ("nothing",)}, CorpusError),
        ({"hop_s": -1.0}, CatalogError),
        ({"hop_s": 9.0}, CatalogError),
        ({"batch_size": 0}, CatalogError),
        ({"workers": 0}, CatalogError),
        ({"decode_timeout_s": 0.0}, CatalogError),
        ({"max_file_hours": -1.0}, CatalogError),
        ({"hop_s": 0.0}, CatalogError),
        ({"windows": "some"}, CatalogError),
        ({"url_template": "{title}"}, UnknownNameError),
        ({"metadata": Path("missing.csv")}, CatalogError),
        ({"device": "abacus"}, SettingsError),
    ],
)
def test_invalid_settings_are_refused_before_any_work(
    settings: IndexSettings, change: dict[str, object], error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error):
        pipeline.index(replace(settings, **change))
    assert not (tmp_path / "m").exists()


def test_a_folder_that_is_mostly_gone_is_refused_unless_forced(
    settings: IndexSettings, folder: Path, tmp_path: Path
) -> None:
    pipeline.index(settings)
    shutil.rmtree(folder / "hum")
    (folder / "whistle" / "whistle-0.wav").unlink()
    with pytest.raises(CatalogError, match="4 of 6 files are gone"):
        pipeline.index(settings)
    assert generation.open(tmp_path / "m").header.n_items == 6
    assert pipeline.index(replace(settings, force=True)).n_items == 2


def test_a_folder_that_is_refused_is_not_that_of_the_next_run(
    settings: IndexSettings, folder: Path, tmp_path: Path
) -> None:
    pipeline.index(settings)
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "one.wav", tone(500, 1.0, 16_000), 16_000)
    with pytest.raises(CatalogError, match="6 of 6 files are gone"):
        pipeline.index(replace(settings, wav_dir=tmp_path / "other"))
    with pytest.raises(CorpusError, match="cannot be listed"):
        pipeline.index(replace(settings, wav_dir="http://127.0.0.1:1/sounds"))
    with Catalog(tmp_path / "m" / CATALOG_FILE, read_only=True) as catalog:
        assert catalog.get("wav_dir") == str(folder.resolve())
    assert pipeline.index(settings).n_items == 6


def test_a_missing_encoder_is_refused_and_not_built_again(
    settings: IndexSettings, folder: Path, tmp_path: Path
) -> None:
    pipeline.index(settings)
    (tmp_path / "m" / ".encoder.pt").unlink()
    write(folder / "new.wav", tone(500, 1.0, 16_000), 16_000)
    # the published one is the same file
    assert pipeline.index(settings).n_items == 7
    for path in (tmp_path / "m").rglob("*encoder.pt"):
        path.unlink()
    write(folder / "newer.wav", tone(600, 1.0, 16_000), 16_000)
    with pytest.raises(ModelDirError, match="restore it"):
        pipeline.index(settings)


def test_a_damaged_index_is_rebuilt_from_the_catalog(settings: IndexSettings, tmp_path: Path) -> None:
    pipeline.index(settings)
    (tmp_path / "m" / "vectors.npy").resolve().unlink()
    with pytest.raises(ModelDirError):
        generation.open(tmp_path / "m")
    report = pipeline.index(settings)
    assert (report.published, report.tally.embedded) == (True, 0)
    assert generation.check(tmp_path / "m").header.n_rows == 6


@pytest.mark.slow
def test_an_error_of_the_encoder_leaves_the_old_index(
    settings: IndexSettings, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.index(settings)
    write(folder / "new.wav", tone(500, 1.0, 16_000), 16_000)

    def fail(self: object, *args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("boiler.indexing.embed.EmbedRun._timed_embed", fail)
    with pytest.raises(torch.OutOfMemoryError):
        pipeline.index(settings)
    monkeypatch.undo()
    assert generation.open(tmp_path / "m").header.n_items == 6
    assert pipeline.index(settings).n_items == 7


@pytest.fixture
def odd_names(folder: Path) -> Path:
    shutil.copy(folder / "hum" / "hum-0.wav", Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.wav")))
    shutil.copy(folder / "hum" / "hum-1.wav", folder / "tab\there\nand there.wav")
    return folder


def test_odd_names_are_indexed_and_can_be_found_on_disk(
    settings: IndexSettings, odd_names: Path, tmp_path: Path
) -> None:
    assert pipeline.index(settings).n_items == 8
    with generation.open(tmp_path / "m").items() as database:
        assert all(item.path(odd_names).is_file() for item in database.items())
    assert len(table(tmp_path / "m")) == 9


def test_a_refresh_keeps_what_the_table_gave_until_it_is_taken_away(
    settings: IndexSettings, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,label,bpm\nhum/hum-0.wav,special,120\n")
    first = pipeline.index(replace(settings, metadata=path))
    assert (first.n_relabelled, first.table.n_matched if first.table else 0) == (1, 1)
    bare = replace(settings, metadata=None)
    assert not pipeline.index(bare).published
    assert column(tmp_path / "m", "label")[0] == "special"
    path.write_text("id,label,bpm\nhum/hum-0.wav,other,120\nhum/none.wav,none,1\nhum/no.wav,no,1\n")
    edited = pipeline.index(bare)
    assert (edited.n_relabelled, edited.published, edited.table_matches) == (1, True, False)
    assert column(tmp_path / "m", "label")[0] == "other"
    path.unlink()
    assert not pipeline.index(bare).published
    write(folder / "hum" / "new.wav", tone(500, 1.0, 16_000), 16_000)
    pipeline.index(bare)
    assert set(column(tmp_path / "m", "label")) == {"other", "hum", "whistle"}
    without = pipeline.index(replace(bare, no_metadata=True))
    assert (without.n_relabelled, set(column(tmp_path / "m", "label"))) == (1, {"hum", "whistle"})
    assert set(column(tmp_path / "m", "metadata")) == {"{}"}


def test_the_table_of_an_audiofolder_is_read_unless_told_not_to(
    settings: IndexSettings, folder: Path, tmp_path: Path
) -> None:
    (folder / "metadata.csv").write_text("file_name,label,bpm\nhum/hum-0.wav,special,120\n")
    report = pipeline.index(settings)
    assert report.table is not None
    assert (report.table.path, report.table.n_matched) == (folder / "metadata.csv", 1)
    assert column(tmp_path / "m", "label")[0] == "special"
    pipeline.index(replace(settings, no_metadata=True))
    assert set(column(tmp_path / "m", "label")) == {"hum", "whistle"}
    assert not pipeline.index(settings).published  # it stays forgotten
    (folder / "metadata.csv").write_text("name,label\nhum/hum-0.wav,special\n")  # another kind of table
    other = pipeline.index(replace(settings, model_dir=tmp_path / "other"))
    assert other.table is None


def test_what_is_missing_of_a_sound_and_formats_not_read_are_reported(
    settings: IndexSettings, folder: Path, tmp_path: Path
) -> None:
    long = write(folder / "long.flac", tone(440, 6.0, 16_000), 16_000, "flac")
    data = long.read_bytes()
    long.write_bytes(data[: len(data) // 3] + bytes(len(data) // 3) + data[len(data) * 2 // 3 :])
    (folder / "other.ape").touch()
    report = pipeline.index(settings)
    assert (report.n_items, report.failures, report.passed_over) == (7, [], {".ape": 1})
    assert [one.id for one in report.warnings] == ["long.flac"]
    assert "s of it cannot be decoded (at " in report.warnings[0].reason
    warnings = dict(zip(column(tmp_path / "m", "id"), column(tmp_path / "m", "warning"), strict=True))
    assert warnings["long.flac"] == report.warnings[0].reason
    assert sorted(warnings.values())[:-1] == [""] * 6
    assert pipeline.index(settings).warnings == report.warnings
