// The page: which job and frame the address names, the list of jobs, and where news goes.

import { get, listen, post, Refused, thumbnails, url } from "./wire.js";
import { $, ago, drawShares, duration, FAILED, Frames, make, mark, number, pieces, plural, say, shares, standing } from "./words.js";
import { Viewer } from "./viewer.js";
import { Sheet } from "./sheet.js";
import { Log } from "./log.js";
import * as panels from "./panels.js";

const jobs = new Map();
let seen = -1, open = null, frames = null, tab = "frames", asking = 0;
const TABS = ["frames", "film", "times", "trouble", "log", "about"];
const KEYS = [["Space", "play, pause"], ["← →", "a frame back, on (Shift: ten)"], ["Home, End", "first, last frame"], ["J K L", "play back, pause, on; again: faster"], ["digits, Enter", "go to a frame"], ["C", "compare"], ["/", "search the log"]];

// The list

function line(job) {
  const link = make("a", { href: `/jobs/${encodeURIComponent(job.id)}` }, make("img", { alt: "", loading: "lazy" }), make("b"), make("small"), make("span", { className: "shares" }));
  const item = make("li", {}, link);
  $("img", item).onerror = (event) => event.target.removeAttribute("src");
  item.dataset.id = job.id;
  return item;
}

function drawLine(job) {
  const known = $(`#jobs [data-id="${CSS.escape(job.id)}"]`), item = known || line(job);
  if (!known) $("#jobs").prepend(item);
  say($("b", item), job.scene || job.id);
  item.firstChild.title = job.path || job.id;
  if (!job.frames) { say($("small", item), job.problem); return; }
  const { total, succeeded, failed } = job.frames, left = !job.ended && job.eta_seconds ? ` · ${duration(job.eta_seconds)} left` : "";
  const text = $("small", item);
  const made = succeeded === total ? plural(total, "frame") : `${number(succeeded)} of ${number(total)}`;
  const how = job.state === "succeeded" && job.ended ? "" : `${failed && job.ended ? `${number(failed)} failed` : standing(job)} · `;
  say(text, `${how}${made}${job.ended ? ` · ${ago(job.submitted)}` : left}`);
  text.className = failed ? "failed" : "";
  drawShares($(".shares", item), job);
  mark(item.firstChild, "aria-current", open?.id === job.id && "page");
  const poster = `${url(job.id, "poster")}?v=${job.latest ?? (job.ended ? succeeded : job.parts?.succeeded || 0)}`, image = $("img", item);
  const old = image.getAttribute("src"), soon = !job.ended && Date.now() - image.dataset.since < 5000;
  if ((succeeded || job.parts?.succeeded) && (!old || (image.complete && old !== poster && !soon))) { image.src = poster; image.dataset.since = Date.now(); }
  drawMoves(item, job);
}

/** Buttons that move a waiting job in the line. */
function drawMoves(item, job) {
  const waits = job.phase === "waiting", before = $(".line", item);
  if (waits && !before) {
    const move = (by, text, label) => make("button", { type: "button", ariaLabel: label, title: label, onclick: () => reorder(job.id, by) }, text);
    item.append(make("span", { className: "line" }, move(-1, "↑", `${job.scene}: earlier`), move(1, "↓", `${job.scene}: later`)));
  } else if (!waits && before) before.remove();
}

function reorder(id, by) {
  const waiting = [...jobs.values()].filter((job) => job.phase === "waiting").sort((one, two) => one.place - two.place).map((job) => job.id);
  const at = waiting.indexOf(id), to = at + by;
  if (at < 0 || to < 0 || to >= waiting.length) return;
  waiting.splice(to, 0, ...waiting.splice(at, 1));
  act("/api/line", { jobs: waiting }, "The line is being changed.");
}

// One job

const viewer = new Viewer((frame, quiet) => {
  sheet.go(viewer.place, !quiet && !viewer.playing);
  if (tab === "log" && (!quiet || log.follows)) log.offer(open, frame);
  if (!quiet) history.replaceState(null, "", address(open.id, frame));
});
const choose = (place) => {
  viewer.stop();
  viewer.go(place);
  if ($("#view").getBoundingClientRect().bottom < 80) $("#job").scrollIntoView();
};
const sheet = new Sheet(choose), log = new Log(), times = new panels.Times(choose);
const address = (job, frame) => `/jobs/${encodeURIComponent(job)}${frame === null ? "" : `/frames/${frame}`}`;

