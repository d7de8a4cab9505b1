"use strict";
// The page of `sdcl app`. Text enters the document as text only (textContent), never as HTML.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const percent = (share) => (100 * share).toFixed(share < 0.1 ? 1 : 0) + " %";
let query = null; // {file} or {row}, with name
let galleries = [];
let unchosen = new Set(); // numbers of galleries that are not searched
let answer = null, asked = 0, polling = 0;
let costs = unknownCosts(""); // of each position of the threshold
let moved = null; // the threshold that the person chose
let searched = ""; // the galleries of the last search, with their versions

// ---------------------------------------------------------------- small parts

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

async function call(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error("the program does not answer; is `sdcl app` still running?");
  }
  const type = response.headers.get("content-type") || "";
  const body = type.includes("json") ? await response.json() : { error: await response.text() };
  if (!response.ok) throw new Error(body.error || `answer ${response.status}`);
  return body;
}

function complain(error) {
  $("alert").textContent = error ? error.message : "";
  $("alert").hidden = !error;
}

function pager(holder, page, pages, go) {
  holder.replaceChildren();
  if (pages < 2) return;
  const step = (text, to) => element("button", { type: "button", textContent: text, disabled: to < 0 || to >= pages, onclick: () => go(to) });
  holder.append(step("Previous", page - 1), element("span", { textContent: `page ${page + 1} of ${pages}` }), step("Next", page + 1));
}

// ---------------------------------------------------------------- galleries

function showGalleries() {
  const list = $("galleries"), focused = document.activeElement && document.activeElement.id;
  list.replaceChildren();
  if (!galleries.length) list.append(element("li", { textContent: "No gallery yet." }));
  for (const one of galleries) {
    const item = element("li");
    const shown = one.role === "reference" ? `reference ${one.name}` : one.name;
    const images = one.images === null ? "" : `${one.images.toLocaleString("en")} images`;
    if (one.role === "gallery") {
      const box = element("input", { type: "checkbox", id: `use-${one.number}`, checked: !unchosen.has(one.number) });
      box.onchange = () => { if (box.checked) unchosen.delete(one.number); else unchosen.add(one.number); again(); };
      item.append(element("label", { className: "line", title: one.path }, box, element("span", { className: "name", textContent: one.name })));
    } else item.append(element("span", { className: "name", textContent: `Reference: ${one.name}`, title: one.path }));
    const state = element("span", { className: "state" });
    if (one.state === "ready") state.textContent = `${one.modality}, ${images}`;
    else if (one.state === "failed") { state.textContent = one.message; state.classList.add("failed"); }
    else if (one.state === "waiting") state.textContent = "waiting";
    else state.textContent = `embedding ${one.done.toLocaleString("en")} of ${one.total ? one.total.toLocaleString("en") : "…"}`;
    item.append(state);
    if (one.state === "embedding") item.append(element("progress", { max: one.total || 1, value: one.done, "aria-label": `Embedding ${one.name}` }));
    const buttons = element("div", { className: "buttons" });
    if (one.state === "ready" || one.state === "failed") {
      buttons.append(element("button", { type: "button", id: `renew-${one.number}`, textContent: "Renew", title: "embed new and changed images", "aria-label": `Renew ${shown}`, onclick: () => change(one.number, "POST") }));
    }
    buttons.append(element("button", { type: "button", id: `remove-${one.number}`, textContent: "Remove", "aria-label": `Remove ${shown}`, onclick: () => change(one.number, "DELETE") }));
    item.append(buttons);
    list.append(item);
  }
  if (focused && $(focused)) $(focused).focus();
}

async function loadGalleries() {
  const before = JSON.stringify(galleries);
  galleries = (await call("/api/galleries")).galleries;
  if (JSON.stringify(galleries) !== before || !galleries.length) showGalleries();
  if (ready().length && versions() !== searched) again();
  clearTimeout(polling);
  polling = setTimeout(() => loadGalleries().catch(complain), galleries.some((g) => g.state === "embedding" || g.state === "waiting") ? 700 : 5000);
}

const readyOnes = () => galleries.filter((g) => g.role === "gallery" && g.state === "ready" && !unchosen.has(g.number));
const ready = () => readyOnes().map((g) => g.number);
const versions = () => readyOnes().map((g) => `${g.number}.${g.version}`).join();

async function change(number, method) {
  try {
    complain();
    galleries = (await call(`/api/galleries/${number}`, { method })).galleries;
    showGalleries();
    await loadGalleries();
    if (versions() !== searched) again();
  } catch (error) { complain(error); }
}

