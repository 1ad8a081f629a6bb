// What ipywidgets lacks: places to drop a file, the stage, pictures that are buttons, help, a fold, a slider, a field
// to search, a line to copy. Each is a view of one of the models in widgets.py; `kind` says which. The same views work
// in a notebook and on the page, whose body has the attribute data-deepdream.

const CHUNK = 1 << 20; // bytes in a message: servers close the connection on large ones
const MOST_ZOOM = 8;
const MOST_FOUND = 30; // names that a search offers
const ICONS = {
  download: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  share: "M12 15V3.5M8 7.5l4-4 4 4M8 11H5v9h14v-9h-3",
  smaller: "M6 12h12",
  larger: "M6 12h12M12 6v12",
  full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  leave: "M9 4v5H4M20 9h-5V4M15 20v-5h5M4 15h5v5",
  done: "M5 12.5l4.5 4.5L19 7.5",
  close: "M7 7l10 10M17 7L7 17",
  fold: "M8 10l4 4 4-4",
  grip: "M9.5 8L5.5 12l4 4M14.5 8l4 4-4 4",
};

const onPage = () => document.body.hasAttribute("data-deepdream");
const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const newId = () => `dd-${Math.random().toString(36).slice(2)}`; // no counter: each view loads this file

function make(tag, attributes = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in el) el[name] = value;
    else el.setAttribute(name, value);
  }
  el.append(...children);
  return el;
}

function icon(name) {
  const holder = make("span");
  holder.innerHTML = `<svg class="dd-icon" viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`;
  return holder.firstChild;
}

function iconButton(name, label, press) {
  const about = { type: "button", className: "dd-tool", title: label, "aria-label": label };
  const button = make("button", about, icon(name));
  button.addEventListener("click", press);
  return button;
}

function watch(model, update) {
  model.on("change", update);
  update();
}

function set(model, trait, value) {
  model.set(trait, value);
  model.save_changes();
}

// Bytes as the address of a blob, because data URLs of pictures are slow; whoever calls this revokes it.
const address = (bytes, type) => (bytes?.byteLength ? URL.createObjectURL(new Blob([bytes], { type })) : "");

// Files

// The file to send: large photographs are made smaller, and kinds that only browsers read become JPEG. All others are
// sent as they are, because they may carry the settings of a dream.
async function fit(file, most, mostPixels) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return file; // Python then says what is wrong with it
  const pixels = bitmap.width * bitmap.height;
  const isForeign = /hei[cf]|avif/i.test(file.type + file.name.split(".").pop());
  let sent = file;
  if (isForeign || file.size > most || pixels > mostPixels) {
    let scale = Math.min(1, Math.sqrt(mostPixels / pixels));
    do {
      sent = await draw(bitmap, scale, `${file.name.replace(/\.[^.]*$/, "")}.jpg`);
      scale *= 0.75;
    } while (sent.size > most);
  }
  bitmap.close();
  return sent;
}

async function draw(bitmap, scale, name) {
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.floor(side * scale)));
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // behind what is transparent, which JPEG cannot be
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  canvas.width = canvas.height = 0; // phones have memory for few canvases
  return new File([blob], name, { type: blob.type });
}

