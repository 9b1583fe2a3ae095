"""The pages in headless Chromium, served by `streamlit run boiler/app.py`."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import os
import re
import shutil
import wave
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nginx
import numpy as np
import pytest
from browsing import LONG, collection, picture_bytes, proxied, recording, served, sound_bytes, tagged_collection
from link_server import LinkServer, link_server
from pretrained_files import write_efficientnet
from videos import plain_frames, write_video
from wording import publish_with_words

from boiler.search.nearest import Nearest
from boiler.store import layout

pytestmark = pytest.mark.slow

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e '.[dev]')")
CHROMIUM = os.environ.get("BOILER_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
WAIT_MS = 60_000
expect = sync_api.expect  # waits: old elements may stay for a moment after new ones have come
expect.set_options(timeout=WAIT_MS)
FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]

Open = Callable[..., "sync_api.Page"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the browser, with a copy of the index, which stores likes."""
    folder, model_dir = collection()
    own = tmp_path_factory.mktemp("served") / "own"
    shutil.copytree(model_dir, own, symlinks=True)
    with served([str(own), "--wav_dir", str(folder)]) as address:
        yield address


@pytest.fixture(scope="module")
def nearest() -> Nearest:
    return Nearest(collection()[1])


@pytest.fixture(scope="module")
def chromium() -> Iterator[sync_api.Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium here (apt-get install chromium, or name it by BOILER_TEST_CHROMIUM)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def visitor(chromium: sync_api.Browser, address: str) -> Iterator[Open]:
    """Opens a page, and checks at the end that there was no JavaScript error, no traceback and no request to another
    machine or above the URL of the browser."""
    opened: list[tuple[sync_api.BrowserContext, sync_api.Page]] = []
    wrong: list[str] = []

    def open_page(path: str, width: int = 1280, height: int = 800, scheme: str = "light") -> sync_api.Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            permissions=["microphone"],
            accept_downloads=True,
        )
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"{path}: {error}"))
        page.on("request", lambda sent: sent.url.startswith((address, "data:", "blob:")) or wrong.append(sent.url))
        page.on("response", lambda answer: answer.status >= 500 and wrong.append(f"{answer.status} {answer.url}"))
        opened.append((context, page))
        page.goto(address + path)
        return page

    yield open_page
    for context, page in opened:
        assert "Traceback" not in page.content()
        assert page.locator("[data-testid=stException]").count() == 0
        context.close()
    assert [one for one in wrong if not one.startswith("ws")] == []


@pytest.fixture
def visit(chromium: sync_api.Browser, address: str) -> Iterator[Open]:
    with visitor(chromium, address) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def with_base_path() -> Iterator[str]:
    """The URL of the browser with a path as its own setting."""
    folder, model_dir = collection()
    with served([str(model_dir), "--wav_dir", str(folder)], "--server.baseUrlPath", "sounds/boiler") as url:
        yield url


