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
    if (this.job?.id !== job.id) this.clear();
    Object.assign(this, { job, frames, doubts: new Set(job.suspects.map(([frame]) => frame)) });
    this.draw();
  }

  clear() {
    for (const cell of this.cells.values()) cell.remove();
    this.cells.clear();
    this.spare = [];
  }

  /** The frame that is looked at; the keyboard's focus, where it is in here, may go there, too. */
  go(place, follows) {
    follows &&= sheet.contains(document.activeElement);
    this.current = place;
    if (follows && !this.cells.has(place)) scrollBy(0, sheet.getBoundingClientRect().top + (this.grid.tall * place) / this.frames.total - innerHeight / 2);
    this.draw();
    if (follows) this.cells.get(place)?.focus();
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
    for (let place = to - 1; place >= from; place--) {
      const top = squeezed ? above + (Math.floor(place / grid.columns) - first) * grid.row : Math.floor(place / grid.columns) * grid.row;
      this.#cell(place, grid, top);
      if (isThere(this.frames.codes[place])) wanted.unshift(this.frames.at(place));
    }
    thumbnails.show("sheet", this.job.id, wanted, (frame) => this.#fill(this.frames.place(frame)));
  }

  #cell(place, { columns, wide, high }, top) {
    let cell = this.cells.get(place);
    if (!cell) {
      cell = this.spare.pop() || make("button", { type: "button" }, make("span", { className: "well" }, make("img", { alt: "" })), make("span", { className: "no" }, make("span"), make("span")));
      $("img", cell).removeAttribute("src");
      this.cells.set(place, cell);
      sheet.insertBefore(cell, this.cells.get(place + 1) ?? null);  // those who are read to hear them in order
    }
    const frame = this.frames.at(place), code = this.frames.codes[place];
    cell.dataset.place = place;
    cell.className = `c${code}${this.doubts.has(frame) ? " doubt" : ""}`;
    cell.tabIndex = place === this.current ? 0 : -1;
    mark(cell, "aria-current", place === this.current && "true");
    Object.assign(cell.style, { left: `${(place % columns) * (wide + GAP)}px`, top: `${top}px`, width: `${wide}px`, height: `${high + LABEL}px` });
    cell.firstChild.style.height = `${high}px`;
    this.#fill(place);
  }

  /** The picture, as far as it has come, and what is said below it. */
  #fill(place) {
    const cell = this.cells.get(place);
    if (!cell) return;
    const frame = this.frames.at(place), code = this.frames.codes[place], there = isThere(code), image = $("img", cell);
    const { url = null, why = null, seconds = null } = (there && thumbnails.kept(this.job.id, frame)) || {}, [well, label] = cell.children;
    well.classList.toggle("hole", !there && code !== FAILED);
    if (url || !there || why) mark(image, "src", url);  // one that comes anew takes the place of the one before
    image.hidden = !image.hasAttribute("src");
    mark(cell, "title", why);
    say(label.children[0], String(frame));
    say(label.children[1], code === FAILED ? "failed" : code === RUNNING ? "rendering" : why ? "can't be shown" : seconds ? duration(seconds) : "");
  }
}
