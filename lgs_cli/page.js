"use strict";
(() => {
  const PAGE = 100;
  const { images, thumbnails, settings } = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const body = byId("rows"), search = byId("search"), filter = byId("filter");
  const more = byId("more"), peek = byId("peek");
  const headers = [...document.querySelectorAll("th[data-key]")];
  const number = new Intl.NumberFormat("en-US");
  const collator = new Intl.Collator("en", { numeric: true });
  const statusOrder = { failed: 0, skipped: 1, done: 2 };

  images.forEach((image, index) => {
    image.index = index;
    const cut = image.source.search(/[^/\\]*$/);
    image.name = image.source.slice(cut) || image.source;
    image.folder = image.source.slice(0, cut);
    image.text = [image.source, image.error, ...image.notes].join("\n").toLowerCase();
  });

  const compare = {
    name: (a, b) => collator.compare(a.source, b.source),
    status: (a, b) => statusOrder[a.status] - statusOrder[b.status],
    coverage: (a, b) => a.coverage - b.coverage,
    seconds: (a, b) => a.seconds - b.seconds,
  };
  const matches = {
    all: () => true,
    changed: (image) => image.status === "done" && !image.unchanged,
    unchanged: (image) => image.status === "done" && image.unchanged,
    done: (image) => image.status === "done",
    skipped: (image) => image.status === "skipped",
    failed: (image) => image.status === "failed",
  };

  let order = { key: "coverage", descending: true };
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
    box.colSpan = 5;
    const facts = make("dl", "facts");
    const setting = settings[image.setting];
    const add = (name, value, className) => {
      if (value === null || value === undefined || value === "") return;
      facts.append(make("dt", "", name), make("dd", className, value));
    };
    add("Source", image.source, "path");
    add("Output", image.output, "path");
    add("Mask", image.mask, "path");
    add("Error", image.error, "reason");
    if (image.width && image.height) add("Size", `${image.width} × ${image.height} pixels`);
    add("Format", image.format);
    if (setting) add("Method", [setting.method, setting.params].filter(Boolean).join(": "));
    for (const note of image.notes) add("Note", note);
    const strip = shots(image);
    if (strip) box.append(strip);
    box.append(facts);
    row.append(box);
    return row;
  }

  function build(image) {
    const row = make("tr", "row");
    row.setAttribute("role", "row");
    row.image = image;

    const pic = cell("pic");
    const found = thumbnails[image.index];
    const best = found && (found.original || found.cleaned || found.mask || found.difference);
    pic.append(best ? picture(best, "") : make("i"));

    const name = cell("name");
    const open = make("button", "", image.name);
    open.type = "button";
    open.setAttribute("aria-expanded", "false");
    name.append(open);
    if (image.folder) name.append(make("span", "path soft", image.folder));
    if (image.error) name.append(make("span", "reason small", image.error));

    const coverage = cell("cov");
    if (image.coverage === null) {
      coverage.textContent = "–";
    } else {
      coverage.textContent = percent(image.coverage);
      const track = make("i");
      const bar = make("b");
      bar.style.width = image.coverage * 100 + "%";
      track.append(bar);
      coverage.append(track);
    }

    const status = cell("status");
    const label = image.status === "done" && image.unchanged ? "unchanged" : image.status;
    status.append(make("span", image.status, label));
    const time = cell("time");
    time.textContent = image.seconds === null ? "–" : seconds(image.seconds);
    row.append(pic, name, coverage, status, time);
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
      const numeric = key === "coverage" || key === "seconds";
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