async function addGallery() {
  try {
    complain();
    const body = JSON.stringify({ path: $("path").value, modality: $("gallery-modality").value });
    galleries = (await call("/api/galleries", { method: "POST", body })).galleries;
    $("path").value = "";
    showGalleries();
    await loadGalleries();
  } catch (error) { complain(error); }
}

// ---------------------------------------------------------------- query

function choose(next) {
  query = next;
  $("chosen").textContent = `Chosen: ${next.name}`;
  for (const button of document.querySelectorAll("#query-images button")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.row) === next.row));
  }
}

function takeFile(file) {
  if (file) { choose({ file, name: file.name }); search().then(reveal); }
}

function reveal() { // on a narrow page the answer lies below the form
  if (answer) $("status").scrollIntoView({ block: "nearest" });
}

async function listQueries(page) {
  const list = await call(`/api/queries?page=${page}`);
  $("query-images").replaceChildren(...list.images.map((one) => {
    const image = element("img", { src: `/api/queries/${one.row}`, alt: one.name, loading: "lazy" });
    const button = element("button", { type: "button", title: one.name, "aria-pressed": String(Boolean(query && query.row === one.row)) }, image);
    button.dataset.row = one.row;
    button.onclick = () => { choose({ row: one.row, name: one.name }); search(); };
    return button;
  }));
  pager(document.querySelector('[data-for="query-images"]'), page, list.pages, (to) => listQueries(to).catch(complain));
}

const modality = () => document.querySelector("input[name=modality]:checked").value;

function post(address, parameters) {
  const all = new URLSearchParams(parameters);
  if (query.file === undefined) all.set("query", query.row);
  const headers = query.file ? { "x-file-name": encodeURIComponent(query.name) } : {};
  return call(`${address}?${all}`, { method: "POST", body: query.file || null, headers });
}

// ---------------------------------------------------------------- search

function again() {
  if (query && asked) search();
}

async function search() {
  const mine = ++asked;
  complain();
  if (!query) { $("status").textContent = "Choose an image first."; return; }
  $("status").textContent = "Searching…";
  $("go").disabled = true;
  const numbers = ready().join(), began = performance.now();
  searched = versions();
  try {
    const found = await post("/api/search", { modality: modality(), galleries: numbers, top: $("top").value, rerank: $("rerank").checked });
    if (mine !== asked) return;
    answer = found;
    const key = searched + galleries.map((g) => g.state + g.version).join();
    const known = costs.key === key;
    if (!known) placeThreshold(unknownCosts("Measuring what the line costs…"));
    showAnswer(performance.now() - began);
    if (!known) measureCosts(numbers, key, mine);
  } catch (error) {
    if (mine !== asked) return;
    answer = null;
    $("result").hidden = true;
    $("status").textContent = "No result.";
    complain(error);
  } finally {
    if (mine === asked) $("go").disabled = false;
  }
}

async function measureCosts(numbers, key, mine) { // after the results: many reference images take a while
  let found;
  try {
    found = await call(`/api/costs?galleries=${numbers}`);
  } catch (error) {
    found = unknownCosts(`What the line costs is not known: ${error.message}`);
  }
  if (mine !== asked || !answer) return;
  placeThreshold(Object.assign(found, { key }));
  showThreshold();
}

function showAnswer(milliseconds) {
  const { query: asked, results, searched, ranking } = answer;
  $("result").hidden = false;
  $("maps").hidden = true;
  $("query-image").src = asked.preview;
  $("query-image").alt = `Query ${asked.name}, ${asked.modality}`;
  $("query-caption").textContent = [asked.name, asked.modality, ...placeAndTime(asked)].join(", ");
  $("status").textContent = `${searched.toLocaleString("en")} images ranked in ${(milliseconds / 1000).toFixed(2)} s.`;
  $("ranking").textContent = `By ${ranking}; the number is the cosine similarity${ranking === "cosine similarity" ? "" : ", in brackets 1 − re-ranked distance"}.`;
  const reranked = $("rerank").checked;
  $("results").replaceChildren(...results.map((one, index) => {
    const facts = [one.modality, ...placeAndTime(one)].join(", ");
    const image = element("img", { src: `/api/galleries/${one.gallery}/images/${one.row}`, alt: `${index + 1}: ${one.name}, ${facts}`, loading: "lazy" });
    image.onerror = () => image.replaceWith(element("div", { className: "unseen", textContent: "the image may not be read, or is gone" }));
    const score = one.similarity.toFixed(3) + (reranked ? ` (${one.score.toFixed(3)})` : "");
    const caption = element("figcaption", {}, element("b", { textContent: `${index + 1}: ${score}` }), element("br"), facts, element("br"), one.name);
    caption.title = `${one.gallery_name}: ${one.name}`;
    const button = element("button", { type: "button", textContent: "Attention", "aria-label": `Attention of result ${index + 1}` });
    button.onclick = () => showAttention(() => call(`/api/galleries/${one.gallery}/attention/${one.row}`, { method: "POST" }), `result ${index + 1}, ${one.name}`);
    const item = element("li", {}, element("figure", {}, image, caption), button);
    item.dataset.similarity = one.similarity;
    return item;
  }));
  showThreshold();
}

