// What stands below the strip besides the contact sheet: film, times and nodes, trouble, and what was asked.

import { get, url } from "./wire.js";
import { $, duration, make, number, plural, say } from "./words.js";

const chart = $("#chart");

export function film(job) {
  const video = $("#tab-film video"), there = job.film !== null;
  const address = `${url(job.id, "film")}?v=${job.film}`;
  if ($("#tab-film").hidden) return;
  if (there && video.dataset.address !== address && (video.paused || video.dataset.job !== job.id)) {
    video.style.aspectRatio = job.size.join(" / ");
    const at = video.dataset.job === job.id ? video.currentTime : 0;  // it has grown: what is seen stays
    Object.assign(video.dataset, { address, job: job.id });
    video.src = address;
    video.currentTime = at;
    video.onerror = () => film(job);
  }
  const strange = there && video.error !== null;
  video.hidden = !there || strange;
  say($("#tab-film p"), strange ? "This browser can't play films of this kind; ▶ above plays its frames." : there ? "" : job.ended ? "No film was made." : "The film comes when every frame is there. Until then ▶ plays what there is.");
}

export class Times {
  constructor(choose) {
    chart.onclick = (event) => {
      const box = chart.getBoundingClientRect();
      if (this.job) choose(Math.floor(((event.clientX - box.left) / box.width) * this.frames.total));
    };
  }

  /** Ask anew, at most every few seconds. */
  async draw(job, frames) {
    Object.assign(this, { job, frames });
    if (this.waits || !chart.clientWidth) return;
    this.waits = true;
    setTimeout(() => { this.waits = false; if (this.late) { this.late = false; this.draw(this.job, this.frames); } }, 3000);
    const told = await get(`${url(job.id, "times")}?columns=${Math.max(1, Math.floor(chart.clientWidth / 3))}`);
    if (this.job.id !== job.id) return;
    this.#bars(told.most);
    this.#words(told);
    this.nodes(job, told.nodes);
  }

  soon(job, frames) {
    if (this.waits) this.late = true;
    else this.draw(job, frames);
  }

  #bars(most) {
    const pen = chart.getContext("2d"), scale = devicePixelRatio || 1, width = chart.clientWidth, high = 180;
    Object.assign(chart, { width: width * scale, height: high * scale });
    pen.scale(scale, scale);
    const style = getComputedStyle(document.documentElement), top = Math.max(...most, 1e-9), wide = width / most.length;
    pen.fillStyle = style.getPropertyValue("--line");
    for (const share of [0, 0.5, 1]) pen.fillRect(0, Math.round((high - 20) * share) + 16, width, 1);
    pen.fillStyle = style.getPropertyValue("--good");
    most.forEach((seconds, at) => {
      const tall = ((high - 20) * seconds) / top;
      pen.fillRect(at * wide, high - 4 - tall, Math.max(1, wide - (wide > 3 ? 1 : 0)), tall);
    });
    pen.fillStyle = style.getPropertyValue("--muted");
    pen.font = "12px system-ui";
    pen.fillText(duration(top), 0, 11);
  }

  #words({ most, mean }) {
    const timed = mean.filter(Boolean), at = most.indexOf(Math.max(...most));
    const about = timed.reduce((sum, each) => sum + each, 0) / Math.max(1, timed.length);
    const slowest = this.frames.at(Math.floor((at * this.frames.total) / most.length));
    const text = timed.length ? `About ${duration(about)} a frame; the slowest took ${duration(most[at])}, near frame ${slowest}.` : "Nothing was rendered for this job: all of its frames were there.";
    say($("#tab-times p"), text);
    chart.setAttribute("aria-label", `Seconds per frame. ${text}`);
  }

  nodes(job, made) {
    const now = new Map(job.nodes.map((node) => [node.node, node]));
    const all = new Map(made.map((node) => [node.name, node]));
    const names = [...new Set([...now.keys(), ...all.keys()])].slice(0, 500);
    $("#tab-times tbody").replaceChildren(...names.map((name) => {
      const node = now.get(name), told = all.get(name);
      const doing = !node ? "gone" : node.frame === null ? node.state : `frame ${node.frame}, ${duration(node.seconds)}`;
      const texts = [name, doing, told ? number(told.frames) : "–", told ? duration(told.seconds / told.frames) : "–"];
      return make("tr", {}, ...texts.map((text) => make("td", {}, text)));
    }));
  }
}

export function trouble(job, { retry, choose }) {
  const told = JSON.stringify([job.id, job.failures, job.suspects, job.problems]);
  if (told === trouble.told) return;  // what is read, and where the focus is, stays
  trouble.told = told;
  const groups = job.failures.map((group) => make("div", { className: "group" },
    make("h3", {}, `${group.count === 1 ? "Frame" : "Frames"} ${group.frames.slice(0, 300)}`, make("em", {}, group.reason)),
    make("p", {}, group.message, ` (${group.attempts} ${group.attempts === 1 ? "try" : "tries"})`),
    make("div", { className: "acts" },
      make("button", { type: "button", onclick: () => choose(group.frame) }, "Look"),
      make("button", { type: "button", onclick: () => retry(group.frames) }, group.count === 1 ? "Retry it" : "Retry these")),
    ...(group.signs.length ? [make("pre", {}, group.signs.join("\n"))] : [])));
  const doubts = job.suspects.slice(0, 200).map(([frame, finding, detail]) => make("div", { className: "group" },
    make("h3", {}, `Frame ${frame}`, make("em", {}, finding)), make("p", {}, detail),
    make("div", { className: "acts" }, make("button", { type: "button", onclick: () => choose(frame) }, "Look"))));
  const rest = job.problems.map((problem) => make("div", { className: "group" }, make("p", {}, problem)));
  const none = make("p", { className: "muted" }, "Nothing went wrong.");
  $("#tab-trouble").replaceChildren(...(groups.length || doubts.length || rest.length ? [...groups, ...doubts, ...rest] : [none]));
}

export function about(job) {
  $("#tab-about dl").replaceChildren(...job.facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  $("#tab-about ul").replaceChildren(...job.notes.map((note) => make("li", {}, note)));
  $("#report").hidden = !job.report;
  $("#report").href = `/jobs/${encodeURIComponent(job.id)}/out/report.html`;
}

export async function nights() {
  const found = await get("/api/nights");
  const lines = found.map((night) => {
    const link = night.page ? make("a", { href: `/nights/${night.id}/${encodeURIComponent(night.night)}/index.html`, target: "_blank", rel: "noopener" }, night.night) : make("span", {}, night.night);
    return make("li", {}, link, make("span", {}, night.title), make("span", { className: "muted" }, `${plural(night.shots, "shot")}${night.bad ? `, ${night.bad} not good` : ""}`));
  });
  $("#nights ul").replaceChildren(...(lines.length ? lines : [make("li", { className: "muted" }, "No nights yet. `renderfarm nightly run` makes one.")]));
}
