// One player for the whole page: all cards share one <audio> element outside of Streamlit's elements, so that a rerun of
// the script does not stop playback. Keyboard shortcuts work everywhere except in input fields.

function getPlayer() {
  if (window.boilerPlayer) return window.boilerPlayer;
  const audio = document.createElement("audio");
  audio.id = "boiler-audio";
  audio.preload = "none";
  document.body.append(audio);

  const player = {
    audio,
    key: null, // of the card that is playing or was played last
    startedAt: 0, // position where playback was started, in seconds
    failedKey: null, // of the card whose sound could not be played
    views: new Set(), // mounted components: {cards() -> [card], draw()}
    peaks: new Map(), // waveforms by URL, so that a known one is drawn at once

    queue: null, // cards that are played in order: {keys, maxSeconds}

    playInOrder(cards, maxSeconds) {
      player.queue = { keys: cards.map((card) => card.key), maxSeconds };
      player.play(cards[0], cards[0].startSeconds ?? 0);
    },
    next() {
      const key = player.queue?.keys[player.queue.keys.indexOf(player.key) + 1];
      const card = [...player.views].flatMap((view) => view.cards()).find((one) => one.key === key);
      if (!card) return player.stopQueue();
      card.element.scrollIntoView({ block: "nearest", behavior: "smooth" });
      player.play(card, card.startSeconds ?? 0);
    },
    stopQueue() {
      if (player.queue) audio.pause();
      player.queue = null;
    },
    toggle(card) {
      if (player.key === card.key && !audio.paused) audio.pause();
      else player.play(card);
    },
    play(card, atSeconds) {
      if (player.queue && !player.queue.keys.includes(card.key)) player.queue = null;
      const other = player.key !== card.key || audio.error;
      if (other) {
        player.key = card.key;
        player.failedKey = null;
        audio.src = rootUrl(card.audioUrl);
      }
      const start = atSeconds ?? (other || audio.ended ? (card.startSeconds ?? 0) : null); // null: resume
      if (start !== null) player.startedAt = audio.currentTime = start;
      audio.play().catch((error) => {
        if (error.name !== "AbortError") player.fail(card.key);
      });
      draw();
    },
    // Called twice for each failure, by the promise and by the event. A queue continues with the next card.
    fail(key) {
      if (key !== player.key || key === player.failedKey) return;
      player.failedKey = key;
      draw();
      if (player.queue) player.next();
    },
  };

  const draw = () => player.views.forEach((view) => view.draw());
  const drawWhilePlaying = () => {
    draw();
    if (!audio.paused && !audio.ended) requestAnimationFrame(drawWhilePlaying);
  };
  audio.addEventListener("play", drawWhilePlaying);
  audio.addEventListener("ended", () => player.queue && player.next());
  audio.addEventListener("timeupdate", () => {
    if (player.queue && !audio.paused && audio.currentTime - player.startedAt > player.queue.maxSeconds) player.next();
  });
  for (const name of ["pause", "ended", "seeked", "loadedmetadata"]) audio.addEventListener(name, draw);
  audio.addEventListener("error", () => audio.error && player.fail(player.key));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.composedPath()[0];
    const typing = target.closest?.("input, textarea, select, [contenteditable], [role=slider], [role=combobox]");
    if (typing) return;
    const height = (card) => card.element.getBoundingClientRect().top;
    const views = [...player.views].map((view) => view.cards().filter((card) => card.element.isConnected));
    const cards = views.filter((some) => some.length).sort((a, b) => height(a[0]) - height(b[0])).flat();
    const focused = cards.findIndex((card) => card.element.matches(":focus, :focus-within"));
    const playing = cards.findIndex((card) => card.key === player.key);
    const here = focused >= 0 ? focused : playing;
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (step) {
      if (!cards.length || (event.key.startsWith("Arrow") && here < 0)) return; // arrow keys scroll unless a card has the focus or plays
      const next = cards[Math.min(Math.max(here + step, 0), cards.length - 1)];
      next.element.focus({ preventScroll: true });
      next.element.scrollIntoView({ block: "nearest", behavior: "smooth" });
      player.play(next, next.startSeconds ?? 0);
      event.preventDefault();
      return;
    }
    if (here < 0) return;
    const card = cards[here];
    if (event.key === " " || event.key === "p") {
      if (target.closest?.("button, a, summary") && event.key === " ") return; // Space presses the focused button
      player.toggle(card);
      event.preventDefault();
    } else if (card.shortcuts[event.key]) {
      card.shortcuts[event.key]();
      event.preventDefault();
    }
  });

  window.boilerPlayer = player;
  return player;
}