function drop(model, el) {
  const invitation = `Drop ${model.get("what")}, or choose one`;
  const input = make("input", { type: "file", accept: model.get("accept"), multiple: true, "aria-label": invitation });
  const text = make("span", { textContent: invitation, role: "status" });
  const zone = make("label", { className: "dd-dropzone" }, text, input);
  el.append(zone);

  async function send(original) {
    text.textContent = `Reading ${original.name} …`;
    const file = await fit(original, model.get("most"), model.get("most_pixels")).catch(() => original);
    const about = { name: file.name, size: file.size };
    if (file.size > model.get("most")) return model.send(about); // Python then says that it is too large
    const bytes = await file.arrayBuffer();
    for (let at = 0; at === 0 || at < bytes.byteLength; at += CHUNK)
      model.send({ ...about, at }, undefined, [bytes.slice(at, at + CHUNK)]);
  }
  let queue = Promise.resolve(); // the pieces of two files must not mix
  const sendAll = (files) => {
    for (const file of [...files]) queue = queue.then(() => send(file)).finally(() => (text.textContent = invitation));
  };
  input.addEventListener("change", () => {
    sendAll(input.files);
    input.value = "";
  });

  // The picture's own zone takes what is dropped anywhere on the panel, except on the other zones.
  const inStudio = (target) => el.closest(".dd-studio")?.contains(target);
  const mine = ({ target }) =>
    zone.contains(target) || (model.get("anywhere") && inStudio(target) && !target.closest(".dd-dropzone"));
  const leave = () => zone.classList.remove("dd-over");
  const over = (event) => {
    const isHere = mine(event) && event.dataTransfer?.types.includes("Files");
    zone.classList.toggle("dd-over", isHere);
    if (isHere) event.preventDefault();
  };
  const dropped = (event) => {
    leave();
    if (!mine(event) || !event.dataTransfer.files.length) return;
    event.preventDefault();
    event.stopPropagation();
    sendAll(event.dataTransfer.files);
  };
  // It takes pasted pictures too, except where one writes; in a notebook, only those pasted into the panel.
  const pasted = (event) => {
    const writes = event.target.closest?.("input:not([type=range], [type=file]), textarea, [contenteditable=true]");
    if (writes || !model.get("anywhere") || !(onPage() || inStudio(event.target))) return;
    sendAll([...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/")));
  };
  const listeners = Object.entries({ dragover: over, drop: dropped, dragend: leave, paste: pasted });
  for (const [name, listener] of listeners) document.addEventListener(name, listener, true);
  return () => {
    for (const [name, listener] of listeners) document.removeEventListener(name, listener, true);
  };
}

// The stage

// Keep the sources of the stage's elements, [[trait, element]], as their traits are. A new picture takes the place of
// the old one only when it has loaded, together with all that changed with it, so that nothing flickers; then `shown()`
// is called. Pictures that come while others load are left out, except the last.
function follow(model, elements, shown) {
  let isLoading = false;
  let isLate = false;
  async function load([trait, el]) {
    const type = trait === "after" ? model.get("mime") : "image/jpeg";
    const isVideo = el.tagName === "VIDEO";
    const bytes = type.startsWith("video/") === isVideo ? model.get(trait) : null;
    if (el.ddBytes === bytes) return () => {};
    el.ddBytes = bytes;
    const url = address(bytes, type);
    if (url) {
      const probe = make(el.tagName, { preload: "auto", muted: true });
      const end = new Promise((resolve) => {
        for (const name of [isVideo ? "loadeddata" : "load", "error"]) probe.addEventListener(name, resolve);
      });
      probe.src = url;
      await end;
    }
    return () => {
      URL.revokeObjectURL(el.src);
      if (url) el.src = url;
      else el.removeAttribute("src");
      if (isVideo) el.load(); // without a source, it lets go of the film
    };
  }
  async function update() {
    isLate = true;
    if (isLoading) return;
    isLoading = true;
    while (isLate) {
      isLate = false;
      for (const swap of await Promise.all(elements.map(load))) swap();
      shown();
    }
    isLoading = false;
  }
  model.on("change:before change:live change:after change:mime", update);
  update();
}

// Dragging the divider, zooming and panning. `split` is where the divider is, in percent of the stage's width; a point
// p of the picture, from 0 to 1, is at x + zoom * p of the stage. The style sheet does the rest.
function moves(stage, slider, changed) {
  const at = { zoom: 1, x: 0, y: 0, split: 0 };
  const apply = () => {
    at.x = clamp(at.x, 1 - at.zoom, 0);
    at.y = clamp(at.y, 1 - at.zoom, 0);
    for (const [name, value] of Object.entries(at)) stage.style.setProperty(`--${name}`, value);
    stage.classList.toggle("dd-zoomed", at.zoom > 1);
    stage.tabIndex = at.zoom > 1 ? 0 : -1; // the arrow keys then move the picture
    changed();
  };
  const divide = (split) => {
    at.split = clamp(split, 0, 100);
    slider.value = Math.round(at.split);
    slider.setAttribute("aria-valuetext", `${100 - slider.value} % of the dream is shown`);
    apply();
  };
  const pan = (x, y) => {
    at.x += x;
    at.y += y;
    apply();
  };
  const zoom = (factor, [x, y] = [0.5, 0.5]) => {
    const next = clamp(at.zoom * factor, 1, MOST_ZOOM);
    at.x = x - ((x - at.x) * next) / at.zoom;
    at.y = y - ((y - at.y) * next) / at.zoom;
    at.zoom = next;
    apply();
  };

  const hasFilm = () => stage.dataset.shows === "film"; // which has controls of its own
  const place = ({ clientX, clientY }) => {
    const box = stage.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  };
  const distance = (a, b) => Math.hypot((a[0] - b[0]) * stage.clientWidth, (a[1] - b[1]) * stage.clientHeight);
  const fingers = new Map();
  let takesDivider = false;
  stage.addEventListener("pointerdown", (event) => {
    if (hasFilm() || event.button) return;
    fingers.set(event.pointerId, place(event));
    const away = Math.abs(place(event)[0] - at.split / 100) * stage.clientWidth; // pixels
    const onDivider = away < 28 || event.target.closest(".dd-grip");
    takesDivider = stage.dataset.shows === "both" && (at.zoom === 1 || onDivider);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!event.buttons) fingers.delete(event.pointerId); // it was let go elsewhere
    const [was, now] = [fingers.get(event.pointerId), place(event)];
    const isDrag = stage.hasPointerCapture(event.pointerId);
    if (!was || (!isDrag && distance(was, now) < 4)) return; // so far, it is a click
    stage.setPointerCapture(event.pointerId);
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    fingers.set(event.pointerId, now);
    if (other) {
      zoom(distance(now, other) / (distance(was, other) || 1), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
      pan((now[0] - was[0]) / 2, (now[1] - was[1]) / 2);
    } else if (takesDivider) {
      slider.focus({ preventScroll: true }); // the arrow keys then continue
      divide(100 * now[0]);
    } else pan(now[0] - was[0], now[1] - was[1]);
  });
  for (const name of ["pointerup", "pointercancel"])
    stage.addEventListener(name, ({ pointerId }) => fingers.delete(pointerId));
  stage.addEventListener("dblclick", (event) => {
    if (!hasFilm() && !event.target.closest(".dd-grip")) zoom(at.zoom > 1 ? 1 / at.zoom : 2.5, place(event));
  });
  // The wheel scrolls the page, as everywhere. With ctrl, which is what a trackpad's pinch sends, or in full screen,
  // it zooms.
  const wheel = (event) => {
    if (hasFilm() || !(event.ctrlKey || document.fullscreenElement)) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), place(event));
  };
  stage.addEventListener("wheel", wheel, { passive: false });
  stage.addEventListener("keydown", (event) => {
    const keys = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
    if (event.target !== stage || !keys[event.key]) return; // on the slider, they move the divider
    event.preventDefault();
    pan(...keys[event.key]);
  });
  slider.addEventListener("input", () => divide(Number(slider.value)));
  return { at, divide, zoom };
}

