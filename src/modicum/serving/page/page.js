"use strict";
// Sends each file by itself (or all together, where the run decides over a request) and shows what comes back.
// Texts are set as text, never as HTML: names of files and classes may hold anything.

const $ = (id) => document.getElementById(id);
const state = { runs: [], token: "", waiting: [], active: 0, done: 0, total: 0, bad: 0 };
const AT_A_TIME = 3;
const COLOURS = [[230, 60, 60], [60, 150, 240], [60, 190, 90], [240, 170, 40], [170, 90, 220], [40, 190, 190]];

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function headers() {
  return state.token ? { Authorization: `Bearer ${state.token}` } : {};
}

async function start() {
  const answer = await fetch("runs", { headers: headers() }).catch(() => null);
  if (answer === null) { tell("The server does not answer; load the page again."); $("ask").hidden = false; return; }
  if (answer.status === 401) {
    if (state.token) $("token-problem").textContent = "Not this one; try again.";
    $("token-form").hidden = false;
    $("token").focus();
    return;
  }
  state.runs = await answer.json();
  $("token-form").hidden = true;
  $("ask").hidden = false;
  $("run").replaceChildren(...state.runs.map((run) => make("option", { value: run.name, text: run.name })));
  describe();
}

function chosen() {
  return state.runs.find((run) => run.name === $("run").value);
}

function describe() {
  const run = chosen();
  const classes = run.classes.length ? `: ${run.classes.slice(0, 8).join(", ")}${run.classes.length > 8 ? ", ..." : ""}` : "";
  $("about").textContent = `${run.task}${classes} (${run.method})`;
  $("takes").textContent = `${run.takes.join(", ")}; up to ${Math.floor(run.limits.max_upload / 1e6)} MB`;
  $("caution").textContent = run.caution || "";
  $("caution").hidden = !run.caution;
  $("maps-line").hidden = !run.maps;
  $("maps-words").textContent = run.maps ? `Show maps: ${run.maps}` : "";
  document.title = `${run.name} · modicum`;
}

function tell(text) { $("status").textContent = text; }

function progress() {
  $("progress").hidden = state.done >= state.total;
  $("progress").value = state.total ? state.done / state.total : 0;
  const broken = state.bad ? `, ${state.bad} not answered` : "";
  tell(state.total ? `${Math.floor(state.done)} of ${state.total} images${broken}` : "");
  $("clear").hidden = !$("results").childElementCount;
}

function take(files) {
  const run = chosen(), list = [...files];
  if (!run || !list.length) return;
  if (state.done >= state.total) Object.assign(state, { done: 0, total: 0, bad: 0 });
  state.total += list.length;
  const together = run.decided_over === "request";
  const cards = list.map((file) => waitingCard(file.name)), maps = $("maps").checked && Boolean(run.maps);
  $("results").prepend(...cards);
  if (together) state.waiting.push({ run, group: list, cards, maps });
  else list.forEach((file, at) => state.waiting.push({ run, group: [file], cards: [cards[at]], maps }));
  progress();
  next();
}

function waitingCard(name) {
  return make("article", { className: "card" }, make("h2", { text: name }),
    make("progress", { max: 1, ariaLabel: `sending ${name}` }));
}

function next() {
  while (state.active < AT_A_TIME && state.waiting.length) {
    state.active += 1;
    send(state.waiting.shift());
  }
}

function send(job) {
  const size = job.group.reduce((sum, file) => sum + file.size, 0);
  if (size > job.run.limits.max_upload) {
    finish(job, 0, { error: `${job.group[0].name}: larger than this server takes (${job.run.limits.max_upload} bytes)` });
    return;
  }
  const form = new FormData();
  for (const file of job.group) form.append("files", file, file.name);
  const request = new XMLHttpRequest(); // fetch does not tell how much is sent
  request.open("POST", `runs/${encodeURIComponent(job.run.name)}/predict?preview=true&maps=${job.maps}`);
  for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
  request.upload.onprogress = (event) => {
    for (const card of job.cards) card.querySelector("progress").value = 0.9 * event.loaded / event.total;
  };
  request.upload.onload = () => { for (const card of job.cards) card.querySelector("progress").removeAttribute("value"); };
  request.onload = () => {
    let content = null;
    try { content = JSON.parse(request.responseText); } catch { /* said below */ }
    if (request.status === 503 && (job.tries = (job.tries || 0) + 1) < 6) {
      setTimeout(() => send(job), 1000 * (Number(request.getResponseHeader("Retry-After")) || 1) * job.tries);
      return;
    }
    finish(job, request.status, content || { error: `the server answered with status ${request.status}` });
  };
  request.onerror = () => finish(job, 0, { error: "the connection ended before there was an answer; send it again" });
  request.send(form);
}

function finish(job, status, content) {
  job.cards.forEach((card, at) => {
    const image = content.images ? content.images[at] : null;
    const error = image ? image.error : content.error;
    if (error) {
      state.bad += 1;
      broken(card, job.group[at].name, error);
    } else {
      show(card, image, job.run);
    }
  });
  state.active -= 1;
  state.done += job.group.length;
  progress();
  next();
}

function broken(card, name, error) {
  card.classList.add("broken");
  card.replaceChildren(make("h2", { text: name }), make("p", { className: "problem", text: error }));
}

function show(card, image, run) {
  card.replaceChildren(make("h2", { text: image.image }));
  const first = image.rows[0] || {};
  const stack = pictures(image, run);
  if (stack) card.append(stack);
  if (first.prediction !== undefined) {
    card.append(make("p", { className: "says", text: first.prediction === null ? "no decision" : first.prediction || "nothing found" }));
  }
  const shown = new Set(["prediction"]);
  if (image.rows.length === 1) card.append(...bars(first, run, shown));
  card.append(...others(image.rows, shown));
  for (const note of image.notes) card.append(make("p", { className: "note", text: note }));
}

