// The form for a new sweep: it sends the text to the REST API as curl would, and shows the answer.
const form = document.querySelector("#spec-form");
const text = form.querySelector("textarea");
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
  if (problems.length) select(problems[0].path);
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

function hours(value) {
  if (value == null) return "not known: nothing like it was trained here yet";
  if (value < 1 / 60) return "less than a minute";
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
  fill(card, "detectable_difference", percent(preview.detectable_difference));
  show(card);
  text.removeAttribute("aria-invalid");
}

async function act(submitter) {
  const dry = submitter?.value === "check";
  const { response, body } = await send(dry ? "?dry_run=true" : "");
  if (!response.ok) return showProblems(body, response.status);
  if (dry) return showPreview(body);
  location.assign(`/sweeps/${encodeURIComponent(body.id)}`);
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