async function load(id, frame = null) {
  const mine = ++asking;
  let job;
  const another = open?.id !== id;
  try { job = await get(url(id)); } catch (error) { if (another && mine === asking) lost(error.message); else toast(error.message); return; }
  if (mine !== asking) return;
  open = { ...jobs.get(id), ...job };
  frames = new Frames(job.range, job.runs);
  seenFrom(job.number);
  if (another) scrollTo(0, 0);
  $("#job").hidden = false;
  $("#lost").hidden = true;
  if (another) show("frames");
  drawHead();
  viewer.open(open, frames, another ? frame : viewer.frame);
  sheet.open(open, frames);
  panels.film(open);
  panels.trouble(open, { retry: (range) => retry(range), choose: (each) => choose(frames.place(each)) });
  panels.about(open);
  if (tab === "times") times.soon(open, frames);
  for (const other of jobs.values()) drawLine(other);
}

/** There is nothing to show of the job that was asked for. */
function lost(why) {
  open = null;
  log.open(false);
  $("#job").hidden = true;
  $("#lost").hidden = false;
  say($("#lost"), why);
}

function drawHead() {
  const job = open, { total, succeeded, failed, canceled, queued } = job.frames, there = pieces(job);
  say($(".head h1"), job.scene);
  document.title = `${job.ended ? "" : `${Math.floor((100 * there.succeeded) / there.total)} % · `}${job.scene} · renderfarm`;
  const state = $(".head .state");
  say(state, job.problem || standing(job));
  state.className = `state ${job.state}`;
  const rate = job.frames_per_minute && `${job.frames_per_minute < 10 ? job.frames_per_minute.toFixed(1) : Math.round(job.frames_per_minute)} frames a minute`;
  const facts = [`${number(succeeded)} of ${plural(total, "frame")}`, there !== job.frames && `${number(there.succeeded)} of ${number(there.total)} parts`, failed && `${number(failed)} failed`, !job.ended && rate, !job.ended && job.eta_seconds && `${duration(job.eta_seconds)} left`, job.seconds && `${duration(job.seconds)} so far`, job.behind && `behind ${job.behind}`];
  say($(".head .facts"), facts.filter(Boolean).join("  ·  ").replace("so far", job.ended ? "in all" : "so far"));
  const bar = $(".head > .shares");
  drawShares(bar, job);
  mark(bar, "aria-label", shares(job).map(([kind, count]) => `${count} ${kind}`).join(", ") || "nothing yet");
  const acts = [
    !job.ended && job.phase !== "pausing" && ["Pause", "pause", "Frames in hand are finished, no other is begun."],
    !job.ended && ["Cancel", "cancel", "Stopped. What is finished is kept; Resume goes on."],
    job.ended && queued + canceled > 0 && ["Resume", "resume", "It goes on."],
    failed > 0 && [`Retry ${number(failed)} failed`, "retry", "They are tried again."],
  ].filter(Boolean);
  const group = $(".head .acts"), named = acts.map(([text]) => text).join();
  if (group.dataset.named !== named) {
    group.dataset.named = named;
    group.replaceChildren(...acts.map(([text, what, done]) => make("button", { type: "button", onclick: () => act(url(open.id, what), {}, done) }, text)));
  }
  drawTabs();
}

function drawTabs() {
  const bad = open.frames.failed + (open.suspects?.length || 0);
  const names = { frames: "Frames", film: "Film", times: "Times", trouble: bad ? `Trouble ${number(bad)}` : "Trouble", log: "Log", about: "About" };
  const bar = $(".tabs");
  if (!bar.children.length) bar.append(...TABS.map((name) => make("button", { type: "button", role: "tab", id: `for-${name}`, onclick: () => show(name) })));
  TABS.forEach((name, at) => {
    const button = bar.children[at];
    say(button, names[name]);
    button.classList.toggle("bad", name === "trouble" && open.frames.failed > 0);
    mark(button, "aria-selected", String(tab === name));
    mark(button, "aria-controls", `tab-${name}`);
    button.tabIndex = tab === name ? 0 : -1;
  });
}

function show(name) {
  tab = name;
  for (const each of TABS) $(`#tab-${each}`).hidden = each !== name;
  if (open) drawTabs();
  sheet.draw();
  if (open) panels.film(open);
  if (name === "times") times.soon(open, frames);
  if (name === "log") log.offer(open, viewer.frame);
  log.open(name === "log");
}

const retry = (range) => act(url(open.id, "retry"), { frames: range }, "Tried again.");

const acting = new Set();
async function act(path, asked, done) {
  if (acting.has(path)) return;  // clicked again meanwhile
  acting.add(path);
  try { await post(path, asked); } finally { acting.delete(path); }
  toast(done);
}
addEventListener("unhandledrejection", ({ reason }) => toast(reason instanceof Refused ? reason.message : "renderfarm web could not be reached."));

function toast(text) {
  say($("#toast"), text);
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => say($("#toast"), ""), 6000);
}

// News

const seenFrom = (value) => { seen = Math.max(seen, value); };

