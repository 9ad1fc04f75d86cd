// One item after another: the next one is painted from memory, the answer goes in the background.
// [data-review] holds the addresses; without this file every button sends its form and loads the page anew.
// Nothing that was typed is lost: an answer that cannot be saved brings its item back, with the answer in words.

import { announce } from "./announce.js";

const HEARTBEAT_MS = 60_000;
const IDLE_MS = 5 * 60_000;
const WARN_SECONDS = 60;
const WAIT_MS = 15_000;
const INTERACTIVE = "a, button, summary, label, input, textarea, select, [contenteditable]";

const root = document.querySelector("[data-review]");
const form = root.querySelector("[data-answers]");
const place = root.querySelector("[data-place]");
const noticeBox = root.querySelector("[data-notice]");
const note = form.querySelector("[name=note]");
const noteBox = form.querySelector("[data-note-box]");
const blur = form.querySelector("[data-blur]");
const skipDialog = document.getElementById("skip");
const skipForm = skipDialog?.querySelector("[data-skips]");
const run = form.elements.run.value;
const HELD = Number(root.dataset.holds); // the item on the screen and, where there are many, the one after it

let csrf = form.elements.csrfmiddlewaretoken.value;
let current = place.querySelector("[data-item]"); // null while the next one is on its way
let ahead = [];
let jobs = []; // answers on their way, in their order; the first may have failed
let sending = false;
let failed = null; // {job, may, words}: what stands in the way of jobs[0]
let exhausted = false; // the server had nothing more for me
let fetching = false;
let leaving = false;
let number = 0;
let lastInput = Date.now();
let lastBeat = Date.now();
const leases = new WeakMap(); // item → when its lease ends

// -- Items ----------------------------------------------------------------------------------

function lease(item, seconds) {
  leases.set(item, Date.now() + seconds * 1000);
}

function read(markup) {
  const template = document.createElement("template");
  template.innerHTML = markup;
  const item = template.content.querySelector("[data-item]");
  lease(item, Number(item.dataset.seconds));
  return item;
}

/** Keep the items that are new; how many. */
function take(fragments) {
  const known = new Set([current, ...ahead, ...jobs.map((job) => job.item)].map((item) => item?.dataset.token));
  const fresh = fragments.map(read).filter((item) => !known.has(item.dataset.token));
  ahead.push(...fresh);
  return fresh.length;
}

function room() {
  const unsent = Math.max(0, jobs.length - 1); // the first is answered before anything is asked for
  return exhausted ? 0 : Math.max(0, HELD - ahead.length - (current ? 1 : 0) - unsent);
}

function setBusy(busy) {
  for (const button of form.querySelectorAll("button")) button.disabled = busy;
}

function paint({ value = current?.dataset.before, text = current?.dataset.note ?? "", says = "" } = {}) {
  place.replaceChildren(current ?? waiting());
  form.elements.token.value = current?.dataset.token ?? "";
  note.value = text;
  if (noteBox.open !== Boolean(text)) noteBox.open = Boolean(text);
  if (form.elements.unclear) form.elements.unclear.checked = false;
  for (const button of form.querySelectorAll("[name=value]")) button.toggleAttribute("data-before", button.value === value);
  setBusy(!current);
  hush();
  if (!current) return;
  veil();
  scrollTo({ top: 0 });
  current.focus({ preventScroll: true });
  if (says) announce(says);
  if (current.dataset.unsure) {
    delete current.dataset.unsure;
    beat();
  }
}

function waiting() {
  const words = document.createElement("p");
  words.className = "card review-item review-item--waiting muted";
  words.textContent = "Fetching the next item …";
  return words;
}

function advance(said) {
  current = ahead.shift() ?? null;
  number += 1;
  paint({ says: said && `${said} ${current ? `Next item, number ${number + 1}.` : ""}` });
}

function putBack(item) {
  if (current && current !== item) ahead.unshift(current);
  current = item;
}

// -- What is sent -----------------------------------------------------------------------------

