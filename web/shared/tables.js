// Texts with tables in them, as Markdown writes them: parts for a panel, which has no Markdown.

import { element } from "./dom.js";

const TALL = 3; // rows up to which a table stands on its side: a name and a value for each line, as narrow nodes need it

const isRow = (line) => line.startsWith("|") && line.endsWith("|") && line.length > 1;
const isRule = (cells) => cells.every((cell) => /^:?-+:?$/.test(cell));

/** The cells of a row; a bar that is escaped belongs to its cell. */
function cellsOf(line) {
  return line.slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/**
 * Split a text into its parts.
 * @param {string} text
 * @returns {({text: string} | {rows: string[][]})[]} texts, and tables by their rows, the first of which is the head
 */
export function partsOf(text) {
  const lines = text.split("\n");
  const parts = [];
  for (let i = 0; i < lines.length; i += 1) {
    const table = isRow(lines[i]) && isRow(lines[i + 1] ?? "") && isRule(cellsOf(lines[i + 1]));
    if (table) {
      const rows = [cellsOf(lines[i])];
      for (i += 2; i < lines.length && isRow(lines[i]); i += 1) rows.push(cellsOf(lines[i]));
      i -= 1;
      parts.push({ rows: rows.length - 1 > TALL ? rows : turned(rows) });
    } else if (parts.length && "text" in parts.at(-1)) parts.at(-1).text += `\n${lines[i]}`;
    else parts.push({ text: lines[i] });
  }
  return parts;
}

/** Rows as columns; lines that say nothing are left out. */
function turned(rows) {
  const columns = rows[0].map((_, column) => rows.map((row) => row[column] ?? ""));
  return columns.filter(([name, ...values]) => name || new Set(values).size > 1);
}

/** Elements that show a text and its tables, for a panel. */
export function shownParts(text) {
  return partsOf(text).map((part) => {
    if ("text" in part) return element("div", "", { text: part.text.replace(/^\n+|\n+$/g, "") });
    const [head, ...rows] = part.rows;
    const name = (cell, scope) => element("th", "", { text: cell, attributes: { scope } });
    const line = ([first, ...values]) => element("tr", "", {
      children: [name(first, "row"), ...values.map((cell) => element("td", "", { text: cell }))],
    });
    return element("table", "tm-table", {
      children: [
        element("thead", "", { children: [element("tr", "", { children: head.map((cell) => name(cell, "col")) })] }),
        element("tbody", "", { children: rows.map(line) }),
      ],
    });
  });
}
