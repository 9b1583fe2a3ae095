// What every component is built with: elements made in one call, lengths as words, the signs of play and pause.

const SVG = "http://www.w3.org/2000/svg";
// Play and pause are solid, which the font of the other icons is not.
const PLAY = "M4 2.2v11.6c0 .8.8 1.2 1.5.8l9.3-5.8c.6-.4.6-1.2 0-1.6L5.5 1.4C4.8 1 4 1.4 4 2.2z";
const PAUSE = "M3.5 2h3.2v12H3.5zM9.3 2h3.2v12H9.3z";

// An element with its attributes (those that begin with "on" are handlers; svg: true makes it part of a drawing) and
// children. An attribute that is true stands without a value; one that is false or nothing is left out, as is a child.
function make(tag, { svg = false, ...attributes } = {}, ...children) {
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element[name] = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A drawing of one line on a field of 16 by 16, and the line, whose shape may be changed.
function drawing(path) {
  const line = make("path", { svg: true, d: path });
  return { svg: make("svg", { svg: true, viewBox: "0 0 16 16", "aria-hidden": "true" }, line), line };
}

const clock = (seconds) => (seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`);
