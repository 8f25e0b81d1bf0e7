// Pictures that are fetched a few at a time: those in sight first, and those that have gone never.

import { hasFewPixels } from "../shared/dom.js";
import { Smaller } from "./smaller.js";

const AT_ONCE = 6; // as many as a page has connections to its host

/** A line of pictures that wait to be loaded. `inSight(picture)` says which are wanted most. */
export class Loading {
  constructor(inSight) {
    this.inSight = inSight;
    this.waiting = new Map(); // picture -> {url, shrink}
    this.smaller = new Smaller();
    this.busy = new Set();
    this.done = (event) => {
      event.target.classList.toggle("tmc-pixels", hasFewPixels(event.target));
      if (this.busy.delete(event.target)) this.next();
    };
  }

  /** Take a new picture into care. */
  watch(picture) {
    picture.addEventListener("load", this.done);
    picture.addEventListener("error", this.done);
  }

  /** Load it when its turn comes; `shrink` where a small copy is to be made of what is there. */
  add(picture, url, shrink = false) {
    this.waiting.set(picture, { url, shrink });
  }

  /** Load no more of a picture that has left. */
  drop(picture) {
    this.waiting.delete(picture);
    this.busy.delete(picture);
    picture.making?.abort();
    picture.removeAttribute("src"); // which ends the request
  }

  next() {
    if (this.busy.size >= AT_ONCE || !this.waiting.size) return;
    const pictures = [...this.waiting.keys()];
    const first = pictures.filter((picture) => this.inSight(picture));
    for (const picture of [...first, ...pictures]) {
      if (this.busy.size >= AT_ONCE) return;
      const wanted = this.waiting.get(picture);
      if (!wanted) continue; // it was among the first
      this.waiting.delete(picture);
      this.busy.add(picture);
      if (wanted.shrink) this.shrink(picture, wanted.url);
      else picture.src = wanted.url;
    }
  }

  async shrink(picture, url) {
    const making = new AbortController();
    picture.making = making;
    try {
      const found = await this.smaller.of(url, making.signal);
      if (!making.signal.aborted) picture.src = found;
    } catch {
      // it has left meanwhile
    }
  }
}
