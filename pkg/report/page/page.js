"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const make = (name, props, ...children) => {
    const e = Object.assign(document.createElement(name), props);
    e.append(...children.filter((c) => c !== null && c !== undefined));
    return e;
  };
  for (const e of document.querySelectorAll(".script")) e.hidden = false;

  // Tables: a click on a head sorts by it; groups stay below the datasets.
  const key = (row, i) => {
    const cell = row.cells[i];
    const text = cell.dataset.sort ?? cell.textContent.trim();
    const number = parseFloat(text);
    return Number.isNaN(number) || !/^[-+]?[\d.]/.test(text) ? text : number;
  };
  const order = (a, b) => {
    const [x, y] = [typeof a, typeof b];
    if (a === "" || b === "") return a === b ? 0 : a === "" ? 1 : -1;
    return x !== y ? (x === "number" ? -1 : 1) : x === "number" ? a - b : a.localeCompare(b);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((th, i) => {
      const button = make("button", { type: "button", textContent: th.textContent });
      th.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = th.getAttribute("aria-sort") === "ascending";
        heads.forEach((h) => h.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const group = (r) => r.classList.contains("group");
        const rows = [...body.rows].sort((a, b) => group(a) - group(b) || (down ? -1 : 1) * order(key(a, i), key(b, i)));
        body.append(...rows);
      });
    });
  }
  const filter = document.getElementById("filter");
  filter?.addEventListener("input", () => {
    const want = filter.value.toLowerCase();
    for (const row of document.getElementById("table").tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(want);
  });

  // Charts. Each is drawn only where there is something to compare.
  const plots = document.getElementById("plots");
  const draw = (title, options, into = plots) => {
    const svg = Plot.plot({ style: { fontSize: "12px", background: "transparent", color: "currentColor" }, ariaLabel: title, ...options });
    if (into.classList.contains("charts")) into.append(make("figure", { role: "group" }, make("figcaption", { textContent: title }), svg));
    else into.append(svg);
  };
  const models = { domain: data.models, legend: data.models.length > 1 };
  const short = (s) => (s.length > 28 ? s.slice(0, 27) + "…" : s);
  const left = (names) => Math.min(220, 30 + 7 * Math.max(0, ...names.map((s) => short(s).length)));
  // Points with intervals, a facet a dataset and a line a model. More models than there are colours are told apart by their names at the left.
  const many = data.models.length > 10;
  const dots = (title, rows, label, none) => {
    if (rows.length === 0) return;
    const names = [...new Set(rows.map((r) => r.dataset))], shown = data.models.filter((m) => rows.some((r) => r.model === m));
    const colour = many ? "currentColor" : "model";
    draw(title, {
      marginLeft: left(many ? shown : names), marginRight: many ? left(names) : 20, marginBottom: 44,
      height: 76 + names.length * (14 + 12 * shown.length), color: many ? undefined : models,
      x: { label, labelOffset: 38, grid: true, nice: true }, fy: { label: null, domain: names, tickFormat: short, axis: many ? "right" : "left", padding: 0.2 },
      y: { axis: many ? "left" : null, label: null, domain: shown, tickFormat: short, tickSize: 0 },
      marks: [
        none === undefined ? null : Plot.ruleX([none], { stroke: "currentColor", strokeDasharray: "4 3" }),
        Plot.ruleY(rows.filter((r) => r.low !== null), { fy: "dataset", y: "model", x1: "low", x2: "high", stroke: colour, strokeWidth: 2 }),
        Plot.dot(rows, { fy: "dataset", y: "model", x: "value", fill: colour, r: 4,
          title: (r) => `${r.model}\n${r.dataset}: ${r.value}${r.low === null ? "" : ` [${r.low}, ${r.high}]`}`, tip: true }),
      ],
    });
  };
  // What is drawn against the step is not drawn again.
  const stepped = new Set(data.curves.flatMap((c) => c.points.map((p) => p.model)));
  if (data.models.some((m) => !stepped.has(m))) {
    dots("Scores with 95 % intervals", data.scores.filter((s) => !s.group), "percent →");
    dots("Groups", data.scores.filter((s) => s.group), "percent →");
  }
  for (const c of data.charts) {
    draw(`${c.dataset}: ${c.metric} against size`, {
      color: models, grid: true, x: { label: "MiB →", labelOffset: 38, type: "log" }, marginBottom: 44, y: { label: `↑ ${c.metric}`, type: "log" }, marginLeft: 60,
      marks: [
        Plot.ruleX(c.points.filter((p) => p.low !== null), { x: (p) => p.bytes / 1048576, y1: "low", y2: "high", stroke: "model" }),
        Plot.dot(c.points, { x: (p) => p.bytes / 1048576, y: "value", fill: "model", r: 5, title: "model", tip: true }),
      ],
    });
  }
  dots("Change beside the baseline, in points", data.changes.filter((c) => c.unit === "points"), "points →", 0);
  dots("Perplexity over the baseline's", data.changes.filter((c) => c.unit === "ratio"), "ratio →", 1);
  // Score against step: one chart of a single training's datasets in percent, else a chart a dataset with a line a training.
  const curve = (title, points, colour, domain, y) => draw(title, {
    marginLeft: 60, marginBottom: 40, grid: true, color: { domain, legend: domain.length > 1 }, x: { label: "step →", nice: true, ticks: 6, tickFormat: "~s" },
    y: { label: `↑ ${y}`, nice: true },
    marks: [
      Plot.areaY(points.filter((p) => p.low !== null), { x: "step", y1: "low", y2: "high", z: colour, fill: colour, fillOpacity: 0.13 }),
      Plot.lineY(points, { x: "step", y: "value", z: colour, stroke: colour, strokeWidth: 2 }),
      Plot.dot(points, { x: "step", y: "value", fill: colour, r: 3, tip: true,
        title: (p) => `${p.model}, step ${p.step}\n${p.dataset}: ${p.value}${p.low === null ? "" : ` [${p.low}, ${p.high}]`}` }),
    ],
  }, document.getElementById("curves"));
  const trainings = [...new Set(data.curves.flatMap((c) => c.points.map((p) => p.series)))];
  const flat = (list) => list.flatMap((c) => c.points.map((p) => ({ ...p, dataset: c.dataset })));
  const together = trainings.length === 1 ? data.curves.filter((c) => c.unit === "percent") : [];
  const oneChart = together.length > 1 && together.length <= 10;
  if (oneChart) curve(`${trainings[0]}: scores by step`, flat(together), "dataset", together.map((c) => c.dataset), "percent");
  for (const c of data.curves) {
    if (oneChart && c.unit === "percent") continue;
    curve(`${c.dataset}: ${c.metric} by step`, flat([c]), "series", trainings, c.unit === "percent" ? "percent" : c.metric);
  }
  if (plots.children.length === 0) {
    document.getElementById("charts").hidden = true;
    document.querySelector('nav a[href="#charts"]').hidden = true;
  }
  if (data.spans.length > 0) {
    const lanes = [...new Set(data.spans.map((s) => s.lane))];
    draw("Attempts by worker over time", {
      width: 1100, marginLeft: left(lanes), height: 76 + 18 * Math.min(lanes.length, 200), marginBottom: 44,
      x: { label: "seconds since the first was asked for →", labelOffset: 38, grid: true },
      y: { label: null, domain: lanes, tickFormat: short }, color: { domain: ["load", "work", "failed"], range: ["#bf8700", "#0969da", "#cf222e"], legend: true },
      marks: [Plot.barX(data.spans, { x1: "from", x2: "to", y: "lane", fill: "kind", inset: 0.5, title: "title", tip: true })],
    }, document.getElementById("spans"));
  }

  // Rows: those in this file at once, the others from the files beside it as they are asked for.
  const perPage = 50;
  const pages = new Map(); // "task/page" -> what waits for it
  window.sextantRows = (task, page, rows) => pages.get(`${task}/${page}`)?.(rows);
  const fetchPage = (task, n) => new Promise((done, fail) => {
    const src = `${data.beside}/${task}-${n}.js`;
    pages.set(`${task}/${n}`, done);
    const script = make("script", { src, onerror: () => fail(new Error(`${src} is not beside this report: keep the directory with it`)) });
    document.head.append(script);
    script.addEventListener("load", () => script.remove());
  });
  const rowView = (task, r) => {
    const body = make("div");
    const block = (title, text) => text && body.append(make("h3", { textContent: title }), make("pre", { textContent: text }));
    const view = make("details", { className: "row" },
      make("summary", {}, `row ${r.row}: `, make("span", { className: r.value >= 1 ? "right" : "wrong", textContent: r.answer ?? "" }),
        r.before ? ` · was: ${r.before.answer}` : "", r.gold?.length ? ` · right: ${r.gold.join(" | ")}` : "", r.value !== null && !(r.value in { 0: 1, 1: 1 }) ? ` · ${r.value.toFixed(4)}` : ""), body);
    view.addEventListener("toggle", () => {
      if (!view.open || body.children.length > 0) return;
      block("Prompt", (r.whole ? "" : task.prefix ?? "") + (r.prompt ?? ""));
      if (r.options?.length) {
        const best = Math.min(...r.options.map((o) => o.loss));
        const table = make("table", {}, make("caption", { textContent: "Options; the lowest loss is the answer" }));
        const head = table.createTHead().insertRow();
        for (const h of ["", "label", "loss", "text"]) head.append(make("th", { scope: "col", textContent: h }));
        const rows = table.createTBody();
        for (const o of r.options) {
          const tr = rows.insertRow();
          for (const t of [(r.gold ?? []).includes(o.label) ? "✓ right" : "", o.label + (o.loss === best ? " (answer)" : ""), o.loss.toFixed(4), o.text ?? ""])
            tr.insertCell().append(t);
        }
        body.append(make("div", { className: "wide" }, table));
      }
      block("Generated", r.text);
      block("Generated by the baseline", r.before?.text);
    });
    return view;
  };
  const open = (box) => {
    const id = box.dataset.task, task = data.tasks[id], list = box.querySelector(".list");
    if (!task || list.children.length > 0) return;
    let rows = task.rows, all = task.files === 0, at = 0, want = "";
    const note = make("p", { className: "soft", role: "status" });
    const view = make("div");
    const search = make("input", { type: "search", placeholder: "search prompts and answers" });
    const back = make("button", { type: "button", className: "page", textContent: "← before" });
    const next = make("button", { type: "button", className: "page", textContent: "after →" });
    const more = make("button", { type: "button", className: "page", textContent: `load all ${task.count} rows` });
    const text = (r) => [r.row, r.prompt, r.answer, r.text, r.before?.answer, r.before?.text, ...(r.gold ?? []), ...(r.options ?? []).map((o) => o.text)].join("\n").toLowerCase();
    const show = () => {
      const found = want ? rows.filter((r) => text(r).includes(want)) : rows;
      at = Math.max(0, Math.min(at, Math.floor((found.length - 1) / perPage) * perPage));
      view.replaceChildren(...found.slice(at, at + perPage).map((r) => rowView(task, r)));
      note.textContent = `${found.length ? at + 1 : 0}–${Math.min(at + perPage, found.length)} of ${found.length}` +
        (all ? "" : ` rows in this file; there are ${task.count}`);
      back.disabled = at === 0;
      next.disabled = at + perPage >= found.length;
      more.hidden = all;
    };
    const load = async () => {
      if (all) return;
      more.disabled = true;
      try {
        const parts = [];
        for (let n = 0; n < task.files; n++) {
          parts.push(await fetchPage(id, n));
          note.textContent = `${n + 1} of ${task.files} files`;
        }
        rows = parts.flat();
        all = true;
        show();
      } catch (err) {
        more.disabled = false;
        note.textContent = err.message;
      }
    };
    search.addEventListener("input", async () => { want = search.value.toLowerCase(); at = 0; show(); });
    search.addEventListener("keydown", (e) => { if (e.key === "Enter") load(); });
    back.addEventListener("click", () => { at -= perPage; show(); });
    next.addEventListener("click", () => { at += perPage; show(); });
    more.addEventListener("click", load);
    list.append(make("div", { className: "tools" }, make("label", {}, "Search ", search), back, next, more), note, view);
    show();
  };
  for (const box of document.querySelectorAll("details.task")) box.addEventListener("toggle", () => box.open && open(box));
})();
