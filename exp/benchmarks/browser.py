"""Measure the browser: time from a click to the answers, frame times of the map, and memory over many sessions.

    python -m exp.benchmarks.browser MODEL_DIR [--items 50000] [--clicks 40] [--sessions 20] [--out browser.json]
    python -m exp.benchmarks.browser MODEL_DIR --room big --clicks 40    keep the large collection in big/

MODEL_DIR is an index whose sound files are still where they were indexed. The benchmark repeats its sounds under new ids,
with a little noise added to each vector, up to the wanted number of items. It serves the browser over that collection
and drives it with headless Chromium: it clicks "More like this" on an answer and waits until the new answers are on the
page and painted.

Times are taken in the page: `out` from the click to the first websocket message sent, `server` from there to the last
message received before the answers were on the page, `page` from there to the paint. Frame times of the map are measured
while its points are dragged, zoomed and hovered over, one step per frame. Headless Chromium renders without a graphics
card, so these are the slow case.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

import boiler
from boiler.catalog.items import Item
from boiler.search.nearest import Nearest
from boiler.store import generation
from boiler.store.header import Header, rows_of

WATCH = """
  window.bench = { sent: [], got: [] };
  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...args) { super(...args); this.addEventListener("message", () => bench.got.push(performance.now())); }
    send(data) { bench.sent.push(performance.now()); super.send(data); }
  };
"""
CLICK = """
async (place) => {
  const lists = () => [...boilerPlayer.views].map((view) => view.cards()).filter((cards) => cards.length > 1);
  const card = lists()[0][place % lists()[0].length];
  const n = card.data.n;
  const isQuery = () => [...boilerPlayer.views].flatMap((view) => view.cards()).some((one) => one.data.selectable && one.data.n === n);
  const moved = () => isQuery() && lists().length === 1 && lists()[0].every((one) => one.data.n !== n);
  bench.sent.length = bench.got.length = 0;
  const begin = performance.now();
  card.element.querySelector("a.query").click();
  while (!moved()) {
    if (performance.now() - begin > 60000) throw new Error("no answers within a minute");
    await new Promise((done) => setTimeout(done, 2));
  }
  const stood = performance.now();
  const sent = bench.sent[0], last = bench.got.filter((at) => at <= stood).at(-1);
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const painted = performance.now();
  return { total: painted - begin, out: sent - begin, server: last - sent, page: painted - last };
}
"""
FRAMES = """
async (kind) => {
  const findCanvas = (root) => {
    for (const one of root.querySelectorAll("*")) {
      const canvas = one.matches(".map canvas.top") ? one : one.shadowRoot && findCanvas(one.shadowRoot);
      if (canvas) return canvas;
    }
  };
  const top = findCanvas(document);
  const box = top.getBoundingClientRect();
  top.setPointerCapture = () => {}; // there is no real pointer
  const dispatch = (kind, [x, y], more) =>
    top.dispatchEvent(new (kind === "wheel" ? WheelEvent : PointerEvent)(kind, { clientX: box.left + x, clientY: box.top + y, pointerId: 1, cancelable: true, ...more }));
  const middle = [box.width / 2, box.height / 2];
  const place = (step) => [middle[0] + 150 * Math.sin(step / 9), middle[1] + 90 * Math.cos(step / 7)];
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const at = [await frame()];
  if (kind === "drag") dispatch("pointerdown", place(0));
  for (let step = 1; step <= 180; step++) {
    if (kind === "zoom") dispatch("wheel", middle, { deltaY: step % 90 < 45 ? -40 : 40 });
    else dispatch("pointermove", place(step));
    at.push(await frame());
  }
  if (kind === "drag") dispatch("pointerup", place(180));
  return at.slice(1).map((one, step) => one - at[step]);
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--room", type=Path, help="keep the large collection in this folder and reuse it")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        room = args.room or Path(temporary)
        room.mkdir(parents=True, exist_ok=True)
        published_s = None if (room / "index").exists() else make(args.model_dir, room, args.items)
        found = measure(room, args.clicks, args.sessions)
    if published_s is not None:
        found["published_s"] = published_s
    print(json.dumps(found, indent=1))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1))