@pytest.fixture(scope="module", params=["baseUrlPath", "own proxy", "nginx, stripped", "nginx, kept"])
def below_path(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of the browser where it is served below a path: by its own setting, or by a proxy that strips it."""
    if request.param in ("baseUrlPath", "nginx, kept"):
        url = request.getfixturevalue("with_base_path")
        if request.param == "baseUrlPath":
            yield url
        else:
            with nginx.proxy_with(nginx.keeping("/sounds/boiler", url.removesuffix("/sounds/boiler"))) as origin:
                yield f"{origin}/sounds/boiler"
    else:
        address = request.getfixturevalue("address")
        if request.param == "own proxy":
            with proxied(address, "/boiler") as url:
                yield url
        else:
            with nginx.proxy_with(nginx.stripping("/boiler", address)) as origin:
                yield f"{origin}/boiler"


def cards(page: sync_api.Page) -> sync_api.Locator:
    """The results, or the items listed; not the large card of the query."""
    return page.locator("article.card:not(.single)")


def numbers(page: sync_api.Page) -> list[str]:
    cards(page).first.wait_for()
    # In one call: old cards may disappear meanwhile.
    return [str(n) for n in cards(page).evaluate_all("cards => cards.map(card => card.dataset.n)")]


def wait_for_playing(page: sync_api.Page, n: int | str) -> None:
    page.wait_for_function(
        """n => { const audio = document.getElementById("boiler-audio");
                  return audio && !audio.paused && audio.currentTime > 0 && audio.src.endsWith(`/${n}/audio`) }""",
        arg=str(n),
    )


def wait_for_numbers(page: sync_api.Page, numbers: list[str], *, same: bool) -> None:
    page.wait_for_function(
        """([numbers, same]) => [...window.boilerPlayer?.views ?? []].map(view => view.cards())
            .filter(cards => cards.length > 1)
            .some(cards => same === (cards.map(card => String(card.data.n)).join() === numbers.join()))""",
        arg=[numbers, same],
    )


def wait_for_address(page: sync_api.Page, pattern: str) -> None:
    page.wait_for_url(re.compile(pattern))


def upload(page: sync_api.Page, path: Path) -> None:
    page.get_by_role("button", name="Upload a sound").click()
    page.locator("input[type=file]").set_input_files(path)


def test_a_file_is_uploaded_and_its_results_are_played_and_followed(visit: Open, tmp_path: Path) -> None:
    path = tmp_path / "mine.wav"
    path.write_bytes((collection()[0] / "bell" / "bell-1.wav").read_bytes())
    page = visit("/")
    cards(page).first.wait_for()
    upload(page, path)
    wait_for_address(page, r"\?upload=[0-9a-f]{12}$")
    page.get_by_role("heading", name="mine.wav").wait_for()
    page.get_by_role("heading", name=re.compile("similar sounds?$")).wait_for()
    first = numbers(page)[0]
    cards(page).first.get_by_role("button", name="Play").click()
    wait_for_playing(page, first)
    page.locator("article.card.playing").wait_for()
    cards(page).first.get_by_role("link", name="More like this").click()
    wait_for_address(page, rf"\?item={first}$")


def drop(page: sync_api.Page, path: Path) -> None:
    """Drop a file on the middle of the page, as a file manager does."""
    page.evaluate(
        """([name, text]) => {
            const files = new DataTransfer();
            files.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name));
            for (const kind of ["dragover", "drop"]) {
                const event = new DragEvent(kind, {dataTransfer: files, bubbles: true, cancelable: true});
                document.querySelector("[data-testid=stMain]").dispatchEvent(event);
                if (!event.defaultPrevented) throw new Error(`${kind} would leave the page`);
            }
        }""",
        [path.name, base64.b64encode(path.read_bytes()).decode()],
    )


def test_files_dropped_on_the_page_are_queries(visit: Open) -> None:
    page = visit("/")
    cards(page).first.wait_for()
    query = page.locator("article.card.single")
    drop(page, collection()[0] / "bell" / "bell-1.wav")
    wait_for_address(page, r"\?upload=[0-9a-f]{12}$")
    drop(page, collection()[0] / "kick" / "kick-0.wav")  # while the field of the first one may still be on the page
    expect(query).to_contain_text("kick-0.wav")
    page.get_by_role("heading", name=re.compile("similar sounds?$")).wait_for()
    drop(page, collection()[0] / "bell" / "bell-2.wav")
    expect(query).to_contain_text("bell-2.wav")


def test_a_picture_dropped_on_the_page_finds_what_it_shows(chromium: sync_api.Browser, tmp_path: Path) -> None:
    publish_with_words(tmp_path / "index", np.eye(6, dtype=np.float32)[np.arange(12) % 6])
    network = write_efficientnet(tmp_path / "net.safetensors", ["violin", "hound, dog"], 1)
    (tmp_path / "photo.png").write_bytes(picture_bytes())
    arguments = [str(tmp_path / "index"), "--image_model", str(network)]
    with served(arguments) as address, visitor(chromium, address) as open_page:
        page = open_page("/")
        cards(page).first.wait_for()
        drop(page, tmp_path / "photo.png")
        wait_for_address(page, r"\?picture=[0-9a-f]{12}$")
        page.get_by_text("Understood: a picture: hound 1.00.").wait_for()
        page.get_by_role("img", name="The picture photo.png").wait_for()
        assert numbers(page)[0] == "0"
        drop(page, tmp_path / "net.safetensors")
        page.get_by_text("This sound cannot be used").wait_for()


def test_embedding_a_long_recording_shows_progress_and_can_be_stopped(visit: Open, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 1, 8_000, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(0).integers(0, 256, 90 * 60 * 8_000, np.uint8).tobytes())
    page = visit("/")
    cards(page).first.wait_for()
    upload(page, path)
    page.get_by_role("heading", name="long.wav").wait_for()
    page.get_by_role("progressbar").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Embedding the sound: stopped.").wait_for()
    expect(cards(page)).to_have_count(0)
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("progressbar").wait_for()
    page.get_by_role("button", name="Start").click()  # any other click stops it, too
    cards(page).first.wait_for()


def test_reading_a_recording_without_a_stated_duration_can_be_stopped(visit: Open, tmp_path: Path) -> None:
    path = tmp_path / "meeting.webm"
    path.write_bytes(recording(90 * 60))
    page = visit("/")
    cards(page).first.wait_for()
    upload(page, path)
    page.get_by_text("Reading the upload ...").wait_for()
    expect(page.get_by_role("button", name="Stop")).to_have_count(1)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Reading the upload: stopped.").wait_for()
    cards(page).first.wait_for()  # the page is as it was before
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Stop").wait_for()
    page.get_by_role("button", name="Random").click()  # another search stops it, too
    wait_for_address(page, r"\?item=\d+$")
    page.get_by_role("heading", name=re.compile("similar sounds?$")).wait_for()
    expect(page.get_by_text("Reading the upload")).to_have_count(0)


def test_one_stop_button_is_on_the_page_when_embedding_follows_reading(visit: Open, tmp_path: Path) -> None:
    path = tmp_path / "meeting.webm"
    path.write_bytes(recording(20 * 60))
    page = visit("/")
    cards(page).first.wait_for()
    upload(page, path)
    page.get_by_text("Reading the upload ...").wait_for()
    page.get_by_text("Embedding the sound ...").wait_for()
    counts = [page.get_by_role("button", name="Stop").count() for _ in range(10)]
    assert max(counts) <= 1
    page.get_by_role("button", name="Start").click()
    cards(page).first.wait_for()


def test_a_recording_of_the_microphone_is_the_query(visit: Open) -> None:
    page = visit("/")
    cards(page).first.wait_for()
    page.get_by_role("button", name="Upload a sound").click()
    record = page.locator("[data-testid=stAudioInputActionButton]").first
    record.click()
    page.locator("[data-testid=stAudioInputWaveformTimeCode]", has_text=re.compile("00:0[1-9]")).wait_for()
    record.click()
    wait_for_address(page, r"\?upload=")
    page.get_by_role("heading", name="Your recording").wait_for()
    page.get_by_role("heading", name=re.compile("similar sounds?$")).wait_for()
    assert numbers(page)


def test_one_sound_plays_at_a_time_and_keys_move_between_them(visit: Open, nearest: Nearest) -> None:
    n = nearest.item("rain/rain-0.wav").n
    page = visit(f"/?item={n}")
    answers = numbers(page)
    page.locator("article.card.single").focus()
    page.keyboard.press("Space")
    wait_for_playing(page, n)
    page.keyboard.press("j")
    wait_for_playing(page, answers[0])
    page.keyboard.press("j")
    wait_for_playing(page, answers[1])
    page.keyboard.press("k")
    wait_for_playing(page, answers[0])
    expect(page.locator("audio")).to_have_count(1)
    page.keyboard.press("Space")
    page.wait_for_function("() => document.getElementById('boiler-audio').paused")
    page.keyboard.press("m")
    wait_for_address(page, rf"\?item={answers[0]}&history={n}$")


def test_the_refine_form_stays_open_while_results_change(visit: Open, nearest: Nearest) -> None:
    page = visit(f"/?item={nearest.item('bell/bell-0.wav').n}")
    before = numbers(page)
    page.get_by_role("button", name="Refine").click()
    page.get_by_role("combobox", name="Label").click()
    page.get_by_role("option", name="rain").click()
    wait_for_address(page, r"label=rain")
    page.get_by_role("button", name="Clear · 1").wait_for()
    page.locator("label", has_text="Merge near-duplicates").click()  # still open
    wait_for_address(page, r"label=rain.*dedup=0")
    wait_for_numbers(page, [str(item.n) for item in nearest.items(label="rain")], same=False)
    page.keyboard.press("Escape")
    page.get_by_role("combobox", name="Label").wait_for(state="hidden")
    page.get_by_role("button", name="Clear · 2").click()
    wait_for_numbers(page, before, same=True)


def test_results_are_a_list_or_a_grid_and_grow_on_demand(visit: Open, nearest: Nearest) -> None:
    page = visit(f"/?item={nearest.item('bell/bell-0.wav').n}")
    before = numbers(page)
    page.locator("[data-testid=stButtonGroup] button").last.click()
    page.locator("article.card.list").first.wait_for()
    page.get_by_role("button", name="Show more").click()
    wait_for_address(page, r"k=24")
    page.locator("article.card.list").nth(len(before)).wait_for()
    expect(page.locator("article.card.grid:not(.single)")).to_have_count(0)


def test_keys_dislike_explain_show_a_spectrogram_and_fill_the_tray(visit: Open, nearest: Nearest) -> None:
    page = visit(f"/?item={nearest.item('kick/kick-1.wav').n}")
    first, second = numbers(page)[:2]
    cards(page).first.focus()
    page.keyboard.press("s")
    cards(page).first.locator("img").wait_for()
    page.keyboard.press("t")
    cards(page).first.locator("button.tray[aria-pressed=true]").wait_for()
    page.keyboard.press("w")
    wait_for_address(page, rf"explain={first}")
    page.locator(".explanation .mark").first.wait_for()
    page.locator(f"article.card.grid[data-n='{second}']").focus()
    page.keyboard.press("d")
    wait_for_address(page, rf"dislike={second}")
    page.get_by_text("Likes and dislikes", exact=True).wait_for()
    page.locator(f"article.card.grid[data-n='{second}']").wait_for(state="detached")


def test_a_sound_is_sent_in_ranges_and_plays_from_the_match(visit: Open, nearest: Nearest) -> None:
    page = visit(f"/?item={nearest.item('vowel/vowel-3.wav').n}")
    n = nearest.item(LONG).n
    card = page.locator(f"article.card.grid[data-n='{n}']")
    with page.expect_response(lambda answer: f"/{n}/audio" in answer.url) as answer:
        card.get_by_role("button", name="Play").click()
    assert answer.value.status == 206
    wait_for_playing(page, n)
    assert page.evaluate("document.getElementById('boiler-audio').currentTime") >= 20


def test_a_like_moves_the_results_and_the_back_button_undoes_it(visit: Open, nearest: Nearest) -> None:
    page = visit(f"/?item={nearest.item('bell/bell-0.wav').n}")
    before = numbers(page)
    last = cards(page).last
    last.get_by_role("button", name="Like: move the results towards this").click()
    wait_for_address(page, rf"like={before[-1]}$")
    page.get_by_text("Likes and dislikes", exact=True).wait_for()
    wait_for_numbers(page, before, same=False)
    page.go_back()
    wait_for_numbers(page, before, same=True)


def test_a_part_selected_with_the_mouse_is_the_query(visit: Open, nearest: Nearest) -> None:
    page = visit(f"/?item={nearest.item(LONG).n}")
    canvas = page.locator("article.card.single canvas")
    cards(page).first.wait_for()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.98 * box["width"], box["y"] + 30, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Find sounds like").click()
    wait_for_address(page, r"from=2[0-9.]+&to=3[0-9.]+")
    page.get_by_role("button", name="Use the whole sound").click()
    wait_for_address(page, r"\?item=\d+$")


def test_a_like_is_undone_by_a_key(visit: Open, nearest: Nearest) -> None:
    page = visit(f"/?item={nearest.item('bell/bell-0.wav').n}")
    before = numbers(page)
    cards(page).last.get_by_role("button", name="Like: move the results towards this").click()
    wait_for_numbers(page, before, same=False)
    page.get_by_role("button", name="Undo").wait_for()
    page.locator("article.card.single").focus()
    page.keyboard.press("z")
    wait_for_address(page, r"\?item=\d+$")
    wait_for_numbers(page, before, same=True)


def test_the_map_is_drawn_and_used_by_keyboard_and_mouse(visit: Open, nearest: Nearest) -> None:
    page = visit("/map")
    canvas = page.locator(".map canvas.top")
    page.locator(".map canvas[data-drawn='21']").wait_for()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    hand = page.locator(".map .chosen")
    hand.get_by_role("button", name="Add to the tray").wait_for()
    page.wait_for_function("() => document.getElementById('boiler-audio')?.currentTime > 0")
    announcement = page.locator(".map .announcement").inner_text()
    assert announcement.startswith(hand.locator("b").inner_text())
    page.keyboard.press("+")
    legend = page.locator(".map .legend button").first
    legend.click()
    expect(legend).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Show all").click()
    legend.click()
    canvas.focus()
    page.keyboard.press("ArrowUp")
    page.locator(".map canvas.top[data-current]").wait_for()
    x, y = map(float, str(canvas.get_attribute("data-current")).split(","))
    canvas.click(position={"x": x, "y": y})
    wait_for_address(page, r"\?item=\d+$")
    assert numbers(page)


def test_words_on_the_map_do_not_overlap_and_zooming_in_shows_more(
    chromium: sync_api.Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_a_row(vectors: np.ndarray, numbers: np.ndarray, **_: object) -> np.ndarray:
        points = np.zeros(len(numbers), layout.MAP_POINT)
        points["n"], points["x"], points["y"] = numbers, 0.4 + 0.04 * (numbers % 6), 0.5
        points[["x", "y"]][:2] = [(0, 0), (1, 1)]
        return points

    monkeypatch.setattr(layout, "layout_map", in_a_row)
    publish_with_words(tmp_path / "index", np.eye(6, dtype=np.float32)[np.arange(90) % 6])
    with served([str(tmp_path / "index")]) as address, visitor(chromium, address) as open_page:
        page = open_page("/map", 360, 640)
        canvas = page.locator(".map canvas.top[data-words]")
        page.locator(".map canvas.top[data-words]:not([data-words='[]'])").wait_for()
        counts = []
        for _ in range(4):
            drawn = canvas.evaluate(  # the map is drawn in the next frame
                """canvas => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(
                    () => done(JSON.parse(canvas.dataset.words)))))"""
            )
            for one, other in itertools.combinations([place for _, *place in drawn], 2):
                assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            counts.append(len(drawn))
            page.get_by_role("button", name="Zoom in").click()
        assert 0 < counts[0] < counts[-1]
        page.get_by_role("button", name="Show all").click()
        page.get_by_text("Words", exact=True).click()
        page.locator(".map canvas.top[data-words='[]']").wait_for()
        assert "rain on surface" in page.locator(".map p.words").inner_text()


def test_two_sounds_are_compared_and_the_path_between_them_is_played_in_order(visit: Open, nearest: Nearest) -> None:
    n = nearest.item("bell/bell-0.wav").n
    page = visit(f"/?item={n}")
    answer = numbers(page)[0]
    cards(page).first.get_by_role("button", name="Why is this similar").click()
    wait_for_address(page, rf"explain={answer}")
    page.locator(".explanation .mark").first.wait_for()
    expect(page.locator(".explanation svg.curve")).to_have_count(2)
    page.locator(".explanation .play").first.click()
    wait_for_playing(page, n)
    cards(page).last.get_by_role("button", name="Path from").click()
    wait_for_address(page, rf"/path\?start={n}&end=\d+")
    between = numbers(page)
    page.get_by_role("button", name="Play all in order").click()
    wait_for_playing(page, between[0])
    page.evaluate("document.getElementById('boiler-audio').currentTime = 1e6")
    wait_for_playing(page, between[1])


def test_a_queue_limits_each_sound_and_skips_what_cannot_be_played(visit: Open, nearest: Nearest) -> None:
    n = nearest.item(LONG).n
    page = visit(f"/path?start={n}&end={nearest.item('bell/bell-0.wav').n}")
    way = numbers(page)
    page.route(f"**/{way[1]}/audio", lambda route: route.fulfill(status=404, body=""))
    cards(page).first.get_by_role("button", name="Play").click()
    wait_for_playing(page, n)
    page.evaluate("boilerPlayer.play([...boilerPlayer.views].flatMap(view => view.cards())[0], 20)")
    page.wait_for_function("document.getElementById('boiler-audio').currentTime > 20")
    page.get_by_role("button", name="Play all in order").click()
    page.wait_for_function("document.getElementById('boiler-audio').currentTime < 5")
    assert page.evaluate("boilerPlayer.startedAt") == 0
    page.evaluate("document.getElementById('boiler-audio').currentTime = 11")  # more than is played of each
    wait_for_playing(page, way[2])
    page.get_by_text("cannot be played").wait_for()


def test_the_tray_is_filled_and_exported(visit: Open, nearest: Nearest, address: str) -> None:
    page = visit(f"/?item={nearest.item('kick/kick-0.wav').n}")
    kept = numbers(page)[0]
    keep = cards(page).first.get_by_role("button", name="Add to the tray")
    keep.click()
    cards(page).first.locator("button.tray[aria-pressed=true]").wait_for()
    page.get_by_role("link", name="Tray").click()
    page.get_by_role("heading", name="Sounds").wait_for()
    expect(cards(page)).to_have_count(1)
    assert numbers(page) == [kept]
    with page.expect_download() as download:
        page.get_by_role("button", name="Playlist").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0] == "#EXTM3U"
    assert Path(lines[2]) == nearest.path(int(kept))
    link = page.get_by_role("link", name="Files (ZIP)").get_attribute("href")
    body = page.request.get(f"{address}/{link}").body()
    assert zipfile.ZipFile(io.BytesIO(body)).namelist() == [nearest.item(int(kept)).id]
    cards(page).first.get_by_role("link", name="More like this").click()
    wait_for_address(page, rf"\?item={kept}$")


def test_waveforms_and_spectrograms_are_drawn(visit: Open, nearest: Nearest) -> None:
    page = visit(f"/?item={nearest.item('bell/bell-0.wav').n}")
    cards(page).first.wait_for()
    page.wait_for_function(
        """() => { const image = [...boilerPlayer.views].flatMap(view => view.cards())
                     .map(card => card.element.querySelector("img")).find(Boolean);
                   return image && image.complete && image.naturalWidth > 100 }"""
    )
    page.wait_for_function("() => boilerPlayer.peaks.size > 3")
    coloured = page.locator("article.card.single canvas").evaluate(
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)"
    )
    assert coloured


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/?item=12", "/?find=bell", "/tray", "/collection", "/evaluation"])
def test_no_page_scrolls_sideways_on_a_phone(visit: Open, path: str, scheme: str) -> None:
    page = visit(path, width=390, height=844, scheme=scheme)
    page.locator("h1, h2, h3").first.wait_for()
    page.wait_for_function(
        """() => { const main = document.querySelector("[data-testid=stMain]");
                   return main && main.scrollWidth <= main.clientWidth && document.body.scrollWidth <= 390 }"""
    )


def test_uploads_and_indexes_are_only_sent_to_those_who_know_their_key(visit: Open, address: str) -> None:
    page = visit("/")
    answer = page.request.get(f"{address}/uploads/{int('abcabcabcabc', 16)}/audio")
    assert answer.status == 404
    assert answer.json()["status"] == 404
    assert page.request.get(f"{address}/sounds/00000000/1/audio").status == 404
    assert sound_bytes(440.0)


def test_below_a_path_sounds_are_drawn_played_and_exported(
    chromium: sync_api.Browser, below_path: str, nearest: Nearest
) -> None:
    n = nearest.item("kick/kick-0.wav").n
    with visitor(chromium, below_path) as visit:
        page = visit(f"/?item={n}")
        first = numbers(page)[0]
        page.wait_for_function("() => boilerPlayer.peaks.size > 3")
        expect(page.get_by_text("No waveform")).to_have_count(0)
        cards(page).first.get_by_role("button", name="Play").click()
        wait_for_playing(page, first)
        cards(page).first.get_by_role("button", name="Add to the tray").click()
        page.get_by_role("link", name="Tray").click()
        href = page.get_by_role("link", name="Files (ZIP)").evaluate("link => link.href")
        body = page.request.get(href).body()
        assert zipfile.ZipFile(io.BytesIO(body)).namelist() == [nearest.item(int(first)).id]
        page.get_by_role("link", name="Map").click()
        page.locator(".map canvas[data-drawn='21']").wait_for()
        page.get_by_role("link", name="Search").click()
        cards(page).first.get_by_role("link", name="More like this").click()
        wait_for_address(page, rf"^{re.escape(below_path)}/?\?item=\d+")


def test_a_page_that_does_not_exist_is_reported(visit: Open) -> None:
    page = visit("/nosuch")
    page.get_by_text("Page not found").wait_for()


def test_links_to_the_measures_of_earlier_versions_open_the_evaluation(visit: Open) -> None:
    page = visit("/measures")
    page.get_by_role("heading", name="Evaluation").wait_for()
    wait_for_address(page, "/evaluation")


def test_sounds_are_labelled_by_keyboard(visit: Open) -> None:
    page = visit("/label")
    for number, tag in enumerate(("bell", "rain"), 1):
        page.get_by_placeholder("such as dog").fill(tag)
        page.get_by_role("button", name="Add tag").click()
        expect(page.locator(f".st-key-answer-{number}")).to_contain_text(tag)
    for number, key in enumerate("1200", 1):
        expect(page.locator(".cards .card")).to_have_count(1)
        page.locator("body").press(key)
        expect(page.get_by_text(f"{number} sound{'s' * (number > 1)} of")).to_be_visible()
    expect(page.get_by_text("The model thinks:")).to_be_visible()
    page.locator("body").press("u")
    expect(page.get_by_text("3 sounds of")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Labels (CSV)").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0] == "id,labels"
    assert sorted(line.rpartition(",")[2] for line in lines[1:]) == ["", "bell", "rain"]
    for left in ("2 sounds", "1 sound", "0 sounds"):
        page.locator("body").press("u")
        expect(page.get_by_text(f"{left} of")).to_be_visible()


@pytest.fixture(scope="module")
def video_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LinkServer]:
    """A server with clip.mp4: 12 s of a tone, and pictures."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(12 * 48_000) / 48_000)
    clip = write_video(
        tmp_path_factory.mktemp("video") / "clip.mp4",
        plain_frames(range(120)),
        tone.astype(np.float32),
        codec="libx264",
    )
    with link_server(clip_mp4=clip.read_bytes()) as server:
        yield server


