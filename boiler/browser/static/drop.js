// A file that is dropped anywhere on the page goes to the upload field, which is opened for it. data: {text}: shown while
// a file is dragged over the page.

const MAX_WAIT_MS = 15_000; // for the field, which the script adds once the popover is open
const SETTLED_MS = 1_000; // what the script has changed is on the page by then
const FIELD = ".st-key-search-bar input[type=file], [data-testid=stPopoverBody] input[type=file]";

const used = new Set(); // the keys of the fields that have taken a file

function keyOf(input) {
  return input.closest("[class*=st-key-upload-]")?.className.match(/st-key-(upload-\d+)/)?.[1];
}

function takeDrops(section) {
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const isOnField = (event) => event.target instanceof Element && event.target.closest("[data-testid=stFileUploaderDropzone]") !== null;
  const isRunning = () => document.querySelector("[data-test-script-state=running]") !== null;
  const field = async () => {
    const start = performance.now();
    for (let now = start, clicked = -Infinity, ran = start; now < start + MAX_WAIT_MS; now = performance.now()) {
      const found = document.querySelector(FIELD);
      if (isRunning()) ran = now;
      // A field is replaced once it has taken a file, and is on the page until the script has run and its elements are
      // shown. A second file would be lost in it. One that stays has refused its file, and takes another.
      if (found && (!used.has(keyOf(found)) || now > ran + SETTLED_MS)) return found;
      // The script may have closed, as it ended, what was opened here meanwhile: an empty popover is closed and reopened.
      const button = document.querySelector(".st-key-upload button");
      const isOpen = button?.getAttribute("aria-expanded") === "true";
      if (!found && !(isOpen && isRunning()) && now > clicked + SETTLED_MS) {
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
