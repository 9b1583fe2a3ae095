// A file that is dropped anywhere on the page goes to the upload field, which is opened for it. data: {text}: shown while
// a file is dragged over the page.

const MAX_WAIT_MS = 15_000; // for the field, which the script adds once the popover is open
const FIELD = ".st-key-search-bar input[type=file], [data-testid=stPopoverBody] input[type=file]";

function takeDrops(section) {
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const isOnField = (event) => event.target instanceof Element && event.target.closest("[data-testid=stFileUploaderDropzone]") !== null;
  const field = async () => {
    if (!document.querySelector(FIELD)) document.querySelector(".st-key-upload button")?.click();
    for (const end = performance.now() + MAX_WAIT_MS; performance.now() < end; ) {
      const found = document.querySelector(FIELD);
      if (found) return found;
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