def test_the_stages_of_a_link_to_a_video_are_seen_as_they_happen(
    chromium: sync_api.Browser, video_server: LinkServer
) -> None:
    own = tagged_collection()
    links = {"BOILER_LINKS": "1", "BOILER_LINKS_PRIVATE": "1"}
    with (
        served([str(own), "--wav_dir", str(collection()[0])], environment=links) as address,
        visitor(chromium, address) as visit,
    ):
        page = visit("/identify")
        page.get_by_placeholder("https://").fill(f"{video_server.url}/slowly?clip.mp4")
        page.get_by_role("button", name="Fetch").click()
        expect(page.get_by_text(re.compile(r"Fetching \d.* of \d"))).to_be_visible()
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        expect(page.locator(".st-key-stages [role=progressbar]").first).not_to_have_attribute("aria-valuenow", "100")
        page.wait_for_function("() => document.querySelector('video')?.videoWidth === 320")
        page.get_by_role("heading", name="Nearest sounds").wait_for()
        stages = page.locator(".st-key-stages [data-testid=stProgress]")
        expect(stages).to_have_count(5)
        expect(stages.nth(1)).to_contain_text("Decoding 12.0 s")
        expect(page.locator(".st-key-identified-tags [data-testid=stProgress]")).to_have_count(10)
        expect(page.get_by_role("heading", name=re.compile(r"^\d+ tags?$"))).to_be_visible()
        page.evaluate("document.querySelector('video').play()")
        page.wait_for_function("() => document.querySelector('video').currentTime > 0")
        wait_for_address(page, r"/identify\?upload=[0-9a-f]{12}$")
        cards(page).first.get_by_role("link", name="More like this").click()
        wait_for_address(page, r"\?item=\d+$")
        page.get_by_role("heading", name=re.compile("similar sounds?$")).wait_for()
        chip = cards(page).locator("button.tag").first
        before = cards(page).count()
        chip.click()
        wait_for_address(page, r"\?item=\d+&tag=")
        expect(page.get_by_role("button", name="Clear · 1")).to_be_visible()
        expect(cards(page)).not_to_have_count(before)
