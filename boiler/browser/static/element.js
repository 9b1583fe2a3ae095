// Shared by all components: creating elements, URLs below the root of the browser, durations, and the play icons.

const SVG = "http://www.w3.org/2000/svg";
// The icon font has no filled play and pause icons.
const PLAY = "M4 2.2v11.6c0 .8.8 1.2 1.5.8l9.3-5.8c.6-.4.6-1.2 0-1.6L5.5 1.4C4.8 1 4 1.4 4 2.2z";
const PAUSE = "M3.5 2h3.2v12H3.5zM9.3 2h3.2v12H9.3z";

// An element with attributes ("on..." are event handlers; `true` is an attribute without a value; null, undefined and
// false are left out) and children. svg: true creates an SVG element. Strings become text, never HTML.
function makeElement(tag, { svg = false, ...attributes } = {}, ...children) {
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element[name] = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// An icon of one path on a canvas of 16 by 16; the path is returned, too, so that it can be changed.
function makeIcon(shape) {
  const path = makeElement("path", { svg: true, d: shape });
  return { svg: makeElement("svg", { svg: true, viewBox: "0 0 16 16", "aria-hidden": "true" }, path), path };
}

// Streamlit loads its script from <root>/static/, which gives the root on every page, also behind a proxy that serves the
// browser below a path.
const ROOT_URL = (() => {
  const script = [...document.scripts].find((one) => one.src.includes("/static/js/"));
  return script ? new URL("../../", script.src).href : new URL("./", document.baseURI).href;
})();
const rootUrl = (relative) => new URL(relative, ROOT_URL).href;

const formatSeconds = (seconds) => (seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`);
