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

  // JupyterLab takes keys on their way down; this tells it to leave those of the page alone.
  const suppress = (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true");
  let page = null;
  const seen = setTimeout(() => {
    page = el.closest(".xnb-guide");
    page?.addEventListener("focusin", suppress);
  });
  const names = ["change:_steps", "change:_current", "change:_busy"];
  names.forEach((name) => model.on(name, draw));
  draw();
  return () => {
    clearTimeout(seen);
    page?.removeEventListener("focusin", suppress);
    names.forEach((name) => model.off(name, draw));
  };
}

export default { render };
