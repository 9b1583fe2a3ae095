// The map: zoom by wheel or pinch, move by dragging, hear by hovering, ask by clicking. With the keys: arrows go from
// sound to sound, space plays, Enter asks, + and - zoom; each sound that is reached is said to screen readers.

// Told apart by the colour-blind, on light and on dark (from those of Okabe and Ito, moved apart until they were, for
// red-, green- and blue-blind eyes: tests/test_front.py); the last is the rest.
const LIGHT = ["#4179b9", "#eea31f", "#02a171", "#a25d8f", "#38b8ee", "#da5c0c", "#832250", "#698441", "#4342b0", "#9aa4ab"];
const DARK = ["#2588c5", "#e7ac19", "#5fe1b3", "#fab9e4", "#7aa388", "#ed7e3d", "#d47aae", "#d3d36e", "#b899ff", "#66727b"];
const HOVER_MS = 140;
const REACH_PX = 14;

function unpack(buffer) {
  const [count, total] = new Uint32Array(buffer, 0, 2);
  const n = new Uint32Array(buffer, 8, count);
  const x = new Uint16Array(buffer, 8 + 4 * count, count);
  const y = new Uint16Array(buffer, 8 + 6 * count, count);
  const xy = new Float32Array(2 * count);
  for (let i = 0; i < count; i++) {
    xy[2 * i] = x[i] / 65535;
    xy[2 * i + 1] = y[i] / 65535;
  }
  return { n, xy, colour: new Uint8Array(buffer, 8 + 8 * count, count), total };
}

