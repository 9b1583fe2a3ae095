"""The identify page takes files and links, and shows tags, their number, and the nearest sounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import collection, components, page_of, run_page, tagged_collection
from link_server import LinkServer, link_server
from streamlit.testing.v1 import AppTest

from boiler.audio.decoder_pool import Decoders
from boiler.browser import identify_page, options
from boiler.browser.upload_store import upload_store
from boiler.search.nearest import Nearest


@pytest.fixture(scope="module")
def tagged() -> Path:
    return tagged_collection()


@pytest.fixture(scope="module")
def server() -> Iterator[LinkServer]:
    sound = (collection()[0] / "bell" / "bell-1.wav").read_bytes()
    with link_server(bell_wav=sound, text_wav=b"no sound") as server:
        yield server


@pytest.fixture
def linking(tagged: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page, where links are allowed, also to this machine."""
    monkeypatch.setenv(options.LINKS, "1")
    monkeypatch.setenv(options.PRIVATE_LINKS, "1")
    return run_page(page_of("identify_page", tagged))


def paste(page: AppTest, url: str) -> AppTest:
    page.text_input(key="identify-url").set_value(url)
    page.button[0].click().run()
    return page


def bars(page: AppTest) -> list[str]:
    """The text of all progress bars: stages and tags."""
    return [bar.proto.text for bar in page.get("progress")]


def assert_identified(page: AppTest, model_dir: Path, stages: list[str]) -> None:
    """Assert that the page says what bell-1 is, as `Nearest` does."""
    assert not page.exception
    assert not page.error
    path = collection()[0] / "bell" / "bell-1.wav"
    with Nearest(model_dir) as nearest:
        expected = nearest.predict_tags([one.vector for one in nearest.embed(path)], 10)
    texts = bars(page)
    assert [text.split()[1] for text in texts[: len(stages)]] == stages
    assert all(text.startswith(":material/check_circle:") for text in texts[: len(stages)])
    predicted, others = ([one for one in expected.tags if one.has is has] for has in (True, False))
    assert texts[len(stages) :] == [
        *(f"**{one.tag}** · {100 * (one.probability or 0):.0f} %" for one in predicted),
        *(f"{one.tag} · {100 * (one.probability or 0):.0f} %" for one in others),
    ]
    assert len(predicted) + len(others) == 10
    assert len(page.divider) == 1
    assert page.header[0].value == f"{expected.n_predicted} tags"
    medium, matches = components(page)
    assert medium["cards"][0]["audio_url"].startswith("uploads/")
    assert matches["cards"][0]["id"] == "bell/bell-1.wav"


@pytest.mark.slow
def test_an_upload_is_identified_and_its_url_opens_it_again(tagged: Path) -> None:
    page = run_page(page_of("identify_page", tagged))
    assert not page.text_input  # links are off
    sound = (collection()[0] / "bell" / "bell-1.wav").read_bytes()
    page.file_uploader[0].upload("mine.wav", sound).run()
    stages = ["Decoding", "Embedding", "Tagging", "Searching"]
    assert_identified(page, tagged, stages)
    again = page_of("identify_page", tagged)
    key = page.query_params["upload"]
    run_page(again, upload=key[0] if isinstance(key, list) else key)
    assert_identified(again, tagged, stages)


@pytest.mark.slow
def test_a_link_is_fetched_and_identified(linking: AppTest, tagged: Path, server: LinkServer) -> None:
    page = paste(linking, f"{server.url}/bell.wav")
    assert_identified(page, tagged, ["Fetching", "Decoding", "Embedding", "Tagging", "Searching"])
    assert server.paths[-1] == "/bell.wav"
    n_requests = len(server.paths)
    page.run()
    assert_identified(page, tagged, ["Fetching", "Decoding", "Embedding", "Tagging", "Searching"])
    assert len(server.paths) == n_requests


@pytest.mark.slow
def test_links_lead_to_public_addresses_only(tagged: Path, server: LinkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(options.LINKS, "1")
    before = len(server.paths)
    page = page_of("identify_page", tagged)
    paste(run_page(page), f"{server.url}/bell.wav")
    assert "no public address" in page.exception[0].message
    assert len(server.paths) == before
    assert identify_page._PENDING not in page.session_state


@pytest.mark.parametrize("path", ["text.wav", "nothing"])
def test_what_cannot_be_identified_is_refused_once(linking: AppTest, server: LinkServer, path: str) -> None:
    paste(linking, f"{server.url}/{path}")
    assert linking.exception
    linking.run()
    assert not linking.exception  # not tried again


@pytest.mark.slow
def test_the_same_content_is_embedded_once(
    linking: AppTest, tagged: Path, server: LinkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    paste(linking, f"{server.url}/bell.wav")
    monkeypatch.delattr(Decoders, "stream")
    server.files["other.wav"] = server.files["bell.wav"]
    other = run_page(page_of("identify_page", tagged))
    assert_identified(
        paste(other, f"{server.url}/other.wav"), tagged, ["Fetching", "Decoding", "Embedding", "Tagging", "Searching"]
    )


@pytest.mark.slow
def test_without_a_tag_model_the_nearest_sounds_are_shown(linking: AppTest, server: LinkServer) -> None:
    page = paste(run_page(page_of("identify_page", collection()[1])), f"{server.url}/bell.wav")
    assert not page.exception
    assert "no tag model" in page.info[0].value
    assert [text.split()[1] for text in bars(page)] == ["Fetching", "Decoding", "Embedding", "Searching"]
    assert list(components(page))[1]["cards"][0]["id"] == "bell/bell-1.wav"


def test_each_stage_reports_its_progress_in_order(tagged: Path) -> None:
    reports: list[tuple[str, float, float | None]] = []
    sound = (collection()[0] / "long" / "three.wav").read_bytes()
    key = upload_store().add("three.wav", sound)
    item = upload_store().item(key)
    with Nearest(tagged) as nearest:
        identify_page._cached.clear()
        found = identify_page._cached(
            "k", "g", key, nearest, item, upload_store().path(item.n), lambda *report: reports.append(report)
        )
    assert list(dict.fromkeys(stage for stage, _, _ in reports)) == ["decoding", "embedding", "tagging", "searching"]
    for stage in ("decoding", "embedding"):
        done = [report[1] for report in reports if report[0] == stage]
        assert done == sorted(done)
        assert done[-1] == pytest.approx(reports[[r[0] for r in reports].index(stage)][2], rel=0.01)
    assert found.n_windows > 1


def test_an_exception_from_the_progress_ends_the_work(tagged: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(stage: str, done: float, total: float | None) -> None:
        raise Stopped

    key = upload_store().add("three.wav", (collection()[0] / "long" / "three.wav").read_bytes())
    item = upload_store().item(key)
    with Nearest(tagged) as nearest, pytest.raises(Stopped):
        identify_page._cached("k", "stopped", key, nearest, item, upload_store().path(item.n), stop)
