// Elements without markup strings: data only ever becomes text or an attribute's value.

/** An element with a class, its text, attributes and children. */
export function element(tag, className = "", { text, attributes = {}, on = {}, children = [] } = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  for (const [name, handler] of Object.entries(on)) made.addEventListener(name, handler);
  made.append(...children);
  return made;
}

/** A button that says what it does to whoever cannot see it. */
export function button(className, text, label, onClick) {
  const made = element("button", className, {
    text,
    attributes: { type: "button", "aria-label": label, title: label },
    on: { click: onClick },
  });
  return made;
}

/** Put the pack's style sheet on the page, once. */
export function addStyle() {
  const href = new URL("../gallery.css", import.meta.url).href;
  if (![...document.styleSheets].some((sheet) => sheet.href === href)
      && !document.querySelector("link[data-tastemaker]")) {
    document.head.append(element("link", "", { attributes: { rel: "stylesheet", href, "data-tastemaker": "" } }));
  }
}
