// A waveform drawn as bars on a canvas; the match and the part that was played have their own colours.

const BAR_PX = 2;
const GAP_PX = 1;
const MAX_CACHED_PEAKS = 600;

function makeWaveform(canvas, { url, from, to, match, onFail }) {
  // from, to: the range that the canvas covers, in seconds. match: [start, end] or null
  const player = getPlayer();
  const state = { peaks: player.peaks.get(url) ?? null, position: null, startedAt: null, selection: null };
  const abort = new AbortController();
  let colours = null;

  const draw = () => {
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width || !height) return;
    const scale = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    // A canvas does not understand light-dark() and var(): the computed style has plain colours.
    colours ??= ["--rest", "--match", "--played", "--band", "--selection"].map((name) => {
      canvas.style.color = `var(${name})`;
      return getComputedStyle(canvas).color;
    });
    const [rest, matched, played, band, selection] = colours;
    const x = (seconds) => ((seconds - from) / (to - from)) * width;
    const fill = (part, colour) => {
      pen.fillStyle = colour;
      pen.fillRect(x(part[0]), 0, Math.max(x(part[1]) - x(part[0]), 2), height);
    };
    if (match) fill(match, band);
    if (state.selection) fill(state.selection, selection);
    const bars = Math.max(1, Math.floor(width / (BAR_PX + GAP_PX)));
    const middle = height / 2;
    const { low, high } = state.peaks ?? { low: [0], high: [0] };
    const top = Math.max(0.02, ...high, ...low.map((value) => -value));
    for (let bar = 0; bar < bars; bar++) {
      const first = Math.floor((bar * low.length) / bars);
      const last = Math.max(first + 1, Math.floor(((bar + 1) * low.length) / bars));
      let down = 0;
      let up = 0;
      for (let i = first; i < last; i++) {
        down = Math.min(down, low[i]);
        up = Math.max(up, high[i]);
      }
      const seconds = from + ((bar + 0.5) / bars) * (to - from);
      const inside = match && seconds >= match[0] && seconds <= match[1];
      const isPlayed = state.position !== null && seconds <= state.position && seconds >= (state.startedAt ?? from);
      pen.fillStyle = isPlayed ? played : inside ? matched : rest;
      const above = Math.max(1, (up / top) * (middle - 1));
      const below = Math.max(1, (-down / top) * (middle - 1));
      pen.fillRect(bar * (BAR_PX + GAP_PX), middle - above, BAR_PX, above + below);
    }
    if (state.position !== null && state.position >= from && state.position <= to) {
      pen.fillStyle = played;
      pen.fillRect(x(state.position), 0, 1.5, height);
    }
  };

  const fetchPeaks = async () => {
    if (state.peaks) return;
    try {
      const response = await fetch(rootUrl(url), { signal: abort.signal });
      if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail);
      state.peaks = await response.json();
      if (player.peaks.size > MAX_CACHED_PEAKS) player.peaks.delete(player.peaks.keys().next().value);
      player.peaks.set(url, state.peaks);
      draw();
    } catch (error) {
      if (error.name !== "AbortError") onFail(error.message);
    }
  };

  // A waveform is fetched when it scrolls into view.
  const visibility = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      visibility.disconnect();
      fetchPeaks();
    }
  });
  visibility.observe(canvas);
  const size = new ResizeObserver(draw);
  size.observe(canvas);

  return {
    // position: of the playback, null where it does not play; startedAt: where playback was started; all in seconds
    show(position, startedAt, selection) {
      if (position === state.position && startedAt === state.startedAt && selection === state.selection) return;
      Object.assign(state, { position, startedAt, selection });
      draw();
    },
    recolour() {
      colours = null;
      draw();
    },
    secondsAt: (event) => {
      const box = canvas.getBoundingClientRect();
      return from + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * (to - from);
    },
    stop() {
      abort.abort();
      visibility.disconnect();
      size.disconnect();
    },
  };
}
