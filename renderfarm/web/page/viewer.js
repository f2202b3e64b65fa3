// One frame large, the strip to scrub along, playing at the scene's rate, and two frames compared.

import { get, thumbnails, url } from "./wire.js";
import { $, duration, isThere, make, mark, number, say, STATES, FAILED, RUNNING } from "./words.js";

const AHEAD = 48, REST = 140, CALM = 1500;  // frames that follow each other sooner are seen small
const picture = $("#picture"), other = $("#other"), slate = $("#slate"), strip = $("#strip"), view = $(".frame");
const cells = $(".cells", strip), bar = $("canvas", strip), head = $(".head", strip);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

export class Viewer {
  constructor(onFrame) {
    this.onFrame = onFrame;
    this.job = this.frames = null;
    this.place = this.timer = this.asked = 0;
    this.versions = new Map();
    this.playing = this.compared = null;
    this.#listen();
  }

  get frame() { return this.frames.at(this.place); }

  open(job, frames, frame) {
    const same = this.job?.id === job.id;
    Object.assign(this, { job, frames });
    if (!same) { this.stop(); this.versions.clear(); this.compare(false); picture.removeAttribute("src"); }
    view.style.setProperty("--ratio", `${job.size[0]} / ${job.size[1]}`);
    view.parentNode.style.setProperty("--ratio", `${job.size[0]} / ${job.size[1]}`);
    view.style.setProperty("--wide", job.size[0] / job.size[1]);
    $("#newest").parentNode.hidden = job.ended;
    say($("#rate"), `${+job.fps.toPrecision(5)} frames a second`);
    mark(strip, "aria-valuemin", frames.at(0));
    mark(strip, "aria-valuemax", frames.at(frames.total - 1));
    say($("#of"), `of ${number(frames.total)}`);
    this.drawStrip();
    const place = frame === null ? this.start() : frames.place(frame);
    if (frame !== null && !same) $("#newest").checked = false;
    this.go(place < 0 ? this.start() : place, { quiet: true });
  }

  /** What to look at first: the newest frame of a job at work, else the first that is there. */
  start() {
    const newest = this.job.ended || this.job.latest == null ? -1 : this.frames.place(this.job.latest);
    return newest >= 0 ? newest : Math.max(0, this.frames.codes.findIndex(isThere));
  }

  /** What became of frames: `[frame, code, seconds]` each. */
  news(changes) {
    for (const [frame] of changes) this.versions.set(frame, (this.versions.get(frame) || 0) + 1);
    const there = changes.filter(([, code]) => isThere(code)).at(-1);
    clearTimeout(this.redraw);
    this.redraw = setTimeout(() => this.drawStrip(), 200);
    if ($("#newest").checked && !this.job.ended && there && !this.playing) {
      this.go(this.frames.place(there[0]), { quiet: true });
      say($("#what"), [STATES[there[1]], there[2] && duration(there[2])].filter(Boolean).join(" · "));
      $("#trouble").hidden = true;
    } else if (changes.some(([frame]) => frame === this.frame)) this.draw();
  }

  /** Show the frame at a place; `quiet` leaves the address and the newest-frame switch alone. */
  go(place, { quiet = false } = {}) {
    place = Math.max(0, Math.min(this.frames.total - 1, place));
    this.place = place;
    if (!quiet) $("#newest").checked = false;
    head.style.left = `${(100 * (place + 0.5)) / this.frames.total}%`;
    if (document.activeElement !== $("#number")) $("#number").value = this.frame;
    mark(strip, "aria-valuenow", this.frame);
    this.draw(quiet && !this.job.ended ? CALM : REST);
    this.onFrame(this.frame, quiet);
  }

