// Two spectrograms, one above the other: the codes or windows behind the match are marked on both, and below each is the
// similarity of every moment to the whole other sound. A click plays from there.

function buildSound(data) {
  const player = getPlayer();
  const [from, to] = data.range_s;
  const percent = (seconds) => (100 * (Math.min(Math.max(seconds, from), to) - from)) / Math.max(to - from, 0.001);
  const card = { key: data.key, audioUrl: data.audio_url, startSeconds: from };
  const playIcon = makeIcon(PLAY);
  const button = makeElement("button", { class: "play", type: "button", "aria-label": `Play ${data.name}`, onclick: () => player.toggle(card) }, playIcon.svg);
  const image = makeElement("img", { src: rootUrl(data.spectrogram_url), alt: `Spectrogram of ${data.name}: time to the right, 50 Hz to 8 kHz upwards. A click plays from there.` });
  const cursor = makeElement("div", { class: "cursor" });
  const plot = makeElement("div", { class: "plot" }, image, cursor);
  image.onclick = (event) => {
    const box = image.getBoundingClientRect();
    player.play(card, from + ((event.clientX - box.left) / box.width) * (to - from));
  };
  if (data.curve.length) {
    const y = (similarity) => 42 - 40 * Math.min(Math.max(similarity, 0), 1);
    const steps = data.curve.map(([start, end, similarity]) => `L${percent(start) * 10} ${y(similarity)}L${percent(end) * 10} ${y(similarity)}`);
    const peak = data.curve.reduce((best, moment) => (moment[2] > best[2] ? moment : best));
    const text = `Similarity of each moment to the whole other sound: highest, ${peak[2].toFixed(2)}, from ${formatSeconds(peak[0])} to ${formatSeconds(peak[1])}.`;
    plot.append(
      makeElement("svg", { svg: true, class: "curve", viewBox: "0 0 1000 44", preserveAspectRatio: "none", role: "img", "aria-label": text }, makeElement("path", { svg: true, d: `M0 44${steps.join("")}L1000 44Z` })),
      makeElement("div", { class: "axis", "aria-hidden": "true" }, makeElement("span", {}, formatSeconds(from)), makeElement("span", {}, "similarity over time, 0 to 1"), makeElement("span", {}, formatSeconds(to))),
    );
  }
  const title = makeElement("p", { class: "title" }, makeElement("span", {}, data.role), data.name);
  return {
    element: makeElement("div", { class: "sound" }, title, button, plot),
    mark(parts, name) {
      for (const [start, end] of parts) {
        const frame = makeElement("div", { class: "mark" }, makeElement("b", {}, name));
        frame.style.left = `${percent(start)}%`;
        frame.style.width = `max(${percent(end) - percent(start)}%, 6px)`;
        plot.append(frame);
      }
    },
    clearMarks: () => plot.querySelectorAll(".mark").forEach((mark) => mark.remove()),
    draw() {
      const isCurrent = player.key === data.key;
      const position = player.audio.currentTime;
      playIcon.path.setAttribute("d", isCurrent && !player.audio.paused ? PAUSE : PLAY);
      cursor.hidden = !isCurrent || position < from || position > to;
      cursor.style.left = `${percent(position)}%`;
    },
  };
}

function buildExplanation(root, data) {
  const sounds = { query: buildSound(data.query), result: buildSound(data.result) };
  const isCodes = data.kind === "codes";
  const selected = new Set(data.marks.length ? [0] : []);
  const toggle = (number) => {
    selected.has(number) ? selected.delete(number) : selected.add(number);
    drawMarks();
  };
  const buttons = data.marks.map((mark, number) => makeElement("button", { type: "button", onclick: () => toggle(number) }, mark.name, makeElement("em", {}, mark.value)));
  const drawMarks = () => {
    for (const [side, sound] of Object.entries(sounds)) {
      sound.clearMarks();
      for (const number of [...selected].sort((a, b) => a - b)) sound.mark(data.marks[number][side], isCodes ? data.marks[number].name.replace("Code ", "") : String(number + 1));
    }
    buttons.forEach((button, number) => button.setAttribute("aria-pressed", String(selected.has(number))));
  };
  const text = isCodes
    ? `Similarity ${data.similarity}, a sum over the codes that both sounds share. Codes are short patterns that the encoder learned; the frames mark where each occurs in both sounds.`
    : `Similarity ${data.similarity}. The frames mark the parts of both sounds that were compared, the best match first.`;
  root.replaceChildren(
    makeElement("p", { class: "note" }, text),
    makeElement("div", { class: "marks", role: "group", "aria-label": isCodes ? "Codes, with their share of the similarity" : "Matches, with their similarity" }, ...buttons),
    sounds.query.element,
    sounds.result.element,
  );
  drawMarks();
  const view = { cards: () => [], draw: () => Object.values(sounds).forEach((sound) => sound.draw()) };
  getPlayer().views.add(view);
  view.draw();
  return view;
}

const mounted = new WeakMap();

export default function (component) {
  const { data, parentElement } = component;
  const text = JSON.stringify(data);
  const before = mounted.get(parentElement);
  if (before?.text !== text) {
    if (before) getPlayer().views.delete(before.view);
    mounted.set(parentElement, { text, view: buildExplanation(parentElement.querySelector(".explanation"), data) });
  }
  return () => {
    getPlayer().views.delete(mounted.get(parentElement)?.view);
    mounted.delete(parentElement);
  };
}
