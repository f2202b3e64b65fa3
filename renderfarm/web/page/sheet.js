// The contact sheet: a cell for each frame, of which only those in sight exist.

import { thumbnails } from "./wire.js";
import { $, duration, FAILED, isThere, make, mark, RUNNING, say } from "./words.js";

const GAP = 14, LABEL = 24, LEAST = 168, TALLEST = 12e6;
const sheet = $("#sheet");

export class Sheet {
  constructor(choose) {
    this.cells = new Map();
    this.spare = [];
    this.current = -1;
    const again = () => { this.asked ||= requestAnimationFrame(() => { this.asked = 0; this.draw(); }); };
    addEventListener("scroll", again, { passive: true });
    new ResizeObserver(again).observe(sheet.parentNode);
    new ResizeObserver(again).observe(document.body);
    sheet.onclick = (event) => {
      const cell = event.target.closest("button");
      if (cell) choose(+cell.dataset.place);
    };
  }

  open(job, frames) {
    if (this.job?.id !== job.id) { this.clear(); this.seconds = new Map(); }
    Object.assign(this, { job, frames, doubts: new Set(job.suspects.map(([frame]) => frame)) });
    this.draw();
  }

  clear() {
    for (const cell of this.cells.values()) cell.remove();
    this.cells.clear();
    this.spare = [];
  }

  news(changes) {
    for (const [frame, , seconds] of changes) this.seconds.set(frame, seconds);
    this.draw();
  }

  go(place) {
    this.current = place;
    this.draw();
  }

  /** Where everything goes, in pixels. */
  get grid() {
    const width = sheet.clientWidth, columns = Math.max(2, Math.floor((width + GAP) / (LEAST + GAP)));
    const wide = (width - (columns - 1) * GAP) / columns, high = Math.round((wide * this.job.size[1]) / this.job.size[0]);
    const row = high + LABEL + GAP, rows = Math.ceil(this.frames.total / columns);
    return { columns, wide, high, row, rows, tall: Math.min(TALLEST, rows * row) };
  }

  draw() {
    if (!this.job || !sheet.clientWidth) { thumbnails.show("sheet", "", []); return; }
    const grid = this.grid, box = sheet.getBoundingClientRect();
    sheet.style.height = `${grid.tall}px`;
    const above = Math.max(0, -box.top), sights = Math.max(0, innerHeight - Math.max(0, box.top));
    const squeezed = grid.tall < grid.rows * grid.row, sight = Math.ceil(sights / grid.row);
    const first = squeezed ? Math.round((above / (grid.tall - sights)) * (grid.rows - sight)) : Math.floor(above / grid.row);
    const from = Math.max(0, first) * grid.columns, to = sights ? Math.min(this.frames.total, (first + sight + 1) * grid.columns) : from;
    for (const [place, cell] of this.cells) {
      if (place >= from && place < to) continue;
      this.cells.delete(place);
      cell.remove();
      this.spare.push(cell);
    }
    const wanted = [];
    for (let place = from; place < to; place++) {
      const top = squeezed ? above + (Math.floor(place / grid.columns) - first) * grid.row : Math.floor(place / grid.columns) * grid.row;
      this.#cell(place, grid, top);
      if (isThere(this.frames.codes[place])) wanted.push(this.frames.at(place));
    }
    thumbnails.show("sheet", this.job.id, wanted, (frame, found) => this.#picture(frame, found));
  }

  #cell(place, { columns, wide, high }, top) {
    let cell = this.cells.get(place);
    if (!cell) {
      cell = this.spare.pop() || make("button", { type: "button" }, make("span", { className: "well" }, make("img", { alt: "" })), make("span", { className: "no" }, make("span"), make("span")));
      $("img", cell).removeAttribute("src");
      this.cells.set(place, cell);
      sheet.append(cell);
    }
    const frame = this.frames.at(place), code = this.frames.codes[place], there = isThere(code);
    cell.dataset.place = place;
    cell.className = `c${code}${this.doubts.has(frame) ? " doubt" : ""}`;
    cell.tabIndex = place === this.current ? 0 : -1;
    mark(cell, "aria-current", place === this.current && "true");
    Object.assign(cell.style, { left: `${(place % columns) * (wide + GAP)}px`, top: `${top}px`, width: `${wide}px`, height: `${high + LABEL}px` });
    const [well, label] = cell.children;
    well.style.height = `${high}px`;
    well.classList.toggle("hole", !there && code !== FAILED);
    const image = $("img", well);
    image.hidden = !there || !image.hasAttribute("src");
    if (!there) image.removeAttribute("src");
    say(label.children[0], String(frame));
    const seconds = this.seconds.get(frame);
    say(label.children[1], code === FAILED ? "failed" : code === RUNNING ? "rendering" : there && seconds ? duration(seconds) : "");
  }

  #picture(frame, found) {
    const cell = this.cells.get(this.frames.place(frame));
    if (!cell) return;
    const image = $("img", cell);
    if (found.url && image.src !== found.url) image.src = found.url;
    image.hidden = !found.url;
    if (found.why) { cell.title = found.why; say(cell.children[1].children[1], "can't be shown"); }
  }
}
