"use strict";
(() => {
  const PAGE = 100;
  const { images, thumbnails, settings } = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const body = byId("rows"), search = byId("search"), filter = byId("filter");
  const more = byId("more"), peek = byId("peek");
  const number = new Intl.NumberFormat("en-US");
  const collator = new Intl.Collator("en", { numeric: true });
  const statusOrder = { failed: 0, unsupported: 1, skipped: 2, done: 3 };

  const given = (name) => images.some((image) => (image[name] ?? null) !== null);
  const scored = given("score");
  const scan = scored && !given("output") && !given("coverage");
  const timed = !scan || given("seconds");
  const columns = { score: scored, coverage: !scan, seconds: timed };

  images.forEach((image, index) => {
    for (const name of ["output", "coverage", "score", "seconds"]) image[name] ??= null;
    image.regions ??= [];
    image.notes ??= [];
    image.unchanged ??= false;
    image.index = index;
    const cut = image.source.search(/[^/\\]*$/);
    image.name = image.source.slice(cut) || image.source;
    image.folder = image.source.slice(0, cut);
    image.text = [image.source, image.error, ...image.notes].join("\n").toLowerCase();
  });

  const compare = {
    name: (a, b) => collator.compare(a.source, b.source),
    status: (a, b) => statusOrder[a.status] - statusOrder[b.status],
    score: (a, b) => a.score - b.score,
    coverage: (a, b) => a.coverage - b.coverage,
    seconds: (a, b) => a.seconds - b.seconds,
  };
  const matches = {
    all: () => true,
    changed: (image) => image.status === "done" && !image.unchanged,
    unchanged: (image) => image.status === "done" && image.unchanged,
    found: (image) => image.regions.length > 0,
    clear: (image) => image.score !== null && image.regions.length === 0,
    done: (image) => image.status === "done",
    skipped: (image) => image.status === "skipped",
    unsupported: (image) => image.status === "unsupported",
    failed: (image) => image.status === "failed",
  };

  // What a run cannot hold is not offered.
  const idle = [...(scored ? [] : ["found", "clear"]), ...(scan ? ["changed", "unchanged", "skipped"] : [])];
  if (!images.some(matches.unsupported)) idle.push("unsupported");
  for (const value of idle) filter.querySelector(`[value=${value}]`).remove();
  const headers = [...document.querySelectorAll("th[data-key]")].filter((header) => {
    const used = columns[header.dataset.key] !== false;
    if (!used) header.remove();
    return used;
  });

  let order = { key: scored ? "score" : "coverage", descending: true };
  let shown = [];
  let rendered = 0;

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const cell = (className) => {
    const element = make("td", className);
    element.setAttribute("role", "cell");
    return element;
  };
  const percent = (share) => (share * 100).toFixed(share > 0 && share < 0.1 ? 2 : 1) + "%";
  // Cut, not rounded: what is below a threshold stays below it.
  const score = (value) => (Math.floor(Math.round(value * 1e8) / 1e6) / 100).toFixed(2);
  const seconds = (value) => (value < 10 ? value.toFixed(2) : value.toFixed(0)) + " s";
  const picture = (base64, alt) => {
    const image = make("img");
    image.src = "data:image/jpeg;base64," + base64;
    image.alt = alt;
    return image;
  };

  function shots(image) {
    const found = thumbnails[image.index];
    if (!found) return null;
    const strip = make("div", "shots");
    for (const [name, base64] of Object.entries(found)) {
      const figure = make("figure");
      const title = name[0].toUpperCase() + name.slice(1);
      figure.append(picture(base64, `${title} of ${image.name}`), make("figcaption", "", title));
      strip.append(figure);
    }
    return strip;
  }

  function details(image) {
    const row = make("tr", "more");
    row.setAttribute("role", "row");
    const box = cell("");
    box.colSpan = headers.length + 1;
    const facts = make("dl", "facts");
    const setting = settings[image.setting ?? 0];
    const add = (name, value, className) => {
      if (value === null || value === undefined || value === "") return;
      facts.append(make("dt", "", name), make("dd", className, value));
    };
    add("Source", image.source, "path");
    add("Moved to", image.moved, "path");
    add("Output", image.output, "path");
    add("Mask", image.mask, "path");
    add("Error", image.error, "reason");
    if (image.stale) add("Output", "of an earlier run, still there");
    if (image.width && image.height) add("Size", `${image.width} × ${image.height} pixels`);
    add("Format", image.format);
    const page = image.page ? ` on page ${image.page}` : "";
    for (const [x, y, width, height, certainty] of image.regions)
      add("Region", `${width} × ${height} pixels at ${x}, ${y}${page} (${score(certainty)})`);
    if (setting) add("Method", [setting.method, setting.params].filter(Boolean).join(": "));
    for (const note of image.notes) add("Note", note);
    const strip = shots(image);
    if (strip) box.append(strip);
    box.append(facts);
    row.append(box);
    return row;
  }

  function measure(share, show) {
    const measured = cell("cov");
    measured.textContent = share === null ? "–" : show(share);
    if (share === null) return measured;
    const track = make("i");
    const bar = make("b");
    bar.style.width = share * 100 + "%";
    track.append(bar);
    measured.append(track);
    return measured;
  }

  function verdict(image) {
    if (image.status !== "done") return [image.status, image.status];
    if (scan) return image.regions.length ? ["found", "patch found"] : ["done", "nothing found"];
    return ["done", image.unchanged ? "unchanged" : "done"];
  }

  function build(image) {
    const row = make("tr", "row");
    row.setAttribute("role", "row");
    row.image = image;

    const pic = cell("pic");
    const found = thumbnails[image.index];
    const best = found && (found.original || found.cleaned || found.mask || found.difference);
    pic.append(best ? picture(best, "") : make("i"));
    if (best && image.regions.length) pic.firstChild.className = "whole";

    const name = cell("name");
    const open = make("button", "", image.name);
    open.type = "button";
    open.setAttribute("aria-expanded", "false");
    name.append(open);
    if (image.folder) name.append(make("span", "path soft", image.folder));
    if (image.error) name.append(make("span", "reason small", image.error));

    const status = cell("status");
    status.append(make("span", ...verdict(image)));
    row.append(pic, name);
    if (columns.score) {
      const measured = measure(image.score, score);
      const count = image.regions.length;
      if (count) measured.prepend(make("span", "regions", count === 1 ? "1 region" : `${count} regions`));
      row.append(measured);
    }
    if (columns.coverage) row.append(measure(image.coverage, percent));
    row.append(status);
    if (columns.seconds) {
      const time = cell("time");
      time.textContent = image.seconds === null ? "–" : seconds(image.seconds);
      row.append(time);
    }
    return row;
  }

  function extend() {
    const next = shown.slice(rendered, rendered + PAGE);
    body.append(...next.map(build));
    rendered += next.length;
    const left = shown.length - rendered;
    more.hidden = left === 0;
    more.textContent = `Show ${number.format(Math.min(PAGE, left))} more of ${number.format(left)}`;
  }

  function update() {
    const words = search.value.toLowerCase().trim().split(/\s+/);
    const keep = matches[filter.value];
    const direction = order.descending ? -1 : 1;
    const { key } = order;
    shown = images.filter((image) => keep(image) && words.every((word) => image.text.includes(word)));
    shown.sort((a, b) => {
      // What has no value goes last in both directions.
      const lacking = (a[key] === null) - (b[key] === null);
      if (lacking || a[key] === null) return lacking || a.index - b.index;
      return direction * compare[key](a, b) || a.index - b.index;
    });
    for (const header of headers) {
      const sorted = order.descending ? "descending" : "ascending";
      header.setAttribute("aria-sort", header.dataset.key === key ? sorted : "none");
    }
    byId("count").textContent = `${number.format(shown.length)} of ${number.format(images.length)} shown`;
    hide();
    body.replaceChildren();
    rendered = 0;
    extend();
  }

  function toggle(row) {
    const open = row.querySelector("button");
    const expanded = open.getAttribute("aria-expanded") === "true";
    open.setAttribute("aria-expanded", String(!expanded));
    if (expanded) row.nextSibling.remove();
    else row.after(details(row.image));
    hide();
  }

  function show(row) {
    const strip = shots(row.image);
    if (!strip || row.querySelector("button").getAttribute("aria-expanded") === "true") return hide();
    peek.replaceChildren(strip);
    peek.hidden = false;
    const at = row.getBoundingClientRect();
    const size = peek.getBoundingClientRect();
    const below = at.bottom + 6;
    const left = Math.min(at.left + 80, innerWidth - size.width - 8);
    peek.style.left = Math.max(8, left) + "px";
    peek.style.top = (below + size.height < innerHeight ? below : at.top - size.height - 6) + "px";
  }

  function hide() {
    peek.hidden = true;
  }

  for (const header of headers) {
    header.querySelector("button").addEventListener("click", () => {
      const { key } = header.dataset;
      const numeric = key in columns;
      order = { key, descending: order.key === key ? !order.descending : numeric };
      update();
    });
  }
  search.addEventListener("input", update);
  filter.addEventListener("change", update);
  more.addEventListener("click", () => {
    const row = body.lastElementChild;
    extend();
    const next = row.nextElementSibling;
    if (next && document.activeElement === more) next.querySelector("button").focus();
  });
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && !more.hidden) extend();
  }, { rootMargin: "400px" }).observe(more);

  body.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row && (event.target.closest("button") || getSelection().isCollapsed)) toggle(row);
  });
  const rowOf = (event) => event.target.closest(".row");
  body.addEventListener("pointerover", (event) => {
    if (event.pointerType === "mouse") rowOf(event) ? show(rowOf(event)) : hide();
  });
  body.addEventListener("pointerleave", hide);
  const showFocused = () => {
    const focused = body.querySelector(".row button:focus-visible");
    focused ? show(focused.closest(".row")) : hide();
  };
  body.addEventListener("focusin", showFocused);
  body.addEventListener("focusout", hide);
  addEventListener("scroll", showFocused, { passive: true });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      filter.value = button.dataset.filter;
      search.value = "";
      update();
      byId("images").scrollIntoView();
      filter.focus({ preventScroll: true });
    });
  }

  byId("list").hidden = false;
  update();
})();