function number(value) {
  return typeof value !== "number" ? String(value) : Number.isInteger(value) ? String(value) : value.toPrecision(3);
}

function bars(row, run, shown) {
  const names = Object.keys(row).filter((name) => name.startsWith("p_") && typeof row[name] === "number");
  if (!names.length) return [];
  const grid = make("div", { className: "bars" });
  const said = String(row.prediction ?? "").split("|");
  names.sort((one, other) => row[other] - row[one]);
  for (const name of names) {
    shown.add(name);
    const title = name.slice(2), bar = make("div", { className: "bar", role: "img", ariaLabel: `${title} ${number(row[name])}` });
    const fill = make("i", { className: said.includes(title) ? "said" : "" });
    fill.style.width = `${100 * Math.min(1, Math.max(0, row[name]))}%`;
    bar.append(fill);
    for (const threshold of run.thresholds[name] || []) {
      const mark = make("b", { title: `threshold ${number(threshold)}` });
      mark.style.left = `${100 * threshold}%`;
      bar.append(mark);
    }
    grid.append(make("span", { text: title }), bar, make("span", { className: "number", text: row[name].toFixed(3) }));
  }
  return [grid];
}

// Every other column, whatever it is called.
function others(rows, shown) {
  const names = [...new Set(rows.flatMap(Object.keys))].filter((name) => !shown.has(name) && name !== "file");
  const kept = names.filter((name) => rows.some((row) => row[name] !== null && row[name] !== undefined));
  if (!kept.length) return [];
  const words = (value) => value === null || value === undefined ? "" : value === true ? "yes" : value === false ? "no" : number(value);
  if (rows.length === 1) {
    const body = kept.map((name) => make("tr", {}, make("th", { scope: "row", text: name.replaceAll("_", " ") }), make("td", { text: words(rows[0][name]) })));
    return [make("div", { className: "scroll" }, make("table", {}, make("tbody", {}, ...body)))];
  }
  const head = make("tr", {}, ...kept.map((name) => make("th", { scope: "col", text: name.replaceAll("_", " ") })));
  const body = rows.map((row) => make("tr", {}, ...kept.map((name) => make("td", { text: words(row[name]) }))));
  const table = make("div", { className: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
  return [make("details", {}, make("summary", { text: `${rows.length} rows` }), table)];
}

const source = (picture) => `data:${picture.media_type};base64,${picture.base64}`;

// The image, and over it one of the pictures, as strongly as the slider says.
function pictures(image, run) {
  const preview = image.pictures.find((one) => one.name === "preview");
  if (!preview) return null;
  const layers = image.pictures.filter((one) => one !== preview);
  const stack = make("div", { className: "stack" }, make("img", { src: source(preview), alt: image.image }));
  const whole = make("div", {}, stack);
  const boxes = image.rows.filter((row) => typeof row.x0 === "number");
  if (!layers.length && !boxes.length) return whole;
  const canvas = make("canvas", { ariaHidden: "true" });
  stack.append(canvas);
  if (boxes.length) {
    draw(canvas, boxes);
    return whole;
  }
  const slider = make("input", { type: "range", min: 0, max: 100, value: layers[0].kind === "image" ? 100 : 60 });
  const which = make("select", {}, ...layers.map((one, at) => make("option", { value: at, text: one.name })));
  const paint = () => { canvas.style.opacity = slider.value / 100; };
  const change = () => { layer(canvas, layers[Number(which.value)]); paint(); };
  slider.oninput = paint;
  which.onchange = change;
  whole.append(make("div", { className: "over-line" }, make("label", {}, make("span", { text: "Over it" })), which,
    make("label", {}, make("span", { text: "Strength" })), slider));
  which.ariaLabel = "Picture over the image";
  slider.ariaLabel = "Strength of the picture over the image";
  change();
  return whole;
}

function layer(canvas, picture) {
  const image = new Image();
  image.onload = () => {
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    if (picture.kind === "image") return;
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height), data = pixels.data;
    for (let at = 0; at < data.length; at += 4) {
      const value = data[at];
      if (picture.kind === "mask") {
        const [red, green, blue] = value === 255 ? COLOURS[0] : COLOURS[(value + COLOURS.length - 1) % COLOURS.length];
        data.set([red, green, blue, value ? 255 : 0], at);
      } else { // the more, the redder, and the less transparent
        data.set([255, Math.round(1.4 * Math.max(0, value - 75)), 40, value], at);
      }
    }
    context.putImageData(pixels, 0, 0);
  };
  image.src = source(picture);
}

function draw(canvas, boxes) {
  canvas.width = boxes[0].image_width;
  canvas.height = boxes[0].image_height;
  const context = canvas.getContext("2d");
  context.lineWidth = Math.max(1, canvas.width / 200);
  context.font = `${Math.max(10, canvas.width / 28)}px sans-serif`;
  const classes = [...new Set(boxes.map((box) => box.class))];
  for (const box of boxes) {
    context.strokeStyle = context.fillStyle = `rgb(${COLOURS[classes.indexOf(box.class) % COLOURS.length]})`;
    context.strokeRect(box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0);
    context.fillText(`${box.class} ${number(box.score)}`, box.x0, Math.max(12, box.y0 - 3));
  }
}

$("run").onchange = describe;
$("files").onchange = (event) => { take(event.target.files); event.target.value = ""; };
$("clear").onclick = () => { $("results").replaceChildren(); progress(); $("files").focus(); };
$("token-form").onsubmit = (event) => { event.preventDefault(); state.token = $("token").value.trim(); start(); };
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.remove("over"); });
}
document.addEventListener("drop", (event) => take(event.dataTransfer.files));
start();