function buildMap(root, first) {
  const stage = theStage();
  const boardless = { cards: () => [], draw: () => {} };
  stage.boards.add(boardless);
  let data = first;
  let say = () => {};
  let points = null;
  let grid = null;
  let whole = null; // all of them, or as many as are drawn of the whole
  let here = -1; // the point under the pointer, or reached by key
  let chosen = -1; // the colour that is looked at alone
  let current = null; // what is said of the point that is in hand
  let view = { x: 0, y: 0, zoom: 1 };
  let fitted = 1;
  let frame = 0;
  let pictured = ""; // how the points were drawn last
  let timer = 0;
  const known = new Map();
  const abort = new AbortController();

  const back = make("canvas", { "aria-hidden": "true" });
  const top = make("canvas", {
    class: "top",
    tabindex: "0",
    role: "application",
    "aria-label": "Map of the collection. Arrow keys go from sound to sound, space plays, Enter asks, plus and minus zoom.",
  });
  const tip = make("div", { class: "tip", hidden: true });
  const said = make("div", { class: "said", role: "status", "aria-live": "polite" });
  const button = (sign, name, press) => make("button", { type: "button", title: name, "aria-label": name, onclick: press }, sign);
  const tools = make("div", { class: "tools" }, button("+", "Zoom in", () => zoomBy(1.6)), button("\u2212", "Zoom out", () => zoomBy(1 / 1.6)), button("\u2922", "Show all", () => fit(true)));
  const box = make("div", { class: "stage" }, back, top, tip, tools, said);
  const hear = make("input", { type: "checkbox" });
  hear.checked = true;
  const legend = make("div", { class: "row legend", role: "group", "aria-label": "What the colours mean; press one to see it alone" });
  const what = make("div", { class: "what" });
  const choice = make("div", { class: "row chosen", hidden: true });
  const note = make("p", { class: "note", role: "status" }, "Fetching the points \u2026");
  root.replaceChildren(
    make("div", { class: "row" }, make("label", { class: "hear" }, hear, "Play what the pointer rests on"), note),
    box,
    choice,
    legend,
    make("p", { class: "keys" }, "Scroll to zoom, drag to move, click to ask. With the map in focus: arrows go from sound to sound, space plays, Enter asks, T keeps."),
  );
  const plot = makePlot(back);

  const numbers = (colour) => colour.match(/[\d.]+/g)?.map(Number).slice(0, 3) ?? [0, 0, 0];
  const luminance = () => {
    const parts = numbers(getComputedStyle(root).color);
    return (0.3 * parts[0] + 0.6 * parts[1] + 0.1 * parts[2]) / 255; // of the words: light words stand on dark
  };
  const palette = () => (luminance() > 0.5 ? DARK : LIGHT);
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

  const draw = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(paint);
  };
  const paint = () => {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [box.clientWidth, box.clientHeight];
    if (!width || !points) return;
    for (const canvas of [back, top])
      if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
    const crowd = Math.sqrt((width * height) / Math.max(points.n.length, 1));
    const radius = Math.min(6, Math.max(1.4, crowd / 7) * Math.min(2.5, Math.sqrt(view.zoom / fitted)));
    // The pointer moves more often than the picture: only what lies above the points is drawn anew then.
    const light = luminance() > 0.5;
    const picture = [view.x, view.y, view.zoom, radius, chosen, ratio, width, height, light].join();
    if (picture !== pictured) plot.draw(view, (light ? DARK : LIGHT).map(parts), numbers(getComputedStyle(box).backgroundColor), radius, chosen, ratio);
    pictured = picture;
    const pen = top.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const ring = (i, wide, colour) => {
      const [x, y] = onScreen(i);
      pen.beginPath();
      pen.arc(x, y, radius + wide, 0, 7);
      pen.lineWidth = 2.5;
      pen.strokeStyle = colour;
      pen.stroke();
    };
    const ink = getComputedStyle(root).color;
    for (const n of data.marked) {
      const i = points.n.indexOf(n);
      if (i >= 0) ring(i, 6, "#d55e00");
    }
    if (here >= 0) {
      ring(here, 4, ink);
      top.dataset.here = onScreen(here).map((one) => one.toFixed(1)).join();
    } else delete top.dataset.here;
    back.dataset.drawn = String(points.n.length);
  };
  const onScreen = (i) => [view.x + points.xy[2 * i] * view.zoom, view.y - points.xy[2 * i + 1] * view.zoom];

  const fit = (again) => {
    const [width, height] = [box.clientWidth, box.clientHeight];
    if (!width) return;
    const span = whole ? spanOf(whole.xy) : [0, 0, 1, 1];
    const zoom = Math.min((width - 60) / Math.max(span[2] - span[0], 0.05), (height - 60) / Math.max(span[3] - span[1], 0.05));
    fitted = zoom;
    view = { zoom, x: width / 2 - ((span[0] + span[2]) / 2) * zoom, y: height / 2 + ((span[1] + span[3]) / 2) * zoom };
    if (again) moved();
    draw();
  };
  const spanOf = (xy) => {
    const span = [1, 1, 0, 0];
    for (let i = 0; i < xy.length; i += 2) {
      span[0] = Math.min(span[0], xy[i]);
      span[1] = Math.min(span[1], xy[i + 1]);
      span[2] = Math.max(span[2], xy[i]);
      span[3] = Math.max(span[3], xy[i + 1]);
    }
    return span;
  };
  const zoomBy = (factor, x = box.clientWidth / 2, y = box.clientHeight / 2) => {
    const zoom = Math.min(Math.max(view.zoom * factor, fitted * 0.6), fitted * 400);
    const real = zoom / view.zoom;
    view = { zoom, x: x - (x - view.x) * real, y: y - (y - view.y) * real };
    moved();
    draw();
  };

  // Where not all are drawn, those of the piece in view are fetched when it comes to rest.
  let resting = 0;
  let asked = 0; // numbers the fetches: an answer that comes late is not drawn over a newer one
  const moved = () => {
    tip.hidden = true;
    if (!whole || whole.total <= whole.n.length) return;
    clearTimeout(resting);
    resting = setTimeout(async () => {
      const corner = (x, y) => [(x - view.x) / view.zoom, (view.y - y) / view.zoom];
      const [low, high] = [corner(0, box.clientHeight), corner(box.clientWidth, 0)];
      const all = view.zoom <= fitted * 1.05;
      const mine = ++asked;
      const got = all ? whole : await fetchPoints(`${data.points}&box=${[...low, ...high].map((one) => one.toFixed(5)).join()}`);
      if (got && mine === asked) take(got);
    }, 250);
  };
  const take = (got) => {
    const before = here >= 0 ? points.n[here] : null;
    points = got;
    grid = makeGrid(got.xy);
    plot.give(got.xy, got.colour);
    pictured = "";
    here = before === null ? -1 : points.n.indexOf(before);
    const all = got.total <= got.n.length;
    note.textContent = all ? `${got.n.length.toLocaleString("en")} sounds` : `${got.n.length.toLocaleString("en")} of ${got.total.toLocaleString("en")} sounds drawn: where they lie thickest, not all. Zoom in for more.`;
    draw();
  };
  const fetchPoints = async (address) => {
    try {
      const answer = await fetch(address, { signal: abort.signal });
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? "the server did not answer");
      return unpack(await answer.arrayBuffer());
    } catch (error) {
      if (error.name !== "AbortError") note.textContent = `The points could not be fetched: ${error.message}. Reload the page.`;
      return null;
    }
  };

  const nearest = (x, y, reach = REACH_PX) => {
    if (!points) return -1;
    const [px, py, far] = [(x - view.x) / view.zoom, (view.y - y) / view.zoom, reach / view.zoom];
    let best = -1;
    let least = far * far;
    for (const i of grid.near(px, py, far)) {
      if (chosen >= 0 && Math.min(points.colour[i], 9) !== chosen) continue;
      const away = (points.xy[2 * i] - px) ** 2 + (points.xy[2 * i + 1] - py) ** 2;
      if (away < least) [best, least] = [i, away];
    }
    return best;
  };
  const about = async (n) => {
    if (!known.has(n)) {
      const answer = await fetch(`${data.sounds}/${n}/about`, { signal: abort.signal });
      if (!answer.ok) return null;
      if (known.size > 500) known.clear();
      known.set(n, await answer.json());
    }
    return known.get(n);
  };
  const card = (n) => ({ key: `map/${n}`, audio: `${data.sounds}/${n}/audio`, from: 0 });
  const play = (n) => stage.toggle(card(n));
  const act = (kind, n) => say({ what: kind, n });

  const show = async (i, { tell = false, sound = false, keep = false } = {}) => {
    here = i;
    draw();
    clearTimeout(timer);
    if (i < 0) return (tip.hidden = true);
    const n = points.n[i];
    timer = setTimeout(async () => {
      const one = await about(n).catch(() => null);
      if (!one || here < 0 || points.n[here] !== n) return;
      current = one;
      const [x, y] = onScreen(here);
      tip.replaceChildren(make("b", {}, one.name), make("span", {}, [one.label, `${one.duration.toFixed(1)} s`].filter(Boolean).join(" \u00b7 ")));
      tip.hidden = false;
      tip.style.left = `${Math.min(Math.max(x + 14, 6), Math.max(6, box.clientWidth - tip.offsetWidth - 6))}px`;
      tip.style.top = `${Math.max(6, y - tip.offsetHeight - 12)}px`;
      if (tell) said.textContent = [one.name, one.label, `${one.duration.toFixed(1)} seconds`].filter(Boolean).join(", ");
      if (sound && stage.key !== `map/${n}`) stage.play(card(n));
      if (keep || tell) inHand(one);
    }, tell || keep ? 0 : HOVER_MS);
  };
  const inHand = (one) => {
    const kept = data.kept.includes(one.n);
    what.replaceChildren(make("b", {}, one.name), make("span", {}, [one.label, one.folder === one.label ? null : one.folder, `${one.duration.toFixed(1)} s`].filter(Boolean).join(" \u00b7 ")));
    choice.replaceChildren(
      what,
      make("button", { type: "button", onclick: () => play(one.n) }, "Play"),
      make("button", { type: "button", onclick: () => act("keep", one.n), "aria-pressed": String(kept) }, kept ? "In the tray" : "Keep"),
      make("button", { type: "button", class: "strong", onclick: () => act("ask", one.n) }, "More like this"),
    );
    choice.hidden = false;
  };

  // One pointer moves or clicks, two pinch.
  const fingers = new Map();
  let began = null;
  const at = (event) => {
    const edge = top.getBoundingClientRect();
    return [event.clientX - edge.left, event.clientY - edge.top];
  };
  top.onpointerdown = (event) => {
    top.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    began = fingers.size === 1 ? { at: at(event), view: { ...view }, moved: false } : null;
  };
  top.onpointermove = (event) => {
    const place = at(event);
    if (!fingers.has(event.pointerId)) {
      const i = nearest(...place);
      if (i !== here) show(i, { sound: hear.checked && navigator.userActivation?.hasBeenActive !== false });
      return;
    }
    if (fingers.size === 2) {
      const [id] = [...fingers.keys()].filter((one) => one !== event.pointerId);
      const other = fingers.get(id);
      const old = fingers.get(event.pointerId);
      const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
      zoomBy(apart(place) / Math.max(apart(old), 1), (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
    } else if (began && (began.moved || Math.hypot(place[0] - began.at[0], place[1] - began.at[1]) > 5)) {
      began.moved = true;
      top.classList.add("dragging");
      view = { ...view, x: began.view.x + place[0] - began.at[0], y: began.view.y + place[1] - began.at[1] };
      moved();
      draw();
    }
    fingers.set(event.pointerId, place);
  };
  top.onpointerup = (event) => {
    fingers.delete(event.pointerId);
    top.classList.remove("dragging");
    if (began && !began.moved) {
      const touched = event.pointerType === "touch";
      const i = nearest(...at(event), touched ? 26 : REACH_PX);
      // A finger cannot hover: it hears first, and asks by the button.
      if (i >= 0 && touched) show(i, { sound: hear.checked, keep: true });
      else if (i >= 0) act("ask", points.n[i]);
    }
    began = null;
  };
  top.onpointercancel = (event) => fingers.delete(event.pointerId);
  top.onpointerleave = () => !fingers.size && document.activeElement !== top && show(-1);
  top.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), ...at(event));
  }, { passive: false });
  top.onkeydown = (event) => {
    if (!points?.n.length || event.ctrlKey || event.metaKey || event.altKey) return;
    const towards = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (towards) step(towards);
    else if (event.key === "+" || event.key === "=") zoomBy(1.6, ...(here >= 0 ? onScreen(here) : []));
    else if (event.key === "-") zoomBy(1 / 1.6, ...(here >= 0 ? onScreen(here) : []));
    else if (event.key === "0" || event.key === "Escape") fit(true);
    else if (here >= 0 && event.key === " ") play(points.n[here]);
    else if (here >= 0 && event.key === "Enter") act("ask", points.n[here]);
    else if (here >= 0 && event.key === "t") act("keep", points.n[here]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  // The next sound in a direction: the nearest one that lies more that way than aside.
  const step = ([dx, dy]) => {
    const from = here >= 0 ? onScreen(here) : [box.clientWidth / 2, box.clientHeight / 2];
    let best = -1;
    let least = Infinity;
    for (let i = 0; i < points.n.length; i++) {
      if (i === here || (chosen >= 0 && Math.min(points.colour[i], 9) !== chosen)) continue;
      const [x, y] = onScreen(i);
      const along = (x - from[0]) * dx + (y - from[1]) * dy;
      const aside = Math.abs((x - from[0]) * dy) + Math.abs((y - from[1]) * dx);
      if (here >= 0 ? along <= 0.01 || aside > along : false) continue;
      const far = here >= 0 ? along + 2 * aside : Math.hypot(x - from[0], y - from[1]);
      if (far < least) [best, least] = [i, far];
    }
    if (best < 0) return (said.textContent = "No sound further that way");
    const [x, y] = onScreen(best);
    if (x < 20 || y < 20 || x > box.clientWidth - 20 || y > box.clientHeight - 20) {
      view = { ...view, x: view.x + box.clientWidth / 2 - x, y: view.y + box.clientHeight / 2 - y };
      moved();
    }
    show(best, { tell: true, sound: hear.checked });
  };

  const explainColours = () => {
    const colours = palette();
    legend.replaceChildren(
      ...data.legend.map(({ name, count }, at) => {
        const place = data.rest && at === data.legend.length - 1 ? 9 : at;
        const spot = make("i");
        spot.style.background = colours[place];
        return make("button", { type: "button", "aria-pressed": String(chosen === place), onclick: () => {
          chosen = chosen === place ? -1 : place;
          explainColours();
          draw();
        } }, spot, name, make("em", {}, count.toLocaleString("en")));
      }),
    );
  };

  const size = new ResizeObserver(() => (view.zoom === 1 || view.zoom === fitted ? fit(false) : draw()));
  size.observe(box);
  const begin = async () => {
    clearTimeout(resting);
    whole = null;
    const mine = ++asked;
    const got = await fetchPoints(data.points);
    if (!got || mine !== asked) return;
    whole = got;
    take(got);
    if (view.zoom === 1) fit(false);
    else moved();
  };
  explainColours();
  begin();

  return {
    take(next, tell) {
      say = tell;
      const other = next.points !== data.points;
      data = next;
      if (other) {
        chosen = -1;
        begin();
      }
      explainColours();
      if (current && !choice.hidden) inHand(current);
      draw();
    },
    stop() {
      abort.abort();
      size.disconnect();
      clearTimeout(timer);
      clearTimeout(resting);
      stage.boards.delete(boardless);
    },
  };
}

const mounted = new WeakMap();

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".map");
  let map = mounted.get(parentElement);
  if (!map) {
    map = buildMap(root, data);
    mounted.set(parentElement, map);
  }
  map.take(data, (message) => setTriggerValue("act", message));
  return () => {
    map.stop();
    mounted.delete(parentElement);
  };
}