function placeAndTime(one) {
  return [one.camera === null ? null : `camera ${one.camera}`, one.time].filter((part) => part !== null);
}

async function showAttention(fetchMaps, title) {
  complain();
  try {
    const { maps } = await fetchMaps();
    const figures = maps.map((one) => element("figure", {}, element("img", { src: one.image, alt: `${one.name} of ${title}` }), element("figcaption", { textContent: one.name })));
    const close = element("button", { type: "button", textContent: "Close", onclick: () => { $("maps").hidden = true; } });
    $("maps").replaceChildren(element("h2", { textContent: `Attention: ${title}`, tabIndex: -1 }), element("div", { className: "row" }, ...figures), close);
    $("maps").hidden = false;
    $("maps").scrollIntoView({ block: "nearest" });
    $("maps").firstChild.focus();
  } catch (error) { complain(error); }
}

// ---------------------------------------------------------------- threshold

function unknownCosts(note) {
  const thresholds = Array.from({ length: 201 }, (_, i) => i / 100 - 1), unknown = thresholds.map(() => null);
  return { images: 0, note, default: null, thresholds, false_accepts: unknown, true_accepts: unknown, key: null };
}

function placeThreshold(found) { // where the person left it; else where the calibration says, or below the best
  const { thresholds } = found;
  const nearest = (value) => thresholds.reduce((best, t, i) => (Math.abs(t - value) < Math.abs(thresholds[best] - value) ? i : best), 0);
  costs = found;
  $("threshold").max = thresholds.length - 1;
  $("threshold").value = moved !== null ? nearest(moved) : costs.default !== null ? costs.default : nearest(answer.best - 0.1);
  drawCurves();
}

function drawCurves() {
  const curves = $("curves"), { thresholds } = costs, last = thresholds.length - 1;
  curves.replaceChildren();
  const make = (tag, properties) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value);
    curves.append(made);
    return made;
  };
  make("line", { class: "axis", x1: 8, x2: 392, y1: 95, y2: 95 });
  make("text", { x: 8, y: 107 }).textContent = thresholds[0].toFixed(2);
  make("text", { x: 392, y: 107, "text-anchor": "end" }).textContent = thresholds[last].toFixed(2);
  const line = (values, name, label) => {
    if (values[0] === null) return;
    make("path", { class: name, d: values.map((v, i) => `${i ? "L" : "M"}${(8 + 384 * i / last).toFixed(1)} ${(95 - 85 * v).toFixed(1)}`).join("") });
    make("text", { x: 12, y: name === "impostor" ? 88 : 76 }).textContent = label;
  };
  line(costs.false_accepts, "impostor", "solid: false accepts");
  line(costs.true_accepts, "genuine", "dashed: true accepts");
  make("line", { class: "at", id: "at", y1: 4, y2: 95 });
  curves.toggleAttribute("hidden", costs.images === 0);
}

