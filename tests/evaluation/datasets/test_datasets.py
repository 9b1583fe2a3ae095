"""Every data set is read from a miniature copy with the layout of its authors."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from boiler.errors import CorpusError, UnknownNameError
from boiler.evaluation import datasets
from boiler.evaluation.datasets import DatasetEntry
from boiler.evaluation.datasets.one_shots import drum_type


def touch(root: Path, *ids: str) -> None:
    for id in ids:
        (root / id).parent.mkdir(parents=True, exist_ok=True)
        (root / id).write_bytes(b"")


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# Each function writes a miniature data set below `root` and returns the expected entries.


def esc50(root: Path) -> dict[str, DatasetEntry]:
    touch(root, "audio/1-100032-A-0.wav", "audio/5-9032-A-0.wav", "audio/2-200-B-14.wav")
    write(
        root / "meta" / "esc50.csv",
        "filename,fold,target,category,esc10,src_file,take",
        "1-100032-A-0.wav,1,0,dog,True,100032,A",
        "5-9032-A-0.wav,5,0,dog,True,9032,A",
        "2-200-B-14.wav,2,14,chirping_birds,False,200,B",
    )
    return {
        "audio/1-100032-A-0.wav": DatasetEntry("audio/1-100032-A-0.wav", ("dog",), "1", {"recording": "100032"}),
        "audio/5-9032-A-0.wav": DatasetEntry("audio/5-9032-A-0.wav", ("dog",), "5", {"recording": "9032"}),
        "audio/2-200-B-14.wav": DatasetEntry("audio/2-200-B-14.wav", ("chirping_birds",), "2", {"recording": "200"}),
    }


def esc10(root: Path) -> dict[str, DatasetEntry]:
    found = esc50(root)
    return {id: entry for id, entry in found.items() if entry.labels == ("dog",)}


def esc10_in_folders(root: Path) -> dict[str, DatasetEntry]:
    touch(root, "dog_bark/1-30226-A.ogg", "002 - Rain/3-157615-B.ogg", "dog_bark/notes.txt", "rain/cover.ogg")
    return {
        "dog_bark/1-30226-A.ogg": DatasetEntry("dog_bark/1-30226-A.ogg", ("dog_bark",), "1", {"recording": "30226"}),
        "002 - Rain/3-157615-B.ogg": DatasetEntry("002 - Rain/3-157615-B.ogg", ("Rain",), "3", {"recording": "157615"}),
    }


def urbansound8k(root: Path) -> dict[str, DatasetEntry]:
    touch(root, "audio/fold5/100032-3-0-0.wav", "audio/fold10/77774-4-0-1.wav")
    write(
        root / "metadata" / "UrbanSound8K.csv",
        "slice_file_name,fsID,start,end,salience,fold,classID,class",
        "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark",
        "77774-4-0-1.wav,77774,1.5,5.5,1,10,4,drilling",
    )
    first, second = "audio/fold5/100032-3-0-0.wav", "audio/fold10/77774-4-0-1.wav"
    return {
        first: DatasetEntry(first, ("dog_bark",), "5", {"recording": "100032"}),
        second: DatasetEntry(second, ("drilling",), "10", {"recording": "77774"}),
    }


def gtzan(root: Path) -> dict[str, DatasetEntry]:
    ids = ["genres/blues/blues.00000.wav", "genres/hiphop/hiphop.00099.au"]
    touch(root, *ids, "genres/blues/._blues.00000.txt")
    return {ids[0]: DatasetEntry(ids[0], ("blues",)), ids[1]: DatasetEntry(ids[1], ("hiphop",))}


def magnatagatune(root: Path) -> dict[str, DatasetEntry]:
    first = "b/some_choir-mass-01-kyrie-0-29.mp3"
    second = "b/some_choir-mass-01-kyrie-30-59.mp3"
    third = "f/a_band-loud-07-noise-117-146.mp3"
    touch(root, *(f"mp3/{id}" for id in (first, second, third)))
    write(
        root / "annotations_final.csv",
        '"clip_id"\t"choir"\t"slow"\t"rock"\t"mp3_path"',
        f'"2"\t"1"\t"1"\t"0"\t"{first}"',
        f'"6"\t"1"\t"0"\t"0"\t"{second}"',
        f'"10"\t"0"\t"0"\t"1"\t"{third}"',
    )
    write(
        root / "clip_info_final.csv",
        "clip_id\ttrack_number\ttitle\tartist\talbum\turl\tsegmentStart\tsegmentEnd\toriginal_url\tmp3_path",
        f"2\t1\tKyrie\tSome Choir\tMass\t\t0\t29\t\t{first}",
        f"6\t1\tKyrie\tSome Choir\tMass\t\t30\t59\t\t{second}",
        f"10\t7\tNoise\tA Band\tLoud\t\t117\t146\t\t{third}",
    )
    mass = {"track": "b/some_choir-mass-01-kyrie", "album": "Some Choir - Mass", "artist": "Some Choir"}
    loud = {"track": "f/a_band-loud-07-noise", "album": "A Band - Loud", "artist": "A Band"}
    return {
        f"mp3/{first}": DatasetEntry(f"mp3/{first}", ("choir", "slow"), "train", mass),
        f"mp3/{second}": DatasetEntry(f"mp3/{second}", ("choir",), "train", mass),
        f"mp3/{third}": DatasetEntry(f"mp3/{third}", ("rock",), "test", loud),
    }


def fsd50k(root: Path) -> dict[str, DatasetEntry]:
    dev, evaluation = "FSD50K.dev_audio/64760.wav", "FSD50K.eval_audio/37199.wav"
    touch(root, dev, evaluation)
    truth = root / "FSD50K.ground_truth"
    write(truth / "dev.csv", "fname,labels,mids,split", '64760,"Electric_guitar,Music","/m/02sgy,/m/04rlf",val')
    write(truth / "eval.csv", "fname,labels,mids", '37199,"Bark,Animal","/m/05tny_,/m/0jbk"')
    write(root / "FSD50K.metadata" / "dev_clips_info_FSD50K.json", json.dumps({"64760": {"uploader": "one"}}))
    return {
        dev: DatasetEntry(dev, ("Electric_guitar", "Music"), "val", {"uploader": "one"}),
        evaluation: DatasetEntry(evaluation, ("Animal", "Bark"), "test", {}),
    }


def nsynth(root: Path) -> dict[str, DatasetEntry]:
    found = {}
    for part, name, family in (
        ("train", "guitar_acoustic_001-060-075", "guitar"),
        ("test", "bass_electronic_018-022-100", "bass"),
    ):
        id = f"nsynth-{part}/audio/{name}.wav"
        touch(root, id)
        instrument = name.split("-")[0]
        note = {"instrument_family_str": family, "instrument_str": instrument, "pitch": 60}
        write(root / f"nsynth-{part}" / "examples.json", json.dumps({name: note}))
        found[id] = DatasetEntry(id, (family,), part, {"instrument": instrument})
    return found


def speech_commands(root: Path) -> dict[str, DatasetEntry]:
    ids = ["bed/00176480_nohash_0.wav", "bed/004ae714_nohash_1.wav", "cat/00176480_nohash_0.wav"]
    touch(root, *ids, "_background_noise_/white_noise.wav", "_background_noise_/0a_nohash_0.wav")
    write(root / "validation_list.txt", ids[0])
    write(root / "testing_list.txt", ids[1])
    return {
        ids[0]: DatasetEntry(ids[0], ("bed",), "validation", {"speaker": "00176480"}),
        ids[1]: DatasetEntry(ids[1], ("bed",), "test", {"speaker": "004ae714"}),
        ids[2]: DatasetEntry(ids[2], ("cat",), "train", {"speaker": "00176480"}),
    }


def fsdd(root: Path) -> dict[str, DatasetEntry]:
    ids = ["recordings/0_jackson_4.wav", "recordings/9_theo_5.WAV"]
    touch(root, *ids, "recordings/acquire_data.wav")
    return {
        ids[0]: DatasetEntry(ids[0], ("0",), "test", {"speaker": "jackson"}),
        ids[1]: DatasetEntry(ids[1], ("9",), "train", {"speaker": "theo"}),
    }


def hydrogen(root: Path) -> dict[str, DatasetEntry]:
    touch(root, "TR/kick.wav", "TR/rim.flac", "TR/unnamed.wav", "Gimme/hat_1.wav", "Gimme/hat_2.wav")
    write(
        root / "TR" / "drumkit.xml",
        '<drumkit_info xmlns="http://www.hydrogen-music.org/drumkit"><instrumentList>',
        "<instrument><name>Kick 1</name><filename>kick.wav</filename></instrument>",
        "<instrument><name>Snare 2 Rimshot</name><filename>rim.flac</filename></instrument>",
        "<instrument><name>17</name><filename>unnamed.wav</filename></instrument>",
        "<instrument><name>Crash</name><filename>not_there.wav</filename></instrument>",
        "</instrumentList></drumkit_info>",
    )
    write(
        root / "Gimme" / "drumkit.xml",
        "<drumkit_info><instrument><name>Sabian Hat Open</name>",
        "<layer><filename>hat_1.wav</filename></layer><layer><filename>hat_2.wav</filename></layer></instrument>",
        "<instrument><name>Crash/Ride</name><layer><filename>hat_1.wav</filename></layer></instrument></drumkit_info>",
    )
    return {
        "TR/kick.wav": DatasetEntry("TR/kick.wav", ("kick",), "", {"kit": "TR"}),
        "TR/rim.flac": DatasetEntry("TR/rim.flac", ("rimshot",), "", {"kit": "TR"}),
        "Gimme/hat_1.wav": DatasetEntry("Gimme/hat_1.wav", ("hihat_open",), "", {"kit": "Gimme"}),
        "Gimme/hat_2.wav": DatasetEntry("Gimme/hat_2.wav", ("hihat_open",), "", {"kit": "Gimme"}),
    }


def sonic_pi(root: Path) -> dict[str, DatasetEntry]:
    touch(root, "bd_808.flac", "samples/ambi_choir.flac", "loop_amen.flac", "README.md", "misc_crow.flac")
    return {
        "bd_808.flac": DatasetEntry("bd_808.flac", ("bd",)),
        "samples/ambi_choir.flac": DatasetEntry("samples/ambi_choir.flac", ("ambi",)),
    }


def soundfonts(root: Path) -> dict[str, DatasetEntry]:
    touch(root, "timgm/000-03.wav", "musescore/127-00.wav", "timgm/notes.wav")
    return {
        "timgm/000-03.wav": DatasetEntry("timgm/000-03.wav", ("000",), "", {"soundfont": "timgm"}),
        "musescore/127-00.wav": DatasetEntry("musescore/127-00.wav", ("127",), "", {"soundfont": "musescore"}),
    }


Maker = Callable[[Path], dict[str, DatasetEntry]]
MINIATURES: list[tuple[str, Maker]] = [
    ("esc10", esc10),
    ("esc10", esc10_in_folders),
    ("esc50", esc50),
    ("esc50", esc10_in_folders),
    ("fsd50k", fsd50k),
    ("fsdd", fsdd),
    ("gtzan", gtzan),
    ("hydrogen", hydrogen),
    ("magnatagatune", magnatagatune),
    ("nsynth", nsynth),
    ("sonic_pi", sonic_pi),
    ("soundfonts", soundfonts),
    ("speech_commands", speech_commands),
    ("urbansound8k", urbansound8k),
]
EVERY = pytest.mark.parametrize(
    ("name", "make"), MINIATURES, ids=[f"{name}-{make.__name__}" for name, make in MINIATURES]
)


def test_every_name_has_a_miniature_here() -> None:
    assert {name for name, _ in MINIATURES} == set(datasets.LAYOUTS)


@EVERY
def test_labels_folds_and_groups_are_read(name: str, make: Maker, tmp_path: Path) -> None:
    expected = make(tmp_path)
    assert {entry.id: entry for entry in datasets.get_layout(name).entries(tmp_path)} == expected


@EVERY
def test_every_entry_is_a_file_and_follows_the_contract(name: str, make: Maker, tmp_path: Path) -> None:
    make(tmp_path)
    layout = datasets.get_layout(name)
    for entry in layout.entries(tmp_path):
        assert (tmp_path / entry.id).is_file()
        assert set(entry.groups) <= set(layout.groups)
        assert layout.multilabel or len(entry.labels) == 1


@EVERY
def test_entries_from_ids_agree_with_those_from_the_folder(name: str, make: Maker, tmp_path: Path) -> None:
    expected = make(tmp_path)
    layout = datasets.get_layout(name)
    for id, entry in expected.items():
        entry = layout.from_id(id)
        if entry is not None:
            assert (entry.labels, entry.groups) == (entry.labels, entry.groups)
            assert entry.fold in ("", entry.fold)


@pytest.mark.parametrize("name", sorted(datasets.LAYOUTS))
def test_missing_data_is_refused_with_what_is_missing_and_where_to_get_it(name: str, tmp_path: Path) -> None:
    layout = datasets.get_layout(name)
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CorpusError) as caught:
            list(layout.entries(root))
        for entry in (str(root), layout.title, layout.source, layout.description, "--dataset_dir"):
            assert entry in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BassDrum", "kick"),
        ("Rim Click (Pearl Free Floating)", "rimshot"),
        ("Snare Rock", "snare"),
        ("Snare Roll", None),
        ("Pearl Tom Floor", "tom"),
        ("Hat 1 Op", "hihat_open"),
        ("Hi Hat Closed", "hihat_closed"),
        ("Pedal HH", "hihat_pedal"),
        ("Sabian Hat Semi-Open", None),
        ("Ride Bell (Custom)", "ride_bell"),
        ("Ride Jazz", "ride"),
        ("Crash/Ride Bow (Paiste)", None),
        ("Cowbell", "cowbell"),
        ("17", None),
    ],
)
def test_the_type_of_a_drum_is_read_from_the_name_of_its_instrument(name: str, kind: str | None) -> None:
    assert drum_type(name) == kind


def test_a_damaged_table_of_a_drum_kit_is_named(tmp_path: Path) -> None:
    write(tmp_path / "TR" / "drumkit.xml", "<drumkit_info><instrument>")
    with pytest.raises(CorpusError, match=r"TR/drumkit\.xml is not the table of a drum kit"):
        list(datasets.get_layout("hydrogen").entries(tmp_path))


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'esc50'"):
        datasets.get_layout("esc-50")


@EVERY
def test_match_entries_by_the_id_below_the_root(name: str, make: Maker, tmp_path: Path) -> None:
    expected = make(tmp_path)
    ids = [*expected, "somewhere/unheard_of.xyz"]
    assert datasets.match_entries(name, ids, tmp_path) == [*expected.values(), None]


def test_match_entries_from_a_folder_below_the_root(tmp_path: Path) -> None:
    expected = esc50(tmp_path)
    ids = [id.removeprefix("audio/") for id in expected]
    assert datasets.match_entries("esc50", ids, tmp_path, below="audio") == list(expected.values())
    assert datasets.match_entries("esc50", ids, tmp_path) == list(
        expected.values()
    )  # by the file name, which is unique


def test_match_entries_does_not_guess_between_two_files_of_the_same_name(tmp_path: Path) -> None:
    speech_commands(tmp_path)
    found = datasets.match_entries("speech_commands", ["x/00176480_nohash_0.wav", "x/004ae714_nohash_1.wav"], tmp_path)
    assert found[0] is None
    assert found[1] is not None


def test_data_sets_with_labels_in_file_names_need_no_folder() -> None:
    found = datasets.match_entries("fsdd", ["7_theo_13.wav", "readme.wav"], None)
    assert found == [DatasetEntry("7_theo_13.wav", ("7",), "train", {"speaker": "theo"}), None]
    with pytest.raises(CorpusError, match="it is not on this machine"):
        datasets.match_entries("urbansound8k", ["audio/fold5/100032-3-0-0.wav"], None)


def test_a_folder_of_another_data_set_is_refused(tmp_path: Path) -> None:
    urbansound8k(tmp_path)
    with pytest.raises(CorpusError, match="is this the right data set"):
        datasets.match_entries("urbansound8k", ["kick.wav"], tmp_path)


def test_a_table_with_missing_columns_or_truncated_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "metadata" / "UrbanSound8K.csv", "slice_file_name,fold", "a.wav,1")
    with pytest.raises(CorpusError, match="lacks the columns fsID, class"):
        list(datasets.get_layout("urbansound8k").entries(tmp_path))
    write(tmp_path / "metadata" / "UrbanSound8K.csv", "slice_file_name,fsID,fold,class", "a.wav,7,1,siren", "b.wav,8")
    with pytest.raises(CorpusError, match="line 3 is incomplete"):
        list(datasets.get_layout("urbansound8k").entries(tmp_path))


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("nsynth", "examples.json", "[1]"),
        ("nsynth", "examples.json", '{"a": {}}'),
        ("fsd50k", "FSD50K.metadata/dev_clips_info_FSD50K.json", '{"1": {}}'),
    ],
)
def test_a_damaged_json_is_refused(name: str, file: str, text: str, tmp_path: Path) -> None:
    write(tmp_path / "FSD50K.ground_truth" / "dev.csv", "fname,labels,mids,split")
    write(tmp_path / file, text)
    with pytest.raises(CorpusError, match=Path(file).name):
        list(datasets.get_layout(name).entries(tmp_path))


def test_a_single_folder_of_nsynth_is_enough(tmp_path: Path) -> None:
    expected = nsynth(tmp_path)
    (entry,) = datasets.get_layout("nsynth").entries(tmp_path / "nsynth-test")
    assert entry.id == "audio/bass_electronic_018-022-100.wav"
    assert (entry.labels, entry.fold) == (("bass",), "test")
    assert f"nsynth-test/{entry.id}" in expected


def test_magnatagatune_without_the_table_of_albums_still_knows_the_tracks(tmp_path: Path) -> None:
    magnatagatune(tmp_path)
    (tmp_path / "clip_info_final.csv").unlink()
    assert {tuple(entry.groups) for entry in datasets.get_layout("magnatagatune").entries(tmp_path)} == {("track",)}


def test_names_are_compared_as_nfc(tmp_path: Path) -> None:
    touch(tmp_path, unicodedata.normalize("NFD", "bébé/1-1-A.ogg"))  # e and an accent apart, as some disks write it
    (entry,) = datasets.get_layout("esc10").entries(tmp_path)
    assert entry.labels == (unicodedata.normalize("NFC", "bébé"),)


def test_real_data_sets(test_data: Path) -> None:
    esc = list(datasets.get_layout("esc10").entries(test_data / "esc10"))
    assert set(Counter(entry.labels for entry in esc).values()) == {40}
    assert Counter(entry.fold for entry in esc) == dict.fromkeys("12345", 80)
    digits = list(datasets.get_layout("fsdd").entries(test_data / "fsdd"))
    assert len(digits) == 3000
    assert len({entry.groups["speaker"] for entry in digits}) == 6
