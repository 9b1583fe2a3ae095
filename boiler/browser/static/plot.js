// Points drawn into a picture, pixel by pixel: some 60,000 in a few milliseconds, whether or not there is a graphics card
// for pages. (On two cores without one, 50,000 points by WebGL took twice the time of a frame, as rectangles as well.)
// xy: Float32Array of x, y in 0 to 1; colour: Uint8Array of a place in the palette, 255 the rest.

const COLOURS = 10; // nine and the rest
const OPAQUE = 0.8;
const DIM = 0.1; // what is not the colour that is looked at alone

function makePlot(canvas) {
  const pen = canvas.getContext("2d", { alpha: false });
  let groups = []; // the places of each colour, x and y by turns
  let image = null;
  let spot = null;
  return {
    give(xy, colour) {
      const sizes = new Uint32Array(COLOURS);
      for (const one of colour) sizes[Math.min(one, COLOURS - 1)] += 2;
      groups = [...sizes].map((size) => new Float32Array(size));
      const ends = new Uint32Array(COLOURS);
      for (let i = 0; i < colour.length; i++) {
        const at = Math.min(colour[i], COLOURS - 1);
        groups[at][ends[at]++] = xy[2 * i];
        groups[at][ends[at]++] = xy[2 * i + 1];
      }
    },
    // colours, ground: [red, green, blue] of 255; radius in pixels of the page, of which each has `ratio` of the picture.
    draw(view, colours, ground, radius, chosen, ratio) {
      const { width, height } = canvas;
      if (image?.width !== width || image.height !== height) image = pen.createImageData(width, height);
      const pixels = image.data;
      pixels.set([...ground, 255]);
      new Uint32Array(pixels.buffer).fill(new Uint32Array(pixels.buffer, 0, 1)[0]);
      if (spot?.radius !== radius * ratio || spot.width !== width) spot = makeSpot(radius * ratio, width);
      const edge = Math.ceil(radius * ratio) + 1;
      const [zoom, left, top] = [view.zoom * ratio, view.x * ratio, view.y * ratio];
      const order = [...groups.keys()].sort((a, b) => (a === chosen) - (b === chosen)); // what is looked at lies on top
      for (const group of order) {
        const places = groups[group];
        const [red, green, blue] = colours[group];
        const shares = spot.shares.map((share) => share * (chosen >= 0 && chosen !== group ? DIM : OPAQUE));
        for (let i = 0; i < places.length; i += 2) {
          const x = Math.round(left + places[i] * zoom);
          const y = Math.round(top - places[i + 1] * zoom);
          if (x < edge || y < edge || x >= width - edge || y >= height - edge) continue;
          const middle = 4 * (y * width + x);
          for (let k = 0; k < shares.length; k++) {
            const at = middle + spot.steps[k];
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

// The pixels of a disc: how far each lies from its middle in the bytes of a picture so wide, and how much is covered.
function makeSpot(radius, width) {
  const steps = [];
  const shares = [];
  const reach = Math.ceil(radius);
  for (let y = -reach; y <= reach; y++)
    for (let x = -reach; x <= reach; x++) {
      const share = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(x, y)));
      if (share > 0.05) {
        steps.push(4 * (y * width + x));
        shares.push(share);
      }
    }
  return { radius, width, steps: Int32Array.from(steps), shares: Float32Array.from(shares) };
}

// Which points lie near a place, without looking at all of them: a grid of cells, each with its points.
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
    *near(x, y, reach) {
      for (let a = cell(x - reach); a <= cell(x + reach); a++)
        for (let b = cell(y - reach); b <= cell(y + reach); b++) yield* cells.get(a * side + b) ?? [];
    },
  };
}