function showThreshold() {
  const index = Number($("threshold").value), at = costs.thresholds[index];
  $("threshold-value").textContent = at.toFixed(3);
  $("threshold").setAttribute("aria-valuetext", at.toFixed(3));
  const x = 8 + 384 * index / (costs.thresholds.length - 1);
  if ($("at")) { $("at").setAttribute("x1", x); $("at").setAttribute("x2", x); }
  if (costs.images === 0) $("costs").textContent = costs.note || "What the line costs is not known: start with --reference, images of people who are not in the gallery or, with --labelled, of named people.";
  else {
    const genuine = costs.true_accepts[index];
    const found = genuine === null ? "" : ` ${percent(genuine)} of the reference images whose person is in the gallery find that person above the line.`;
    $("costs").textContent = `By ${costs.images} reference images: at most ${percent(costs.false_accepts[index])} of the people who are not in the gallery are wrongly accepted.${found}`;
  }
  if (!answer) return;
  const there = answer.best > at;
  $("verdict").textContent = there ? `In the gallery: the best similarity, ${answer.best.toFixed(3)}, is above the line.` : `Not in the gallery: the best similarity, ${answer.best.toFixed(3)}, is not above the line.`;
  $("verdict").className = there ? "in" : "out";
  for (const cut of document.querySelectorAll("#results .cut")) cut.remove();
  let above = 0, first = null;
  for (const item of document.querySelectorAll("#results li")) {
    const below = Number(item.dataset.similarity) <= at;
    item.classList.toggle("below", below);
    if (below && first === null) first = item;
    if (!below) above += 1;
  }
  if (first && !$("rerank").checked) first.before(element("li", { className: "cut", textContent: `threshold ${at.toFixed(3)}: ${above} above, the rest below` }));
}

// ---------------------------------------------------------------- run

let run = null;

async function loadRun() {
  if (run) return;
  run = await call("/api/run");
  $("run-about").textContent = `${run.name}: ${run.recipe}`;
  $("run-notes").replaceChildren(...run.notices.map((text) => element("li", { textContent: text })));
  showEpochs();
  $("no-labels").hidden = run.labelled.length > 0;
  $("label-choice").hidden = run.labelled.length === 0;
  if (!run.labelled.length) return;
  $("epoch").max = run.labelled.length - 1;
  $("epoch").value = run.labelled.length - 1;
  showSets();
}

