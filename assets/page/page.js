"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const grid = get("grid"), viewer = get("viewer"), least = get("least"), count = document.querySelector(".count");
  const mainScores = data.rows.map((row) => row.score);
  let low = Infinity, high = -Infinity;
  for (const score of mainScores) { low = Math.min(low, score); high = Math.max(high, score); }
  let downward = false, shown = [], marked = [], sides = [];

  function make(tag, text = "", name = "") {
    const element = document.createElement(tag);
    element.textContent = text; // texts are only ever text
    if (name) element.className = name;
    return element;
  }
  const number = (value) => (value > 0 ? "+" : "") + value.toFixed(3);
  const rated = data.rows.some((row) => row.stars);
  // what a person said of it: -1 is rejected, as photo tools have it
  const said = (row) => (row.stars > 0 ? "\u2605".repeat(row.stars) : row.stars < 0 ? "rejected" : "");
  const inWords = (row) => (row.stars > 0 ? `, ${row.stars} of 5 stars` : row.stars < 0 ? ", rejected" : "");
  const label = (row) => `rank ${row.rank ?? "none"}, score ${number(row.score)}${inWords(row)}`;

  function picture(row) {
    if (!row.thumb) return make("span", "The file is gone.", "missing");
    const image = make("img");
    image.src = `data:image/jpeg;base64,${row.thumb}`;
    image.alt = row.prompt || row.name || label(row);
    image.decoding = "async";
    return image;
  }

  function card(row) {
    const element = make("article", "", "card");
    element.classList.toggle("best", row.rank === 1);
    const frame = make("button", "", "frame");
    frame.type = "button";
    frame.tabIndex = -1;
    frame.setAttribute("aria-label", `Open ${label(row)}`);
    frame.append(picture(row));
    frame.addEventListener("click", () => open([row]));
    frame.addEventListener("focus", () => rove(element));
    const facts = make("div", "", "facts");
    facts.append(make("span", row.rank === null ? "" : `#${row.rank}`, "rank"));
    if (["great", "ok", "bad"].includes(row.bucket)) facts.append(make("span", row.bucket, `bucket ${row.bucket}`));
    const track = make("span", "", "track"), fill = make("i");
    fill.style.width = `${high > low ? Math.max(2, (100 * (row.score - low)) / (high - low)) : 50}%`;
    track.append(fill);
    const words = [row.seed && `seed ${row.seed}`, row.name].filter(Boolean).join(" - ");
    facts.append(make("span", number(row.score), "score"), track);
    if (row.stars) facts.append(make("span", said(row), row.stars > 0 ? "stars" : "stars rejected"));
    facts.append(make("span", words, "small"));
    const prompt = make("span", row.prompt, "small");
    prompt.title = row.prompt.slice(0, 600);
    facts.append(prompt);
    const mark = make("button", "compare", "mark");
    mark.type = "button";
    mark.tabIndex = -1;
    mark.setAttribute("aria-label", `Mark ${label(row)} to compare`);
    mark.addEventListener("click", () => toggle(row));
    element.append(frame, mark, facts);
    row.element = element;
    row.frame = frame;
    row.markButton = mark;
    row.words = `${row.prompt} ${row.name} ${row.seed} ${said(row)}`.toLowerCase();
    return element;
  }

  function rove(element) {
    for (const row of shown) row.frame.tabIndex = row.element === element ? 0 : -1;
  }

  function toggle(row) {
    marked = marked.includes(row) ? marked.filter((other) => other !== row) : [...marked, row].slice(-2);
    for (const other of data.rows) {
      const chosen = marked.includes(other);
      other.element.classList.toggle("marked", chosen);
      other.markButton.setAttribute("aria-pressed", String(chosen));
    }
    get("compare").disabled = marked.length < 2;
  }

  function order(key) {
    if (key === "rank") return (a, b) => a.place - b.place;
    if (key === "stars") return (a, b) => (b.stars ?? 0) - (a.stars ?? 0) || a.place - b.place;
    if (key === "name") return (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true });
    if (key === "prompt") return (a, b) => a.prompt.localeCompare(b.prompt) || b.score - a.score;
    return (a, b) => b.scores[key.slice(1)] - a.scores[key.slice(1)];
  }

  function refresh() {
    const words = get("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const lowest = low + ((high - low) * least.value) / 1000;
    get("lowest").textContent = Number(least.value) ? number(lowest) : "all";
    shown = data.rows.filter(
      (row) => (!Number(least.value) || row.score >= lowest - 1e-9) && words.every((word) => row.words.includes(word)),
    );
    shown.sort(order(get("sort").value));
    if (downward) shown.reverse();
    grid.replaceChildren(...shown.map((row) => row.element));
    if (shown.length) rove(shown[0].element);
    document.querySelector(".empty").hidden = shown.length > 0;
    const rest = data.total > data.rows.length ? `; this page holds the first ${data.rows.length} of ${data.total}` : "";
    count.textContent = `${shown.length} of ${data.rows.length} shown${rest}`;
  }

  function side(row, others) {
    const element = make("section", "", "side");
    const words = make("div", "", "words");
    const first = make("p");
    first.append(make("strong", row.rank === null ? "" : `#${row.rank}  `), make("span", row.prompt || "no prompt"));
    const table = make("table");
    for (const name of data.columns) {
      const line = make("tr"), value = make("td", number(row.scores[name]));
      if (others.length && others.every((other) => other.scores[name] < row.scores[name])) value.className = "higher";
      line.append(make("th", name), value);
      table.append(line);
    }
    const facts = [said(row), row.seed && `seed ${row.seed}`, row.name, `${row.size[0]} x ${row.size[1]}`].filter(Boolean);
    const last = make("p", facts.join(" - "), "about");
    words.append(first, table, last);
    if (row.file) {
      const link = make("a", "open the saved file");
      link.href = `./${encodeURIComponent(row.file)}`;
      link.target = "_blank";
      link.rel = "noopener";
      words.append(link);
    }
    element.append(picture(row), words);
    return element;
  }

  function open(rows) {
    sides = rows;
    const close = make("button", "Close", "close");
    close.type = "button";
    close.addEventListener("click", () => viewer.close());
    const both = make("div", "", "sides");
    both.append(...rows.map((row) => side(row, rows.filter((other) => other !== row))));
    viewer.replaceChildren(close, both);
    if (!viewer.open) viewer.showModal();
  }

  function step(by) {
    const last = sides[sides.length - 1];
    const next = shown[shown.indexOf(last) + by];
    if (next && !sides.includes(next)) open([...sides.slice(0, -1), next]);
  }

  function columns() {
    const tops = shown.slice(0, 60).map((row) => row.element.offsetTop);
    const next = tops.findIndex((top) => top !== tops[0]);
    return next < 0 ? Math.max(1, tops.length) : next;
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches?.("input, select");
    const moves = { ArrowLeft: -1, ArrowRight: 1 };
    if (viewer.open) {
      if (event.key in moves) { step(moves[event.key]); event.preventDefault(); }
      return;
    }
    if (event.key === "/" && !typing) { get("filter").focus(); event.preventDefault(); return; }
    if (typing) return;
    const place = shown.findIndex((row) => row.frame === document.activeElement);
    if (event.key in moves || event.key === "ArrowUp" || event.key === "ArrowDown") {
      const by = moves[event.key] ?? (event.key === "ArrowUp" ? -columns() : columns());
      const next = place < 0 ? shown[0] : shown[place + by];
      if (next) { next.frame.focus(); next.element.scrollIntoView({ block: "nearest" }); }
      event.preventDefault();
    } else if (event.key.toLowerCase() === "c") {
      if (place >= 0 && !(marked.length === 2 && marked.includes(shown[place]))) toggle(shown[place]);
      if (marked.length === 2) open(marked);
    }
  }

  document.querySelector("h1").textContent = data.title;
  document.querySelector(".about").textContent = `${data.main}: higher is better`;
  const choices = [["rank", "rank"], ...data.columns.map((name) => [`=${name}`, name]), ["prompt", "prompt"]];
  if (rated) choices.push(["stars", "stars"]);
  if (data.rows.some((row) => row.name)) choices.push(["name", "file name"]);
  for (const [value, text] of choices) {
    const option = make("option", text);
    option.value = value;
    get("sort").append(option);
  }
  for (const [place, row] of data.rows.entries()) {
    row.place = place;
    card(row);
  }
  get("sort").addEventListener("change", refresh);
  get("filter").addEventListener("input", refresh);
  least.addEventListener("input", refresh);
  get("size").addEventListener("input", (event) => {
    document.documentElement.style.setProperty("--size", `${event.target.value}px`);
  });
  get("direction").addEventListener("click", (event) => {
    downward = !downward;
    event.target.setAttribute("aria-pressed", String(downward));
    event.target.textContent = downward ? "other end first" : "best first";
    refresh();
  });
  get("compare").addEventListener("click", () => marked.length === 2 && open(marked));
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", key);
  refresh();
})();
