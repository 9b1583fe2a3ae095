// The cards: each shows and plays one sound, and sends a message to the script when one of its buttons is pressed.
// data: {layout: "grid" | "list" | "single", cards: [...]}; cards.py describes the fields of a card.

const ICONS = { query: "travel_explore", like: "thumb_up", dislike: "thumb_down", tray: "bookmark", explain: "join_inner", path: "conversion_path", spectrogram: "gradient" };
const TOOLTIPS = {
  query: "More like this (M)",
  like: "Like: move the results towards this (L)",
  dislike: "Dislike: move the results away from this (D)",
  tray: "Add to the tray, or remove (T)",
  spectrogram: "Show the spectrogram (S)",
  explain: "Why is this similar? (W)",
  path: "Path from the query to this sound (G)",
};
const SHORTCUTS = { query: ["m", "Enter"], like: ["l"], dislike: ["d"], tray: ["t"], spectrogram: ["s"], explain: ["w"], path: ["g"] };
const PRESSED = { like: "liked", dislike: "disliked", tray: "in_tray", explain: "explained", spectrogram: "spectrogram_open" };
const MIN_DRAG_PX = 5;
const MIN_SELECTION_S = 0.1;

const icon = (name) => makeElement("span", { class: "icon", "aria-hidden": "true" }, name);