async function post(url, fields, { beyond = false } = {}) {
  const body = new URLSearchParams(fields);
  body.set("csrfmiddlewaretoken", csrf);
  const answer = await fetch(url, {
    method: "POST",
    body,
    headers: { Accept: "application/json" },
    keepalive: true,
    signal: beyond ? undefined : AbortSignal.timeout(WAIT_MS),
  });
  const isJson = (answer.headers.get("Content-Type") ?? "").includes("json");
  if (answer.redirected || (answer.status === 403 && !isJson)) throw new Refusal("signed-out", "You are no longer signed in, or this page is too old. Sign in in another window, then try again.");
  if (answer.status === 204) return {};
  if (!isJson) throw new Refusal("away", "The portal did not answer.");
  const content = await answer.json();
  if (answer.ok) return content;
  if (answer.status === 409) throw new Refusal(content.may_send ? "late" : "over", content.detail);
  throw new Refusal(answer.status >= 500 || answer.status === 429 ? "away" : "over", content.detail);
}

class Refusal extends Error {
  constructor(kind, words) {
    super(words);
    this.kind = kind;
  }
}

async function freshToken() {
  const page = await (await fetch(root.dataset.fresh)).text();
  const found = new DOMParser().parseFromString(page, "text/html").querySelector("main [name=csrfmiddlewaretoken], [name=csrfmiddlewaretoken]");
  if (found) csrf = found.value;
}

function send(job) {
  jobs.push(job);
  advance(job.said);
  pump();
}

async function pump() {
  if (sending || failed || leaving) return;
  const job = jobs[0];
  if (!job) {
    await fill();
    return;
  }
  sending = true;
  try {
    if (job.needsToken) await freshToken();
    const want = room();
    const content = await post(job.url, { ...job.fields, run, want });
    jobs.shift();
    show(content);
    receive(content.items, want);
  } catch (error) {
    fail(job, error);
  }
  sending = false;
  if (!failed) pump();
}

// What the last answer did not bring.
async function fill() {
  const want = room();
  if (fetching || want === 0) {
    if (!current && !ahead.length && !fetching) finish();
    return;
  }
  fetching = true;
  try {
    receive((await post(root.dataset.next, { run, want })).items, want);
  } catch {
    // The next answer asks again; a person who waits is told.
    if (!current) complain("The next item did not come.", [["Try again", () => { hush(); pump(); }]]);
  }
  fetching = false;
  if (exhausted && !current && !ahead.length && !jobs.length) finish();
}

function receive(items, want) {
  if (take(items) < want) exhausted = true;
  if (!current && ahead.length) {
    current = ahead.shift();
    paint({ says: `Next item, number ${number + 1}.` });
  }
}

function show({ progress, recent }) {
  if (progress) document.querySelector("[data-progress]").innerHTML = progress;
  const list = root.querySelector("[data-recent]");
  if (!recent) return;
  const isOpen = list.querySelector("details")?.open;
  list.innerHTML = recent;
  if (isOpen) list.querySelector("details")?.setAttribute("open", "");
  veil();
}

function finish() {
  leaving = true;
  location.assign(root.dataset.done);
}

// -- What could not be saved ----------------------------------------------------------------------

function fail(job, error) {
  const kind = error instanceof Refusal ? error.kind : "away";
  const words = error instanceof Refusal ? error.message : "The portal did not answer.";
  failed = { job, kind, words };
  number = Math.max(0, number - 1);
  putBack(job.item);
  paint({ value: job.fields.value, text: job.fields.note });
  explain();
}

function explain() {
  const { job, kind, words } = failed;
  const kept = `Not saved: ${job.words}.`;
  const buttons = [];
  if (kind === "late") buttons.push(["Send it anyway", () => again(root.dataset.anyway)]);
  if (kind === "away" || kind === "signed-out") buttons.push(["Try again", () => again()]);
  if (kind !== "away" && kind !== "signed-out") buttons.push(["Leave it, and go on", drop]);
  complain(words, buttons, kept);
}

function again(url) {
  const { job, kind } = failed;
  job.fields.note = note.value;
  if (url) job.url = url;
  job.needsToken = kind === "signed-out";
  failed = null;
  advance(job.said);
  pump();
}

function drop() {
  jobs.shift();
  failed = null;
  exhausted = false;
  advance("");
  pump();
}

