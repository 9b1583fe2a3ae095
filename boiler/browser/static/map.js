// The map: wheel or pinch to zoom, drag to move, hover to play, click to search. By keyboard: arrows move from sound to
// sound, Space plays, Enter searches, + and - zoom; screen readers announce each sound.

// Distinguishable with any kind of colour blindness, on light and dark backgrounds (the palette of Okabe and Ito, adjusted
// until it was: tests/browser/test_static.py). The last colour is for all others.
const LIGHT = ["#4179b9", "#eea31f", "#02a171", "#a25d8f", "#38b8ee", "#da5c0c", "#832250", "#698441", "#4342b0", "#9aa4ab"];
const DARK = ["#2588c5", "#e7ac19", "#5fe1b3", "#fab9e4", "#7aa388", "#ed7e3d", "#d47aae", "#d3d36e", "#b899ff", "#66727b"];
const HOVER_MS = 140;
const HIT_RADIUS_PX = 14;
const TOUCH_RADIUS_PX = 26;
const MAX_KNOWN = 500;

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
  const player = getPlayer();
  const view = { cards: () => [], draw: () => {} }; // the map has no cards for the player's shortcuts
  player.views.add(view);
  let data = first;
  let send = () => {};
  let points = null;
  let grid = null;
  let overview = null; // the points of the whole map, thinned if there are too many
  let current = -1; // the point under the pointer or reached by keyboard
  let selected = -1; // the colour that is selected in the legend
  let chosenItem = null; // the item in the bar below the map
  let camera = { x: 0, y: 0, zoom: 1 };
  let fittedZoom = 1;
  let frame = 0;
  let drawnAs = ""; // all that the drawn points depend on
  let timer = 0;
  const known = new Map(); // facts by item number
  const abort = new AbortController();

  const back = makeElement("canvas", { "aria-hidden": "true" });
  const top = makeElement("canvas", {
    class: "top",
    tabindex: "0",
    role: "application",
    "aria-label": "Map of the collection. Arrow keys move from sound to sound, Space plays, Enter searches, plus and minus zoom.",
  });
  const tip = makeElement("div", { class: "tip", hidden: true });
  const announcement = makeElement("div", { class: "announcement", role: "status", "aria-live": "polite" });
  const button = (sign, name, press) => makeElement("button", { type: "button", title: name, "aria-label": name, onclick: press }, sign);
  const tools = makeElement("div", { class: "tools" }, button("+", "Zoom in", () => zoomBy(1.6)), button("\u2212", "Zoom out", () => zoomBy(1 / 1.6)), button("\u2922", "Show all", () => fit(true)));
  const box = makeElement("div", { class: "plot" }, back, top, tip, tools, announcement);
  const autoplay = makeElement("input", { type: "checkbox" });
  autoplay.checked = true;
  const showWords = makeElement("input", { type: "checkbox", onchange: () => draw() });
  showWords.checked = true;
  const wordsSwitch = makeElement("label", { class: "autoplay" }, showWords, "Words");
  const wordsText = makeElement("p", { class: "words" });
  const legend = makeElement("div", { class: "row legend", role: "group", "aria-label": "Legend; select a colour to highlight it" });
  const facts = makeElement("div", { class: "facts" });
  const chosenBar = makeElement("div", { class: "row chosen", hidden: true });
  const note = makeElement("p", { class: "note", role: "status" }, "Loading the points \u2026");
  root.replaceChildren(
    makeElement("div", { class: "row" }, makeElement("label", { class: "autoplay" }, autoplay, "Play on hover"), wordsSwitch, note),
    box,
    wordsText,
    chosenBar,
    legend,
    makeElement("p", { class: "keys" }, "Scroll to zoom, drag to move, click to search. With the keyboard: arrows move from sound to sound, Space plays, Enter searches, T adds to the tray."),
  );
  const plot = makePlot(back);

  const rgb = (colour) => colour.match(/[\d.]+/g)?.map(Number).slice(0, 3) ?? [0, 0, 0];
  const luminance = () => {
    const parts = rgb(getComputedStyle(root).color);
    return (0.3 * parts[0] + 0.6 * parts[1] + 0.1 * parts[2]) / 255; // of the text: light text is on a dark background
  };
  const palette = () => (luminance() > 0.5 ? DARK : LIGHT);
  const hexRgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

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
    const radius = Math.min(6, Math.max(1.4, crowd / 7) * Math.min(2.5, Math.sqrt(camera.zoom / fittedZoom)));
    // When only the pointer has moved, the points stay as they are drawn.
    const light = luminance() > 0.5;
    const drawing = [camera.x, camera.y, camera.zoom, radius, selected, ratio, width, height, light].join();
    if (drawing !== drawnAs) plot.draw(camera, (light ? DARK : LIGHT).map(hexRgb), rgb(getComputedStyle(box).backgroundColor), radius, selected, ratio);
    drawnAs = drawing;
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
    drawWords(pen, ink, width, height);
    for (const n of data.highlighted) {
      const i = points.n.indexOf(n);
      if (i >= 0) ring(i, 6, "#d55e00");
    }
    if (current >= 0) {
      ring(current, 4, ink);
      top.dataset.current = onScreen(current).map((one) => one.toFixed(1)).join();
    } else delete top.dataset.current;
    back.dataset.drawn = String(points.n.length);
  };
  // The largest landmarks first: one that would overlap another is left out, until zooming in gives it room.
  const drawWords = (pen, ink, width, height) => {
    const drawn = [];
    const taken = [[width - 60, 0, width, 150]]; // the zoom buttons
    pen.font = `600 13px ${getComputedStyle(root).fontFamily}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    pen.lineWidth = 4;
    pen.strokeStyle = getComputedStyle(box).backgroundColor;
    pen.fillStyle = ink;
    for (const { name, x, y } of showWords.checked ? data.landmarks : []) {
      const [left, middle] = [camera.x + x * camera.zoom, camera.y - y * camera.zoom];
      if (left < 0 || left > width || middle < 10 || middle > height - 10) continue;
      const half = pen.measureText(name).width / 2 + 4;
      const centre = Math.min(Math.max(left, half), Math.max(half, width - half));
      const place = [centre - half, middle - 10, centre + half, middle + 10];
      if (taken.some((other) => place[0] < other[2] && other[0] < place[2] && place[1] < other[3] && other[1] < place[3])) continue;
      taken.push(place);
      drawn.push([name, ...place]);
      pen.strokeText(name, centre, middle);
      pen.fillText(name, centre, middle);
    }
    top.dataset.words = JSON.stringify(drawn);
  };
  const onScreen = (i) => [camera.x + points.xy[2 * i] * camera.zoom, camera.y - points.xy[2 * i + 1] * camera.zoom];

  const fit = (refetch) => {
    const [width, height] = [box.clientWidth, box.clientHeight];
    if (!width) return;
    const bounds = overview ? boundsOf(overview.xy) : [0, 0, 1, 1];
    const zoom = Math.min((width - 60) / Math.max(bounds[2] - bounds[0], 0.05), (height - 60) / Math.max(bounds[3] - bounds[1], 0.05));
    fittedZoom = zoom;
    camera = { zoom, x: width / 2 - ((bounds[0] + bounds[2]) / 2) * zoom, y: height / 2 + ((bounds[1] + bounds[3]) / 2) * zoom };
    if (refetch) onCameraMoved();
    draw();
  };
  const boundsOf = (xy) => {
    const bounds = [1, 1, 0, 0];
    for (let i = 0; i < xy.length; i += 2) {
      bounds[0] = Math.min(bounds[0], xy[i]);
      bounds[1] = Math.min(bounds[1], xy[i + 1]);
      bounds[2] = Math.max(bounds[2], xy[i]);
      bounds[3] = Math.max(bounds[3], xy[i + 1]);
    }
    return bounds;
  };
  const zoomBy = (factor, x = box.clientWidth / 2, y = box.clientHeight / 2) => {
    const zoom = Math.min(Math.max(camera.zoom * factor, fittedZoom * 0.6), fittedZoom * 400);
    const ratio = zoom / camera.zoom;
    camera = { zoom, x: x - (x - camera.x) * ratio, y: y - (y - camera.y) * ratio };
    onCameraMoved();
    draw();
  };

  // If the overview is thinned, the visible points are fetched when zooming or moving ends.
  let restTimer = 0;
  let lastFetch = 0; // numbers the fetches, so that a late response does not replace a newer one
  const onCameraMoved = () => {
    tip.hidden = true;
    if (!overview || overview.total <= overview.n.length) return;
    clearTimeout(restTimer);
    restTimer = setTimeout(async () => {
      const corner = (x, y) => [(x - camera.x) / camera.zoom, (camera.y - y) / camera.zoom];
      const [low, high] = [corner(0, box.clientHeight), corner(box.clientWidth, 0)];
      const all = camera.zoom <= fittedZoom * 1.05;
      const thisFetch = ++lastFetch;
      const got = all ? overview : await fetchPoints(`${data.points_url}&box=${[...low, ...high].map((one) => one.toFixed(5)).join()}`);
      if (got && thisFetch === lastFetch) setPoints(got);
    }, 250);
  };
  const setPoints = (got) => {
    const before = current >= 0 ? points.n[current] : null;
    points = got;
    grid = makeGrid(got.xy);
    plot.setPoints(got.xy, got.colour);
    drawnAs = "";
    current = before === null ? -1 : points.n.indexOf(before);
    const all = got.total <= got.n.length;
    note.textContent = all ? `${got.n.length.toLocaleString("en")} sounds` : `${got.n.length.toLocaleString("en")} of ${got.total.toLocaleString("en")} sounds; dense areas are thinned. Zoom in to see all.`;
    draw();
  };
  const fetchPoints = async (url) => {
    try {
      const response = await fetch(rootUrl(url), { signal: abort.signal });
      if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail ?? "no response from the server");
      return unpack(await response.arrayBuffer());
    } catch (error) {
      if (error.name !== "AbortError") note.textContent = `The points could not be loaded: ${error.message}. Reload the page.`;
      return null;
    }
  };

  const nearest = (x, y, radius = HIT_RADIUS_PX) => {
    if (!points) return -1;
    const [px, py, far] = [(x - camera.x) / camera.zoom, (camera.y - y) / camera.zoom, radius / camera.zoom];
    let best = -1;
    let least = far * far;
    for (const i of grid.near(px, py, far)) {
      if (selected >= 0 && Math.min(points.colour[i], 9) !== selected) continue;
      const distance = (points.xy[2 * i] - px) ** 2 + (points.xy[2 * i + 1] - py) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  };
  const about = async (n) => {
    if (!known.has(n)) {
      const response = await fetch(rootUrl(`${data.sounds_url}/${n}/about`), { signal: abort.signal });
      if (!response.ok) return null;
      if (known.size > MAX_KNOWN) known.clear();
      known.set(n, await response.json());
    }
    return known.get(n);
  };
  const card = (n) => ({ key: `map/${n}`, audioUrl: `${data.sounds_url}/${n}/audio`, startSeconds: 0 });
  const play = (n) => player.toggle(card(n));
  const act = (action, n) => send({ action, n });

  const show = async (i, { announce = false, play: playIt = false, choose = false } = {}) => {
    current = i;
    draw();
    clearTimeout(timer);
    if (i < 0) return (tip.hidden = true);
    const n = points.n[i];
    timer = setTimeout(async () => {
      const one = await about(n).catch(() => null);
      if (!one || current < 0 || points.n[current] !== n) return;
      chosenItem = one;
      const [x, y] = onScreen(current);
      tip.replaceChildren(makeElement("b", {}, one.name), makeElement("span", {}, [one.label, `${one.duration_s.toFixed(1)} s`].filter(Boolean).join(" \u00b7 ")));
      tip.hidden = false;
      tip.style.left = `${Math.min(Math.max(x + 14, 6), Math.max(6, box.clientWidth - tip.offsetWidth - 6))}px`;
      tip.style.top = `${Math.max(6, y - tip.offsetHeight - 12)}px`;
      if (announce) announcement.textContent = [one.name, one.label, `${one.duration_s.toFixed(1)} seconds`].filter(Boolean).join(", ");
      if (playIt && player.key !== `map/${n}`) player.play(card(n));
      if (choose || announce) showChosen(one);
    }, announce || choose ? 0 : HOVER_MS);
  };
  const showChosen = (one) => {
    const inTray = data.tray.includes(one.n);
    facts.replaceChildren(makeElement("b", {}, one.name), makeElement("span", {}, [one.label, one.folder === one.label ? null : one.folder, `${one.duration_s.toFixed(1)} s`].filter(Boolean).join(" \u00b7 ")));
    chosenBar.replaceChildren(
      facts,
      makeElement("button", { type: "button", onclick: () => play(one.n) }, "Play"),
      makeElement("button", { type: "button", onclick: () => act("tray", one.n), "aria-pressed": String(inTray) }, inTray ? "In the tray" : "Add to the tray"),
      makeElement("button", { type: "button", class: "strong", onclick: () => act("query", one.n) }, "More like this"),
    );
    chosenBar.hidden = false;
  };

  // One pointer drags or clicks, two pinch.
  const pointers = new Map();
  let drag = null;
  const at = (event) => {
    const edge = top.getBoundingClientRect();
    return [event.clientX - edge.left, event.clientY - edge.top];
  };
  top.onpointerdown = (event) => {
    top.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    drag = pointers.size === 1 ? { at: at(event), camera: { ...camera }, moved: false } : null;
  };
  top.onpointermove = (event) => {
    const place = at(event);
    if (!pointers.has(event.pointerId)) {
      const i = nearest(...place);
      if (i !== current) show(i, { play: autoplay.checked && navigator.userActivation?.hasBeenActive !== false });
      return;
    }
    if (pointers.size === 2) {
      const [id] = [...pointers.keys()].filter((one) => one !== event.pointerId);
      const other = pointers.get(id);
      const old = pointers.get(event.pointerId);
      const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
      zoomBy(apart(place) / Math.max(apart(old), 1), (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
    } else if (drag && (drag.moved || Math.hypot(place[0] - drag.at[0], place[1] - drag.at[1]) > 5)) {
      drag.moved = true;
      top.classList.add("dragging");
      camera = { ...camera, x: drag.camera.x + place[0] - drag.at[0], y: drag.camera.y + place[1] - drag.at[1] };
      onCameraMoved();
      draw();
    }
    pointers.set(event.pointerId, place);
  };
  top.onpointerup = (event) => {
    pointers.delete(event.pointerId);
    top.classList.remove("dragging");
    if (drag && !drag.moved) {
      const isTouch = event.pointerType === "touch";
      const i = nearest(...at(event), isTouch ? TOUCH_RADIUS_PX : HIT_RADIUS_PX);
      // A finger cannot hover: a tap plays, and the button below the map searches.
      if (i >= 0 && isTouch) show(i, { play: autoplay.checked, choose: true });
      else if (i >= 0) act("query", points.n[i]);
    }
    drag = null;
  };
  top.onpointercancel = (event) => pointers.delete(event.pointerId);
  top.onpointerleave = () => !pointers.size && document.activeElement !== top && show(-1);
  top.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), ...at(event));
  }, { passive: false });
  top.onkeydown = (event) => {
    if (!points?.n.length || event.ctrlKey || event.metaKey || event.altKey) return;
    const towards = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (towards) step(towards);
    else if (event.key === "+" || event.key === "=") zoomBy(1.6, ...(current >= 0 ? onScreen(current) : []));
    else if (event.key === "-") zoomBy(1 / 1.6, ...(current >= 0 ? onScreen(current) : []));
    else if (event.key === "0" || event.key === "Escape") fit(true);
    else if (current >= 0 && event.key === " ") play(points.n[current]);
    else if (current >= 0 && event.key === "Enter") act("query", points.n[current]);
    else if (current >= 0 && event.key === "t") act("tray", points.n[current]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  // The next sound in a direction: the nearest one that is more in that direction than to the side.
  const step = ([dx, dy]) => {
    const from = current >= 0 ? onScreen(current) : [box.clientWidth / 2, box.clientHeight / 2];
    let best = -1;
    let least = Infinity;
    for (let i = 0; i < points.n.length; i++) {
      if (i === current || (selected >= 0 && Math.min(points.colour[i], 9) !== selected)) continue;
      const [x, y] = onScreen(i);
      const along = (x - from[0]) * dx + (y - from[1]) * dy;
      const aside = Math.abs((x - from[0]) * dy) + Math.abs((y - from[1]) * dx);
      if (current >= 0 ? along <= 0.01 || aside > along : false) continue;
      const far = current >= 0 ? along + 2 * aside : Math.hypot(x - from[0], y - from[1]);
      if (far < least) [best, least] = [i, far];
    }
    if (best < 0) return (announcement.textContent = "No more sounds in this direction");
    const [x, y] = onScreen(best);
    if (x < 20 || y < 20 || x > box.clientWidth - 20 || y > box.clientHeight - 20) {
      camera = { ...camera, x: camera.x + box.clientWidth / 2 - x, y: camera.y + box.clientHeight / 2 - y };
      onCameraMoved();
    }
    show(best, { announce: true, play: autoplay.checked });
  };

  const listWords = () => {
    wordsSwitch.hidden = !data.landmarks.length;
    wordsText.textContent = data.landmarks.length ? `Words on the map: ${data.landmarks.map(({ name }) => name).join(", ")}` : "";
  };
  const drawLegend = () => {
    const colours = palette();
    legend.replaceChildren(
      ...data.legend.map(({ name, count }, at) => {
        const place = data.has_others && at === data.legend.length - 1 ? 9 : at;
        const spot = makeElement("i");
        spot.style.background = colours[place];
        return makeElement("button", { type: "button", "aria-pressed": String(selected === place), onclick: () => {
          selected = selected === place ? -1 : place;
          drawLegend();
          draw();
        } }, spot, name, makeElement("em", {}, count.toLocaleString("en")));
      }),
    );
  };

  const size = new ResizeObserver(() => (camera.zoom === 1 || camera.zoom === fittedZoom ? fit(false) : draw()));
  size.observe(box);
  const load = async () => {
    clearTimeout(restTimer);
    overview = null;
    const thisFetch = ++lastFetch;
    const got = await fetchPoints(data.points_url);
    if (!got || thisFetch !== lastFetch) return;
    overview = got;
    setPoints(got);
    if (camera.zoom === 1) fit(false);
    else onCameraMoved();
  };
  drawLegend();
  listWords();
  load();

  return {
    update(next, sendMessage) {
      send = sendMessage;
      const other = next.points_url !== data.points_url;
      data = next;
      if (other) {
        selected = -1;
        load();
      }
      drawLegend();
      listWords();
      if (chosenItem && !chosenBar.hidden) showChosen(chosenItem);
      draw();
    },
    stop() {
      abort.abort();
      size.disconnect();
      clearTimeout(timer);
      clearTimeout(restTimer);
      player.views.delete(view);
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
  map.update(data, (message) => setTriggerValue("message", message));
  return () => {
    map.stop();
    mounted.delete(parentElement);
  };
}
