// What is said in which words, and how elements are made: text is text, whoever wrote it.

export const $ = (selector, within = document) => within.querySelector(selector);
export const make = (tag, more = {}, ...inside) => {
  const element = Object.assign(document.createElement(tag), more);
  element.append(...inside);
  return element;
};
/** Change an attribute or a text only where it differs, so that nothing moves without news. */
export const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };
export const mark = (element, name, value) => {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
};

export const QUEUED = 0, RUNNING = 1, GOOD = 2, FAILED = 3, CANCELED = 4, REUSED = 5;
export const STATES = ["queued", "running", "succeeded", "failed", "canceled", "reused"];
export const isThere = (code) => code === GOOD || code === REUSED;

export const number = (value) => value.toLocaleString("en");
export const plural = (count, what) => `${number(count)} ${what}${count === 1 ? "" : "s"}`;

export function duration(seconds) {
  if (seconds < 10) return `${+seconds.toPrecision(2)} s`;
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
  if (hours) return `${hours} h ${minutes % 60} min`;
  return minutes > 9 ? `${minutes} min` : minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

export function ago(moment) {
  const date = new Date(moment), days = (Date.now() - date) / 864e5;
  if (Number.isNaN(days)) return "";
  return days < 0.8 ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : date.toLocaleDateString([], { day: "numeric", month: "short" });
}

const PHASES = { starting: "starting", waiting: "waiting", rendering: "rendering", pausing: "pausing", assembling: "making the film", interrupted: "interrupted", paused: "paused", gone: "its folder is gone" };
export function standing(job) {
  if (job.phase === "waiting" && job.place) return job.place === 1 ? "next in line" : `number ${job.place} in line`;
  return job.phase === "done" || !PHASES[job.phase] ? (job.phase && job.phase !== "done" ? job.phase : job.state) : PHASES[job.phase];
}

const SHARES = ["succeeded", "reused", "failed", "running", "canceled"];
/** What fills up: the parts of frames that are split, while some are left. */
export const pieces = (job) => (job.parts && job.frames.succeeded < job.frames.total ? job.parts : job.frames);
export function shares(job) {
  const { total, ...counts } = pieces(job);
  const parts = { ...counts, succeeded: counts.succeeded - counts.reused };
  return SHARES.filter((kind) => parts[kind] > 0).map((kind) => [kind, parts[kind], (100 * parts[kind]) / total]);
}
export function drawShares(bar, job) {
  const parts = shares(job);
  while (bar.children.length > parts.length) bar.lastChild.remove();
  parts.forEach(([kind, , percent], place) => {
    const part = bar.children[place] || bar.appendChild(make("i"));
    part.className = kind;
    part.style.width = `${percent}%`;
  });
}

/** A job's frames: numbers by place, and what became of each. */
export class Frames {
  constructor(range, runs) {
    this.spans = range.split(",").map((part) => {
      const [first, end = first, step = 1] = /^(-?\d+)(?:-(-?\d+)(?:x(\d+))?)?$/.exec(part).slice(1).map((text) => text && +text);
      const count = Math.floor((end - first) / step) + 1;
      return { first, last: first + (count - 1) * step, step, count };
    });
    this.total = this.spans.reduce((sum, span) => sum + span.count, 0);
    this.codes = new Uint8Array(this.total);
    let at = 0;
    for (const [code, count] of runs) { this.codes.fill(code, at, at + count); at += count; }
  }
  at(place) {
    for (const span of this.spans) {
      if (place < span.count) return span.first + place * span.step;
      place -= span.count;
    }
    return this.spans.at(-1).last;
  }
  place(frame) {
    let before = 0;
    for (const { first, last, step, count } of this.spans) {
      if (frame >= first && frame <= last && (frame - first) % step === 0) return before + (frame - first) / step;
      before += count;
    }
    return -1;
  }
  /** The place nearest to the middle of a stretch whose frame is there; -1 for none. */
  there(from, to) {
    const middle = (from + to) >> 1;
    for (let off = 0; off <= to - from; off++) {
      for (const place of [middle + off, middle - off]) if (place >= from && place < to && isThere(this.codes[place])) return place;
    }
    return -1;
  }
}
