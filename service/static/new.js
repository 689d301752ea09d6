// The form for a new sweep: it sends the text to the REST API as curl would, and shows the answer.
const form = document.querySelector("#spec-form");
const text = form.querySelector("textarea");
const narrow = matchMedia("(max-width: 52rem)"); // the answer is then below the text
const answer = document.querySelector("#answer");
const template = (id) => document.getElementById(id).content.cloneNode(true);

async function send(query) {
  const url = `${form.action}${query}`;
  const headers = { "Content-Type": "application/yaml", Accept: "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: text.value });
  return { response, body: await response.json().catch(() => ({})) };
}

function fill(fragment, name, value) {
  const place = fragment.querySelector(`[data-fill="${name}"]`);
  if (place) place.textContent = value;
}

function show(...nodes) {
  answer.replaceChildren(...nodes);
}

function problemItem(problem) {
  const item = template("problem-item");
  fill(item, "path", problem.path || "the whole text");
  fill(item, "message", problem.message);
  fill(item, "nearest", problem.nearest ?? "");
  item.querySelector("[data-nearest]").hidden = !problem.nearest;
  return item;
}

function showProblems(body, status) {
  const card = template("problems-card");
  const problems = body.problems ?? [];
  fill(card, "detail", problems.length ? `${problems.length} to put right` : body.detail ?? `The server answered ${status}.`);
  card.querySelector("ul").replaceChildren(...problems.map(problemItem));
  show(card);
  text.setAttribute("aria-invalid", "true");
  if (narrow.matches) answer.scrollIntoView();
  else if (problems.length) select(problems[0].path);
}

// Puts the cursor on the line of the wrong key: the last part of its path that stands in the text.
function select(path) {
  const key = path.split(".").reverse().find((part) => part && text.value.includes(part));
  if (!key) return;
  const start = text.value.indexOf(key);
  text.focus();
  text.setSelectionRange(start, start + key.length);
}

const count = (value) => (value == null ? "—" : Number(value).toLocaleString("en").replaceAll(",", "\u202f"));
const percent = (value) => (value == null ? "—" : `${Math.round(100 * value)} percentage points`);

function bytes(value) {
  if (value == null) return "—";
  const mebibytes = value / 2 ** 20;
  return mebibytes < 1024 ? `about ${Math.ceil(mebibytes)} MiB` : `about ${(mebibytes / 1024).toFixed(1)} GiB`;
}

function hours(value) {
  if (value == null) return "not known: nothing like it was trained here yet";
  if (value < 1 / 60) return "less than a minute";
  if (Math.round(60 * value) === 1) return "about a minute";
  return value < 1.5 ? `about ${Math.round(60 * value)} minutes` : `about ${Math.round(value)} hours`;
}

function showPreview(preview) {
  const card = template("preview-card");
  fill(card, "configurations", count(preview.configurations));
  fill(card, "seed_runs", count(preview.seed_runs));
  fill(card, "trials", count(preview.trials));
  fill(card, "seed_steps", count(preview.seed_steps));
  fill(card, "estimated_hours", hours(preview.estimated_hours));
  fill(card, "basis", preview.basis ?? "");
  fill(card, "trial_bytes", bytes(preview.trial_bytes));
  fill(card, "memory_warning", preview.memory_warning ?? "");
  fill(card, "reused", preview.reused ? `${preview.reused} seed runs are taken over` : "nothing");
  fill(card, "detectable_difference", percent(preview.detectable_difference));
  show(card);
  if (narrow.matches) answer.scrollIntoView();
  text.removeAttribute("aria-invalid");
}

const address = (sweep) => `/sweeps/${encodeURIComponent(sweep.id)}`;

// The same text gives the same sweep: say so, and let the reader choose.
function showKnown(sweep) {
  const card = template("known-card");
  fill(card, "name", sweep.name);
  card.querySelector("a").href = address(sweep);
  show(card);
  if (narrow.matches) answer.scrollIntoView();
}

async function act(submitter) {
  const what = submitter?.value ?? "submit";
  const { response, body } = await send({ check: "?dry_run=true", anew: "?new=true" }[what] ?? "");
  if (!response.ok) return showProblems(body, response.status);
  if (what === "check") return showPreview(body);
  if (!body.created) return showKnown(body);
  location.assign(address(body));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const buttons = form.querySelectorAll("button");
  buttons.forEach((button) => { button.disabled = true; });
  try {
    await act(event.submitter);
  } catch {
    showProblems({ detail: "The service does not answer. Is it still running?" });
  }
  buttons.forEach((button) => { button.disabled = false; });
});
