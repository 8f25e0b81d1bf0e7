// Our words in the page's language: those of panels, and those of nodes on pages that lose them.
//
// Pages such as 1.32.9 read the words of packs first and then replace them with their own words of the chosen language,
// which they fetch last. Here ours are put beside those again, before any node is registered. Newer and older pages
// have them already.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { speak } from "./shared/words.js";

const LANGUAGES = ["zh", "ja", "ko", "de", "fr", "es"]; // those of web/words
const OURS = /^Tastemaker/;
const PATIENCE = 60; // looks of 50 ms each: the page's own words come from the same server

/** The page's vue-i18n, or undefined where it is not found. */
function translator() {
  const provided = document.querySelector("#vue-app")?.__vue_app__?._context?.provides ?? {};
  const found = Object.getOwnPropertySymbols(provided).map((key) => provided[key]?.global);
  return found.find((entry) => entry?.mergeLocaleMessage && entry?.getLocaleMessage);
}

/** The words of panels, in the page's language. */
async function learnPanels(language) {
  const response = await fetch(new URL(`./words/${language}.json`, import.meta.url));
  if (response.ok) speak(language, await response.json());
}

/** The words of nodes, put beside the page's own where it has dropped them. */
async function keepNodes(language) {
  const i18n = translator();
  if (!i18n) return;
  const response = await api.fetchApi("/i18n");
  const words = response.ok ? (await response.json())[language] : undefined;
  if (!words?.nodeDefs) return;
  const nodes = () => i18n.getLocaleMessage(language)?.nodeDefs ?? {};
  for (let look = 0; look < PATIENCE && !nodes().KSampler; look += 1) {
    if (look && nodes().TastemakerRank) return; // a language that the page itself does not speak
    await new Promise((done) => setTimeout(done, 50));
  }
  if (nodes().TastemakerRank) return;
  const own = (part) => Object.fromEntries(Object.entries(words[part] ?? {}).filter(([key]) => OURS.test(key)));
  i18n.mergeLocaleMessage(language, { nodeDefs: own("nodeDefs"), commands: own("commands") });
}

app.registerExtension({
  name: "tastemaker.language",
  async init() {
    const language = app.extensionManager?.setting?.get("Comfy.Locale");
    if (LANGUAGES.includes(language)) await Promise.all([learnPanels(language), keepNodes(language)]);
  },
});