function picture(model, el) {
  const image = (className, alt) => make("img", { className, alt, decoding: "sync", draggable: false });
  const before = image("dd-before", "Before");
  const after = image("dd-after", "The dream");
  const live = image("dd-live", "The dream so far");
  const playing = { controls: true, loop: true, playsInline: true, muted: true };
  const film = make("video", { className: "dd-film", "aria-label": "The film", ...playing });
  const slider = make("input", { type: "range", className: "dd-split", "aria-label": "Before and after" });
  const divider = [make("div", { className: "dd-divider" }), make("div", { className: "dd-grip" }, icon("grip"))];
  for (const name of ["before", "dream"])
    divider.push(make("span", { className: `dd-tag dd-tag-${name}`, textContent: name, "aria-hidden": "true" }));
  const about = { className: "dd-stage", role: "group", "aria-label": "The picture; zoomed, the arrow keys move it" };
  const stage = make("div", about, before, after, live, film, slider, ...divider);

  const bar = make("progress", { "aria-label": "Progress" });
  const text = make("span", { className: "dd-text" });
  const going = make("div", { className: "dd-going" }, bar, text);
  const says = make("p", { className: "dd-says", role: "alert" });
  const note = make("div", { className: "dd-note" }, says, iconButton("close", "Close", () => set(model, "note", "")));
  const announcer = make("div", { className: "dd-unseen", "aria-live": "polite" });

  const saved = () => set(model, "unsaved", false);
  const file = () => new File([model.get("after")], model.get("name"), { type: model.get("mime") });
  const link = make("a", { className: "dd-tool dd-download" }, icon("download"), "Download");
  link.addEventListener("click", saved);
  const copy = iconButton("copy", "Copy the picture", async () => {
    await navigator.clipboard.write([new ClipboardItem({ [model.get("mime")]: file() })]);
    saved();
    announcer.textContent = "Copied";
    copy.replaceChildren(icon("done"));
    setTimeout(() => copy.replaceChildren(icon("copy")), 1500);
  });
  const share = iconButton("share", "Share", () => {
    navigator.share({ files: [file()] }).then(saved, () => {}); // or the visitor decides not to
  });
  const smaller = iconButton("smaller", "Zoom out", () => zoom(1 / 1.5));
  const larger = iconButton("larger", "Zoom in", () => zoom(1.5));
  const full = iconButton("full", "Full screen", () =>
    document.fullscreenElement ? document.exitFullscreen() : frame.requestFullscreen(),
  );
  const tools = make("div", { className: "dd-tools" }, link, copy, share, smaller, larger, full);
  const frame = make("div", { className: "dd-frame" }, stage, make("div", { className: "dd-below" }, going, tools));
  frame.addEventListener("fullscreenchange", () => {
    const [name, label] = document.fullscreenElement ? ["leave", "Leave full screen"] : ["full", "Full screen"];
    full.replaceChildren(icon(name));
    full.title = full.ariaLabel = label;
  });
  el.append(frame, note, announcer);

  const hint = () => {
    const hints = { before: "Press Dream to begin.", both: "Drag across the picture to compare." };
    const hint = at.zoom > 1 ? "Drag to move the picture." : hints[stage.dataset.shows];
    text.textContent = model.get("busy") ? model.get("text") : hint ?? "";
    smaller.ariaDisabled = at.zoom <= 1;
    larger.ariaDisabled = at.zoom >= MOST_ZOOM;
  };
  const { at, divide, zoom } = moves(stage, slider, hint);

  const fitStage = () => {
    const el = { live, film, both: after, before }[stage.dataset.shows];
    const ratio = (el.naturalWidth ?? el.videoWidth) / (el.naturalHeight ?? el.videoHeight);
    if (ratio > 0) frame.style.setProperty("--ratio", ratio);
  };
  for (const el of [before, after, live]) el.addEventListener("load", fitStage);
  film.addEventListener("loadedmetadata", fitStage);
  let seen; // the result that was shown last
  const shown = () => {
    const has = (trait) => model.get(trait)?.byteLength > 0;
    const result = model.get("mime").startsWith("video/") ? "film" : "both";
    const shows = has("live") ? "live" : has("after") ? result : "before";
    stage.dataset.shows = shows;
    fitStage();
    const isDone = shows === result;
    slider.hidden = shows !== "both";
    link.hidden = !isDone;
    copy.hidden = shows !== "both" || !navigator.clipboard?.write;
    share.hidden = !isDone || !navigator.canShare?.({ files: [file()] });
    smaller.hidden = larger.hidden = shows === "film";
    full.hidden = !document.fullscreenEnabled; // as on iPhones
    if (seen !== model.get("after")) {
      seen = model.get("after");
      divide(0); // all of the dream at first
      if (shows === "film" && !isCalm()) film.play().catch(() => {}); // where the browser does not allow it
    }
    hint();
  };
  follow(model, [["before", before], ["live", live], ["after", after], ["after", film]], shown);

  let offered; // the file behind the link
  // The text changes several times a second, so it must not be read out; these few words are.
  let quarter = -1; // -1: nothing is being made
  watch(model, () => {
    const progress = model.get("progress");
    going.classList.toggle("dd-busy", model.get("busy"));
    if (progress > 0) bar.value = progress;
    else bar.removeAttribute("value"); // nobody knows yet
    hint();
    says.textContent = model.get("note");
    note.hidden = !model.get("note");
    if (offered !== model.get("after")) {
      offered = model.get("after");
      URL.revokeObjectURL(link.href);
      link.href = address(offered, model.get("mime"));
    }
    link.download = link.title = model.get("name");
    link.ariaLabel = `Download ${model.get("name")}`;
    const now = model.get("busy") ? Math.min(Math.floor(4 * progress), 3) : -1;
    if (now > quarter) announcer.textContent = now ? `${25 * now} % done` : "Started";
    if (now > quarter && quarter < 0 && onPage()) // who has pressed a button far below sees what it does
      frame.scrollIntoView({ block: "nearest", behavior: isCalm() ? "auto" : "smooth" });
    if (now < 0 && quarter >= 0) announcer.textContent = model.get("note") ? "" : "Done"; // a note says it itself
    quarter = now;
  });

  // In a notebook whose kernel has gone, what is seen stays, with a sentence.
  model.on("comm_live_update", () => {
    if (onPage()) return;
    says.textContent = "The notebook's kernel has gone. You can still download what you see; run the cell again to go on.";
    note.hidden = false;
  });

  const leaving = (event) => onPage() && model.get("unsaved") && event.preventDefault();
  window.addEventListener("beforeunload", leaving);
  document.addEventListener("focusin", keepFocus);
  // The style sheet keeps the column of the picture in sight, for which it has to know how high it is.
  let column = null;
  const measure = new ResizeObserver(() => {
    if (!column && (column = el.closest(".dd-result"))) measure.observe(column);
    column?.style.setProperty("--height", `${column.offsetHeight}px`);
  });
  measure.observe(el);
  return () => {
    measure.disconnect();
    window.removeEventListener("beforeunload", leaving);
    document.removeEventListener("focusin", keepFocus);
  };
}

