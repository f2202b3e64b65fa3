// The wire to the server: questions, orders, small pictures in batches, and one event stream for all tabs.

export class Refused extends Error {}

async function answer(response) {
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Refused([told.error || `The server said ${response.status}.`, told.hint].filter(Boolean).join(" "));
}

export const url = (job, ...rest) => `/api/jobs/${[job, ...rest].map(encodeURIComponent).join("/")}`;
export const get = async (path, options) => (await answer(await fetch(path, options))).json();
export const post = async (path, asked = {}) => {
  const headers = { "Content-Type": "application/json" };
  return (await answer(await fetch(path, { method: "POST", headers, body: JSON.stringify(asked) }))).json();
};

// One tab holds the lock and listens; the others hear it. A browser has six connections to a server, and an
// event stream keeps one. Where there are no locks (plain http from another machine), tabs in sight listen.
export function listen(hear, number) {
  const channel = new BroadcastChannel("renderfarm");
  let source = null, retry = 0, letGo = () => {};
  const tell = (told) => { channel.postMessage(told); hear(told); };
  const close = () => { source?.close(); source = null; clearTimeout(retry); };
  const open = () => {
    close();
    source = new EventSource(`/events?after=${number()}`);
    source.onopen = () => tell({ up: true });
    source.onmessage = (event) => tell({ number: +event.lastEventId, news: JSON.parse(event.data) });
    source.addEventListener("anew", () => tell({ anew: true }));
    source.onerror = () => {
      tell({ up: false });
      if (source?.readyState === EventSource.CLOSED) retry = setTimeout(open, 3000);
    };
  };
  channel.onmessage = (event) => hear(event.data);
  const lead = () => navigator.locks.request("renderfarm-stream", () => {
    open();
    return new Promise((resolve) => { letGo = () => { close(); resolve(); }; });
  });
  if (navigator.locks) {
    lead();
    addEventListener("pagehide", () => letGo());
    addEventListener("pageshow", (event) => event.persisted && lead());
  } else {
    const look = () => (document.hidden ? close() : open());
    document.addEventListener("visibilitychange", look);
    look();
  }
}

// Small pictures. Each part of the page says which frames it shows; only those are asked for, a batch at a time,
// and a batch that nobody looks at any more is given up.
const MOST_KEPT = 3000, BATCH = 12, FIRST = ["view", "strip", "sheet"];

class Thumbnails {
  #kept = new Map();
  #shows = new Map();
  #asking = null;

  key(job, frame) { return `${job} ${frame}`; }

  kept(job, frame) { return this.#kept.get(this.key(job, frame)); }

  /** Part `who` shows these frames of a job; `each(frame, {url, why})` is called for every one of them. */
  show(who, job, frames, each = () => {}) {
    this.#shows.set(who, { job, frames, each });
    for (const frame of frames) {
      const found = this.kept(job, frame);
      if (found) each(frame, found);
    }
    if (this.#asking && !this.#asking.frames.some((frame) => this.#wanted(this.#asking.job, frame))) this.#asking.stop.abort();
    this.#ask();
  }

  forget(job, frame) {
    const key = this.key(job, frame), found = this.#kept.get(key);
    if (found?.url) URL.revokeObjectURL(found.url);
    this.#kept.delete(key);
  }

  #wanted(job, frame) {
    return [...this.#shows.values()].some((show) => show.job === job && show.frames.includes(frame));
  }

  async #ask() {
    if (this.#asking) return;
    for (const who of FIRST) {
      const { job, frames } = this.#shows.get(who) ?? { frames: [] };
      const missing = frames.filter((frame) => !this.kept(job, frame)).slice(0, BATCH);
      if (missing.length) { await this.#batch(job, missing); return; }
    }
  }

  async #batch(job, frames) {
    const stop = new AbortController();
    this.#asking = { job, frames, stop };
    let pause = 0;
    try {
      const response = await answer(await fetch(`${url(job, "thumbnails")}?frames=${frames.join()}`, { signal: stop.signal }));
      await this.#read(job, response.body.getReader());
    } catch (error) {
      if (error.name !== "AbortError") pause = 2000;
    }
    setTimeout(() => { this.#asking = null; this.#ask(); }, pause);
  }

  async #read(job, reader) {
    let bytes = new Uint8Array(0);
    const upTo = async (enough) => {
      for (;;) {
        const end = enough(bytes);
        if (end >= 0) { const part = bytes.slice(0, end); bytes = bytes.slice(end); return part; }
        const { done, value } = await reader.read();
        if (done) return null;
        const more = new Uint8Array(bytes.length + value.length);
        more.set(bytes);
        more.set(value, bytes.length);
        bytes = more;
      }
    };
    for (;;) {
      const line = await upTo((all) => all.indexOf(10) + 1 || -1);
      if (!line) return;
      const told = JSON.parse(new TextDecoder().decode(line));
      const file = told.bytes ? await upTo((all) => (all.length >= told.bytes ? told.bytes : -1)) : null;
      this.#keep(job, told.frame, { seconds: told.seconds, ...(file ? { url: URL.createObjectURL(new Blob([file], { type: "image/jpeg" })) } : { why: told.why }) });
    }
  }

  #keep(job, frame, found) {
    this.forget(job, frame);
    this.#kept.set(this.key(job, frame), found);
    for (const key of this.#kept.keys()) {
      if (this.#kept.size <= MOST_KEPT) break;
      const [other, number] = [key.slice(0, key.lastIndexOf(" ")), +key.slice(key.lastIndexOf(" ") + 1)];
      if (!this.#wanted(other, number)) this.forget(other, number); else break;
    }
    for (const show of this.#shows.values()) if (show.job === job && show.frames.includes(frame)) show.each(frame, found);
  }
}

export const thumbnails = new Thumbnails();
