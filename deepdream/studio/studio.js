// What ipywidgets lacks: a place to drop a file, a picture before and after, pictures that are buttons, a
// line to copy. Each is a view of one of the models in widgets.py; `kind` says which.

const CHUNK = 1 << 20; // bytes in a message: servers close the connection on large ones

function make(tag, attributes = {}, ...children) {
  const el = Object.assign(document.createElement(tag), attributes);
  el.append(...children);
  return el;
}

// An <img> or <a> that follows a bytes trait of the model: as a blob, because data URLs of pictures are slow.
function follow(model, trait, el, attribute, type) {
  const update = () => {
    const bytes = model.get(trait);
    if (el[attribute]) URL.revokeObjectURL(el[attribute]);
    if (bytes?.byteLength) el[attribute] = URL.createObjectURL(new Blob([bytes], { type }));
    else el.removeAttribute(attribute);
  };
  model.on(`change:${trait}`, update);
  update();
  return el;
}

function drop(model, el) {
  const input = make("input", { type: "file", accept: "image/*", multiple: true });
  const zone = make("label", { className: "dd-dropzone" }, make("span", { textContent: `Drop ${model.get("what")}, or choose one` }), input);
  el.append(zone);

  async function send(file) {
    const about = { name: file.name, size: file.size };
    if (file.size > model.get("most")) return model.send(about); // without its bytes; Python then says that it is too large
    const bytes = await file.arrayBuffer();
    for (let at = 0; at === 0 || at < bytes.byteLength; at += CHUNK)
      model.send({ ...about, at }, undefined, [bytes.slice(at, at + CHUNK)]);
  }
  const sendAll = async (files) => {
    for (const file of [...files]) await send(file);
  };
  input.addEventListener("change", () => {
    sendAll(input.files);
    input.value = "";
  });

  // The picture's own zone takes what is dropped anywhere on the panel, except on the other zones.
  const studio = () => el.closest(".dd-studio");
  const mine = (event) =>
    zone.contains(event.target) ||
    (model.get("anywhere") && studio()?.contains(event.target) && !event.target.closest(".dd-dropzone"));
  const over = (event) => {
    const here = mine(event) && event.dataTransfer?.types.includes("Files");
    zone.classList.toggle("dd-over", here);
    if (here) event.preventDefault();
  };
  const dropped = (event) => {
    zone.classList.remove("dd-over");
    if (!mine(event) || !event.dataTransfer.files.length) return;
    event.preventDefault();
    event.stopPropagation();
    sendAll(event.dataTransfer.files);
  };
  document.addEventListener("dragover", over, true);
  document.addEventListener("drop", dropped, true);
  return () => {
    document.removeEventListener("dragover", over, true);
    document.removeEventListener("drop", dropped, true);
  };
}

