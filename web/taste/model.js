// A taste in the page, without a page: what the clicks say and which grid to ask next. Pure functions.
// The same mathematics as taste/head.py and taste/questions.py, so that the next grid needs no run: Plackett-Luce with a
// normal prior, Newton's method, Laplace's posterior, expected information gain.
// A click is [[id, ...], picked id or "", kind, milliseconds]; the node reads exactly this: parse_clicks in taste/clicks.py.

import { say, sayCount } from "../shared/words.js";

const GRID = 6;
const DRAWS = 64;
const GRIDS = 120;
const SWAPS = 24;
const EVERY = 7; // one grid in seven is not chosen: it is random, or asked again

/** The clicks in the widget's text; what is no list of clicks is none. */
export function parseClicks(text) {
  try {
    const found = JSON.parse(text);
    if (found?.version !== 1 || !Array.isArray(found.clicks)) return [];
    return found.clicks.filter(
      (one) => Array.isArray(one) && one.length === 4 && Array.isArray(one[0]) && Number.isFinite(one[3]),
    );
  } catch {
    return [];
  }
}

/** Clicks as the widget holds them. */
export function formatClicks(clicks) {
  return clicks.length ? JSON.stringify({ version: 1, clicks }) : "";
}

/** The clicks without those that the taste's file has now. */
export function withoutKept(clicks, kept) {
  const done = new Set(kept.map((one) => JSON.stringify(one)));
  return clicks.filter((one) => !done.has(JSON.stringify(one)));
}