function complain(words, buttons, kept = "") {
  const box = document.createElement("div");
  box.className = "notice notice--waiting review-notice";
  box.setAttribute("role", "alert");
  const body = document.createElement("div");
  body.className = "notice__body";
  if (kept) body.append(paragraph(kept, "notice__title"));
  body.append(paragraph(words));
  if (buttons.length) {
    const line = document.createElement("div");
    line.className = "cluster review-notice__buttons";
    for (const [text, act] of buttons) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button button--small";
      button.textContent = text;
      button.addEventListener("click", act);
      line.append(button);
    }
    body.append(line);
  }
  box.append(body);
  noticeBox.replaceChildren(box);
  noticeBox.querySelector("button")?.focus({ preventScroll: true });
}

function paragraph(text, look = "") {
  const element = document.createElement("p");
  element.className = look;
  element.textContent = text;
  return element;
}

function hush() {
  noticeBox.replaceChildren();
}

// -- Answering ------------------------------------------------------------------------------------

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const button = event.submitter;
  if (button?.name !== "value" || !current) return;
  const fields = Object.fromEntries(new FormData(form, button));
  delete fields.csrfmiddlewaretoken;
  const words = button.dataset.words;
  if (failed) {
    // Another answer to what could not be saved.
    const url = failed.job.url === root.dataset.skip ? root.dataset.answer : failed.job.url;
    Object.assign(failed.job, { url, words, said: `Labelled ${words}.`, fields: { ...failed.job.fields, ...fields } });
    if (failed.kind === "away" || failed.kind === "signed-out") again();
    else {
      for (const one of form.querySelectorAll("[name=value]")) one.toggleAttribute("data-before", one === button);
      explain();
    }
    return;
  }
  send({ url: root.dataset.answer, item: current, fields, words, said: `Labelled ${words}.` });
});

function skip(button) {
  if (!current || failed) return;
  const fields = Object.fromEntries(new FormData(skipForm, button));
  delete fields.csrfmiddlewaretoken;
  fields.token = current.dataset.token;
  skipDialog.close();
  skipForm.reset();
  send({ url: root.dataset.skip, item: current, fields, words: "skipped", said: "Skipped." });
}

skipForm?.addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.submitter?.name === "reason") skip(event.submitter);
});
skipDialog?.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("textarea")) return;
  const button = skipForm.querySelector(`[data-digit="${CSS.escape(event.key)}"]`);
  if (!button) return;
  event.preventDefault();
  skip(button);
});

// -- Thinking better of it, and the model's answer ---------------------------------------------------

async function settled() {
  while (jobs.length && !failed) await new Promise((resolve) => setTimeout(resolve, 30));
  return !failed;
}

async function undo(url, ofLabel) {
  if (!(await settled())) return;
  // The newest answer may have been on its way when the key was pressed.
  const label = ofLabel ?? root.querySelector("[data-undo] [name=label]")?.value;
  if (!label) return;
  setBusy(true);
  try {
    const content = await post(url, { label });
    const item = read(content.items[0]);
    exhausted = false;
    for (const other of [current, ...ahead]) if (other) other.dataset.unsure = "yes";
    putBack(item);
    ahead.length = Math.min(ahead.length, HELD);
    show(content);
    number = Math.max(0, number - 1);
    paint({ says: `Taken back, item number ${number + 1}. Label it again.` });
  } catch (error) {
    setBusy(!current);
    complain(error instanceof Refusal ? error.message : "The portal did not answer. Nothing was taken back.", []);
  }
}

async function reveal(url, label) {
  if (!(await settled())) return;
  try {
    const content = await post(url, { label: label ?? root.querySelector("[data-reveal] [name=label]")?.value });
    show(content);
    announce(content.said);
  } catch (error) {
    complain(error instanceof Refusal ? error.message : "The portal did not answer.", []);
  }
}

root.addEventListener("submit", (event) => {
  const sent = event.target;
  if (sent.matches("[data-undo], [data-reveal]")) {
    event.preventDefault();
    // A key means the newest answer, also one that is not listed yet.
    const label = jobs.length && sent.closest(".review-last") ? undefined : sent.elements.label.value;
    if (sent.matches("[data-undo]")) undo(sent.action, label);
    else reveal(sent.action, label);
  }
});

// -- Notes, blur, context ---------------------------------------------------------------------------

