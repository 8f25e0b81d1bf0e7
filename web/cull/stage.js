// Some pictures large at once: one, two to compare, or a survey. They zoom together, at the same place of each.

import { element, hasFewPixels } from "../shared/dom.js";
import { say } from "../shared/words.js";
import { surveyColumns } from "./model.js";

const LEAST_ZOOM = 2;
const PAN = 0.1; // of a picture, for each press of an arrow

class Pane {
  constructor(onClick) {
    this.picture = element("img", "tmc-full", { attributes: { alt: "", draggable: "false" } });
    this.gone = element("div", "tmc-gone", { text: say("This picture is no longer there. Run the graph again.") });
    this.frame = element("div", "tmc-frame", { children: [this.picture, this.gone] });
    this.caption = element("figcaption", "tmc-caption");
    this.box = element("figure", "tmc-pane", { children: [this.frame, this.caption] });
    this.frame.addEventListener("click", (event) => onClick(this, event));
    this.picture.addEventListener("load", () => {
      this.gone.hidden = true;
      this.picture.hidden = false;
      this.picture.classList.toggle("tmc-pixels", hasFewPixels(this.picture));
    });
    this.picture.addEventListener("error", () => {
      this.gone.hidden = false;
      this.picture.hidden = true;
    });
  }

  /** The picture's own box within its frame, in pixels. */
  area() {
    const { width, height } = this.frame.getBoundingClientRect();
    const [wide, high] = [this.picture.naturalWidth || 1, this.picture.naturalHeight || 1];
    const scale = Math.min(width / wide, height / high);
    const [shownWide, shownHigh] = [wide * scale, high * scale];
    return { width, height, scale, left: (width - shownWide) / 2, top: (height - shownHigh) / 2, shownWide, shownHigh };
  }

  /** Where in the picture a pointer is, each from 0 to 1. */
  pointed(event) {
    const frame = this.frame.getBoundingClientRect();
    const area = this.area();
    const within = (value) => Math.max(0, Math.min(1, value));
    return [
      within((event.clientX - frame.left - area.left) / area.shownWide),
      within((event.clientY - frame.top - area.top) / area.shownHigh),
    ];
  }

  zoom(at) {
    const style = this.picture.style;
    if (!at) {
      style.transform = "";
      return;
    }
    const area = this.area();
    const ratio = Math.max(LEAST_ZOOM, 1 / area.scale / (window.devicePixelRatio || 1)); // every pixel of a large one
    style.transformOrigin = `${area.left + at[0] * area.shownWide}px ${area.top + at[1] * area.shownHigh}px`;
    style.transform = `scale(${ratio})`;
  }
}

/**
 * The large pictures. `source` gives: `address(place)`, `said(place)`, `marks(place)` (elements for the line below),
 * `chosen(i)` when the i-th is clicked, `zooms()` whether a click zooms.
 */
export class Stage {
  constructor(source) {
    this.source = source;
    this.panes = [];
    this.at = null; // where all are zoomed, or null
    this.pointer = [0.5, 0.5];
    this.box = element("div", "tmc-stage", {
      attributes: { role: "group", tabindex: "0", "aria-label": say("Large pictures") },
      on: { pointermove: (event) => this.follow(event) },
    });
    this.resized = new ResizeObserver(() => this.arrange());
    this.resized.observe(this.box);
  }

  /** Show the pictures of some places; `active` is which of them keys mark. */
  show(places, active) {
    while (this.panes.length < places.length) this.panes.push(new Pane((pane, event) => this.clicked(pane, event)));
    this.panes.length = places.length;
    if (this.box.childElementCount !== places.length) this.box.replaceChildren(...this.panes.map((pane) => pane.box));
    places.forEach((place, i) => {
      const pane = this.panes[i];
      const url = this.source.address(place);
      if (pane.picture.getAttribute("src") !== url) {
        pane.gone.hidden = Boolean(url);
        pane.picture.hidden = !url;
        pane.picture.src = url;
      }
      pane.picture.alt = this.source.said(place);
      pane.caption.replaceChildren(...this.source.marks(place));
      pane.box.classList.toggle("tmc-active", places.length > 1 && i === active);
    });
    this.arrange();
  }

  arrange() {
    const { clientWidth, clientHeight } = this.box;
    if (!clientWidth || !this.panes.length) return;
    const columns = surveyColumns(this.panes.length, clientWidth, clientHeight);
    this.box.style.setProperty("--tmc-columns", String(this.panes.length === 2 && clientWidth > clientHeight ? 2 : columns));
    this.zoomTo(this.at);
  }

  zoomTo(at) {
    this.at = at;
    this.box.classList.toggle("tmc-zoomed", Boolean(at));
    for (const pane of this.panes) pane.zoom(at);
  }

  /** Zoom all at the cursor, or back. */
  toggleZoom() {
    this.zoomTo(this.at ? null : this.pointer);
  }

  /** Move what is zoomed, by hand. Whether anything was. */
  pan(key) {
    const by = { ArrowLeft: [-PAN, 0], ArrowRight: [PAN, 0], ArrowUp: [0, -PAN], ArrowDown: [0, PAN] }[key];
    if (!this.at || !by) return false;
    this.pointer = this.at.map((value, i) => Math.max(0, Math.min(1, value + by[i])));
    this.zoomTo(this.pointer);
    return true;
  }

  follow(event) {
    const pane = this.panes.find((one) => one.frame.contains(event.target));
    if (!pane) return;
    this.pointer = pane.pointed(event);
    if (this.at) this.zoomTo(this.pointer);
  }

  clicked(pane, event) {
    this.pointer = pane.pointed(event);
    this.source.chosen(this.panes.indexOf(pane));
    if (this.source.zooms()) this.toggleZoom();
  }
}