  draw(rest = REST) {
    const { job, frame } = this, code = this.frames.codes[this.place], there = isThere(code);
    mark(strip, "aria-valuetext", `frame ${frame}, ${STATES[code]}`);
    picture.alt = `Frame ${frame} of ${job.scene}`;
    this.#slate(there ? "" : code === RUNNING ? `Frame ${frame} is being rendered` : code === FAILED ? `Frame ${frame} failed` : `Frame ${frame} is not there yet`);
    this.filled = -1;
    this.fill();
    const ahead = this.playing ? this.#ahead() : [];
    thumbnails.show("view", job.id, there || ahead.length ? [...(there ? [frame] : []), ...ahead] : [], (each, found) => {
      if (each !== this.frame || this.compared) return;
      if (found.why) this.#slate(found.why); else if (!this.isLarge(each)) picture.src = found.url;
    });
    clearTimeout(this.timer);
    if (!this.playing) this.timer = setTimeout(() => this.#rest(there), rest);
  }

  /** A frame in parts is seen filling up. */
  async fill() {
    const { frame, job } = this, open = () => this.frame === frame && this.job === job && this.frames.codes[this.place] === RUNNING;
    if (!job?.parts || !open() || this.compared || this.filled === job.parts.succeeded) return;
    this.filled = job.parts.succeeded;
    const full = new Image();
    full.src = `${this.large(frame)}&parts=${this.filled}`;
    try { await full.decode(); } catch { return; }
    if (!open()) return;
    this.#slate("");
    picture.src = full.src;
  }

  isLarge(frame) { return picture.dataset.large === this.large(frame); }

  large(frame, kind = "large", job = this.job.id) {
    return `${url(job, "frames", frame, "picture")}?kind=${kind}&v=${this.versions.get(frame) || 0}`;
  }

  /** The eye rests on a frame: show it sharp, and what is known of it. */
  async #rest(there) {
    const { frame, job } = this;
    this.#tell(frame);
    if (this.compared) { this.#drawCompared(); return; }
    if (!there) return;
    const full = new Image(), address = this.large(frame);
    full.src = address;
    try { await full.decode(); } catch { return; }
    if (this.frame !== frame || this.job !== job || this.playing) return;
    picture.dataset.large = address;
    picture.src = address;
  }

  async #tell(frame) {
    this.asked?.abort?.();
    const asked = (this.asked = new AbortController());
    let told;
    try { told = await get(url(this.job.id, "frames", frame), { signal: asked.signal }); } catch { return; }
    if (frame !== this.frame) return;
    const parts = [STATES[told.code], told.seconds && `${duration(told.seconds)} on ${told.node || "another run"}`, told.attempts > 1 && `${told.attempts} tries`];
    say($("#what"), parts.filter(Boolean).join(" · "));
    const bad = told.failure || told.finding;
    $("#trouble").hidden = !bad;
    if (bad) {
      say($("#trouble p"), `${bad[0]}: ${bad[1]}`);
      say($("#trouble pre"), told.signs.join("\n"));
      $("#trouble pre").hidden = !told.signs.length;
    }
    $("#again").disabled = told.code === RUNNING || told.code === 0;
    $("#its-log").disabled = !told.logs;
  }

