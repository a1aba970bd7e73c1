// The session table. State lives in the traits; this draws the rows in sight, and sends what a person does.
const ROW = 28;
const SPARE = 8;

async function unpack(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function size(count) {
  let value = Number(count);
  for (const unit of ["bytes", "kB", "MB", "GB"]) {
    if (value < 1000) return unit === "bytes" ? `${value} bytes` : `${value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

function make(tag, attributes = {}, text = "") {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== "") node.textContent = text;
  return node;
}

// What a filter box means: > < and = compare, all else is found anywhere, whatever its case.
function matcher(text, kind) {
  const wanted = text.trim().toLowerCase();
  const found = /^([<>=])\s*(.+)$/.exec(wanted);
  if (found && kind !== "text" && kind !== "status") {
    const units = { kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12 };
    const parts = /^([\d.]+)\s*([kmgt]b)?$/.exec(found[2]);
    if (parts) {
      const limit = Number(parts[1]) * (units[parts[2]] || 1);
      if (found[1] === ">") return (value) => Number(value) > limit;
      if (found[1] === "<") return (value) => Number(value) < limit;
      return (value) => Number(value) === limit;
    }
  }
  if (found && found[1] === "=") return (value) => String(value).toLowerCase() === found[2];
  if (kind === "size") return (value) => size(value).toLowerCase().includes(wanted);
  return (value) => String(value).toLowerCase().includes(wanted);
}

let made = 0;

function render({ model, el }) {
  const id = `xnb-table-${(made += 1)}`;
  const collator = new Intl.Collator(undefined, { numeric: true });
  let columns = [];
  let data = {};
  let count = 0;
  let order = [];
  let bits = new Uint8Array(0);
  let active = [0, 0];
  let anchor = 0;
  let editing = null;
  let drawn = new Map();
  let gone = false;
  let loaded = 0;

  const root = make("div", { class: "xnb-table" });
  const bar = make("div", { class: "bar" });
  const chips = make("div", { class: "bar", role: "group" });
  chips.style.margin = "0";
  const clear = make("button", { class: "clear", type: "button", hidden: "" }, "Clear filters");
  const counted = make("span", { class: "count", role: "status" });
  bar.append(chips, clear, counted);
  const grid = make("div", { class: "grid", role: "grid", tabindex: "0" });
  const head = make("div", { class: "head", role: "rowgroup" });
  const body = make("div", { class: "body", role: "rowgroup" });
  grid.append(head, body);
  const told = make("div", { class: "told", role: "status" });
  root.append(bar, grid, told);
  el.append(root);
  // JupyterLab takes keys on their way down; this tells it to leave those of the table alone.
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));

  const selectable = () => model.get("_selectable");
  const first = () => (selectable() ? 1 : 0);
  const view = () => ({ filters: {}, words: [], sort: [], ...model.get("_view") });
  const picked = (row) => ((bits[row >> 3] || 0) >> (row & 7)) & 1;
  const cells = (name, row) => (model.get(name) || {})[String(row)] || {};

  function value(column, row) {
    const edited = column.editable ? cells("_edits", row)[column.name] : undefined;
    if (edited !== undefined) return edited;
    return data[column.name][row];
  }

  function shown(column, row) {
    const one = value(column, row);
    if (column.kind === "size") return size(one);
    return one === null || one === undefined ? "" : String(one);
  }

  function palette(word) {
    return model.get("_palette").find((one) => one[0] === word) || [word, "", "quiet"];
  }

  const statusColumn = () => columns.find((one) => one.kind === "status");

  function keep(part) {
    model.set("_view", { ...view(), ...part });
    model.save_changes();
  }

  function arrange() {
    const { filters, words, sort } = view();
    const status = statusColumn();
    const tests = columns
      .filter((one) => (filters[one.name] || "").trim())
      .map((one) => [one, matcher(filters[one.name], one.kind)]);
    order = [];
    for (let row = 0; row < count; row += 1) {
      if (words.length && status && !words.includes(value(status, row))) continue;
      if (tests.every(([one, test]) => test(value(one, row)))) order.push(row);
    }
    const by = columns.find((one) => one.name === sort[0]);
    if (by) {
      const turn = sort[1] === "descending" ? -1 : 1;
      const number = by.kind === "number" || by.kind === "size";
      const keys = new Map(order.map((row) => [row, value(by, row)]));
      order.sort((a, b) => {
        const [x, y] = [keys.get(a), keys.get(b)];
        return turn * (number ? x - y : collator.compare(x, y)) || a - b;
      });
    }
    active[0] = Math.max(0, Math.min(active[0], order.length - 1));
    redraw();
  }

  function layout() {
    // every column gets what its text needs, and what is left over in proportion
    const widths = columns.map((one) => Math.round(one.width * 7.4 + 16));
    const tracks = widths.map((one) => `minmax(${one}px, ${one}fr)`);
    if (selectable()) tracks.unshift("34px");
    root.style.setProperty("--cols", tracks.join(" "));
    root.style.setProperty("--min", `${widths.reduce((a, b) => a + b, selectable() ? 34 : 0)}px`);
    grid.style.maxHeight = `${model.get("_height")}px`;
    grid.setAttribute("aria-label", model.get("_label"));
    grid.setAttribute("aria-multiselectable", String(selectable()));
    grid.setAttribute("aria-colcount", String(columns.length + first()));
    chips.setAttribute("aria-label", `Show only, ${model.get("_label")}`);
  }

  function drawHead() {
    const { filters, sort } = view();
    const line = make("div", { class: "row", role: "row", "aria-rowindex": "1" });
    if (selectable()) {
      const cell = make("div", { class: "cell box", role: "columnheader", "aria-colindex": "1" });
      const box = make("input", { type: "checkbox", "aria-label": "Select all rows shown" });
      box.addEventListener("change", () => choose(order, box.checked));
      cell.append(box);
      line.append(cell);
    }
    columns.forEach((column, at) => {
      const numeric = column.kind === "number" || column.kind === "size";
      const cell = make("div", {
        class: numeric ? "cell num" : "cell",
        role: "columnheader",
        "aria-colindex": String(at + 1 + first()),
        "aria-sort": sort[0] === column.name ? sort[1] : "none",
      });
      const arrow = sort[0] === column.name ? (sort[1] === "descending" ? " ▼" : " ▲") : "";
      const button = make("button", { class: "sort", type: "button" }, column.title + (column.editable ? " ✎" : "") + arrow);
      button.addEventListener("click", () => {
        const now = view().sort;
        const next = now[0] !== column.name ? "ascending" : now[1] === "ascending" ? "descending" : "";
        keep({ sort: next ? [column.name, next] : [] });
        head.querySelector(`[data-sort="${at}"]`)?.focus();
      });
      button.dataset.sort = at;
      const box = make("input", { type: "text", placeholder: "filter", "aria-label": `Filter ${column.title}` });
      box.value = filters[column.name] || "";
      box.dataset.filter = column.name;
      box.addEventListener("input", () => {
        const all = { ...view().filters };
        if (box.value.trim()) all[column.name] = box.value;
        else delete all[column.name];
        keep({ filters: all });
      });
      box.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && box.value) {
          box.value = "";
          box.dispatchEvent(new Event("input"));
        } else if (event.key === "ArrowDown") {
          event.preventDefault();
          grid.focus();
        }
        event.stopPropagation();
      });
      cell.append(button, box);
      line.append(cell);
    });
    head.replaceChildren(line);
  }

  function drawChips() {
    const { words } = view();
    const status = statusColumn();
    const counts = new Map();
    if (status) for (let row = 0; row < count; row += 1) {
      const word = value(status, row);
      counts.set(word, (counts.get(word) || 0) + 1);
    }
    const known = model.get("_palette").map((one) => one[0]);
    const found = [...counts.keys()].filter((word) => word !== "");
    found.sort((a, b) => (known.indexOf(a) + 1 || 999) - (known.indexOf(b) + 1 || 999));
    const focused = chips.contains(document.activeElement) ? document.activeElement.dataset.word : null;
    chips.replaceChildren(
      ...found.map((word) => {
        const [, symbol, tone] = palette(word);
        const pressed = words.includes(word);
        const chip = make("button", { class: `chip ${tone}`, type: "button", "aria-pressed": String(pressed) });
        chip.textContent = `${symbol} ${word} ${counts.get(word)}`.trim();
        chip.dataset.word = word;
        chip.addEventListener("click", () => {
          const now = view().words;
          keep({ words: now.includes(word) ? now.filter((one) => one !== word) : [...now, word] });
        });
        return chip;
      }),
    );
    if (focused !== null) [...chips.children].find((one) => one.dataset.word === focused)?.focus();
  }

  function drawCount() {
    let chosen = 0;
    for (let row = 0; row < count; row += 1) chosen += picked(row);
    const { filters, words } = view();
    const edited = Object.keys(model.get("_edits") || {}).length;
    const parts = [];
    if (selectable()) parts.push(`${chosen} of ${count} selected`);
    parts.push(`${order.length} shown`);
    if (columns.some((one) => one.editable)) parts.push(`${edited} edited`);
    counted.textContent = parts.join(" · ");
    clear.hidden = !Object.keys(filters).length && !words.length;
    const box = head.querySelector("input[type=checkbox]");
    if (box) {
      const here = order.reduce((sum, row) => sum + picked(row), 0);
      box.checked = order.length > 0 && here === order.length;
      box.indeterminate = here > 0 && here < order.length;
      box.disabled = model.get("_locked");
    }
  }

  function drawRow(at) {
    const row = order[at];
    const chosen = Boolean(picked(row));
    const line = make("div", { class: "row", role: "row", "aria-rowindex": String(at + 2) });
    line.style.top = `${at * ROW}px`;
    if (selectable()) line.setAttribute("aria-selected", String(chosen));
    if (row === model.get("_current")) line.classList.add("current");
    if (selectable()) {
      const cell = make("div", { class: "cell box", role: "gridcell", "aria-colindex": "1", id: `${id}-${at}-0` });
      const name = columns.slice(0, 2).map((one) => shown(one, row)).join(" ");
      const box = make("input", { type: "checkbox", tabindex: "-1", "aria-label": `Select ${name}` });
      box.checked = chosen;
      box.disabled = model.get("_locked");
      box.addEventListener("click", (event) => {
        event.stopPropagation();
        if (event.shiftKey) choose(between(anchor, at), box.checked);
        else choose([row], box.checked);
        anchor = at;
        go(at, 0);
        grid.focus({ preventScroll: true });
      });
      cell.append(box);
      line.append(cell);
    }
    const notes = cells("_notes", row);
    const edits = cells("_edits", row);
    columns.forEach((column, index) => {
      const place = index + first();
      const numeric = column.kind === "number" || column.kind === "size";
      const cell = make("div", { class: "cell", role: "gridcell", "aria-colindex": String(place + 1), id: `${id}-${at}-${place}` });
      const text = shown(column, row);
      if (numeric) cell.classList.add("num");
      if (column.kind === "status" && text) {
        const [, symbol, tone] = palette(text);
        cell.classList.add(tone);
        cell.textContent = `${symbol} ${text}`.trim();
      } else cell.textContent = text;
      cell.title = cell.textContent;
      if (column.editable) {
        cell.classList.add("edit");
        cell.setAttribute("aria-readonly", String(model.get("_locked")));
        if (edits[column.name] !== undefined && edits[column.name] !== data[column.name][row]) cell.classList.add("edited");
      }
      if (notes[column.name]) {
        cell.classList.add("noted");
        cell.textContent = `⚠ ${cell.textContent}`;
        cell.title = notes[column.name];
        cell.setAttribute("aria-invalid", "true");
      }
      cell.addEventListener("click", () => {
        finishEdit(true);
        go(at, place);
        detail(row);
        grid.focus({ preventScroll: true });
      });
      cell.addEventListener("dblclick", () => edit(at, place));
      line.append(cell);
    });
    return line;
  }

  function draw() {
    if (gone || editing) return;
    const top = Math.max(0, Math.floor(grid.scrollTop / ROW) - SPARE);
    const room = Math.ceil((grid.clientHeight || model.get("_height")) / ROW) + 2 * SPARE;
    const bottom = Math.min(order.length, top + room);
    for (const [at, line] of drawn) {
      if (at < top || at >= bottom) {
        line.remove();
        drawn.delete(at);
      }
    }
    const fresh = document.createDocumentFragment();
    for (let at = top; at < bottom; at += 1) {
      if (!drawn.has(at)) {
        const line = drawRow(at);
        drawn.set(at, line);
        fresh.append(line);
      }
    }
    body.append(fresh);
    point();
  }

  function redraw() {
    if (gone || editing) return;
    drawn = new Map();
    body.replaceChildren();
    body.style.height = `${Math.max(1, order.length) * ROW}px`;
    grid.setAttribute("aria-rowcount", String(order.length + 1));
    if (!order.length) {
      const line = make("div", { role: "row", class: "row" });
      const why = count ? "No row passes the filters." : "There are no rows.";
      line.append(make("div", { role: "gridcell", class: "cell none", "aria-colindex": "1" }, why));
      body.append(line);
    }
    draw();
    drawCount();
  }

  function point() {
    body.querySelectorAll(".active").forEach((one) => one.classList.remove("active"));
    const cell = body.querySelector(`#${id}-${active[0]}-${active[1]}`);
    if (!cell) {
      grid.removeAttribute("aria-activedescendant");
      return;
    }
    cell.classList.add("active");
    grid.setAttribute("aria-activedescendant", cell.id);
    const column = columns[active[1] - first()];
    const note = column ? cells("_notes", order[active[0]])[column.name] : "";
    if (told.textContent !== (note || "")) told.textContent = note || "";
  }

  function go(at, place) {
    const across = columns.length + first() - 1;
    active = [Math.max(0, Math.min(at, order.length - 1)), Math.max(0, Math.min(place, across))];
    const top = active[0] * ROW;
    const high = head.offsetHeight;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + ROW + high > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + ROW + high - grid.clientHeight;
    draw();
    const cell = body.querySelector(`#${id}-${active[0]}-${active[1]}`);
    if (cell) {
      const left = cell.offsetLeft;
      if (left < grid.scrollLeft) grid.scrollLeft = left;
      else if (left + cell.offsetWidth > grid.scrollLeft + grid.clientWidth) grid.scrollLeft = left + cell.offsetWidth - grid.clientWidth;
    }
  }

  function between(a, b) {
    return order.slice(Math.min(a, b), Math.max(a, b) + 1);
  }

  function choose(rows, on) {
    if (!selectable() || model.get("_locked")) return;
    const next = new Uint8Array((count + 7) >> 3);
    next.set(bits.subarray(0, next.length));
    for (const row of rows) {
      if (on) next[row >> 3] |= 1 << (row & 7);
      else next[row >> 3] &= ~(1 << (row & 7));
    }
    bits = next;
    model.set("_selected", new DataView(next.buffer.slice(0)));
    model.save_changes();
    redraw();
  }

  function detail(row) {
    model.set("_current", row);
    model.save_changes();
  }

  function edit(at, place, start) {
    const column = columns[place - first()];
    if (!column || !column.editable || model.get("_locked") || editing) return;
    go(at, place);
    const cell = body.querySelector(`#${id}-${at}-${place}`);
    if (!cell) return;
    const row = order[at];
    const box = make("input", { class: "editor", type: "text", spellcheck: "false", "aria-label": `${column.title} of ${shown(columns[0], row)} ${shown(columns[1] || columns[0], row)}` });
    box.value = start === undefined ? shown(column, row) : start;
    editing = { at, place, row, column, box };
    cell.textContent = "";
    cell.append(box);
    box.focus();
    if (start === undefined) box.select();
    box.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") finishEdit(false, true);
      else if (event.key === "Enter") {
        event.preventDefault();
        finishEdit(true, true);
        go(at + 1, place);
      } else if (event.key === "Tab") {
        event.preventDefault();
        finishEdit(true, true);
        const step = event.shiftKey ? -1 : 1;
        let next = place + step;
        while (columns[next - first()] && !columns[next - first()].editable) next += step;
        if (columns[next - first()]) edit(at, next);
      }
    });
    box.addEventListener("blur", () => finishEdit(true));
  }

  function finishEdit(save, refocus) {
    if (!editing) return;
    const { row, column, box } = editing;
    editing = null;
    const text = box.value.trim();
    if (save && text !== shown(column, row)) {
      const all = { ...model.get("_edits") };
      const mine = { ...all[String(row)] };
      if (!text || text === data[column.name][row]) delete mine[column.name];
      else mine[column.name] = text;
      if (Object.keys(mine).length) all[String(row)] = mine;
      else delete all[String(row)];
      model.set("_edits", all);
      model.save_changes();
    }
    redraw();
    if (refocus) grid.focus({ preventScroll: true });
  }

  grid.addEventListener("keydown", (event) => {
    if (event.target !== grid) return;
    const [at, place] = active;
    const page = Math.max(1, Math.floor(grid.clientHeight / ROW) - 3);
    const command = event.ctrlKey || event.metaKey;
    const moves = {
      ArrowUp: [at - 1, place],
      ArrowDown: [at + 1, place],
      ArrowLeft: [at, place - 1],
      ArrowRight: [at, place + 1],
      PageUp: [at - page, place],
      PageDown: [at + page, place],
      Home: command ? [0, 0] : [at, 0],
      End: command ? [order.length - 1, columns.length] : [at, columns.length],
    };
    const move = moves[event.key];
    if (move && order.length) {
      if (event.shiftKey && ["ArrowUp", "ArrowDown", "PageUp", "PageDown"].includes(event.key)) {
        go(...move);
        choose(between(anchor, active[0]), true);
      } else {
        go(...move);
        anchor = active[0];
      }
    } else if (event.key === " " && order.length) {
      const row = order[at];
      if (event.shiftKey) choose(between(anchor, at), true);
      else choose([row], !picked(row));
      anchor = at;
    } else if (command && event.key.toLowerCase() === "a") choose(order, true);
    else if ((event.key === "Enter" || event.key === "F2") && order.length) {
      const column = columns[place - first()];
      if (column && column.editable && !model.get("_locked")) edit(at, place);
      else detail(order[at]);
    } else if (event.key.length === 1 && !command && !event.altKey && columns[place - first()]?.editable) edit(at, place, event.key);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  grid.addEventListener("scroll", draw);
  grid.addEventListener("focus", point);
  clear.addEventListener("click", () => {
    keep({ filters: {}, words: [] });
    drawHead();
    grid.focus();
  });

  function readBits() {
    const raw = model.get("_selected");
    bits = raw && raw.byteLength ? new Uint8Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength)) : new Uint8Array(0);
  }

  function overlay() {
    for (const [row, changes] of Object.entries(model.get("_patch") || {})) {
      for (const [name, one] of Object.entries(changes)) if (data[name]) data[name][Number(row)] = one;
    }
  }

  async function load() {
    const turn = (loaded += 1);
    const found = await unpack(model.get("_data"));
    if (gone || turn !== loaded) return;
    columns = model.get("_columns");
    data = found.columns;
    count = found.rows;
    active[1] = Math.min(active[1], columns.length);
    overlay();
    readBits();
    layout();
    drawHead();
    drawChips();
    arrange();
    root.dataset.ready = String(count);
  }

  const heard = [];
  const hear = (name, act) => {
    model.on(`change:${name}`, act);
    heard.push([`change:${name}`, act]);
  };
  hear("_data", load);
  hear("_patch", () => {
    if (!count) return;
    overlay();
    drawChips();
    arrange();
  });
  hear("_selected", () => {
    readBits();
    redraw();
  });
  hear("_notes", redraw);
  hear("_edits", redraw);
  hear("_current", redraw);
  hear("_locked", redraw);
  hear("_view", () => {
    const focused = document.activeElement;
    const inHead = head.contains(focused) ? focused : null;
    const { sort, filters } = view();
    if (!inHead || inHead.dataset.sort !== undefined) {
      drawHead();
      if (inHead) head.querySelector(`[data-sort="${inHead.dataset.sort}"]`)?.focus();
    }
    drawChips();
    arrange();
  });
  const seen = new ResizeObserver(draw);
  seen.observe(grid);
  load();
  return () => {
    gone = true;
    seen.disconnect();
    heard.forEach(([name, act]) => model.off(name, act));
  };
}

export default { render };
