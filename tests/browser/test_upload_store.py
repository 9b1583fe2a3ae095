"""Uploads are stored once, the oldest make room, and measuring their duration can be stopped."""

from __future__ import annotations

import pytest
from browsing import recording, sound_bytes

from boiler.browser.background import JobCancelled
from boiler.browser.upload_store import UploadStore
from boiler.errors import NotASoundError, QueryError, UnknownItemError


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