// Opened and focused at once: what is typed after `n` belongs to the note from its first letter.
noteBox.querySelector("summary").addEventListener("click", (event) => {
  event.preventDefault();
  const byKey = event.detail === 0;
  noteBox.open = byKey || !noteBox.open;
  if (noteBox.open) note.focus();
});
note.addEventListener("keydown", (event) => {
  if (event.isComposing || !(event.key === "Escape" || (event.key === "Enter" && !event.shiftKey))) return;
  event.preventDefault();
  if (!note.value.trim()) noteBox.open = false;
  current?.focus({ preventScroll: true });
});

// Who cannot see the blur does not hear the text either.
function veil() {
  for (const element of root.querySelectorAll("[data-blurs]")) {
    if (blur.checked) element.setAttribute("aria-hidden", "true");
    else element.removeAttribute("aria-hidden");
  }
}
blur.addEventListener("change", () => {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `blur=${blur.checked ? "on" : "off"}; Path=/audits/; Max-Age=31536000; SameSite=Lax${secure}`;
  veil();
  announce(blur.checked ? "Texts are blurred." : "Texts are shown.");
});

document.addEventListener("keydown", (event) => {
  lastInput = Date.now();
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (document.documentElement.dataset.keys === "off" || document.querySelector("dialog[open]")) return;
  const free = !event.target.closest(INTERACTIVE);
  const backspace = event.key === "Backspace" && !event.target.closest("input:not([type=checkbox]), textarea, select");
  if (event.key === " " && free) {
    const context = place.querySelector("[data-context]");
    if (context) context.open = !context.open;
  } else if (backspace || (event.key === "u" && free && jobs.length && !root.querySelector(".review-last [data-undo]"))) {
    // The answer may still be on its way, so that there is no button for the letter yet.
    undo(root.dataset.takeBack);
  } else return;
  event.preventDefault();
});

// -- Leases -------------------------------------------------------------------------------------------

async function beat() {
  lastBeat = Date.now();
  const items = [current, ...ahead].filter(Boolean);
  if (!items.length) return;
  try {
    const body = new URLSearchParams(items.map((item) => ["token", item.dataset.token]));
    const { held, seconds } = await post(root.dataset.renew, body);
    const still = new Set(held);
    for (const item of items) if (still.has(item.dataset.token)) lease(item, seconds);
    ahead = ahead.filter((item) => !items.includes(item) || still.has(item.dataset.token));
    if (current && items.includes(current) && !still.has(current.dataset.token)) {
      complain("This item has gone to somebody else. An answer can still be sent if it needs another one.", []);
    } else if (noticeBox.querySelector("[data-lease]")) hush();
  } catch {
    // Said when the lease is about to end, or when an answer cannot be saved.
  }
}

function watchLease() {
  if (leaving || document.hidden) return;
  const now = Date.now();
  if (now - lastInput < IDLE_MS && now - lastBeat >= HEARTBEAT_MS) beat();
  if (!current || failed || noticeBox.firstChild) return;
  const left = (leases.get(current) - now) / 1000;
  if (left > WARN_SECONDS) return;
  complain(left > 0 ? "Still there? In less than a minute others can have this item." : "The time for this item is over: others can have it now.", [["Keep it", beat]]);
  noticeBox.firstChild.dataset.lease = "";
}

function notice() {
  lastInput = Date.now();
}

for (const kind of ["pointerdown", "input", "scroll"]) document.addEventListener(kind, notice, { passive: true });
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && Date.now() - lastBeat >= HEARTBEAT_MS) beat();
});
setInterval(watchLease, 5_000);

// Who leaves lets others have the items, and answers that are still here go out.
addEventListener("pagehide", () => {
  leaving = true;
  const waitingJobs = failed ? [] : jobs.slice(sending ? 1 : 0);
  for (const job of waitingJobs) post(job.url, { ...job.fields, run }, { beyond: true }).catch(() => {});
  const answered = new Set(jobs.map((job) => job.item));
  const body = new URLSearchParams({ csrfmiddlewaretoken: csrf });
  for (const item of [current, ...ahead]) if (item && !answered.has(item)) body.append("token", item.dataset.token);
  if (body.has("token")) navigator.sendBeacon(root.dataset.release, body);
});
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
addEventListener("beforeunload", (event) => {
  if (failed) event.preventDefault();
});
addEventListener("online", () => {
  if (failed?.kind === "away") again();
});

lease(current, Number(current.dataset.seconds));
veil();
if (!document.activeElement || document.activeElement === document.body) current.focus({ preventScroll: true });
pump();
