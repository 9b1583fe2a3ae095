// A file that is dropped anywhere on the page goes to the upload field, which is opened for it. data: {text}: shown while
// a file is dragged over the page.

const MAX_WAIT_MS = 15_000; // for the field, which the script adds once the popover is open
const CLICK_INTERVAL_MS = 1_000; // another click would close what the first one has not opened yet
const FIELD = ".st-key-search-bar input[type=file], [data-testid=stPopoverBody] input[type=file]";

const used = new Set(); // the keys of the fields that have taken a file

function keyOf(input) {
  return input.closest("[class*=st-key-upload-]")?.className.match(/st-key-(upload-\d+)/)?.[1];
}

function takeDrops(section) {
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const isOnField = (event) => event.target instanceof Element && event.target.closest("[data-testid=stFileUploaderDropzone]") !== null;
  // A field is replaced once it has taken a file, and the old one may be on the page until the script has run: a second
  // file would be lost in it.
  const isStale = (input) => used.has(keyOf(input)) && document.querySelector("[data-test-script-state=running]") !== null;
  const field = async () => {
    for (let clicked = -Infinity, now = performance.now(), end = now + MAX_WAIT_MS; now < end; now = performance.now()) {
      const found = document.querySelector(FIELD);
      if (found && !isStale(found)) return found;
      const button = document.querySelector(".st-key-upload button");
      if (!found && button?.getAttribute("aria-expanded") !== "true" && now - clicked > CLICK_INTERVAL_MS) {
        button?.click();
        clicked = now;
      }
      await new Promise((resume) => setTimeout(resume, 50));
    }
    return null;
  };
  const over = (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault(); // or the browser opens the file in place of the page
    section.hidden = isOnField(event);
  };
  const leave = (event) => {
    if (event.relatedTarget === null) section.hidden = true; // out of the window, not into another element
  };
  const drop = async (event) => {
    section.hidden = true;
    if (!hasFiles(event) || isOnField(event)) return;
    event.preventDefault();
    const files = new DataTransfer();
    if (event.dataTransfer.files.length) files.items.add(event.dataTransfer.files[0]);
    const input = files.files.length ? await field() : null;
    if (!input) return;
    used.add(keyOf(input));
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  document.addEventListener("dragover", over);
  document.addEventListener("dragleave", leave);
  document.addEventListener("drop", drop);
  return () => {
    document.removeEventListener("dragover", over);
    document.removeEventListener("dragleave", leave);
    document.removeEventListener("drop", drop);
  };
}

const mounted = new WeakMap();

export default function (component) {
  const { data, parentElement } = component;
  const section = parentElement.querySelector(".drop");
  section.textContent = data.text;
  if (!mounted.has(parentElement)) {
    section.hidden = true;
    mounted.set(parentElement, takeDrops(section));
  }
  return () => {
    mounted.get(parentElement)();
    mounted.delete(parentElement);
  };
}