function showEpochs() {
  const names = [...new Set(run.epochs.flatMap((row) => Object.keys(row.labels)))];
  const head = ["epoch", "stage", "loss", ...names.flatMap((n) => [`${n}: clusters`, "purity"]), "R1", "mAP"];
  const number = (value, digits) => (typeof value === "number" ? value.toFixed(digits) : "–");
  const body = run.epochs.map((row) => {
    const test = row.test[0] || {};
    const cells = [row.epoch, row.stage, number(row.loss, 3), ...names.flatMap((n) => { const l = row.labels[n] || {}; return [number(l.clusters, 0), number(l.purity, 2)]; }), number(test.R1, 2), number(test.mAP, 2)];
    return element("tr", {}, ...cells.map((cell) => element("td", { textContent: cell })));
  });
  $("epochs").replaceChildren(element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col", textContent: text })))), element("tbody", {}, ...body));
}

function showSets() {
  const one = run.labelled[$("epoch").value], before = $("set").value;
  $("epoch-value").textContent = `${one.epoch} (${one.file})`;
  $("epoch").setAttribute("aria-valuetext", `epoch ${one.epoch}`);
  const options = one.sets.map((set) => element("option", { value: set.name, textContent: `clusters: ${set.name}` }));
  if (one.links) options.push(element("option", { value: "links", textContent: "links between modalities" }));
  $("set").replaceChildren(...options);
  if (options.some((option) => option.value === before)) $("set").value = before;
  showLabels(0);
}

const strip = (of, rows, same, shown) => element("div", { className: "strip" }, ...(shown ? rows : []).map((row, i) => {
  const right = same ? same[i] : null;
  const text = right === null ? "" : right ? ", the cluster's person" : ", another person";
  const image = element("img", { src: `/api/run/images/${of}/${row}`, alt: `${of} image ${row}${text}`, loading: "lazy" });
  return element("button", { type: "button", className: right === null ? "" : right ? "same" : "other", title: "show its neighbours", onclick: () => showNeighbours(of, row) }, image);
}));

async function showLabels(page) {
  const { epoch } = run.labelled[$("epoch").value], set = $("set").value;
  complain();
  try {
    const linked = set === "links";
    const shown = await call(linked ? `/api/run/links?epoch=${epoch}&page=${page}` : `/api/run/clusters?epoch=${epoch}&set=${encodeURIComponent(set)}&page=${page}`);
    if (linked) {
      $("clusters-about").textContent = `${shown.total} labels that both modalities carry, those of most visible images first.`;
      $("clusters").replaceChildren(...shown.links.map((link) => element("div", { className: "cluster" },
        element("p", { textContent: `label ${link.label}: ${link.visible.size} visible and ${link.infrared.size} infrared images` + (link.right === null ? "" : `, ${percent(link.right)} of the visible ones rightly`) }),
        strip("visible", link.visible.rows, null, shown.images), strip("infrared", link.infrared.rows, null, shown.images))));
    } else {
      $("clusters-about").textContent = `${shown.total} clusters, the largest first; ${shown.outliers} images in none.` + (shown.images ? " Dashed: another person than most of the cluster." : "");
      $("clusters").replaceChildren(...shown.clusters.map((one) => element("div", { className: "cluster" },
        element("p", { textContent: `cluster ${one.label}: ${one.size} images` + (one.cameras.length ? `, camera ${one.cameras.join(", ")}` : "") + (one.purity === null ? "" : `, purity ${percent(one.purity)}, ${one.people} ${one.people === 1 ? "person" : "people"}`) }),
        strip(shown.modality, one.rows, one.same, shown.images))));
    }
    pager(document.querySelector('[data-for="clusters"]'), page, shown.pages, showLabels);
  } catch (error) { complain(error); }
}

async function showNeighbours(of, row) {
  complain();
  $("neighbours-title").scrollIntoView({ block: "start" });
  try {
    for (;;) {
      const found = await call(`/api/run/neighbours?modality=${of}&row=${row}`, { method: "POST" });
      if (found.state === "failed") throw new Error(found.message);
      if (found.state === "ready") {
        $("neighbours-about").textContent = `Nearest ${found.modality} images of ${of} image ${row}, among ${found.among} of ${found.total}.`;
        if (found.note) $("neighbours-about").textContent += ` (${found.note})`;
        const query = element("figure", {}, element("img", { src: `/api/run/images/${of}/${row}`, alt: `${of} image ${row}` }), element("figcaption", { textContent: "this image" }));
        $("neighbours").replaceChildren(element("div", { className: "strip" }, query), ...found.lists.flatMap((list) => [
          element("h3", { textContent: list.name }),
          element("div", { className: "strip" }, ...list.images.map((one) => {
            const text = one.same === null ? "" : one.same ? ", the same person" : ", another person";
            const image = element("img", { src: `/api/run/images/${found.modality}/${one.row}`, alt: `${found.modality} image ${one.row}${text}` });
            return element("figure", { className: one.same === null ? "" : one.same ? "same" : "other" }, image, element("figcaption", { textContent: one.similarity.toFixed(3) }));
          }))]));
        return;
      }
      $("neighbours-about").textContent = found.total ? `Embedding training images before and after training: ${found.done} of ${found.total}…` : "Opening the weights before training…";
      await new Promise((resume) => setTimeout(resume, 700));
    }
  } catch (error) {
    $("neighbours-about").textContent = "No neighbours.";
    complain(error);
  }
}

// ---------------------------------------------------------------- start

function view() {
  if (!$("run-view")) return;
  const onRun = location.hash === "#run";
  $("search-view").hidden = onRun;
  $("run-view").hidden = !onRun;
  for (const [id, current] of [["to-search", !onRun], ["to-run", onRun]]) {
    if (current) $(id).setAttribute("aria-current", "page"); else $(id).removeAttribute("aria-current");
  }
  document.title = onRun ? "sdcl: run" : "sdcl: search";
  if (onRun) loadRun().catch(complain);
}

$("file").onchange = () => takeFile($("file").files[0]);
for (const name of ["dragenter", "dragover"]) addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
for (const name of ["dragleave", "drop"]) addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.remove("over"); });
addEventListener("drop", (event) => takeFile(event.dataTransfer.files[0]));
$("search-form").onsubmit = (event) => { event.preventDefault(); search().then(reveal); };
for (const one of [...document.querySelectorAll("input[name=modality]"), $("rerank"), $("top")]) one.onchange = again;
$("threshold").oninput = () => { moved = costs.thresholds[$("threshold").value]; showThreshold(); };
$("query-attention").onclick = () => showAttention(() => post("/api/attention", { modality: answer.query.modality }), "the query");
$("add").onclick = addGallery;
$("path").onkeydown = (event) => { if (event.key === "Enter") { event.preventDefault(); addGallery(); } };
$("add-gallery").ontoggle = async () => {
  if (!$("add-gallery").open) return;
  try {
    const { folders } = await call("/api/folders");
    $("folders").replaceChildren(...folders.map((value) => element("option", { value })));
  } catch (error) { complain(error); }
};
if ($("query-folder")) $("query-folder").ontoggle = () => { if ($("query-folder").open) listQueries(0).catch(complain); };
if ($("run-view")) {
  $("epoch").oninput = showSets;
  $("set").onchange = () => showLabels(0);
  addEventListener("hashchange", view);
}
view();
loadGalleries().catch(complain);
