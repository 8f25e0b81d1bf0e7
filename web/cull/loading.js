// Pictures that are fetched a few at a time: those in sight first, and those that have gone never.

import { hasFewPixels } from "../shared/dom.js";

const AT_ONCE = 6; // as many as a page has connections to its host

/** A line of pictures that wait to be loaded. `inSight(picture)` says which are wanted most. */
export class Loading {
  constructor(inSight) {
    this.inSight = inSight;
    this.waiting = new Map(); // picture -> its address
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

  add(picture, url) {
    this.waiting.set(picture, url);
  }

  /** Load no more of a picture that has left. */
  drop(picture) {
    this.waiting.delete(picture);
    this.busy.delete(picture);
    picture.removeAttribute("src"); // which ends the request
  }

  next() {
    if (this.busy.size >= AT_ONCE || !this.waiting.size) return;
    const pictures = [...this.waiting.keys()];
    const first = pictures.filter((picture) => this.inSight(picture));
    for (const picture of [...first, ...pictures]) {
      if (this.busy.size >= AT_ONCE) return;
      const url = this.waiting.get(picture);
      if (url === undefined) continue; // it was among the first
      this.waiting.delete(picture);
      this.busy.add(picture);
      picture.src = url;
    }
  }
}
