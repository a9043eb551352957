/* The page Label. The next cards lie ready, so that an answer is followed by the next question at
   once; what was said waits in an outbox of this browser until the server says that it is kept. */
"use strict";

(() => {
  const NAME = "promptrank.labeller", OUTBOXES = "promptrank.label.outbox", AHEAD = 4;
  const OUTBOX = `${OUTBOXES}.${fresh()}`;  // of this page alone: tabs do not overwrite each other's
  const find = (id) => document.getElementById(id);
  const stage = find("stage"), place = find("card"), trouble = find("trouble"), unkept = find("unkept");
  const asked = { ...stage.dataset };
  const ready = [];  // cards that come next
  const past = [];  // what was said on this page: {id, card}
  let now = null, end = null, fetching = false, ended = false, sending = false, wait = 1000;
  let outbox = [];
  let who = read(NAME, "");

  function read(name, otherwise) {
    try {
      const value = JSON.parse(localStorage.getItem(name));
      return typeof value === typeof otherwise && value !== null ? value : otherwise;
    } catch { return otherwise; }
  }
  function keep(name, value) {
    try { localStorage.setItem(name, JSON.stringify(value)); } catch { /* private window: this page's memory has it */ }
  }
  function keepOutbox() {
    if (outbox.length) keep(OUTBOX, outbox);
    else try { localStorage.removeItem(OUTBOX); } catch { /* nothing was kept */ }
  }
  /* What other pages have left unsent. One that is still open sends it too: a row counts once, by its id. */
  function takeLeftovers() {
    let names = [];
    try { names = Object.keys(localStorage); } catch { /* nothing was kept */ }
    names = names.filter((name) => name.startsWith(OUTBOXES) && name !== OUTBOX);
    const left = names.flatMap((name) => { const rows = read(name, []); return Array.isArray(rows) ? rows : []; });
    const mine = new Set(outbox.map((row) => row.id));
    outbox.push(...left.filter((row) => row && row.id && !mine.has(row.id)));
    keepOutbox();  // before the others go, so that there is always one that has them
    for (const name of names) localStorage.removeItem(name);
  }
  function fresh() {
    return Array.from(crypto.getRandomValues(new Uint8Array(12)), (n) => n.toString(16).padStart(2, "0")).join("");
  }
  function parsed(text) {
    return new DOMParser().parseFromString(text, "text/html").body;
  }
  function say(message, where = trouble) {
    where.textContent = message;
    where.hidden = !message;
  }

  // ---- cards
  async function more() {
    if (fetching || ended || !who || ready.length >= AHEAD) return;
    fetching = true;
    const known = [now, ...ready].filter(Boolean).map((card) => card.dataset.key);
    const unsent = outbox.filter((row) => row.key).map((row) => row.key);
    const undone = past.map((each) => each.card.dataset.key);
    const query = new URLSearchParams({
      ...asked, who, n: String(now ? 3 : 1), not: [...new Set([...known, ...unsent, ...undone.slice(-30)])].join(","),
    });
    try {
      const answer = await fetch(`/label/cards?${query}`, { headers: { "HX-Request": "true" } });
      const page = parsed(await answer.text());
      if (answer.status === 401) { signIn(); return; }
      const cards = [...page.querySelectorAll("article")];
      if (!answer.ok) {
        say(page.textContent.trim() || `The server answers ${answer.status}.`);
        if (answer.status === 503) setTimeout(more, 2000); else ended = true;
      } else if (cards.length) {
        say("");
        ready.push(...cards);
      } else {
        ended = true;
        end = page.firstElementChild;
      }
    } catch {
      say("The server cannot be reached; this page tries again.");
      setTimeout(more, 3000);
    } finally { fetching = false; }
    place.dataset.ready = ready.length;
    if (!now) next();
    else if (ready.length < AHEAD && !ended) setTimeout(more, 0);
  }
  function show(element) {
    place.replaceChildren(element);
    place.setAttribute("aria-busy", String(!element.matches("article, .end")));
    const judging = element.matches("article");
    for (const button of ["skip", "drop"]) if (find(button)) find(button).disabled = !judging;
    find("undo").disabled = !past.length;
  }
  function next() {
    const held = document.activeElement, at = held && held.matches(".label-choice") ? [...place.querySelectorAll(".label-choice")].indexOf(held) : -1;
    const inside = place.contains(held);
    now = ready.shift() || null;
    place.dataset.ready = ready.length;
    if (now) {
      show(now);
      const choices = now.querySelectorAll(".label-choice");
      if (at >= 0 && choices[at]) choices[at].focus();
      else if (inside) find("main").focus({ preventScroll: true });
    } else show(end || parsed('<p class="card quiet">Looking for more …</p>').firstElementChild);
    more();
  }

  // ---- what is said
  function judge(kind, more_) {
    if (!now) return;
    const card = now, comment = card.querySelector("[name=comment]");
    const { task, what, by, part, labels } = asked, { request, first, second, shown, key } = card.dataset;
    const row = {
      path: "/label/judge", id: fresh(), who, task, what, by, part, labels, kind, key, shown, first,
      request_id: request, comment: comment ? comment.value : "", ...more_,
    };
    if (second !== undefined) row.second = second;
    past.push({ id: row.id, card });
    post(row);
    next();
  }
  function undo() {
    const last_ = past.pop();
    if (!last_) return;
    const { task, what, by, part, labels } = asked;
    post({ path: "/label/undo", id: fresh(), who, task, what, by, part, labels, undoes: last_.id });
    if (now) ready.unshift(now);
    place.dataset.ready = ready.length;
    now = last_.card;
    show(now);
  }
  function post(row) {
    outbox.push(row);
    keepOutbox();
    told();
    send();
  }
  function told() {
    const count = outbox.length;
    find("saved").textContent = count ? `${count} not kept yet` : past.length ? "All kept" : "";
  }
  async function send() {
    if (sending) return;
    sending = true;
    while (outbox.length) {
      const { path, key, ...fields } = outbox[0];
      let answer, text = "";
      try {
        answer = await fetch(path, { method: "POST", body: new URLSearchParams(fields), headers: { "HX-Request": "true" } });
        text = await answer.text();
      } catch { answer = null; }
      if (answer && answer.ok) {
        wait = 1000;
        say("", unkept);
        if (fields.task === asked.task && fields.who === who) find("progress").replaceChildren(...parsed(text).childNodes);
      } else if (answer && answer.status === 401) {
        signIn();
        break;
      } else if (!answer || answer.status >= 500 || [403, 408, 429].includes(answer.status)) {
        const why = parsed(text).textContent.trim().replace(/\s+/g, " ");
        say(`Not kept yet; the server ${answer ? `answers ${answer.status}${why && `: ${why}`}` : "cannot be reached"}. This page tries again, and this browser remembers what you said.`, unkept);
        setTimeout(() => { sending = false; send(); }, wait);
        wait = Math.min(2 * wait, 30000);
        told();
        return;
      } else {
        say(`Not kept: ${parsed(text).textContent.trim() || `the server answers ${answer.status}`}`, unkept);
      }
      outbox.shift();
      keepOutbox();
      told();
    }
    sending = false;
  }
  function signIn() {
    say("Your session has ended. What you said is remembered by this browser and will be kept after you sign in.", unkept);
    const link = document.createElement("a");
    link.href = `/sign-in?then=${encodeURIComponent(location.pathname + location.search)}`;
    link.textContent = "Sign in";
    unkept.append(" ", link);
  }

  // ---- keys and buttons
  document.addEventListener("click", (event) => {
    const choice = event.target.closest(".label-choice");
    if (choice && place.contains(choice)) choose(choice);
  });
  function choose(choice) {
    if (choice.dataset.answer !== undefined) judge("answer", { answer: choice.dataset.answer });
    else judge("preference", { preferred: choice.dataset.preferred });
  }
  find("undo").addEventListener("click", undo);
  find("skip").addEventListener("click", () => judge("skip", {}));
  if (find("drop")) find("drop").addEventListener("click", () => judge("answer", { answer: "drop" }));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const field = event.target.closest("input, select, textarea");
    if (field) {
      if (field.name === "comment" && (event.key === "Escape" || event.key === "Enter")) {
        event.preventDefault();
        find("main").focus({ preventScroll: true });
      }
      return;
    }
    if (!who || stage.hidden || event.repeat) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const choice = now && [...now.querySelectorAll(".label-choice")].find((each) => each.dataset.keys.split(" ").includes(key));
    const drop = find("drop");
    if (choice) choose(choice);
    else if (key === "u") undo();
    else if (key === "s") judge("skip", {});
    else if (key === "d" && drop) drop.click();
    else if (key === "c" && now) now.querySelector("[name=comment]").focus();
    else return;
    event.preventDefault();
  });

  // ---- who
  function begin() {
    find("who").hidden = Boolean(who);
    find("mine").hidden = stage.hidden = !who;
    find("as").textContent = who;
    if (!who) { find("name").focus(); return; }
    const query = new URLSearchParams({ ...asked, who });
    fetch(`/label/progress?${query}`, { headers: { "HX-Request": "true" } })
      .then((answer) => (answer.ok ? answer.text() : ""))
      .then((text) => { if (text) find("progress").replaceChildren(...parsed(text).childNodes); })
      .catch(() => {});
    more();
  }
  find("who").addEventListener("submit", (event) => {
    event.preventDefault();
    who = find("name").value.trim().replace(/\s+/g, " ");
    if (!who) return;
    keep(NAME, who);
    find("name").blur();
    begin();
  });
  find("other").addEventListener("click", () => {
    find("name").value = who;
    who = "";
    now = null;
    ready.length = past.length = 0;
    ended = false;
    end = null;
    begin();
  });
  addEventListener("beforeunload", (event) => { if (outbox.length) event.preventDefault(); });
  // A page that was opened since has taken this one's rows over; here they are still to be sent.
  addEventListener("storage", (event) => { if (event.key === OUTBOX && event.newValue === null) keepOutbox(); });
  takeLeftovers();
  told();
  send();
  begin();
})();
