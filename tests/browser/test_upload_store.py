"""Uploads, sounds and pictures, are stored once, the oldest make room, and measuring their duration can be stopped."""

from __future__ import annotations

import pytest
from browsing import picture_bytes, recording, sound_bytes
from PIL import Image

from boiler.browser import upload_store
from boiler.browser.background import JobCancelled
from boiler.browser.upload_store import UploadStore
from boiler.errors import EmbeddingError, NotASoundError, QueryError, UnknownItemError
from boiler.vision import frame_pool


def test_the_same_sound_is_stored_once_and_the_oldest_makes_room() -> None:
    one, two = sound_bytes(440.0), sound_bytes(660.0)
    store = UploadStore(max_bytes=len(one) + len(two) - 1)
    key = store.add("one.wav", one)
    assert store.add("again.wav", one) == key
    assert store.path(int(key, 16)).read_bytes() == one
    store.add("two.wav", two)
    with pytest.raises(QueryError, match="upload it again"):
        store.item(key)
    with pytest.raises(UnknownItemError):
        store.path(int(key, 16))


def test_what_no_page_used_for_long_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    store, now_s = UploadStore(), 1_000.0
    monkeypatch.setattr(upload_store.time, "monotonic", lambda: now_s)
    old, used = (store.add(f"{hz}.wav", sound_bytes(hz)) for hz in (440.0, 550.0))
    path = store.path(int(old, 16))
    now_s += upload_store.MAX_UNUSED_S - 1
    store.item(used)
    assert path.exists()
    now_s += 2
    assert store.item(used).id == "550.0.wav"
    assert not path.exists()
    with pytest.raises(QueryError, match="upload it again"):
        store.item(old)


def test_a_file_that_is_no_sound_is_not_stored() -> None:
    with pytest.raises(NotASoundError):
        UploadStore().add("x.wav", b"nothing")


def test_the_name_is_the_last_part_of_any_path() -> None:
    store = UploadStore()
    for name in ("../../mine.wav", "C:\\sounds\\mine.wav"):
        assert store.item(store.add(name, sound_bytes(440.0))).id == "mine.wav"


def test_measuring_the_duration_can_be_stopped() -> None:
    def stop(share: float) -> None:
        raise JobCancelled

    store = UploadStore()
    sound = recording(4)
    with pytest.raises(JobCancelled):
        store.add("meeting.webm", sound, stop)
    shares: list[float] = []
    item = store.item(store.add("meeting.webm", sound, shares.append))
    assert item.duration_s == pytest.approx(4, abs=0.05)
    assert len(shares) >= 3


def test_a_picture_is_stored_scaled_down_and_makes_room_for_others() -> None:
    store = UploadStore()
    key = store.add_picture("C:\\photos\\clock.jpg", picture_bytes(2_000, 900, "JPEG"))
    stored = store.picture(key)
    assert stored.name == "clock.jpg"
    with Image.open(stored.path) as picture:
        assert (picture.format, picture.size) == ("PNG", (512, 230))
    small = UploadStore(max_bytes=stored.size_bytes)
    key = small.add_picture("clock.jpg", picture_bytes(2_000, 900, "JPEG"))
    path = small.picture(key).path
    small.add("tone.wav", sound_bytes(440.0))
    assert not path.exists()
    with pytest.raises(QueryError, match="upload it again"):
        small.picture(key)


def test_a_picture_is_no_sound_and_a_sound_no_picture() -> None:
    store = UploadStore()
    picture, sound = store.add_picture("a.png", picture_bytes(9, 7)), store.add("a.wav", sound_bytes(440.0))
    with pytest.raises(QueryError, match="is a picture"):
        store.item(picture)
    with pytest.raises(QueryError, match="is a sound"):
        store.picture(sound)
    with pytest.raises(UnknownItemError):  # the routes serve sounds alone
        store.path(int(picture, 16))


def test_a_picture_that_cannot_be_read_is_named_and_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    store = UploadStore()
    with pytest.raises(EmbeddingError, match=r"^torn\.png: it is not a picture"):
        store.add_picture("torn.png", picture_bytes(60, 40)[:50])
    monkeypatch.setattr(frame_pool, "MAX_UPLOAD_PIXELS", 1_000)
    with pytest.raises(EmbeddingError, match=r"^wide\.png: 50 x 21 pixels; 1,000 are allowed"):
        store.add_picture("wide.png", picture_bytes(50, 21))