  #slate(text) {
    slate.hidden = !text;
    say(slate, text);
    picture.hidden = Boolean(text);
    if (text) delete picture.dataset.large;
  }

  // Playing

  #ahead() {
    const frames = [];
    for (let place = this.place + 1; place < this.frames.total && frames.length < AHEAD; place++) if (isThere(this.frames.codes[place])) frames.push(this.frames.at(place));
    return frames;
  }

  play(rate = 1) {
    if (rate > 0 && this.place === this.frames.total - 1) this.go(0);
    this.playing = { rate, since: performance.now(), from: this.place };
    delete picture.dataset.large;
    $("#newest").checked = false;
    this.#button();
    this.draw();
    requestAnimationFrame(() => this.#tick());
  }

  stop() {
    if (!this.playing) return;
    this.playing = null;
    this.#button();
    this.draw();
  }

  #button() {
    say($("#play"), this.playing ? "❚❚" : "▶");
    mark($("#play"), "aria-label", this.playing ? "Pause playing" : "Play");
  }

  #tick() {
    const { playing, frames } = this;
    if (!playing) return;
    const now = performance.now(), next = playing.from + Math.trunc(((now - playing.since) / 1000) * this.job.fps * playing.rate);
    const place = Math.max(0, Math.min(frames.total - 1, next));
    const waits = isThere(frames.codes[place]) && !thumbnails.kept(this.job.id, frames.at(place));
    if (waits) Object.assign(playing, { since: now, from: this.place });  // until its picture has come
    if (waits) this.draw();
    else if (place !== this.place) this.go(place);
    if (next >= frames.total || next < 0) { this.stop(); return; }
    requestAnimationFrame(() => this.#tick());
  }

  // The strip

  drawStrip() {
    const { frames, job } = this, width = strip.clientWidth;
    if (!frames || !width) return;
    const high = cells.clientHeight, count = Math.max(1, Math.min(frames.total, Math.floor(width / ((high * job.size[0]) / job.size[1]))));
    const shown = Array.from({ length: count }, (_, at) => {
      const from = Math.floor((at * frames.total) / count), to = Math.floor(((at + 1) * frames.total) / count);
      const place = frames.there(from, Math.max(to, from + 1));
      return place < 0 ? null : frames.at(place);
    });
    while (cells.children.length > count) cells.lastChild.remove();
    shown.forEach((frame, at) => {
      const before = cells.children[at], kind = frame === null ? "I" : "IMG";
      if (before?.tagName === kind && (frame === null || before.dataset.frame === String(frame))) return;
      const cell = frame === null ? make("i", { className: "hole" }) : make("img", { alt: "" });
      if (frame !== null) { cell.dataset.frame = frame; cell.hidden = false; }
      if (before) before.replaceWith(cell); else cells.append(cell);
    });
    const wanted = shown.filter((frame) => frame !== null);
    thumbnails.show("strip", job.id, wanted, (frame, found) => {
      const cell = cells.querySelector(`[data-frame="${frame}"]`);
      if (cell && found.url) cell.src = found.url;
    });
    this.#drawBar(width);
  }

  #drawBar(width) {
    const { codes, total } = this.frames, pen = bar.getContext("2d");
    bar.width = width;
    const paints = ["--wait", "--run", "--good", "--bad", "--muted", "--reused"].map(colour);
    for (let x = 0; x < width; x++) {
      const from = Math.floor((x * total) / width), to = Math.max(from + 1, Math.floor(((x + 1) * total) / width));
      const seen = new Set(codes.subarray(from, to));
      pen.fillStyle = paints[[3, 1, 0, 4, 5, 2].find((code) => seen.has(code)) ?? 0];
      pen.fillRect(x, 0, 1, 10);
    }
  }

  // Compared

  compare(on = !this.compared) {
    this.compared = on ? {} : null;
    if (on && this.job.before) $("#compare [value=before]").checked = true;
    $("#compare [value=before]").disabled = !this.job?.before;
    if (on && !$("#with").value) $("#with").value = this.frames.at(Math.max(0, this.place - 1));
    $("#compare").hidden = !on;
    mark($("#comparing"), "aria-pressed", on);
    delete picture.dataset.large;
    other.hidden = $("#cut").hidden = true;
    view.classList.remove("slide", "apart");
    if (this.frames) this.draw();
  }

  async #drawCompared() {
    const how = $("#compare [name=how]:checked").value, before = $("#compare [name=with]:checked").value === "before";
    const { frame } = this, against = before ? [frame, this.job.before] : [+$("#with").value, this.job.id];
    const pair = [this.large(frame, "exact"), this.large(against[0], "exact", against[1])];
    if (!isThere(this.frames.codes[this.place])) return;
    const response = await fetch(pair[1]);
    const why = response.ok ? "" : (await response.json()).error;
    if (this.frame !== frame || !this.compared) return;
    if (why) { this.#slate(why); return; }
    this.#slate("");
    picture.src = pair[0];
    other.src = pair[1];
    other.alt = before ? `Frame ${frame} of the take before` : `Frame ${against[0]}`;
    other.hidden = how === "this";
    $("#cut").hidden = $("#where").hidden = how !== "slide";
    view.classList.toggle("slide", how === "slide");
    view.classList.toggle("apart", how === "apart");
    view.style.setProperty("--cut", `${$("#where").value}%`);
  }

  #listen() {
    const step = (by) => { this.stop(); this.go(this.place + by); };
    const clicks = { first: () => step(-Infinity), back: () => step(-1), next: () => step(1), last: () => step(Infinity), play: () => (this.playing ? this.stop() : this.play()), comparing: () => this.compare() };
    for (const [id, act] of Object.entries(clicks)) $(`#${id}`).onclick = act;
    $("#number").onchange = () => this.jump($("#number").value);
    $("#compare").oninput = (event) => {
      if (event.target.id === "with") $("#compare [value=frame]").checked = true;
      this.#drawCompared();
    };
    const scrub = (event) => {
      const box = strip.getBoundingClientRect();
      this.stop();
      this.go(Math.floor(((event.clientX - box.left) / box.width) * this.frames.total));
    };
    strip.onpointerdown = (event) => { strip.setPointerCapture(event.pointerId); scrub(event); };
    strip.onpointermove = (event) => { if (strip.hasPointerCapture(event.pointerId)) scrub(event); };
    const slide = (event) => {
      if (!view.classList.contains("slide") || !event.buttons) return;
      event.preventDefault();
      const box = view.getBoundingClientRect();
      $("#where").value = (100 * (event.clientX - box.left)) / box.width;
      view.style.setProperty("--cut", `${$("#where").value}%`);
    };
    view.onpointermove = view.onpointerdown = slide;
    view.ondragstart = (event) => event.preventDefault();  // else the browser takes the picture along
    new ResizeObserver(() => this.drawStrip()).observe(strip);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.drawStrip());
  }

  jump(text) {
    const place = this.frames.place(parseInt(text, 10));
    if (place >= 0) { this.stop(); this.go(place); }
    else $("#number").value = this.frame;
  }

  /** What a key means, if it means anything here. */
  key(event) {
    const far = event.shiftKey ? 10 : 1;
    const meanings = {
      " ": () => (this.playing ? this.stop() : this.play()), ArrowRight: () => this.go(this.place + far), ArrowLeft: () => this.go(this.place - far),
      Home: () => this.go(0), End: () => this.go(this.frames.total - 1), c: () => this.compare(),
      j: () => this.play(Math.min(-1, (this.playing?.rate ?? 0) * 2)), k: () => this.stop(), l: () => this.play(Math.max(1, (this.playing?.rate ?? 0) * 2)),
    };
    if (!meanings[event.key]) return false;
    if (event.key.length > 1) this.stop();
    meanings[event.key]();
    return true;
  }
}