// The browser takes the focus from a button that becomes disabled, and who uses the keyboard then has lost their place:
// "Dream" is disabled as soon as it is pressed. So a button that has had the focus is from then on only marked as
// disabled, and its clicks are stopped.
function keepFocus({ target }) {
  if (!target.matches?.(".dd-studio .dd-buttons button") || Object.hasOwn(target, "disabled")) return;
  const isDisabled = () => target.ariaDisabled === "true";
  const disable = (value) => (target.ariaDisabled = Boolean(value));
  Object.defineProperty(target, "disabled", { get: isDisabled, set: disable });
  target.addEventListener("click", (event) => isDisabled() && event.stopImmediatePropagation(), true);
}

// The others

function strip(model, el) {
  const heading = make("h2", { className: "dd-heading" });
  const row = make("div", { className: "dd-stops", role: "group" });
  const about = make("p", { className: "dd-about", "aria-hidden": "true" }); // what the button of the chosen one says
  el.append(heading, row, about);
  const buttons = new Map(); // by their keys
  const add = (key) => {
    const words = make("span", { className: "dd-words" }, make("b"), make("span"));
    const shot = make("span", { className: "dd-shot" }, make("img", { alt: "" }));
    const button = make("button", { type: "button" }, shot, words);
    button.addEventListener("click", () => model.send(key));
    buttons.set(key, button);
    return button;
  };
  const fill = (button, { title, says, picture }) => {
    const [img, name, text] = button.querySelectorAll("img, b, b + span");
    name.replaceChildren(...title.split(/(?<=\/)/).flatMap((part) => [part, make("wbr")])); // layers have long names
    text.textContent = button.title = says;
    if (img.ddBytes === picture) return;
    img.ddBytes = picture;
    URL.revokeObjectURL(img.src);
    if (picture?.byteLength) img.src = address(picture, "image/jpeg");
    else img.removeAttribute("src");
  };
  watch(model, () => {
    const [items, isRow] = [model.get("items"), model.get("is_row")];
    const chosen = items.find(({ key }) => key === model.get("chosen"));
    heading.textContent = row.ariaLabel = model.get("label");
    heading.hidden = !model.get("label");
    row.classList.toggle("dd-row", isRow);
    about.textContent = chosen?.says ?? "Choose one, and press Dream.";
    about.hidden = isRow;
    items.forEach((item, i) => {
      const button = buttons.get(item.key) ?? add(item.key);
      fill(button, item);
      button.ariaPressed = item === chosen;
      if (row.children[i] !== button) row.insertBefore(button, row.children[i] ?? null);
    });
    for (const [key, button] of [...buttons].filter(([key]) => !items.some((item) => item.key === key))) {
      URL.revokeObjectURL(button.querySelector("img").src);
      button.remove();
      buttons.delete(key);
    }
    const button = buttons.get(chosen?.key);
    if (button && isRow) row.scrollTo({ left: button.offsetLeft - (row.clientWidth - button.clientWidth) / 2 });
  });
}

