"""Collections of a few sounds, of equal sounds, of silence: every command ends in an answer or in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browsing import page_of, write
from starlette.testclient import TestClient

from boiler import cli
from boiler.audio import synthesis
from boiler.service.app import BoilerApp
from boiler.service.settings import Settings

pytestmark = pytest.mark.slow

COLLECTIONS = ("one", "two", "three", "equal", "silent", "one class", "one and silence")
PUBLISHED = tuple(name for name in COLLECTIONS if name != "silent")


def write_collection(name: str, folder: Path) -> None:
    kinds, chance = ("bell", "kick", "rain"), np.random.default_rng(0)
    sounds = [synthesis.synthesize(kind, chance) for kind in kinds]
    silence = np.zeros(synthesis.RATE_HZ, np.float32)
    files = {
        "one": {"bell/0.wav": sounds[0]},
        "two": {f"{kinds[n]}/{n}.wav": sounds[n] for n in range(2)},
        "three": {f"{kinds[n]}/{n}.wav": sounds[n] for n in range(3)},
        "equal": {f"k{n % 2}/{n}.wav": sounds[0] for n in range(4)},
        "silent": {f"{n}.wav": silence for n in range(3)},
        "one class": {f"bell/{n}.wav": synthesis.synthesize("bell", chance) for n in range(5)},
        "one and silence": {"bell/0.wav": sounds[0], "quiet/1.wav": silence},
    }
    for path, samples in files[name].items():
        write(folder / path, samples)


class Collection:
    """A folder of sounds, its model directory, and the exit code and messages of indexing it."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.folder = root / "sounds"
        write_collection(name, self.folder)
        self.model_dir = root / "model"
        self.first = str(next(iter(sorted(self.folder.rglob("*.wav")))))
        self.code = cli.main(["index", str(self.folder), "MFCCStats", "--model_dir", str(self.model_dir)])


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Collection]:
    return {name: Collection(name, tmp_path_factory.mktemp("few")) for name in COLLECTIONS}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_every_command_ends_in_an_answer_or_a_sentence(
    name: str, collections: dict[str, Collection], capsys: pytest.CaptureFixture[str]
) -> None:
    few = collections[name]
    model_dir = str(few.model_dir)
    assert few.code == (1 if name == "silent" else 0)
    for command in (
        ["status", model_dir],
        ["status", model_dir, "--check"],
        ["search", model_dir, few.first],
        ["search", model_dir, few.first, "--csls", "--diversity", "0.3", "--dedup_distance", "0.1", "--explain"],
        ["locate", model_dir, few.first],
    ):
        code = cli.main(command)
        printed = capsys.readouterr()
        assert code == (2 if name == "silent" else 0), (command, printed)
        assert "nothing similar" not in printed.err
        if code:
            assert printed.err.startswith("boiler: ")
            assert printed.err.count("\n") == 1
            assert "found only silence" in printed.err


@pytest.mark.parametrize("name", PUBLISHED)
def test_pages_and_the_service_answer(name: str, collections: dict[str, Collection]) -> None:
    few = collections[name]
    for module in ("search_page", "map_page", "collection_page", "path_page", "evaluation_page"):
        page = page_of(module, few.model_dir)
        page.run()
        assert not page.exception, module
    page = page_of("search_page", few.model_dir)
    page.query_params["item"] = "1"
    page.run()
    assert not page.exception
    with TestClient(BoilerApp(Settings(model_dir=few.model_dir, log="none"))) as client:
        items = client.get("/items").json()["items"]
        assert items
        for path in ("/duplicates", "/map", "/model", "/health", "/failures", f"/items/{items[0]['n']}/audio"):
            assert client.get(path).status_code in (200, 404), path
        nearest = client.get(f"/items/{items[0]['n']}/nearest")
        assert nearest.status_code == 200
        assert all(row["closer_than"] is None for row in nearest.json())


@pytest.mark.parametrize("name", COLLECTIONS)
def test_training_and_evaluation_end_in_an_answer_or_a_sentence(
    name: str, collections: dict[str, Collection], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = collections[name]
    code = cli.main(["evaluate", str(few.model_dir)])
    printed = capsys.readouterr()
    measurable = name in ("equal", "one class")  # sounds that share a label
    assert code == (0 if measurable else 2), printed
    assert measurable or printed.err.count("\n") == 1
    train = ["train", "--wav_dir", str(few.folder), "--save_path", str(tmp_path / "exp"), "--epoch", "1"]
    code = cli.main([*train, "--steps_per_epoch", "2", "--batch_size", "4", "--device", "cpu"])
    printed = capsys.readouterr()
    trainable = name not in ("one", "silent", "one and silence")
    assert code == (0 if trainable else 2), printed
    if not trainable:
        assert "train" in printed.err.splitlines()[-1]
        return
    checkpoint = printed.out.split()[0]
    model_dir = str(tmp_path / "model")
    assert cli.main(["index", str(few.folder), "--pt_path", checkpoint, "--model_dir", model_dir]) == 0
    assert cli.main(["search", model_dir, few.first]) == 0