/** Clicks that picked something, on pictures that are here, as answers: {features: rows, picked: place}. */
export function answersOf(clicks, rows) {
  const byId = new Map(rows.map((row) => [row.id, row.features]));
  return clicks
    .filter(([shown, picked]) => picked && shown.every((id) => byId.has(id)))
    .map(([shown, picked]) => ({ features: shown.map((id) => byId.get(id)), picked: shown.indexOf(picked) }));
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

function softmax(utilities) {
  const top = Math.max(...utilities);
  const powers = utilities.map((u) => Math.exp(u - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
}

/** The lower Cholesky factor of a symmetric positive definite matrix. */
function cholesky(matrix) {
  const size = matrix.length;
  const factor = matrix.map(() => new Float64Array(size));
  for (let i = 0; i < size; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      let sum = matrix[i][j];
      for (let k = 0; k < j; k += 1) sum -= factor[i][k] * factor[j][k];
      factor[i][j] = i === j ? Math.sqrt(Math.max(sum, 1e-12)) : sum / factor[j][j];
    }
  }
  return factor;
}

function forward(factor, vector) {
  const solved = Float64Array.from(vector);
  for (let i = 0; i < solved.length; i += 1) {
    for (let k = 0; k < i; k += 1) solved[i] -= factor[i][k] * solved[k];
    solved[i] /= factor[i][i];
  }
  return solved;
}

function backward(factor, vector) {
  const solved = Float64Array.from(vector);
  for (let i = solved.length - 1; i >= 0; i -= 1) {
    for (let k = i + 1; k < solved.length; k += 1) solved[i] -= factor[k][i] * solved[k];
    solved[i] /= factor[i][i];
  }
  return solved;
}

/**
 * The most probable weights, and the Cholesky factor of the inverse covariance around them.
 * @param {{features: number[][], picked: number}[]} answers
 * @param {number[]} priorMean
 * @param {number[]} precision one over the prior's variance, of each weight
 */
export function fit(answers, priorMean, precision) {
  const size = priorMean.length;
  const value = (w) =>
    answers.reduce((sum, one) => sum + Math.log(softmax(one.features.map((f) => dot(f, w)))[one.picked]), 0) -
    0.5 * w.reduce((sum, v, i) => sum + precision[i] * (v - priorMean[i]) ** 2, 0);
  const slopes = (w) => {
    const gradient = w.map((v, i) => -precision[i] * (v - priorMean[i]));
    const curvature = w.map((_, i) => Float64Array.from(w, (__, j) => (i === j ? precision[i] : 0)));
    for (const { features, picked } of answers) {
      const p = softmax(features.map((f) => dot(f, w)));
      const mean = w.map((_, d) => features.reduce((sum, f, k) => sum + p[k] * f[d], 0));
      for (let d = 0; d < size; d += 1) gradient[d] += features[picked][d] - mean[d];
      features.forEach((f, k) => {
        for (let i = 0; i < size; i += 1) {
          const scaled = p[k] * (f[i] - mean[i]);
          for (let j = 0; j < size; j += 1) curvature[i][j] += scaled * (f[j] - mean[j]);
        }
      });
    }
    return { gradient, curvature };
  };
  let weights = [...priorMean];
  let best = value(weights);
  for (let round = 0; round < 60; round += 1) {
    const { gradient, curvature } = slopes(weights);
    const factor = cholesky(curvature);
    const step = backward(factor, forward(factor, gradient));
    let length = 1;
    let next = weights.map((v, i) => v + step[i]);
    while (length > 1e-6 && value(next) < best) {
      length /= 2;
      next = weights.map((v, i) => v + length * step[i]);
    }
    weights = next;
    best = value(weights);
    if (Math.max(...step.map(Math.abs)) < 1e-9) break;
  }
  return { mean: weights, factor: cholesky(slopes(weights).curvature) };
}

/** A generator of numbers in [0, 1) that a seed fixes (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Weights drawn from the posterior. */
function draws(posterior, count, next) {
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return Array.from({ length: count }, () => {
    const noise = posterior.mean.map(normal);
    const moved = backward(posterior.factor, noise);
    return posterior.mean.map((v, i) => v + moved[i]);
  });
}

/** How many nats a grid's answer tells: H[E p] - E H[p]. `utilities` has a row of draws for each candidate. */
export function informationGain(utilities, grid) {
  const count = utilities[0].length;
  const mean = new Float64Array(grid.length);
  let own = 0;
  for (let m = 0; m < count; m += 1) {
    let top = -Infinity;
    for (const row of grid) top = Math.max(top, utilities[row][m]);
    let sum = 0;
    let weighted = 0;
    for (const row of grid) {
      const power = Math.exp(utilities[row][m] - top);
      sum += power;
      weighted += power * (utilities[row][m] - top);
    }
    own += Math.log(sum) - weighted / sum;
    grid.forEach((row, k) => (mean[k] += Math.exp(utilities[row][m] - top) / sum));
  }
  let all = 0;
  for (const total of mean) if (total > 0) all -= (total / count) * Math.log(total / count);
  return all - own / count;
}

function randomGrid(count, size, next, without = new Set()) {
  const grid = [];
  while (grid.length < size) {
    const row = Math.floor(next() * count);
    if (!grid.includes(row) && !without.has(row)) grid.push(row);
  }
  return grid;
}

/** A grid that tells much: the best of random ones, then each place's best swap. Rows of the candidates. */
function mostTellingGrid(utilities, size, next) {
  const count = utilities.length;
  let best = randomGrid(count, size, next);
  let gain = informationGain(utilities, best);
  const consider = (grid) => {
    const found = informationGain(utilities, grid);
    if (found > gain) [best, gain] = [grid, found];
  };
  for (let i = 1; i < GRIDS; i += 1) consider(randomGrid(count, size, next));
  if (count <= size) return best;
  for (let place = 0; place < size; place += 1) {
    for (let i = 0; i < SWAPS; i += 1) {
      const [row] = randomGrid(count, 1, next, new Set(best));
      consider(best.map((one, k) => (k === place ? row : one)));
    }
  }
  return best;
}

function shuffled(list, next) {
  const made = [...list];
  for (let i = made.length - 1; i > 0; i -= 1) {
    const j = Math.floor(next() * (i + 1));
    [made[i], made[j]] = [made[j], made[i]];
  }
  return made;
}

/**
 * The next grid: {shown: ids, kind}. Most are chosen to tell much; one in seven is random or an earlier one again.
 * @param {{rows: any[], summary: any, clicks: any[]}} state
 * @param {number} [seed]
 */
export function nextGrid({ rows, summary, clicks }, seed = 1) {
  const size = Math.min(GRID, rows.length);
  const asked = (summary.asked ?? 0) + clicks.length;
  const next = random(seed * 7919 + asked * 104729);
  if (asked % EVERY === EVERY - 1) {
    const here = new Set(rows.map((row) => row.id));
    const earlier = clicks.filter(([shown, picked, kind]) => picked && kind !== "repeat" && shown.every((id) => here.has(id)));
    if (asked % (2 * EVERY) === 2 * EVERY - 1 && earlier.length) {
      const again = earlier[Math.floor(next() * Math.max(1, earlier.length - 3))]; // not one that is still in mind
      return { shown: shuffled(again[0], next), kind: "repeat" };
    }
    return { shown: randomGrid(rows.length, size, next).map((row) => rows[row].id), kind: "random" };
  }
  const posterior = posteriorOf({ rows, summary, clicks });
  const weights = draws(posterior, DRAWS, next);
  const utilities = rows.map((row) => Float64Array.from(weights, (w) => dot(row.features, w)));
  return { shown: mostTellingGrid(utilities, size, next).map((row) => rows[row].id), kind: "telling" };
}

/** What the stored answers and the clicks say of the weights. */
function posteriorOf({ rows, summary, clicks }) {
  const answers = [...(summary.answers ?? []), ...answersOf(clicks, rows)];
  return fit(answers, summary.prior_mean, summary.precision);
}

/** How the taste and its person agree on pairs of these pictures: {own, accuracy, low, high}, shares. */
export function agreement(state, pairs = 300) {
  const { rows } = state;
  const next = random(17);
  const posterior = posteriorOf(state);
  const differences = Array.from({ length: pairs }, () => {
    const [a, b] = randomGrid(rows.length, 2, next);
    const difference = rows[a].features.map((v, i) => v - rows[b].features[i]);
    return dot(difference, posterior.mean) >= 0 ? difference : difference.map((v) => -v);
  });
  let own = 0;
  const found = draws(posterior, 100, next).map((w) => {
    let right = 0;
    for (const difference of differences) {
      const p = 1 / (1 + Math.exp(-dot(difference, w)));
      right += p;
      own += (p * p + (1 - p) * (1 - p)) / pairs / 100;
    }
    return right / pairs;
  });
  found.sort((a, b) => a - b);
  return { own, accuracy: found.reduce((a, b) => a + b, 0) / found.length, low: found[4], high: found[95] };
}

/** How many points about 20 more clicks add: the doubt left shrinks as one over the clicks. */
function expectedGain(clicked, { own, accuracy }) {
  const ceiling = 0.5 + Math.sqrt(Math.max(0, own - 0.5) / 2); // p^2 + q^2 = own gives the share of the likelier answer
  const missing = Math.max(0, ceiling - accuracy);
  return missing * (1 - (clicked + 15) / (clicked + 35));
}

/** The bar's sentence. */
export function said(clicked, found) {
  if (!clicked) return { text: say("so far I only know what the crowd likes: pick the best of six"), done: false };
  const percent = (share) => `${Math.round(100 * share)}%`;
  const gain = Math.round(100 * expectedGain(clicked, found));
  const start = say("you agree with yourself {own}, I agree with you {accuracy} ({low} to {high})", {
    own: percent(found.own),
    accuracy: percent(found.accuracy),
    low: Math.round(100 * found.low),
    high: Math.round(100 * found.high),
  });
  if (gain < 1 && clicked >= 20) return { text: `${start}; ${say("more clicks would add little")}`, done: true };
  const points = Math.max(1, gain);
  const more = sayCount(
    points,
    "about 20 more clicks would add {count} point",
    "about 20 more clicks would add {count} points",
  );
  return { text: `${start}; ${more}`, done: false };
}