function help(model, el) {
  const text = make("p", { id: newId(), hidden: true });
  const button = make("button", { type: "button", className: "dd-ask", textContent: "?", "aria-controls": text.id });
  const show = (isOpen) => {
    text.hidden = !isOpen;
    button.ariaExpanded = isOpen;
  };
  button.addEventListener("click", () => show(text.hidden));
  el.append(button, text);
  watch(model, () => {
    text.textContent = model.get("text");
    button.ariaLabel = `What does “${model.get("label")}” mean?`;
  });
  show(false);
}

function fold(model, el) {
  const label = make("span");
  const button = make("button", { type: "button", className: "dd-unfold" }, label, icon("fold"));
  button.addEventListener("click", () => set(model, "is_open", !model.get("is_open")));
  el.append(button);
  watch(model, () => {
    label.textContent = model.get("label");
    button.ariaExpanded = model.get("is_open");
    el.classList.toggle("dd-open", model.get("is_open")); // the style sheet hides what follows one that is not open
  });
}

function slider(model, el) {
  const name = make("span");
  const input = make("input", { type: "range" });
  const ends = make("div", { className: "dd-ends", "aria-hidden": "true" }, make("span"), make("span"));
  const describe = () => {
    const [value, last] = [Number(input.value), Number(input.max)];
    input.style.setProperty("--filled", value / last);
    const [low, high] = [model.get("low"), model.get("high")];
    input.setAttribute("aria-valuetext", `${value + 1} of ${last + 1}, from “${low}” to “${high}”`);
  };
  input.addEventListener("input", describe);
  input.addEventListener("change", () => set(model, "value", Number(input.value))); // once, when it is let go
  el.append(make("label", {}, name, input), ends);
  watch(model, () => {
    name.textContent = model.get("label");
    ends.firstChild.textContent = model.get("low");
    ends.lastChild.textContent = model.get("high");
    input.max = model.get("places") - 1;
    input.value = model.get("value");
    describe();
  });
}