function picture(model, el) {
  const live = follow(model, "live", make("img", { className: "dd-live", alt: "The dream so far" }), "src", "image/jpeg");
  const before = follow(model, "before", make("img", { className: "dd-before", alt: "Before" }), "src", "image/jpeg");
  const after = follow(model, "after", make("img", { className: "dd-after", alt: "The dream" }), "src");
  const slider = make("input", { type: "range", min: 0, max: 100, value: 0, className: "dd-slider" });
  slider.setAttribute("aria-label", "Before and after");
  const stage = make("div", { className: "dd-stage" }, before, after, live);
  slider.addEventListener("input", () => stage.style.setProperty("--split", `${slider.value}%`));

  const bar = make("progress", { max: 1 });
  bar.setAttribute("aria-label", "Progress");
  const text = make("span", { className: "dd-text" });
  const going = make("div", { className: "dd-going" }, bar, text);
  const note = make("p", { className: "dd-note" });
  note.setAttribute("role", "alert");
  const link = follow(model, "after", make("a", { className: "dd-download" }), "href");
  const ends = make("div", { className: "dd-ends" }, make("span", { textContent: "before" }),
    make("span", { textContent: "dream" }));
  const frame = make("div", { className: "dd-frame" }, stage, slider, ends);
  el.append(going, note, frame, link);
  const fit = () => {
    const shown = stage.dataset.shows === "before" ? before : stage.dataset.shows === "live" ? live : after;
    if (shown.naturalWidth) frame.style.setProperty("--ratio", shown.naturalWidth / shown.naturalHeight);
  };
  for (const image of [before, live, after]) image.addEventListener("load", fit);

  const update = () => {
    const busy = model.get("busy");
    const two = !model.get("live").byteLength && model.get("after").byteLength > 0;
    stage.dataset.shows = model.get("live").byteLength ? "live" : two ? "both" : "before";
    slider.hidden = ends.hidden = link.hidden = !two;
    going.hidden = !busy;
    bar.value = model.get("progress");
    text.textContent = model.get("text");
    note.textContent = model.get("note");
    link.download = model.get("name");
    link.textContent = `Download ${model.get("name")}`;
    fit();
  };
  model.on("change", update);
  model.on("change:after", () => {
    slider.value = 0;
    stage.style.setProperty("--split", "0%");
  });
  update();

  const page = document.querySelector("body[data-voila] #jupyter-config-data");
  if (!page) return; // a notebook itself shows whether its kernel is alive
  const { baseUrl, kernelId } = JSON.parse(page.textContent);
  let lost = false;
  const watch = setInterval(async () => {
    const answer = await fetch(`${baseUrl}api/kernels/${kernelId}`).catch(() => ({ status: "none" }));
    if (answer.ok) {
      if (lost) update();
      lost = false;
      return;
    }
    lost = true;
    note.textContent =
      answer.status === 404
        ? "This page was closed because it was not used for a while, or because something went wrong. You can still download what you see; reload the page to continue."
        : "The server does not answer. You can still download what you see; reload the page later.";
    if (answer.status === 404) clearInterval(watch);
  }, 5_000);
  return () => clearInterval(watch);
}

function strip(model, el) {
  const row = make("div", { className: "dd-stops" });
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", "The layer tour");
  el.append(row);
  const update = () => {
    const stops = model.get("stops");
    while (row.children.length > stops.length) row.lastChild.remove();
    stops.forEach(({ layer, says, picture }, i) => {
      let button = row.children[i];
      if (!button) {
        button = make("button", { type: "button" }, make("img", { alt: "" }), make("b"), make("span"));
        button.addEventListener("click", () => model.send(model.get("stops")[i].layer));
        row.append(button);
      }
      const [img, name, about] = button.children;
      name.replaceChildren(...layer.split(/(?<=\/)/).flatMap((part) => [part, make("wbr")]));
      about.textContent = says;
      button.setAttribute("aria-pressed", String(layer === model.get("chosen")));
      if (button.bytes === picture || !picture?.byteLength) return;
      button.bytes = picture;
      URL.revokeObjectURL(img.src);
      img.src = URL.createObjectURL(new Blob([picture], { type: "image/jpeg" }));
    });
  };
  model.on("change", update);
  update();
}

function line(model, el) {
  const code = make("textarea", { readOnly: true, rows: 2, spellcheck: false });
  const label = make("label", {}, make("span"), code);
  const button = make("button", { type: "button", className: "dd-copy", textContent: "Copy" });
  button.addEventListener("click", async () => {
    code.select();
    try {
      await navigator.clipboard.writeText(code.value);
    } catch {
      document.execCommand("copy"); // without https, a page has no clipboard
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  el.append(label, button);
  const update = () => {
    code.value = model.get("text");
    label.firstChild.textContent = model.get("about");
  };
  model.on("change", update);
  update();
}

export default {
  render({ model, el }) {
    document.querySelector("body[data-voila] #rendered_cells")?.setAttribute("role", "main");
    el.classList.add(`dd-${model.get("kind")}`);
    return { drop, picture, strip, line }[model.get("kind")](model, el);
  },
};