function buildCard(data, layout, send) {
  const player = getPlayer();
  const [from, to] = data.waveform_s;
  const card = { key: data.key, audioUrl: data.audio_url, startSeconds: data.match_s ? data.match_s[0] : data.start_s, data, shortcuts: {} };
  const act = (action, details = {}) => send({ action, n: data.n, ...details });
  let selection = data.selected_s ?? null;

  const playIcon = makeIcon(PLAY);
  const playButton = makeElement("button", { class: "play", type: "button", onclick: () => player.toggle(card) }, playIcon.svg);
  const canvas = makeElement("canvas", { class: "wave", role: "img", "aria-label": `Waveform of ${data.name}` });
  const error = makeElement("p", { class: "error", role: "status", hidden: true });
  const showError = (text) => {
    error.textContent = text;
    error.hidden = false;
  };
  const wave = makeWaveform(canvas, {
    url: data.waveform_url,
    from,
    to,
    match: data.match_s,
    onFail: (reason) => showError(reason ? `No waveform: ${reason}.` : "The waveform could not be loaded."),
  });

  const spectrogram = makeElement("div", { class: "spectrogram", hidden: !data.spectrogram_open });
  const loadSpectrogram = () => {
    if (spectrogram.childElementCount) return;
    const image = makeElement("img", { alt: `Spectrogram of ${data.name}: time to the right, 50 Hz to 8 kHz upwards`, loading: "lazy" });
    image.onerror = () => (spectrogram.hidden = true);
    image.src = rootUrl(data.spectrogram_url);
    spectrogram.append(image, ...(layout === "single" ? [makeElement("span", { class: "hertz top" }, "8 kHz"), makeElement("span", { class: "hertz" }, "50 Hz")] : []));
  };
  if (data.spectrogram_open) loadSpectrogram();

  // Which part of a long sound the waveform shows.
  const overview = makeElement("div", { class: "overview", hidden: to - from >= data.duration_s - 0.01 });
  if (data.duration_s) {
    const part = makeElement("span");
    part.style.left = `${(100 * from) / data.duration_s}%`;
    part.style.width = `max(${(100 * (to - from)) / data.duration_s}%, 4px)`;
    overview.append(part);
  }

  const actionButton = (action) => {
    const press = () => {
      if (action !== "spectrogram") return act(action);
      spectrogram.hidden = !spectrogram.hidden;
      loadSpectrogram();
      button.setAttribute("aria-pressed", String(!spectrogram.hidden));
    };
    const label = `${TOOLTIPS[action].replace(/ \(.\)$/, "")}: ${data.name}`;
    const openSearch = (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return; // open in a new tab
      event.preventDefault();
      press();
    };
    const button =
      action === "query"
        ? makeElement("a", { class: "query", href: rootUrl(data.search_url), title: TOOLTIPS.query, "aria-label": label, onclick: openSearch }, icon(ICONS.query), makeElement("span", {}, "More like this"))
        : makeElement("button", { type: "button", class: action, title: TOOLTIPS[action], "aria-label": label, "aria-pressed": PRESSED[action] ? String(Boolean(data[PRESSED[action]])) : null, onclick: press }, icon(ICONS[action]));
    for (const key of SHORTCUTS[action]) card.shortcuts[key] = press;
    return button;
  };
  card.shortcuts.z = () => act("undo");

  const facts = makeElement("p", { class: "facts" });
  if (data.distance !== null) {
    facts.append(makeElement("span", { class: "distance", title: `Distance ${data.distance} (0: identical)` }, data.distance), makeElement("span", { title: "Share of random pairs of this collection that are less similar" }, data.closer_than));
  }
  facts.append(makeElement("span", {}, formatSeconds(data.duration_s)));
  if (data.match_text) facts.append(makeElement("span", { class: "match" }, data.match_text));
  if (data.folder) facts.append(makeElement("span", { class: "folder", title: data.folder }, data.folder));
  if (data.duplicates.length) {
    const count = data.duplicates.length;
    facts.append(makeElement("span", { title: data.duplicates.join("\n") }, `+ ${count} near-duplicate${count === 1 ? "" : "s"}`));
  }
  const label = data.label ? makeElement("span", { class: "label", title: `Label: ${data.label}` }, data.label) : null;
  const name = makeElement("h3", { class: "name", title: data.id }, data.name);
  const actions = makeElement("div", { class: "actions" }, ...data.actions.map(actionButton));

  // Dragging over the waveform of the query selects a part of it; a click plays from there.
  const selectionBar = makeElement("div", { class: "selection", hidden: true });
  const showSelection = () => {
    selectionBar.hidden = !selection;
    if (!selection) return selectionBar.replaceChildren();
    const isQuery = data.selected_s && Math.abs(data.selected_s[0] - selection[0]) < 0.02 && Math.abs(data.selected_s[1] - selection[1]) < 0.02;
    const range = `${formatSeconds(selection[0])} to ${formatSeconds(selection[1])}`;
    const search = () => act("query_part", { start_s: selection[0], end_s: selection[1] });
    const clear = () => {
      selection = null;
      showSelection();
      card.draw();
      if (data.selected_s) act("query_whole");
    };
    selectionBar.replaceChildren(
      isQuery ? makeElement("span", {}, `Query: ${range}`) : makeElement("button", { type: "button", class: "strong", onclick: search }, `Find sounds like ${range}`),
      makeElement("button", { type: "button", onclick: clear }, isQuery ? "Use the whole sound" : "Clear"),
    );
  };
  let press = null;
  canvas.onpointerdown = (event) => {
    press = { seconds: wave.secondsAt(event), x: event.clientX };
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = (event) => {
    if (!press || !data.selectable || Math.abs(event.clientX - press.x) < MIN_DRAG_PX) return;
    const range = [press.seconds, wave.secondsAt(event)].sort((a, b) => a - b);
    selection = range[1] - range[0] >= MIN_SELECTION_S ? range : selection;
    card.draw();
  };
  canvas.onpointerup = (event) => {
    if (press && Math.abs(event.clientX - press.x) < MIN_DRAG_PX) player.play(card, wave.secondsAt(event));
    else if (press && data.selectable) showSelection();
    press = null;
  };
  canvas.onpointercancel = () => (press = null);

  const axis = layout === "single" ? makeElement("div", { class: "axis", "aria-hidden": "true" }) : null;
  if (axis) for (let i = 0; i <= 4; i++) axis.append(makeElement("span", {}, formatSeconds(from + ((to - from) * i) / 4)));

  const tags = data.tags.map((tag) => makeElement("button", { type: "button", class: "tag", title: `Only sounds with the tag ${tag}`, onclick: () => act("tag", { tag }) }, tag));
  const head = makeElement("div", { class: "head" }, name, label, ...tags);
  const plots = makeElement("div", { class: "plots" }, canvas, spectrogram, overview, axis);
  card.element = makeElement("article", { class: `card ${layout}`, tabindex: "0", "data-n": data.n, "aria-label": [data.name, data.label, data.closer_than].filter(Boolean).join(", ") });
  if (layout === "single") card.element.append(makeElement("div", { class: "top" }, playButton, makeElement("div", { class: "text" }, head, facts), actions), plots, selectionBar, error);
  else card.element.append(playButton, plots, makeElement("div", { class: "text" }, head, facts, error), actions);
  card.element.classList.toggle("disliked", Boolean(data.disliked));

  card.draw = () => {
    const isCurrent = player.key === data.key;
    const isPlaying = isCurrent && !player.audio.paused && !player.audio.ended;
    playIcon.path.setAttribute("d", isPlaying ? PAUSE : PLAY);
    playButton.setAttribute("aria-label", `${isPlaying ? "Pause" : "Play"} ${data.name}`);
    card.element.classList.toggle("playing", isPlaying);
    const position = isCurrent && (isPlaying || player.audio.currentTime > 0) ? player.audio.currentTime : null;
    wave.show(position, card.startSeconds, selection);
    if (player.failedKey === data.key && error.hidden) showError("This sound cannot be played: is its file still in the folder of sounds?");
  };
  card.recolour = wave.recolour;
  card.stop = wave.stop;
  showSelection();
  card.draw();
  return card;
}

const mounted = new WeakMap();

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const player = getPlayer();
  let view = mounted.get(parentElement);
  if (!view) {
    view = { byKey: new Map() };
    view.cards = () => [...view.byKey.values()];
    view.draw = () => view.byKey.forEach((card) => card.draw());
    mounted.set(parentElement, view);
    player.views.add(view);
  }
  const root = parentElement.querySelector(".cards");
  root.className = `cards ${data.layout}`;
  root.setAttribute("aria-label", data.title ?? "Sounds");
  const before = view.byKey;
  view.byKey = new Map();
  for (const cardData of data.cards) {
    const old = before.get(cardData.key);
    // Unchanged cards stay in the page, so that nothing flickers and nothing stops.
    const isSame = old && view.layout === data.layout && JSON.stringify(old.data) === JSON.stringify(cardData);
    const card = isSame ? old : buildCard(cardData, data.layout, (message) => view.send(message));
    if (isSame) card.recolour();
    view.byKey.set(cardData.key, card);
  }
  view.send = (message) => setTriggerValue("message", message);
  view.layout = data.layout;
  for (const card of before.values()) if (view.byKey.get(card.key) !== card) card.stop();
  const focused = [...before.values()].find((card) => card.element.matches(":focus-within"))?.key;
  const playAll = () => player.playInOrder(view.cards(), data.play_each_s);
  const playAllButton = data.play_each_s && data.cards.length > 1 ? [makeElement("button", { type: "button", class: "play-all", onclick: playAll }, icon("playlist_play"), "Play all in order")] : [];
  root.replaceChildren(...playAllButton, ...view.cards().map((card) => card.element));
  if (focused && view.byKey.has(focused)) view.byKey.get(focused).element.focus({ preventScroll: true });
  return () => {
    player.views.delete(view);
    view.byKey.forEach((card) => card.stop());
    mounted.delete(parentElement);
  };
}
