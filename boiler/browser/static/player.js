// One sound at a time: every card of the page plays through one <audio> element, which lives as long as the page does,
// so that a rerun of the script does not stop the music. Keys work wherever the focus is, but in a field.

function theStage() {
  if (window.boilerStage) return window.boilerStage;
  const audio = document.createElement("audio");
  audio.id = "boiler-audio";
  audio.preload = "none";
  document.body.append(audio);

  const stage = {
    audio,
    key: null, // of the card that plays, or played last
    from: 0, // where what plays was begun, in seconds
    failed: null, // of the card whose sound could not be had
    boards: new Set(), // the mounted components: {cards() -> [card], draw()}
    peaks: new Map(), // address -> waveform, so that a sound seen before is drawn at once

    line: null, // what is heard in order: {keys, most}

    playInOrder(cards, most) {
      stage.line = { keys: cards.map((card) => card.key), most };
      stage.play(cards[0], cards[0].from ?? 0);
    },
    next() {
      const key = stage.line?.keys[stage.line.keys.indexOf(stage.key) + 1];
      const card = [...stage.boards].flatMap((board) => board.cards()).find((one) => one.key === key);
      if (!card) return stage.stopLine();
      card.element.scrollIntoView({ block: "nearest", behavior: "smooth" });
      stage.play(card, card.from ?? 0);
    },
    stopLine() {
      if (stage.line) audio.pause();
      stage.line = null;
    },
    toggle(card) {
      if (stage.key === card.key && !audio.paused) audio.pause();
      else stage.play(card);
    },
    play(card, atSeconds) {
      if (stage.line && !stage.line.keys.includes(card.key)) stage.line = null;
      const other = stage.key !== card.key || audio.error;
      if (other) {
        stage.key = card.key;
        stage.failed = null;
        audio.src = card.audio;
      }
      const from = atSeconds ?? (other || audio.ended ? (card.from ?? 0) : null); // null: on from where it was paused
      if (from !== null) stage.from = audio.currentTime = from;
      audio.play().catch((error) => {
        if (error.name !== "AbortError") stage.fail(card.key);
      });
      draw();
    },
    // Told twice of each that cannot be played, by the promise and by the event; what is heard in order goes on.
    fail(key) {
      if (key !== stage.key || key === stage.failed) return;
      stage.failed = key;
      draw();
      if (stage.line) stage.next();
    },
  };

  const draw = () => stage.boards.forEach((board) => board.draw());
  const follow = () => {
    draw();
    if (!audio.paused && !audio.ended) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", follow);
  audio.addEventListener("ended", () => stage.line && stage.next());
  audio.addEventListener("timeupdate", () => {
    if (stage.line && !audio.paused && audio.currentTime - stage.from > stage.line.most) stage.next();
  });
  for (const name of ["pause", "ended", "seeked", "loadedmetadata"]) audio.addEventListener(name, draw);
  audio.addEventListener("error", () => audio.error && stage.fail(stage.key));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.composedPath()[0];
    const typing = target.closest?.("input, textarea, select, [contenteditable], [role=slider], [role=combobox]");
    if (typing) return;
    const height = (card) => card.element.getBoundingClientRect().top;
    const boards = [...stage.boards].map((board) => board.cards().filter((card) => card.element.isConnected));
    const cards = boards.filter((some) => some.length).sort((a, b) => height(a[0]) - height(b[0])).flat();
    const focused = cards.findIndex((card) => card.element.matches(":focus, :focus-within"));
    const playing = cards.findIndex((card) => card.key === stage.key);
    const here = focused >= 0 ? focused : playing;
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (step) {
      if (!cards.length || (event.key.startsWith("Arrow") && here < 0)) return; // arrows scroll until a card is in hand
      const next = cards[Math.min(Math.max(here + step, 0), cards.length - 1)];
      next.element.focus({ preventScroll: true });
      next.element.scrollIntoView({ block: "nearest", behavior: "smooth" });
      stage.play(next, next.from ?? 0);
      event.preventDefault();
      return;
    }
    if (here < 0) return;
    const card = cards[here];
    if (event.key === " " || event.key === "p") {
      if (target.closest?.("button, a, summary") && event.key === " ") return; // a focused button takes its own space
      stage.toggle(card);
      event.preventDefault();
    } else if (card.keys[event.key]) {
      card.keys[event.key]();
      event.preventDefault();
    }
  });

  window.boilerStage = stage;
  return stage;
}
