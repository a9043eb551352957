// The pages Sample and Versions: the browser's own draft, and keys to go from request to request.
"use strict";

// ---- the draft that the editor keeps in this browser
const draftKey = (task) => `promptrank draft ${task}`;

const draftOf = (task) => {
  try {
    const draft = JSON.parse(localStorage.getItem(draftKey(task)));
    return draft && typeof draft.template === "string" && typeof draft.task === "string" ? draft : null;
  } catch {
    return null;
  }
};

const sampleForm = document.getElementById("sample-form");
if (sampleForm) {
  const fields = sampleForm.elements, draft = draftOf(sampleForm.dataset.task);
  const differs = draft && (draft.template !== fields.template_text.value || draft.task !== fields.task_text.value);
  if (differs) {
    fields.template_text.value = draft.template;
    fields.task_text.value = draft.task;
    document.getElementById("draft-told").textContent =
      "There is a draft in this browser that differs from the saved version.";
  } else if (fields.version.options.length > 1) {
    fields.version.selectedIndex = 1;
  }
  // Without a draft there is nothing to hold against the saved version.
  const able = () => { document.getElementById("rank-sample").disabled = !differs && !fields.version.value; };
  fields.version.addEventListener("change", able);
  able();
}

// ---- the draft of the page Edit into a version, to be written
const keepForm = document.getElementById("keep-draft");
if (keepForm) {
  keepForm.addEventListener("submit", () => {
    const editor = document.getElementById("draft").elements, fields = keepForm.elements;
    const draft = draftOf(keepForm.dataset.task);
    const of = (draft && draft.of) || {};
    fields.template_text.value = editor.template_text.value;
    fields.task_text.value = editor.task_text.value;
    fields.of_template.value = of.template || editor.template_text.defaultValue;
    fields.of_task.value = of.task || editor.task_text.defaultValue;
  });
}

// ---- a version back into the editor
for (const button of document.querySelectorAll("button[data-restore]")) {
  button.addEventListener("click", () => {
    const fields = button.closest("form").elements, task = button.dataset.restore;
    const draft = { template: fields.template_text.value, task: fields.task_text.value };
    localStorage.setItem(draftKey(task), JSON.stringify(draft));
    location.href = `/edit?task=${encodeURIComponent(task)}`;
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

  document.addEventListener("htmx:afterSwap", (event) => {
    mark();
    // Where the panes stand below each other, what was asked for comes into view.
    if (event.detail.target.id === "beside" && innerWidth < 1000) event.detail.target.scrollIntoView();
  });
}
