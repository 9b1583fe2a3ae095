// Points drawn by the graphics card, or, where there is none for pages, by the canvas: up to some 60,000, smoothly.
// xy: Float32Array of x, y in 0 to 1; colour: Uint8Array of a place in the palette, 255 the rest.

const VERTEX = `#version 300 es
in vec2 place; in float colour;
uniform vec2 scale, shift; uniform float size, only; uniform vec4 palette[10];
out vec4 paint;
void main() {
  int at = colour > 9.0 ? 9 : int(colour);
  bool dim = only >= 0.0 && float(at) != only;
  paint = vec4(palette[at].rgb, dim ? 0.10 : palette[at].a);
  gl_Position = vec4(place * scale + shift, dim ? 0.5 : 0.0, 1.0);
  gl_PointSize = size;
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 paint; out vec4 seen;
void main() {
  float edge = length(gl_PointCoord - 0.5);
  if (edge > 0.5) discard;
  seen = vec4(paint.rgb, 1.0) * paint.a * smoothstep(0.5, 0.38, edge);
}`;

function makePlot(canvas) {
  const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
  return gl ? cardPlot(canvas, gl) : plainPlot(canvas);
}

function cardPlot(canvas, gl) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const where = (name) => gl.getUniformLocation(program, name);
  const [scale, shift, size, only, palette] = ["scale", "shift", "size", "only", "palette"].map(where);
  const buffers = [gl.createBuffer(), gl.createBuffer()];
  let count = 0;
  return {
    give(xy, colour) {
      count = colour.length;
      [["place", xy, 2, gl.FLOAT], ["colour", colour, 1, gl.UNSIGNED_BYTE]].forEach(([name, values, width, kind], at) => {
        const slot = gl.getAttribLocation(program, name);
        gl.bindBuffer(gl.ARRAY_BUFFER, buffers[at]);
        gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
        gl.enableVertexAttribArray(slot);
        gl.vertexAttribPointer(slot, width, kind, false, 0, 0);
      });
    },
    draw(view, colours, radius, chosen, ratio) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      const [width, height] = [canvas.width / ratio, canvas.height / ratio];
      gl.uniform2f(scale, (2 * view.zoom) / width, (2 * view.zoom) / height);
      gl.uniform2f(shift, (2 * view.x) / width - 1, (2 * (height - view.y)) / height - 1);
      gl.uniform1f(size, Math.max(2, 2 * radius * ratio));
      gl.uniform1f(only, chosen);
      gl.uniform4fv(palette, colours.flatMap((one) => [...one, 0.8]));
      gl.drawArrays(gl.POINTS, 0, count);
    },
    stop: () => gl.getExtension("WEBGL_lose_context")?.loseContext(),
  };
}

function plainPlot(canvas) {
  const pen = canvas.getContext("2d");
  let places = new Float32Array();
  let colour = new Uint8Array();
  return {
    give(xy, which) {
      [places, colour] = [xy, which];
    },
    draw(view, colours, radius, chosen, ratio) {
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, canvas.width, canvas.height);
      const styles = colours.map((one) => `rgb(${one.map((part) => Math.round(part * 255)).join()})`);
      for (let group = 0; group < 10; group++) {
        pen.fillStyle = styles[group];
        pen.globalAlpha = chosen >= 0 && chosen !== group ? 0.1 : 0.8;
        for (let i = 0; i < colour.length; i++)
          if (Math.min(colour[i], 9) === group)
            pen.fillRect(view.x + places[2 * i] * view.zoom - radius, view.y - places[2 * i + 1] * view.zoom - radius, 2 * radius, 2 * radius);
      }
    },
    stop() {},
  };
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
