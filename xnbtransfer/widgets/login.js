// The login form. A password goes to the kernel once, in a message, and is in no trait: no saved notebook can hold it.
let made = 0;

function field(form, id, title, type, value, hint) {
  const label = document.createElement("label");
  label.htmlFor = id;
  label.textContent = title;
  const box = document.createElement("input");
  box.id = id;
  box.type = type;
  box.value = value || "";
  box.placeholder = hint || "";
  box.spellcheck = false;
  box.autocomplete = type === "password" ? "current-password" : "off";
  form.append(label, box);
  return box;
}

function render({ model, el }) {
  const id = `xnb-login-${(made += 1)}`;
  const form = document.createElement("form");
  form.className = "xnb-login";
  form.noValidate = true;
  const boxes = {};
  for (const side of ["source", "destination"]) {
    const set = document.createElement("fieldset");
    const legend = document.createElement("legend");
    legend.textContent = side === "source" ? "Source" : "Destination";
    set.append(legend);
    if (side === "destination") {
      const line = document.createElement("label");
      line.className = "same";
      const same = document.createElement("input");
      same.type = "checkbox";
      same.checked = model.get("_same");
      line.append(same, " the same server and login as the source");
      set.append(line);
      boxes.same = same;
    }
    const rest = document.createElement("div");
    rest.className = "fields";
    const told = model.get("_sides")[side] || {};
    boxes[side] = {
      rest,
      server: field(rest, `${id}-${side}-server`, "Address", "text", told.server, "https://xnat.example.org"),
      user: field(rest, `${id}-${side}-user`, "User or token", "text", told.user, ""),
      password: field(rest, `${id}-${side}-password`, "Password or secret", "password", "", ""),
    };
    set.append(rest);
    form.append(set);
  }
  const button = document.createElement("button");
  button.type = "submit";
  button.textContent = "Connect";
  const hint = document.createElement("p");
  hint.textContent = "The password is used for this login only. It is not kept in the notebook, nor in the record.";
  form.append(hint, button);
  el.append(form);

  function show() {
    boxes.destination.rest.hidden = boxes.same.checked;
    button.disabled = model.get("_locked");
  }
  boxes.same.addEventListener("change", () => {
    model.set("_same", boxes.same.checked);
    model.save_changes();
    show();
  });
  form.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
  form.addEventListener("keydown", (event) => event.stopPropagation());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const sides = {};
    for (const side of ["source", "destination"]) {
      const { server, user, password } = boxes[side];
      sides[side] = { server: server.value.trim(), user: user.value.trim(), password: password.value };
      password.value = "";
    }
    if (boxes.same.checked) sides.destination = sides.source;
    model.send({ kind: "login", sides });
  });
  model.on("change:_locked", show);
  show();
  return () => model.off("change:_locked", show);
}

export default { render };
