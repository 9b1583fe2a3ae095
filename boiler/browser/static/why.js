// Two spectrograms, one above the other: what made the match is framed on both, and below each stands how similar every
// moment of it is to the whole of the other. A click plays from there.

function buildSound(data) {
  const stage = theStage();
  const [from, to] = data.shown;
  const left = (seconds) => (100 * (Math.min(Math.max(seconds, from), to) - from)) / Math.max(to - from, 0.001);
  const card = { key: data.key, audio: data.audio, from };
  const { svg, line } = drawing(PLAY);
  const button = make("button", { class: "play", type: "button", "aria-label": `Play ${data.name}`, onclick: () => stage.toggle(card) }, svg);
  const image = make("img", { src: data.spectrogram, alt: `Spectrogram of ${data.name}: time to the right, 50 Hz to 8 kHz upwards. A click plays from there.` });
  const head = make("div", { class: "head" });
  const pane = make("div", { class: "pane" }, image, head);
  image.onclick = (event) => {
    const box = image.getBoundingClientRect();
    stage.play(card, from + ((event.clientX - box.left) / box.width) * (to - from));
  };
  if (data.course.length) {
    const height = (similarity) => 42 - 40 * Math.min(Math.max(similarity, 0), 1);
    const steps = data.course.map(([start, end, similarity]) => `L${left(start) * 10} ${height(similarity)}L${left(end) * 10} ${height(similarity)}`);
    const most = data.course.reduce((best, one) => (one[2] > best[2] ? one : best));
    const words = `How similar each moment is to the whole of the other: most, ${most[2].toFixed(2)}, from ${clock(most[0])} to ${clock(most[1])}.`;
    pane.append(
      make("svg", { svg: true, class: "course", viewBox: "0 0 1000 44", preserveAspectRatio: "none", role: "img", "aria-label": words }, make("path", { svg: true, d: `M0 44${steps.join("")}L1000 44Z` })),
      make("div", { class: "axis", "aria-hidden": "true" }, make("span", {}, clock(from)), make("span", {}, "similarity over time, 0 to 1"), make("span", {}, clock(to))),
    );
  }
  const who = make("p", { class: "who" }, make("span", {}, data.what), data.name);
  return {
    element: make("div", { class: "sound" }, who, button, pane),
    mark(parts, sign) {
      for (const [start, end] of parts) {
        const frame = make("div", { class: "mark" }, make("b", {}, sign));
        frame.style.left = `${left(start)}%`;
        frame.style.width = `max(${left(end) - left(start)}%, 6px)`;
        pane.append(frame);
      }
    },
    clear: () => pane.querySelectorAll(".mark").forEach((one) => one.remove()),
    draw() {
      const mine = stage.key === data.key;
      const at = stage.audio.currentTime;
      line.setAttribute("d", mine && !stage.audio.paused ? PAUSE : PLAY);
      head.hidden = !mine || at < from || at > to;
      head.style.left = `${left(at)}%`;
    },
  };
}

function build(root, data) {
  const sounds = { query: buildSound(data.query), answer: buildSound(data.answer) };
  const words = data.kind === "words";
  const shown = new Set(data.marks.length ? [0] : []);
  const buttons = data.marks.map((mark, at) =>
    make("button", { type: "button", onclick: () => {
      shown.has(at) ? shown.delete(at) : shown.add(at);
      frame();
    } }, mark.name, make("em", {}, mark.share)),
  );
  const frame = () => {
    for (const [side, sound] of Object.entries(sounds)) {
      sound.clear();
      for (const at of [...shown].sort((a, b) => a - b)) sound.mark(data.marks[at][side], words ? data.marks[at].name.replace("Word ", "") : String(at + 1));
    }
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(shown.has(at))));
  };
  const said = words
    ? `Similarity ${data.similarity}: a sum over the sounds' common words, which the encoder learned by itself. Framed is where each word sounds in both.`
    : `Similarity ${data.similarity}. Framed are the pieces of both that were compared, the best match first.`;
  root.replaceChildren(make("p", { class: "quiet" }, said), make("div", { class: "marks", role: "group", "aria-label": words ? "Words, with their share of the similarity" : "Matches, with their similarity" }, ...buttons), sounds.query.element, sounds.answer.element);
  frame();
  const board = { cards: () => [], draw: () => Object.values(sounds).forEach((sound) => sound.draw()) };
  theStage().boards.add(board);
  board.draw();
  return board;
}

const mounted = new WeakMap();

export default function (component) {
  const { data, parentElement } = component;
  const text = JSON.stringify(data);
  const before = mounted.get(parentElement);
  if (before?.text !== text) {
    if (before) theStage().boards.delete(before.board);
    mounted.set(parentElement, { text, board: build(parentElement.querySelector(".why"), data) });
  }
  return () => {
    theStage().boards.delete(mounted.get(parentElement)?.board);
    mounted.delete(parentElement);
  };
}
