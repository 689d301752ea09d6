// Keeps a sweep's page current: an event from the server makes htmx fetch the parts again.
const sweep = document.querySelector("[data-live]");
const PROGRESS_MS = 1000; // at most one refresh of the progress bar a second
const RESULTS_MS = 8000; // curves move while seeds run; a seed that ends refreshes sooner
const RESULTS_SHARE = 0.1; // of the time, at most, spent on refreshing a large sweep's results
const QUIET_MS = 4000; // ask without an event too: a proxy may hold the stream back

let stream = null;
let waiting = null;
let ended = sweep?.querySelector("#progress [data-ended]")?.dataset.ended;
let resultsAt = Date.now();
let resultsTook = 0;

const active = () => sweep.querySelector("#progress [data-active]")?.dataset.active === "yes";
const tell = (name) => document.body.dispatchEvent(new Event(name));

function refresh() {
  waiting = null;
  tell("sweep-progress");
}

function soon() {
  waiting ??= setTimeout(refresh, PROGRESS_MS);
}

function open() {
  if (stream || document.hidden || !active()) return;
  stream = new EventSource(sweep.dataset.live);
  stream.onmessage = soon;
  sweep.dataset.kinds.split(" ").forEach((kind) => stream.addEventListener(kind, soon));
}

// A hidden page gives its connection back: browsers allow six to one address.
function close() {
  stream?.close();
  stream = null;
}

function progressed() {
  const now = sweep.querySelector("#progress [data-ended]").dataset.ended;
  const waited = Date.now() - resultsAt;
  const due = (now !== ended || waited > RESULTS_MS) && waited > resultsTook / RESULTS_SHARE;
  if (due || !active()) {
    ended = now;
    resultsAt = Date.now();
    tell("sweep-results");
  }
  if (!active()) close();
}

if (sweep) {
  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target.id === "progress") progressed();
    if (event.detail.target.id === "success") resultsTook = Date.now() - resultsAt;
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : (soon(), open())));
  setInterval(() => { if (!document.hidden && active()) soon(); }, QUIET_MS);
  open();
}