function search(model, el) {
  const list = make("ul", { role: "listbox", id: newId() });
  const says = { role: "combobox", "aria-autocomplete": "list", "aria-controls": list.id };
  const input = make("input", { type: "text", autocomplete: "off", spellcheck: false, ...says });
  const label = make("label", {}, make("span"), input);
  el.append(label, list);
  let found = []; // [[name, key]]
  let active = -1; // which of them Enter takes
  let taken = ""; // the name that was taken last

  const mark = (i) => {
    active = i;
    [...list.children].forEach((option, j) => (option.ariaSelected = i === j));
    input.setAttribute("aria-activedescendant", list.children[i]?.id ?? "");
    list.children[i]?.scrollIntoView({ block: "nearest" });
  };
  const show = (isOpen) => {
    list.hidden = !isOpen;
    input.ariaExpanded = isOpen;
    mark(-1);
  };
  const open = () => {
    const typed = input.value === taken ? "" : input.value.trim().toLowerCase(); // a name that was taken limits nothing
    const words = typed.split(/\s+/);
    const starts = ([name]) => name.toLowerCase().startsWith(typed);
    found = model.get("choices").filter(([name]) => words.every((word) => name.toLowerCase().includes(word)));
    found = found.sort((a, b) => starts(b) - starts(a)).slice(0, MOST_FOUND);
    list.replaceChildren(...found.map(([name]) => make("li", { role: "option", id: newId(), textContent: name })));
    const none = { role: "option", ariaDisabled: "true", textContent: "Nothing has such a name" };
    if (!found.length) list.append(make("li", none));
    show(true);
  };
  const take = ([name, key]) => {
    input.value = taken = name;
    show(false);
    model.send(key);
  };
  const leave = () => {
    input.value = taken;
    show(false);
  };
  for (const name of ["input", "click"]) input.addEventListener(name, open);
  input.addEventListener("focus", () => input.select());
  input.addEventListener("blur", leave);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step && (list.hidden || !["Enter", "Escape"].includes(event.key))) return;
    event.preventDefault();
    event.stopPropagation(); // a notebook has a use for these keys too
    if (event.key === "Escape") leave();
    else if (event.key === "Enter") found.length && take(found[Math.max(active, 0)]);
    else {
      if (list.hidden) open();
      const next = active < 0 && step < 0 ? found.length - 1 : active + step;
      if (found.length) mark((next + found.length) % found.length);
    }
  });
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the focus stays in the field
  list.addEventListener("click", ({ target }) => {
    const i = [...list.children].indexOf(target);
    if (found[i]) take(found[i]);
  });
  watch(model, () => {
    label.firstChild.textContent = list.ariaLabel = model.get("label");
    input.placeholder = model.get("hint");
  });
  show(false);
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
  watch(model, () => {
    code.value = model.get("text");
    label.firstChild.textContent = model.get("about");
  });
}

// JupyterLab would take the arrow keys for itself, and `b`, `x` and `d d` as commands
function keepKeys(el, tries = 100) {
  el.dataset.lmSuppressShortcuts = "true";
  const panel = el.closest(".dd-studio"); // once it is on the page; its sliders and lists are not ours
  if (panel) panel.dataset.lmSuppressShortcuts = "true";
  else if (tries) requestAnimationFrame(() => keepKeys(el, tries - 1));
}

export default {
  render({ model, el }) {
    const kind = model.get("kind");
    el.classList.add(`dd-${kind}`);
    keepKeys(el);
    return { drop, picture, strip, help, fold, slider, search, line }[kind](model, el);
  },
};
