// Small things every page has: times in the reader's own time zone, dialogs, calls of the REST API.
function localTimes(root) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  root.querySelectorAll("time[datetime]").forEach((time) => {
    if (!time.dateTime) return;
    time.title = time.dateTime;
    time.textContent = format.format(new Date(time.dateTime));
  });
}

async function call(form) {
  const values = Object.fromEntries(new FormData(form));
  const numbers = Object.fromEntries(Object.entries(values).map(([key, text]) => [key, Number(text)]));
  const body = Object.keys(numbers).length ? JSON.stringify(numbers) : undefined;
  const headers = { Accept: "application/json", ...(body && { "Content-Type": "application/json" }) };
  const response = await fetch(form.action, { method: "POST", headers, body });
  if (response.ok) return location.reload();
  const problem = await response.json().catch(() => ({}));
  throw new Error(problem.detail ?? `the server answered ${response.status}`);
}

function say(form, text) {
  const place = form.querySelector("[role=alert]");
  place.textContent = text;
  place.hidden = false;
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens).showModal();
  if (event.target.closest("[data-closes]")) event.target.closest("dialog").close();
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-api]");
  if (!form) return;
  event.preventDefault();
  call(form).catch((error) => say(form, error.message));
});

localTimes(document);
document.body.addEventListener("htmx:load", (event) => localTimes(event.detail.elt));
