// The steps as a list of buttons: which is shown, which are done, which can be reached.
function render({ model, el }) {
  const nav = document.createElement("nav");
  nav.className = "xnb-stepper";
  nav.setAttribute("aria-label", "Steps of the transfer");
  const list = document.createElement("ol");
  nav.append(list);
  const busy = document.createElement("div");
  busy.className = "xnb-busy";
  busy.setAttribute("role", "status");
  el.append(nav, busy);

  function draw() {
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.name : "";
    list.replaceChildren(
      ...model.get("_steps").map(([name, title, state, glyph], at) => {
        const item = document.createElement("li");
        const here = name === model.get("_current");
        item.className = `step ${state}${here ? " here" : ""}`;
        const button = document.createElement("button");
        button.type = "button";
        button.dataset.name = name;
        button.disabled = state === "waiting";
        if (here) button.setAttribute("aria-current", "step");
        const mark = document.createElement("span");
        mark.className = "mark";
        mark.setAttribute("aria-hidden", "true");
        mark.textContent = glyph || String(at + 1);
        const words = document.createElement("span");
        words.textContent = title;
        const told = document.createElement("span");
        told.className = "unseen";
        told.textContent = `, ${state}`;
        button.append(mark, words, told);
        button.addEventListener("click", () => model.send({ kind: "go", step: name }));
        item.append(button);
        return item;
      }),
    );
    if (focused) list.querySelector(`[data-name="${focused}"]`)?.focus();
    const doing = model.get("_busy");
    busy.textContent = doing ? `${doing[0].toUpperCase()}${doing.slice(1)} …` : "";
    busy.classList.toggle("on", Boolean(doing));
  }

  const follow = follower(nav);
  let shown = model.get("_current");
  let doing = model.get("_busy");
  const turned = () => {
    if (model.get("_current") !== shown) follow.show((shown = model.get("_current")));
  };
  const rested = () => {
    if (doing && !model.get("_busy")) follow.back();
    doing = model.get("_busy");
  };
  const names = ["change:_steps", "change:_current", "change:_busy"];
  names.forEach((name) => model.on(name, draw));
  model.on("change:_current", turned);
  model.on("change:_busy", rested);
  draw();
  return () => {
    follow.end();
    names.forEach((name) => model.off(name, draw));
    model.off("change:_current", turned);
    model.off("change:_busy", rested);
  };
}

// Eyes and keyboard go where the page goes, but only for somebody who is at work in it: who types in another cell, or
// changes the model from Python, is left where he is.
function follower(nav) {
  const PATIENCE_MS = 3000;
  let page = null;
  let last = null;
  let here = false;
  let wanted = "";
  const seen = setTimeout(() => {
    page = nav.closest(".xnb-guide");
    page?.addEventListener("focusin", entered);
  });
  const entered = (event) => {
    // JupyterLab takes keys on their way down; this tells it to leave those of the page alone.
    event.target.setAttribute("data-lm-suppress-shortcuts", "true");
    last = event.target;
  };
  const looked = (event) => {
    if (!page || !(event.target instanceof Node)) return;
    if (page.contains(event.target)) here = true;
    else if (!event.target.contains(page)) here = false; // the cell around the page is no other place
  };
  const events = ["focusin", "pointerdown"];
  events.forEach((name) => document.addEventListener(name, looked, true));

  const inSight = (one) => {
    const box = one.getBoundingClientRect();
    const there = document.elementFromPoint(box.left + 1, box.top + 1);
    return Boolean(there) && (one.contains(there) || there.contains(one));
  };

  function show(name) {
    if (!page || !here) return;
    wanted = name;
    const until = performance.now() + PATIENCE_MS;
    const look = () => {
      if (wanted !== name) return;
      const heading = page.querySelector(`h2[data-step="${name}"]`);
      if (heading?.getClientRects().length) {
        wanted = "";
        if (!here) return;
        heading.focus({ preventScroll: true });
        if (!inSight(nav) || !inSight(heading)) nav.scrollIntoView({ block: "start" });
      } else if (performance.now() < until) requestAnimationFrame(look);
    };
    look();
  }

  // What was pressed could not keep the focus while it was disabled.
  function back() {
    const lost = !document.activeElement || document.activeElement.contains(page);
    if (here && lost && !wanted && last?.isConnected && !last.disabled) last.focus({ preventScroll: true });
  }

  function end() {
    clearTimeout(seen);
    wanted = "";
    page?.removeEventListener("focusin", entered);
    events.forEach((name) => document.removeEventListener(name, looked, true));
  }

  return { show, back, end };
}

export default { render };
