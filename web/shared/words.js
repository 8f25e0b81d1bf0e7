// The words of panels in the page's language. English is the key, and what is shown where a language has no words.
//
// web/words/<language>.json has the others, which web/language.js reads before any node is made. What the host's
// Python has written (reports, notes, names of rewards) stays as it comes.

let known = {};
let language = "en";

/** Speak a language from now on: its tag, and its words by the English ones. */
export function speak(tag, words) {
  language = tag;
  known = words;
}

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));

/** A text in the page's language; `{name}` in it becomes that value. */
export function say(text, values = {}) {
  return filled(known[text] ?? text, values);
}

/** A number as the language writes it. */
export function sayNumber(value) {
  return value.toLocaleString(language);
}

/**
 * A text about so many of something: `one` and `many` are the English ones, with `{count}` in them.
 * A language's entry, under `many`, is a text, or one for each of its plural forms, as Intl.PluralRules calls them.
 */
export function sayCount(count, one, many, values = {}) {
  const entry = known[many] ?? { one, other: many };
  const form = new Intl.PluralRules(language).select(count);
  const text = typeof entry === "string" ? entry : (entry[form] ?? entry.other);
  return filled(text, { count: sayNumber(count), ...values });
}
