"use strict";
// The editor's text areas, and the ranking that follows what is typed. Pages are the server's: what
// stands here is what HTML and htmx do not do (line numbers, Tab, an answer that comes in parts).

(() => {
  const form = document.getElementById("draft");
  if (!form) return;
  const KEY = `promptrank draft ${form.dataset.task}`;
  const PAUSE = 450; // ms after a key; shorter ones check what nobody has finished typing
  const areas = { template: form.elements.template_text, task: form.elements.task_text };
  const saved = { template: areas.template.value, task: areas.task.value };
  const part = (id) => document.getElementById(id);
  let began = saved; // what the files held when the draft was begun
  let running = null, timer = 0, marked = { template: [], task: [] };

  // ---- line numbers

  function gutter(kind) {
    const area = areas[kind], box = area.parentElement.querySelector(".gutter");
    const lines = area.value.split("\n").length, wrong = new Set(marked[kind]);
    const numbers = document.createElement("div");
    for (let line = 1; line <= lines; line += 1) {
      const number = document.createElement("span");
      number.textContent = line;
      if (wrong.has(line)) number.className = "wrong";
      numbers.append(number);
    }
    box.replaceChildren(numbers);
    numbers.style.transform = `translateY(${-area.scrollTop}px)`;
    area.setAttribute("aria-invalid", wrong.size > 0);
  }

  function goTo(kind, line) {
    const area = areas[kind], before = area.value.split("\n").slice(0, line - 1);
    const start = before.join("\n").length + (line > 1 ? 1 : 0);
    const end = start + area.value.split("\n")[Math.min(line, area.value.split("\n").length) - 1].length;
    show(kind);
    area.focus();
    area.setSelectionRange(start, end);
    area.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(area).lineHeight));
  }

  function show(pane) {
    form.querySelector(`[name=pane][value=${pane}]`).checked = true;
  }

  // ---- keys within a text area

  let leaving = false; // Esc was pressed: the next Tab goes on to what follows

  function typed(area, from, to, text) {
    area.setSelectionRange(from, to);
    // Keeps the browser's own undo, which setting the value would not.
    if (!document.execCommand("insertText", false, text)) area.setRangeText(text, from, to, "end");
  }

  function indent(area, back) {
    const { value, selectionStart: from, selectionEnd: to } = area;
    if (!back && from === to) return typed(area, from, to, "  ");
    const start = value.lastIndexOf("\n", from - 1) + 1;
    const end = to > from && value[to - 1] === "\n" ? to - 1 : to;
    const lines = value.slice(start, end).split("\n");
    const moved = lines.map((line) => (back ? line.replace(/^ {1,2}/, "") : `  ${line}`));
    if (moved.join("\n") === lines.join("\n")) return;
    if (end === start && moved[0] === "") return;
    typed(area, start, end, moved.join("\n"));
    const first = moved[0].length - lines[0].length;
    if (from === to) area.setSelectionRange(Math.max(start, from + first), Math.max(start, from + first));
    else area.setSelectionRange(start, start + moved.join("\n").length);
  }

  for (const [kind, area] of Object.entries(areas)) {
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") leaving = true;
      else if (event.key === "Tab" && !leaving && !event.ctrlKey && !event.altKey && !event.metaKey) {
        event.preventDefault();
        indent(area, event.shiftKey);
      } else if (event.key !== "Shift") leaving = false;
    });
    area.addEventListener("blur", () => { leaving = false; });
    area.addEventListener("scroll", () => {
      const numbers = area.parentElement.querySelector(".gutter").firstElementChild;
      if (numbers) numbers.style.transform = `translateY(${-area.scrollTop}px)`;
    });
    area.addEventListener("input", () => { gutter(kind); keep(); });
  }

  // ---- the draft outlives a reload

  function changed() {
    const now = {};
    for (const kind of Object.keys(areas)) {
      now[kind] = areas[kind].value !== saved[kind];
      form.querySelector(`[data-changed=${kind}]`).hidden = !now[kind];
    }
    return now.template || now.task;
  }

  function keep() {
    const kept = { template: areas.template.value, task: areas.task.value, of: began };
    try {
      if (changed()) localStorage.setItem(KEY, JSON.stringify(kept));
      else localStorage.removeItem(KEY);
    } catch { /* private windows may have no storage; the page works without */ }
  }

  function restore() {
    let kept = null;
    try { kept = JSON.parse(localStorage.getItem(KEY)); } catch { return; }
    if (!kept || typeof kept.template !== "string" || typeof kept.task !== "string") return;
    if (kept.template === saved.template && kept.task === saved.task) return;
    areas.template.value = kept.template;
    areas.task.value = kept.task;
    const moved = kept.of && (kept.of.template !== saved.template || kept.of.task !== saved.task);
    if (kept.of) began = kept.of;
    part("restored-text").textContent = moved
      ? "Your draft is back. The files have changed since you began it: the comparison is with what they hold now."
      : "Your draft is back, as you left it in this browser.";
    part("restored").hidden = false;
  }

  part("discard").addEventListener("click", () => {
    areas.template.value = saved.template;
    areas.task.value = saved.task;
    part("restored").hidden = true;
    began = saved;
    keep();
    Object.keys(areas).forEach(gutter);
    areas.template.focus();
    rank();
  });

  // ---- ranking what is there

  function status(text, state) {
    const line = part("status");
    line.textContent = text;
    line.className = `small push ${state}`;
    form.dataset.state = state;
  }

  function put(id, html) {
    part(id).innerHTML = html; // our own templates, which escape all they are given
    window.htmx.process(part(id));
  }

  function told(event, began) {
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    if (event.kind === "status") status(event.text, "busy");
    if (event.kind === "checked") {
      marked = event.lines;
      Object.keys(areas).forEach(gutter);
      put("checks", event.html);
      form.classList.toggle("outdated", !event.fine);
      if (!event.fine) status(`checked in ${seconds} s: not ranked`, "failed");
    }
    if (event.kind === "prompt") put("prompt", event.html);
    if (event.kind === "ranked") {
      put("ranking", event.html);
      if (event.whole) status(`done in ${seconds} s`, "done");
    }
    if (event.kind === "waiting") {
      status(event.text, "busy");
      timer = setTimeout(rank, 2000);
    }
    if (event.kind === "failed") {
      form.classList.add("outdated");
      status(event.text, "failed");
    }
  }

  async function rank() {
    clearTimeout(timer);
    if (running) running.abort();
    const mine = (running = new AbortController()), began = performance.now();
    status("checking", "busy");
    try {
      const answer = await fetch("/edit/try", {
        method: "POST", body: new URLSearchParams(new FormData(form)), signal: mine.signal,
      });
      if (answer.status === 401) {
        const here = encodeURIComponent(location.pathname + location.search);
        return location.assign(`/sign-in?then=${here}`);
      }
      if (!answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        return status(page.body.textContent.trim() || `the server answered ${answer.status}`, "failed");
      }
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let unfinished = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done || mine.signal.aborted) break;
        const lines = (unfinished + value).split("\n");
        unfinished = lines.pop();
        lines.filter(Boolean).forEach((line) => told(JSON.parse(line), began));
      }
    } catch (error) {
      if (error.name !== "AbortError") status("the server does not answer; is it still there?", "failed");
    }
  }

  function soon() {
    clearTimeout(timer);
    if (running) running.abort();
    status("waiting for you to pause", "busy");
    timer = setTimeout(rank, PAUSE);
  }

  form.addEventListener("input", (event) => {
    if (["template_text", "task_text", "pasted"].includes(event.target.name)) soon();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      rank();
    } else if (event.key === "Enter" && event.target.name === "find") {
      event.preventDefault();
      part("find-button").click();
    }
  });
  form.addEventListener("click", (event) => {
    const place = event.target.closest("[data-goto]"), row = event.target.closest("[data-candidate]");
    if (place) goTo(place.dataset.goto, Number(place.dataset.line));
    if (row && form.elements.candidate) {
      form.elements.candidate.value = row.dataset.candidate;
      form.elements.candidate.dispatchEvent(new Event("change", { bubbles: true }));
      show("prompt");
      part("prompt").scrollIntoView({ block: "nearest" });
    }
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "choice") rank();
  });

  restore();
  changed();
  Object.keys(areas).forEach(gutter);
  if (form.elements.source.value !== "pasted" || form.elements.pasted.value.trim()) rank();
})();
