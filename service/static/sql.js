// The SQL editor: it asks the REST API as curl would, and shows the answer as a table or saves it as CSV.
const form = document.querySelector("#sql-form");
const text = form.querySelector("textarea");
const answer = document.querySelector("#answer");
const summary = document.querySelector("#summary");
const refusal = document.querySelector("#refusal");
const table = document.querySelector("#rows");
const NUMBERS = new Set(["integer", "double", "numeric"]);

function ask(accept) {
  const headers = { "Content-Type": "application/json", Accept: accept };
  return fetch(form.action, { method: "POST", headers, body: JSON.stringify({ query: text.value }) });
}

function cell(tag, value, right) {
  const made = document.createElement(tag);
  made.textContent = value;
  if (right) made.className = tag === "td" ? "right num" : "right";
  return made;
}

function shown(value) {
  if (value === null) return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function show(result) {
  const right = result.columns.map((column) => NUMBERS.has(column.type));
  const names = result.columns.map((column, at) => {
    const head = cell("th", column.name, right[at]);
    head.scope = "col";
    head.title = column.type;
    return head;
  });
  table.tHead.rows[0].replaceChildren(...names);
  table.tBodies[0].replaceChildren(...result.rows.map((values) => {
    const row = document.createElement("tr");
    row.append(...values.map((value, at) => cell("td", shown(value), right[at])));
    return row;
  }));
  const rows = `${result.row_count} ${result.row_count === 1 ? "row" : "rows"}`;
  say(`${result.truncated ? `the first ${rows}; there are more` : rows} · ${result.elapsed_seconds} s`);
  table.hidden = false;
}

function say(words, problem = "") {
  answer.hidden = false;
  summary.textContent = words;
  refusal.textContent = problem;
  refusal.hidden = !problem;
  table.hidden = true;
  text.toggleAttribute("aria-invalid", Boolean(problem));
}

function save(content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = "answer.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function act(what) {
  const response = await ask(what === "csv" ? "text/csv" : "application/json");
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    return say("", problem.detail ?? `The server answered ${response.status}.`);
  }
  if (what !== "csv") return show(await response.json());
  save(await response.blob());
  const more = response.headers.get("Truncated") === "true";
  say(`${more ? "the first " : ""}${response.headers.get("Row-Count")} rows saved${more ? "; there are more" : ""}`);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const buttons = form.querySelectorAll("button");
  buttons.forEach((button) => { button.disabled = true; });
  try {
    await act(event.submitter?.value ?? "run");
  } catch {
    say("", "The service does not answer. Is it still running?");
  }
  buttons.forEach((button) => { button.disabled = false; });
});

text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  form.requestSubmit(form.querySelector("[value=run]"));
});

document.querySelectorAll("[data-query]").forEach((button) => {
  button.addEventListener("click", () => {
    text.value = button.dataset.query;
    form.requestSubmit(form.querySelector("[value=run]"));
  });
});