function hear(told) {
  if ("up" in told) {
    $("#banner").hidden = told.up;
    if (!told.up) say($("#banner"), "renderfarm web does not answer: what is shown may be old. Where it has ended, start it with “renderfarm web”, and open the address that it prints.");
    return;
  }
  if (told.anew || told.number > seen + 1) { begin(); return; }
  if (told.number <= seen) return;
  seen = told.number;
  const { jobs: changed = [], frames: touched = {}, anew = [], gone = [] } = told.news;
  for (const job of changed) { jobs.set(job.id, job); drawLine(job); }
  for (const id of gone) { jobs.delete(id); $(`#jobs [data-id="${CSS.escape(id)}"]`)?.remove(); }
  if (changed.length && !$("#nothing").hidden) route();
  for (const [id, changes] of Object.entries(touched)) takeFrames(id, changes);
  const own = open && changed.find((job) => job.id === open.id);
  if (own) { Object.assign(open, { problem: "" }, own); drawHead(); viewer.fill(); panels.film(open); }
  if (gone.includes(open?.id)) lost("This job is no longer one of the farm's.");
  if (anew.includes(open?.id)) loadSoon(150);
}

/** All of the open job is asked for once more, however often that is wanted meanwhile. */
function loadSoon(wait) {
  loadSoon.timer ||= setTimeout(() => { loadSoon.timer = 0; if (open) load(open.id); }, wait);
}

function takeFrames(id, changes) {
  for (const [frame] of changes) thumbnails.forget(id, frame);
  if (open?.id !== id) return;
  for (const [frame, code] of changes) {
    const place = frames.place(frame);
    if (place >= 0) frames.codes[place] = code;
  }
  open.latest = changes.filter(([, code]) => code === 2).at(-1)?.[0] ?? open.latest;
  viewer.news(changes);
  sheet.draw();
  if (changes.some(([, code]) => code === FAILED)) loadSoon(2000);  // why it failed
  if (tab === "times") times.soon(open, frames);
}

// Which page it is

async function route() {
  const [, kind, id, , frame] = location.pathname.split("/").map(decodeURIComponent);
  asking++;  // what is still on its way is not wanted any more
  $("#nights").hidden = kind !== "nights";
  $("#lost").hidden = true;
  document.body.classList.toggle("one", Boolean(kind));
  if (kind === "nights") { open = null; $("#job").hidden = true; panels.nights(); return; }
  if (id) { await load(id, frame === undefined ? null : +frame); return; }
  const newest = [...jobs.values()].filter((job) => job.frames).at(-1);
  const wide = matchMedia("(min-width: 761px)").matches;
  $("#nothing").hidden = jobs.size > 0;
  if (newest && wide) await load(([...jobs.values()].findLast((job) => !job.ended && job.phase !== "waiting") || newest).id);
  else if (!wide) { open = null; for (const job of jobs.values()) drawLine(job); }
}

async function begin() {
  const told = await get("/api/jobs");
  seen = told.number;
  jobs.clear();
  for (const job of told.jobs) { jobs.set(job.id, job); drawLine(job); }
  for (const item of [...$("#jobs").children]) if (!jobs.has(item.dataset.id)) item.remove();
  if (open) await load(open.id);
  else await route();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']");
  if (!link || link.target || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", link.getAttribute("href"));
  route();
});
addEventListener("popstate", route);

let digits = "";
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=checkbox]), select, dialog, video");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !open) return;
  if (event.key === " " && event.target.closest("button, a, summary")) return;
  const tabs = event.target.closest("[role=tab]");
  if (tabs && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
    show(TABS[(TABS.indexOf(tab) + (event.key === "ArrowRight" ? 1 : TABS.length - 1)) % TABS.length]);
    $(`#for-${tab}`).focus();
  } else if (/^[0-9-]$/.test(event.key)) { digits += event.key; toast(`Frame ${digits}, Enter`); }
  else if (event.key === "Enter" && digits) { viewer.jump(digits); digits = ""; toast(""); }
  else if (event.key === "/") { show("log"); $("#search").focus(); }
  else if (event.key === "?") help();
  else if (event.target.closest("#log, pre") || !viewer.key(event)) { digits = ""; return; }
  event.preventDefault();
});

function help() {
  $("#help dl").replaceChildren(...KEYS.flatMap(([key, what]) => [make("dt", {}, key), make("dd", {}, what)]));
  $("#help").showModal();
}

async function copy(text, done) {
  try { await navigator.clipboard.writeText(text); toast(done); } catch { prompt("Copy this address:", text); }
}

$("#keys").onclick = help;
$("#again").onclick = () => retry(String(viewer.frame));
$("#its-log").onclick = () => { show("log"); $("#tab-log").scrollIntoView({ block: "nearest" }); };
$("#copy").onclick = () => copy(location.origin + address(open.id, viewer.frame), "Copied: for a browser that is in already. “Link” makes one for another.");
$("#share").onclick = async () => {
  const { link } = await post("/api/links", { path: open ? address(open.id, viewer.frame) : "/" });
  copy(link, "Copied. It lets one browser in.");
};

await begin();
listen(hear, () => seen);
