// The pages Sample and Versions: the browser's own draft, and keys to go from request to request.
"use strict";

// ---- the draft that the editor keeps in this browser
const draftKey = (task) => `promptrank:draft:${task}`;

const draftOf = (task) => {
  try {
    const draft = JSON.parse(localStorage.getItem(draftKey(task)) || "null");
    return draft && typeof draft.template === "string" && typeof draft.task === "string" ? draft : null;
  } catch {
    return null;
  }
};

const form = document.getElementById("sample-form");
if (form) {
  const told = document.getElementById("draft-told");
  const draft = draftOf(form.dataset.task);
  const fields = form.elements;
  if (draft && (draft.template !== fields.template.value || draft.task !== fields.task.value)) {
    fields.template.value = draft.template;
    fields.task.value = draft.task;
    told.textContent = "There is a draft in this browser that differs from the saved version.";
  } else {
    const options = fields.version.options;
    if (options.length > 1) fields.version.selectedIndex = 1;
  }
}

// ---- a version back into the editor
for (const button of document.querySelectorAll("button[data-restore]")) {
  button.addEventListener("click", () => {
    const held = button.closest("form").elements;
    const draft = { template: held.template.value, task: held.task.value };
    localStorage.setItem(draftKey(button.dataset.restore), JSON.stringify(draft));
    location.href = `/edit?task=${encodeURIComponent(button.dataset.restore)}`;
  });
}

// ---- from request to request
const links = () => [...document.querySelectorAll("#changes a")];
let chosen = null;

const mark = () => {
  for (const link of links()) {
    if (link.id === chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
};

const choose = (link) => {
  if (!link) return;
  link.focus({ preventScroll: true });
  link.scrollIntoView({ block: "nearest" });
  link.click();
};

const nextRegression = () => {
  const all = links();
  const at = all.findIndex((link) => link.id === chosen);
  const worse = all.filter((link) => "worse" in link.dataset);
  choose(worse.find((link) => all.indexOf(link) > at) || worse[0]);
};

if (document.getElementById("sample-run")) {
  const now = document.querySelector("#changes a[aria-current]");
  chosen = now ? now.id : null;

  document.addEventListener("click", (event) => {
    const link = event.target.closest("#changes a");
    if (link) {
      chosen = link.id;
      mark();
      history.replaceState(null, "", link.href);
    } else if (event.target.closest("#next-regression")) {
      nextRegression();
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const all = links();
    const at = all.findIndex((link) => link.id === chosen);
    if (event.key === "j") choose(all[Math.min(at + 1, all.length - 1)]);
    else if (event.key === "k") choose(all[Math.max(at - 1, 0)]);
    else if (event.key === "n") nextRegression();
    else return;
    event.preventDefault();
  });

  document.addEventListener("htmx:afterSwap", mark);
}