def make(model_dir: Path, room: Path, n_items: int) -> float:
    """Write the large collection into `room`/sounds and `room`/index; return the seconds that publishing took."""
    small = Nearest(model_dir)
    items = [item for item in small.items(limit=100_000) if not item.silent]
    root = small.path(items[0].n).parents[len(Path(items[0].id).parts) - 1]
    opened = generation.open(model_dir)
    rng = np.random.default_rng(0)
    times = -(-n_items // len(items))
    (room / "sounds").mkdir()
    for again in range(times):
        (room / "sounds" / f"{again:04d}").symlink_to(root)
    made: list[Item] = []
    for again in range(times):
        made += [replace(item, n=0, id=f"{again:04d}/{item.id}") for item in items]
    made = [replace(item, n=n) for n, item in enumerate(made[:n_items])]
    vectors = np.tile(np.asarray(opened.item_vectors), (times, 1))[:n_items]
    vectors = vectors + rng.normal(scale=0.5 / np.sqrt(opened.header.dim), size=vectors.shape).astype(np.float32)
    begin = time.perf_counter()
    generation.publish(
        room / "index",
        Header(encoder=opened.header.encoder, dim=opened.header.dim),
        vectors.astype(np.float32),
        rows_of(np.arange(n_items), end_s=np.array([item.duration_s for item in made])),
        made,
        encoder_pt=opened.path / "encoder.pt",
        meta={"wav_dir": str(room / "sounds")},
    )
    return round(time.perf_counter() - begin, 1)


def measure(room: Path, clicks: int, sessions: int) -> dict[str, object]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = Path(boiler.__file__).with_name("app.py")
    command = ["-m", "streamlit", "run", str(app), "--server.port", str(port), "--server.headless", "true"]
    server = subprocess.Popen(
        [sys.executable, *command, "--", str(room / "index")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait(f"{address}/_stcore/health")
        with sync_playwright() as playwright:
            chromium = os.environ.get("BOILER_TEST_CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )

            def session(n_clicks: int) -> list[dict[str, float]]:
                context = browser.new_context(viewport={"width": 1280, "height": 900})
                context.set_default_timeout(120_000)
                page = context.new_page()
                page.add_init_script(WATCH)
                page.goto(f"{address}/?item=7")
                page.locator("article.card.grid").first.wait_for()
                found = []
                for place in range(n_clicks):
                    found.append(page.evaluate(CLICK, 1 + place % 3))
                    page.wait_for_timeout(1_000)  # waveforms and spectrograms load meanwhile
                context.close()
                return found

            def map_frame_times() -> dict[str, dict[str, float]]:
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.set_default_timeout(120_000)
                page.goto(f"{address}/map")
                page.locator(".map canvas[data-drawn]").wait_for()
                page.wait_for_timeout(1_000)
                found = {}
                for kind in ("drag", "zoom", "hover"):
                    frames = page.evaluate(FRAMES, kind)
                    found[kind] = {f"p{q}": round(float(np.percentile(frames, q)), 1) for q in (50, 95, 100)}
                page.close()
                return found

            times = session(clicks + 3)[3:]  # the first three warm up
            load = os.getloadavg()
            frames_ms = map_frame_times()
            memory = []
            for _ in range(sessions):
                session(3)
                memory.append(resident_mb(server.pid))
            browser.close()
    finally:
        server.terminate()
        server.wait()
    figures = {
        part: {f"p{q}": round(float(np.percentile([one[part] for one in times], q))) for q in (50, 95)}
        for part in ("total", "out", "server", "page")
    }
    return {
        "items": len(Nearest(room / "index")),
        "ms": figures,
        "clicks": len(times),
        "map_frame_ms": frames_ms,
        "resident_mb": memory,
        "cores": os.cpu_count(),
        "load": load,
    }


def wait(address: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the browser did not start")


def resident_mb(pid: int) -> int:
    return (
        int(next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line).split()[1])
        // 1024
    )


if __name__ == "__main__":
    main()
