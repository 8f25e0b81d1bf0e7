// Elements without markup strings: data only ever becomes text or an attribute's value.

/**
 * An element with a class, its text, attributes, listeners and children.
 * @param {string} tag
 * @param {string} [className]
 * @param {{text?: string, attributes?: Record<string, string>, on?: Record<string, (event: any) => void>,
 *   children?: (Node | string)[]}} [parts]
 * @returns {any} the element, of the kind its tag says
 */
export function element(tag, className = "", { text, attributes = {}, on = {}, children = [] } = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  for (const [name, handler] of Object.entries(on)) made.addEventListener(name, handler);
  made.append(...children);
  return made;
}

/** A button with a label for those who cannot see it. */
export function button(className, text, label, onClick) {
  return element("button", className, {
    text,
    attributes: { type: "button", "aria-label": label, title: label },
    on: { click: onClick },
  });
}

const PIXELS = 200;

/** Whether a picture is so small that it is shown with its pixels sharp. */
export function hasFewPixels(picture) {
  return Math.max(picture.naturalWidth, picture.naturalHeight) <= PIXELS;
}

/** Put the shared style sheet and others of the pack, by their whole addresses, on the page, each once. */
export function addStyle(...hrefs) {
  for (const one of [new URL("./theme.css", import.meta.url).href, ...hrefs]) {
    if ([...document.querySelectorAll("link[data-tastemaker]")].some((link) => link.href === one)) continue;
    document.head.append(element("link", "", { attributes: { rel: "stylesheet", href: one, "data-tastemaker": "" } }));
  }
}
