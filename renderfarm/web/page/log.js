// What renderers say, live: lines are added at the end, the place that is read stays where it is.

import { get, url } from "./wire.js";
import { $, make, say } from "./words.js";

const MOST = 1 << 21, EVERY = 1000;
const pane = $("#log"), follow = $("#follow"), source = $("#source"), search = $("#search");

export class Log {
  constructor() {
    this.job = null;
    this.hits = [];
    this.at = -1;
    source.onchange = () => this.begin();
    search.oninput = () => this.find();
    search.onkeydown = (event) => { if (event.key === "Enter") this.step(event.shiftKey ? -1 : 1); };
    $("#up").onclick = () => this.step(-1);
    $("#down").onclick = () => this.step(1);
    follow.onchange = () => follow.checked && this.#end();
    pane.onscroll = () => {
      const away = pane.scrollHeight - pane.scrollTop - pane.clientHeight;
      if (away > 40) follow.checked = false;
    };
  }

  /** Whether another frame's log may take the place of what is shown. */
  get follows() { return follow.checked && !search.value && document.activeElement !== source; }

  /** What can be read: the log of a frame, and those of nodes at work. */
  offer(job, frame) {
    const before = source.value, options = [[`frame ${frame}`, `frame=${frame}`]];
    for (const node of job.nodes) options.push([`node ${node.node}${node.frame === null ? "" : `, frame ${node.frame}`}`, `node=${encodeURIComponent(node.node)}`]);
    const kept = before.startsWith("node=") && options.some(([, value]) => value === before);
    source.replaceChildren(...options.map(([text, value]) => make("option", { value }, text)));
    source.value = kept ? before : `frame=${frame}`;
    const another = this.job?.id !== job.id || source.value !== before;
    this.job = job;
    if (another) this.begin();
  }

  open(on) {
    clearTimeout(this.timer);
    this.on = on;
    if (on) this.#more();
  }

  begin() {
    this.name = null;
    this.next = -(1 << 18);
    this.length = 0;
    pane.replaceChildren();
    this.find();
    if (this.on) this.open(true);
  }

  async #more() {
    const { job } = this, asked = source.value;
    let told = null;
    const full = this.length > MOST && !follow.checked;  // what is read must not move: the rest comes with Follow
    const name = encodeURIComponent(this.name || "");
    if (!full) try { told = await get(`${url(job.id, "log")}?${asked}&start=${this.next}&name=${name}`); } catch { /* it is asked again */ }
    if (!this.on || asked !== source.value || job.id !== this.job.id) return;
    if (told) this.#add(told);
    this.timer = setTimeout(() => this.#more(), told && this.next < told.size ? 0 : EVERY);
  }

  #add(told) {
    if (told.name !== this.name) {
      if (this.name) pane.append(`\n— ${told.name} —\n`);
      else if (!told.text) say(pane, told.name ? "" : "There is no log yet.");
      else pane.replaceChildren(told.start > 0 ? `… the first ${told.start.toLocaleString("en")} bytes are not shown …\n` : "");
      if (this.name && this.next > 0) { this.next = 0; this.name = told.name; return; }
      this.name = told.name;
    }
    this.next = told.next;
    if (!told.text) return;
    pane.append(told.text);
    this.length += told.text.length;
    while (this.length > MOST && pane.childNodes.length > 2 && follow.checked) {
      this.length -= pane.firstChild.textContent.length;
      pane.firstChild.remove();
    }
    if (search.value) this.find(true);
    if (follow.checked) this.#end();
  }

  #end() { pane.scrollTop = pane.scrollHeight; }

  find(still = false) {
    const wanted = search.value.toLowerCase();
    this.hits = [];
    for (const node of wanted ? pane.childNodes : []) {
      const text = node.textContent.toLowerCase();
      for (let at = text.indexOf(wanted); at >= 0 && this.hits.length < 5000; at = text.indexOf(wanted, at + wanted.length)) {
        const range = new Range();
        range.setStart(node, at);
        range.setEnd(node, at + wanted.length);
        this.hits.push(range);
      }
    }
    globalThis.CSS.highlights?.set("found", new Highlight(...this.hits));
    if (!still) this.at = -1;
    this.#count();
  }

  step(by) {
    if (!this.hits.length) return;
    this.at = (this.at + by + this.hits.length) % this.hits.length;
    follow.checked = false;
    const range = this.hits[this.at], box = range.getBoundingClientRect(), own = pane.getBoundingClientRect();
    pane.scrollTop += box.top - own.top - own.height / 2;
    globalThis.CSS.highlights?.set("here", new Highlight(range));
    this.#count();
  }

  #count() {
    say($("#found"), search.value ? `${this.at + 1 ? `${this.at + 1} of ` : ""}${this.hits.length} found` : "");
  }
}
