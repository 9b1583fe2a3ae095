// The cards: each draws one sound, plays it, and says back to the script what is wanted of it.
// data: {shape: "grid" | "list" | "one", cards: [...]}; the fields of a card stand in cards.py.

const ICONS = { ask: "travel_explore", like: "thumb_up", dislike: "thumb_down", keep: "bookmark", why: "join_inner", path: "conversion_path", picture: "gradient" };
const TIPS = {
  ask: "More like this (M)",
  like: "Steer the answers towards this (L)",
  dislike: "Steer the answers away from this (D)",
  keep: "Keep in the tray (T)",
  picture: "Show the spectrogram (S)",
  why: "Why this one? (W)",
  path: "The way from the sound asked with to this one (G)",
};
const KEYS = { m: "ask", Enter: "ask", l: "like", d: "dislike", t: "keep", s: "picture", w: "why", g: "path" };

const icon = (name) => make("span", { class: "icon", "aria-hidden": "true" }, name);

function buildCard(data, form, say) {
  const stage = theStage();
  const [from, to] = data.shown;
  const card = { key: data.key, audio: data.audio, from: data.match ? data.match[0] : data.start, data };
  let picked = data.picked ?? null;

  const sign = drawing(PLAY);
  const play = make("button", { class: "play", type: "button", onclick: () => stage.toggle(card) }, sign.svg);
  const canvas = make("canvas", { class: "wave", role: "img", "aria-label": `Waveform of ${data.name}` });
  const trouble = make("p", { class: "trouble", role: "status", hidden: true });
  const fail = (why) => {
    trouble.textContent = why;
    trouble.hidden = false;
  };
  const undrawn = (why) => fail(why ? `It cannot be drawn: ${why}.` : "It could not be drawn just now.");
  const wave = waveform(canvas, { address: data.waveform, from, to, match: data.match, onFail: undrawn });

  const picture = make("div", { class: "picture", hidden: !data.pictured });
  const showPicture = () => {
    if (picture.childElementCount) return;
    const image = make("img", { alt: `Spectrogram of ${data.name}: time to the right, 50 Hz to 8 kHz upwards`, loading: "lazy" });
    image.onerror = () => (picture.hidden = true);
    image.src = data.spectrogram;
    picture.append(image, ...(form === "one" ? [make("span", { class: "hertz top" }, "8 kHz"), make("span", { class: "hertz" }, "50 Hz")] : []));
  };
  if (data.pictured) showPicture();

  // Where in a long sound the piece drawn lies.
  const overview = make("div", { class: "overview", hidden: to - from >= data.duration - 0.01 });
  if (data.duration) {
    const piece = make("span");
    piece.style.left = `${(100 * from) / data.duration}%`;
    piece.style.width = `max(${(100 * (to - from)) / data.duration}%, 4px)`;
    overview.append(piece);
  }

  const act = (what, more = {}) => say({ what, n: data.n, ...more });
  const buttons = {};
  const action = (what) => {
    const press = () => {
      if (what !== "picture") return act(what);
      picture.hidden = !picture.hidden;
      showPicture();
      buttons.picture.setAttribute("aria-pressed", String(!picture.hidden));
    };
    const pressed = what === "ask" || what === "path" ? null : String(what === "picture" ? Boolean(data.pictured) : Boolean(data[what]));
    const words = what === "ask" ? [icon(ICONS.ask), make("span", {}, "More like this")] : [icon(ICONS[what])];
    const label = `${TIPS[what].replace(/ \(.\)$/, "")}: ${data.name}`;
    buttons[what] =
      what === "ask"
        ? make("a", { class: "ask", href: data.address, title: TIPS.ask, "aria-label": label, onclick: (event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return; // a new tab is a new tab
            event.preventDefault();
            press();
          } }, ...words)
        : make("button", { type: "button", class: what, title: TIPS[what], "aria-label": label, "aria-pressed": pressed, onclick: press }, ...words);
    card.keys[Object.keys(KEYS).find((key) => KEYS[key] === what)] = press;
    if (what === "ask") card.keys.Enter = press;
    return buttons[what];
  };
  card.keys = { z: () => act("undo") };

  const facts = make("p", { class: "facts" });
  if (data.distance !== null) {
    const near = make("span", { class: "near", title: `Distance ${data.distance} (0 is the same)` }, `${data.distance}`);
    facts.append(near, make("span", {}, data.closer));
  }
  facts.append(make("span", {}, clock(data.duration)));
  if (data.matched) facts.append(make("span", { class: "matched" }, data.matched));
  if (data.folder) facts.append(make("span", { class: "folder", title: data.folder }, data.folder));

  if (data.folded.length)
    facts.append(make("span", { class: "folded", title: data.folded.join("\n") }, `and ${data.folded.length} nearly the same`));
  const label = data.label ? make("span", { class: "label", title: `Label: ${data.label}` }, data.label) : null;
  const name = make("h3", { class: "name", title: data.id }, data.name);
  const actions = make("div", { class: "actions" }, ...data.actions.map(action));

  // Asking by a part: drag over the waveform. A click without a drag seeks.
  const choose = make("div", { class: "choose", hidden: true });
  const showChoice = () => {
    choose.hidden = !picked;
    if (!picked) return choose.replaceChildren();
    const asked = data.picked && Math.abs(data.picked[0] - picked[0]) < 0.02 && Math.abs(data.picked[1] - picked[1]) < 0.02;
    const words = `${clock(picked[0])} to ${clock(picked[1])}`;
    choose.replaceChildren(
      asked
        ? make("span", {}, `Asked with ${words} of it`)
        : make("button", { type: "button", class: "strong", onclick: () => act("part", { start: picked[0], end: picked[1] }) }, `Find sounds like ${words}`),
      make("button", { type: "button", onclick: () => {
        const sent = Boolean(data.picked);
        picked = null;
        showChoice();
        card.draw();
        if (sent) act("whole");
      } }, asked ? "Use the whole sound" : "Clear"),
    );
  };
  let pressedAt = null;
  canvas.onpointerdown = (event) => {
    pressedAt = { seconds: wave.seconds(event), x: event.clientX };
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = (event) => {
    if (!pressedAt || !data.selectable || Math.abs(event.clientX - pressedAt.x) < 5) return;
    const ends = [pressedAt.seconds, wave.seconds(event)].sort((a, b) => a - b);
    picked = ends[1] - ends[0] >= 0.1 ? ends : picked;
    card.draw();
  };
  canvas.onpointerup = (event) => {
    if (pressedAt && Math.abs(event.clientX - pressedAt.x) < 5) stage.play(card, wave.seconds(event));
    else if (pressedAt && data.selectable) showChoice();
    pressedAt = null;
  };
  canvas.onpointercancel = () => (pressedAt = null);

  const axis = form === "one" ? make("div", { class: "axis", "aria-hidden": "true" }) : null;
  if (axis) for (let i = 0; i <= 4; i++) axis.append(make("span", {}, clock(from + ((to - from) * i) / 4)));

  const head = make("div", { class: "head" }, name, label);
  const strip = make("div", { class: "strip" }, canvas, picture, overview, axis);
  card.element = make("article", { class: `card ${form}`, tabindex: "0", "data-n": data.n, "aria-label": [data.name, data.label, data.closer].filter(Boolean).join(", ") });
  if (form === "one") card.element.append(make("div", { class: "top" }, play, make("div", { class: "words" }, head, facts), actions), strip, choose, trouble);
  else card.element.append(play, strip, make("div", { class: "words" }, head, facts, trouble), actions);
  card.element.classList.toggle("away", Boolean(data.dislike));

  card.draw = () => {
    const mine = stage.key === data.key;
    const on = mine && !stage.audio.paused && !stage.audio.ended;
    sign.line.setAttribute("d", on ? PAUSE : PLAY);
    play.setAttribute("aria-label", `${on ? "Pause" : "Play"} ${data.name}`);
    card.element.classList.toggle("playing", on);
    wave.show(mine && (on || stage.audio.currentTime > 0) ? stage.audio.currentTime : null, card.from, picked);
    if (stage.failed === data.key && trouble.hidden) fail("This sound cannot be played here: is its file still in the folder of sounds?");
  };
  card.recolour = wave.recolour;
  card.stop = wave.stop;
  showChoice();
  card.draw();
  return card;
}

const mounted = new WeakMap();

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const stage = theStage();
  let board = mounted.get(parentElement);
  if (!board) {
    board = { all: new Map() };
    board.cards = () => [...board.all.values()];
    board.draw = () => board.all.forEach((card) => card.draw());
    mounted.set(parentElement, board);
    stage.boards.add(board);
  }
  const say = (message) => setTriggerValue("act", message);
  const root = parentElement.querySelector(".cards");
  root.className = `cards ${data.shape}`;
  root.setAttribute("aria-label", data.title ?? "Sounds");
  const before = board.all;
  board.all = new Map();
  for (const one of data.cards) {
    const old = before.get(one.key);
    // Cards that did not change stay as they are, so that nothing flickers and nothing stops.
    const same = old && board.shape === data.shape && JSON.stringify(old.data) === JSON.stringify(one);
    const card = same ? old : buildCard(one, data.shape, (message) => board.say(message));
    if (same) card.recolour();
    board.all.set(one.key, card);
  }
  board.say = say;
  board.shape = data.shape;
  for (const card of before.values()) if (board.all.get(card.key) !== card) card.stop();
  const focused = [...before.values()].find((card) => card.element.matches(":focus-within"))?.key;
  const inOrder = data.heard && data.cards.length > 1 ? [make("button", { type: "button", class: "order", onclick: () => stage.playInOrder(board.cards(), data.heard) }, icon("playlist_play"), "Hear them in order")] : [];
  root.replaceChildren(...inOrder, ...board.cards().map((card) => card.element));
  if (focused && board.all.has(focused)) board.all.get(focused).element.focus({ preventScroll: true });
  return () => {
    stage.boards.delete(board);
    board.all.forEach((card) => card.stop());
    mounted.delete(parentElement);
  };
}
