// A scatter plot drawn pixel by pixel: 60,000 points in a few milliseconds, with or without a GPU. (Without one, on two
// cores, 50,000 points took two frames by WebGL and also as canvas rectangles.)
// xy: Float32Array of x, y from 0 to 1; colour: Uint8Array of indices into the palette, 255 for all others.

const N_PALETTE = 10; // nine colours and grey for all others
const OPAQUE = 0.8;
const DIMMED = 0.1; // opacity of the other colours while one is selected

function makePlot(canvas) {
  const pen = canvas.getContext("2d", { alpha: false });
  let groups = []; // the coordinates of each colour: x, y, x, y ...
  let image = null;
  let dot = null;
  return {
    setPoints(xy, colour) {
      const sizes = new Uint32Array(N_PALETTE);
      for (const one of colour) sizes[Math.min(one, N_PALETTE - 1)] += 2;
      groups = [...sizes].map((size) => new Float32Array(size));
      const ends = new Uint32Array(N_PALETTE);
      for (let i = 0; i < colour.length; i++) {
        const at = Math.min(colour[i], N_PALETTE - 1);
        groups[at][ends[at]++] = xy[2 * i];
        groups[at][ends[at]++] = xy[2 * i + 1];
      }
    },
    // colours, background: [red, green, blue], 0 to 255; radius in CSS pixels, each `ratio` pixels of the canvas
    draw(view, colours, background, radius, selected, ratio) {
      const { width, height } = canvas;
      if (image?.width !== width || image.height !== height) image = pen.createImageData(width, height);
      const pixels = image.data;
      pixels.set([...background, 255]);
      new Uint32Array(pixels.buffer).fill(new Uint32Array(pixels.buffer, 0, 1)[0]);
      if (dot?.radius !== radius * ratio || dot.width !== width) dot = makeDot(radius * ratio, width);
      const edge = Math.ceil(radius * ratio) + 1;
      const [zoom, left, top] = [view.zoom * ratio, view.x * ratio, view.y * ratio];
      const order = [...groups.keys()].sort((a, b) => (a === selected) - (b === selected)); // the selected colour on top
      for (const group of order) {
        const places = groups[group];
        const [red, green, blue] = colours[group];
        const shares = dot.shares.map((share) => share * (selected >= 0 && selected !== group ? DIMMED : OPAQUE));
        for (let i = 0; i < places.length; i += 2) {
          const x = Math.round(left + places[i] * zoom);
          const y = Math.round(top - places[i + 1] * zoom);
          if (x < edge || y < edge || x >= width - edge || y >= height - edge) continue;
          const middle = 4 * (y * width + x);
          for (let k = 0; k < shares.length; k++) {
            const at = middle + dot.steps[k];
            const share = shares[k];
            pixels[at] += (red - pixels[at]) * share;
            pixels[at + 1] += (green - pixels[at + 1]) * share;
            pixels[at + 2] += (blue - pixels[at + 2]) * share;
          }
        }
      }
      pen.putImageData(image, 0, 0);
    },
  };
}

// The pixels of a disc: the offset of each from the centre, in bytes of an image of this width, and its coverage.
function makeDot(radius, width) {
  const steps = [];
  const shares = [];
  const extent = Math.ceil(radius);
  for (let y = -extent; y <= extent; y++)
    for (let x = -extent; x <= extent; x++) {
      const share = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(x, y)));
      if (share > 0.05) {
        steps.push(4 * (y * width + x));
        shares.push(share);
      }
    }
  return { radius, width, steps: Int32Array.from(steps), shares: Float32Array.from(shares) };
}

// A grid over the points, to find those near a position without looking at all.
function makeGrid(xy) {
  const side = Math.max(1, Math.min(256, Math.round(Math.sqrt(xy.length / 8))));
  const cell = (value) => Math.min(side - 1, Math.max(0, Math.floor(value * side)));
  const cells = new Map();
  for (let i = 0; i < xy.length / 2; i++) {
    const key = cell(xy[2 * i]) * side + cell(xy[2 * i + 1]);
    if (!cells.has(key)) cells.set(key, []);
    cells.get(key).push(i);
  }
  return {
    *near(x, y, radius) {
      for (let a = cell(x - radius); a <= cell(x + radius); a++)
        for (let b = cell(y - radius); b <= cell(y + radius); b++) yield* cells.get(a * side + b) ?? [];
    },
  };
}
