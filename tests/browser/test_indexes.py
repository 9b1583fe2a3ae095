"""Model directories are opened once, and new generations are picked up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browsing import collection, publish_random, sound_bytes
from starlette.applications import Starlette
from starlette.testclient import TestClient
from videos import plain_frames, write_video

from boiler.browser import indexes
from boiler.browser.indexes import OpenIndex
from boiler.browser.upload_store import upload_store
from boiler.errors import ModelDirError


def test_an_index_is_opened_once_and_a_new_generation_is_picked_up(tmp_path: Path) -> None:
    publish_random(tmp_path, 3)
    first = indexes.open_index(tmp_path)
    assert indexes.open_index(tmp_path) is first
    assert len(first.nearest) == first.statistics().n_items == 3
    publish_random(tmp_path, 5)
    assert len(indexes.open_index(tmp_path).nearest) == first.statistics().n_items == 5


def test_a_folder_of_sounds_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelDirError, match="there is no folder"):
        indexes.open_index(collection()[1], tmp_path / "gone")


def test_an_index_is_found_by_its_key_and_the_key_depends_on_the_folder_of_sounds() -> None:
    wav_dir, model_dir = collection()
    opened = indexes.open_index(model_dir)
    assert indexes.index_by_key(opened.key, []) is opened
    assert indexes.index_by_key("ffffffff", [model_dir]) is None
    assert indexes.index_key(model_dir, wav_dir) != opened.key


def test_model_directories_are_found_at_any_depth_newest_first(tmp_path: Path) -> None:
    for name in ("exp/a", "exp/b/c", "exp/b/c/d"):
        publish_random(tmp_path / name, 2)
    (tmp_path / "exp" / "unpublished").mkdir()
    (tmp_path / "exp" / "unpublished" / "boiler.json").write_text("{}")
    found = indexes.find_model_dirs(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in found} == {"exp/a", "exp/b/c", "exp/b/c/d"}
    times = [(path / "boiler.json").stat().st_mtime for path in found]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(("base_path", "prefix"), [("", ""), ("boiler", "/boiler"), ("/a/b/", "/a/b")])
def test_sounds_are_served_below_the_base_path(base_path: str, prefix: str, index: OpenIndex) -> None:
    client = TestClient(Starlette(routes=indexes.routes(base_path)))
    assert client.get(f"{prefix}/{index.sounds_url}/1/about").json()["n"] == 1
    assert client.get(f"{prefix}/{index.sounds_url}/1/audio").content[:4] == b"RIFF"
    assert client.get(f"{prefix}/{index.sounds_url}/map?by=label").status_code == 200
    assert client.get(f"{prefix}/sounds/00000000/1/audio").json()["detail"] == "this index is not open; reload the page"


def test_items_that_are_gone_are_left_out(index: OpenIndex) -> None:
    assert [item.n for item in index.existing_items([3, 99_999, 1])] == [3, 1]


def test_uploaded_videos_are_served_where_browsers_play_them(tmp_path: Path) -> None:
    sound = np.zeros(48_000, np.float32)
    client = TestClient(Starlette(routes=indexes.routes()))
    for codec, name, status in (("libx264", "a.mp4", 200), ("mpeg4", "b.mp4", 404)):
        content = write_video(tmp_path / name, plain_frames([0] * 10, 64, 80), sound, codec=codec).read_bytes()
        n = upload_store().item(upload_store().add(name, content)).n
        answer = client.get(f"/uploads/{n}/video", headers={"Range": "bytes=0-99"})
        assert answer.status_code == (206 if status == 200 else status)
        if status == 200:
            assert (answer.headers["content-type"], answer.content) == ("video/mp4", content[:100])
    n = upload_store().item(upload_store().add("c.wav", sound_bytes(440.0))).n
    assert client.get(f"/uploads/{n}/video").status_code == 404
    assert client.get("/uploads/1/video").status_code == 404
