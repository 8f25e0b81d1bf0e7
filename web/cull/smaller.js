// Small copies of large files, made by the page as they are needed: hundreds of whole ones would stop it.

const SIDE = 256; // pixels across
const QUALITY = 0.85;

/** Make a small copy of the picture at an address, away from the page's own thread; returns where it is. */
async function small(url, signal) {
  const answer = await fetch(url, { signal });
  if (!answer.ok) return url; // which then says that it is not there
  const bitmap = await createImageBitmap(await answer.blob(), { resizeWidth: SIDE, resizeQuality: "medium" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return URL.createObjectURL(await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY }));
}

/** Small copies by the address of the whole picture, kept until they are forgotten. */
export class Smaller {
  constructor() {
    this.made = new Map(); // address -> where its small copy is
  }

  /** Where a small copy is; the whole picture's own address where none can be made. */
  async of(url, signal) {
    if (this.made.has(url)) return this.made.get(url);
    let found = url;
    try {
      found = await small(url, signal);
    } catch (error) {
      if (signal.aborted) throw error;
    }
    if (found !== url) this.made.set(url, found);
    return found;
  }

  forget() {
    for (const one of this.made.values()) URL.revokeObjectURL(one);
    this.made.clear();
  }
}
