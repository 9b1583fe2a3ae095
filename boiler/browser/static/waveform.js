// A waveform drawn as bars on a canvas: the matched part and what has been played stand out from the rest.

const BAR_PX = 2;
const GAP_PX = 1;

function waveform(canvas, { address, from, to, match, onFail }) {
  // from, to: the seconds that the canvas covers. match: [start, end] or null
  const stage = theStage();
  const state = { peaks: stage.peaks.get(address) ?? null, played: null, selected: null };
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
    // A canvas does not know the words of a style sheet (light-dark, var): they are asked back as plain colours.
    colours ??= ["--rest", "--match", "--played", "--band", "--selected"].map((name) => {
      canvas.style.color = `var(${name})`;
      return getComputedStyle(canvas).color;
    });
    const [rest, matched, played, band, selected] = colours;
    const x = (seconds) => ((seconds - from) / (to - from)) * width;
    const fill = (part, colour) => {
      pen.fillStyle = colour;
      pen.fillRect(x(part[0]), 0, Math.max(x(part[1]) - x(part[0]), 2), height);
    };
    if (match) fill(match, band);
    if (state.selected) fill(state.selected, selected);
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
      const heard = state.played !== null && seconds <= state.played && seconds >= (state.since ?? from);
      pen.fillStyle = heard ? played : inside ? matched : rest;
      const above = Math.max(1, (up / top) * (middle - 1));
      const below = Math.max(1, (-down / top) * (middle - 1));
      pen.fillRect(bar * (BAR_PX + GAP_PX), middle - above, BAR_PX, above + below);
    }
    if (state.played !== null && state.played >= from && state.played <= to) {
      pen.fillStyle = played;
      pen.fillRect(x(state.played), 0, 1.5, height);
    }
  };

  const fetchPeaks = async () => {
    if (state.peaks) return;
    try {
      const answer = await fetch(address, { signal: abort.signal });
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail);
      state.peaks = await answer.json();
      if (stage.peaks.size > 600) stage.peaks.delete(stage.peaks.keys().next().value);
      stage.peaks.set(address, state.peaks);
      draw();
    } catch (error) {
      if (error.name !== "AbortError") onFail(error.message);
    }
  };

  // Only what comes into sight is asked for: a long list costs no more than the screen shows.
  const sight = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      sight.disconnect();
      fetchPeaks();
    }
  });
  sight.observe(canvas);
  const size = new ResizeObserver(draw);
  size.observe(canvas);

  return {
    show(played, since, picked) {
      if (played === state.played && since === state.since && picked === state.selected) return;
      Object.assign(state, { played, since, selected: picked });
      draw();
    },
    recolour() {
      colours = null;
      draw();
    },
    seconds: (event) => {
      const box = canvas.getBoundingClientRect();
      return from + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * (to - from);
    },
    stop() {
      abort.abort();
      sight.disconnect();
      size.disconnect();
    },
  };
}
