// Keeps an open page current: ages tick, and when the server says that something changed, the page is fetched
// again and its main part put in place of the old one, preserving focus, selection, scroll and open details.
"use strict";
(() => {
  const main = document.getElementById("main");
  const feed = document.querySelector("[data-feed]");
  const said = document.querySelector("[data-said]");
  if (!main || !window.fetch) return;
  const FALLBACK_MS = 30000, REOPEN_MS = 300000, TYPING_MS = 200;
  let skew = Number(main.dataset.now) - Date.now();
  let running = null, again = false, source = null, fallback = 0, typing = 0;

  const words = (seconds) => {
    const s = Math.max(0, Math.floor(seconds)), m = Math.floor(s / 60), h = Math.floor(s / 3600), d = Math.floor(s / 86400);
    const two = (a, u, b, v) => (b ? `${a} ${u} ${b} ${v}` : `${a} ${u}`);
    if (m === 0) return `${s} s`;
    if (h === 0) return `${m} min`;
    if (d === 0) return two(h, "h", m % 60, "min");
    return d < 10 ? two(d, "d", h % 24, "h") : `${d} d`;
  };
  const tick = () => {
    const now = Date.now() + skew;
    for (const time of main.querySelectorAll("time[data-age]")) {
      const passed = (now - Date.parse(time.dateTime)) / 1000;
      const kind = time.dataset.age;
      const text = kind === "in" ? (passed >= 0 ? "now" : `in ${words(-passed)}`) : kind === "ago" ? `${words(passed)} ago` : words(passed);
      if (time.textContent !== text) time.textContent = text;
    }
  };

  const put = (page) => {
    const next = page.getElementById("main");
    if (!next) return false;
    const focused = document.activeElement, id = focused && main.contains(focused) ? focused.id : "";
    const href = focused && main.contains(focused) && !id ? focused.getAttribute("href") : null;
    const typed = focused && focused.matches("[data-search]") ? [focused.value, focused.selectionStart, focused.selectionEnd] : null;
    const open = [...main.querySelectorAll("details[open][id]")].map((one) => one.id);
    const aside = [...main.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
    const before = main.querySelector("h1")?.textContent;
    const top = [window.scrollX, window.scrollY];
    skew = Number(next.dataset.now) - Date.now();
    main.replaceChildren(...next.childNodes);
    document.title = page.title;
    for (const one of open) { const it = document.getElementById(one); if (it) it.open = true; }
    main.querySelectorAll(".scroll").forEach((one, i) => { one.scrollLeft = aside[i] || 0; });
    const target = id ? document.getElementById(id) : href ? [...main.querySelectorAll("a[href]")].find((a) => a.getAttribute("href") === href) : null;
    if (target) {
      target.focus({ preventScroll: true });
      if (typed) { target.value = typed[0]; target.setSelectionRange(typed[1], typed[2]); }
    }
    window.scrollTo(top[0], top[1]);
    const after = main.querySelector("h1")?.textContent;
    if (said && after && after !== before) said.textContent = after;
    tick();
    return true;
  };

  const report = (text) => { if (feed) feed.textContent = text; };
  const refresh = async () => {
    if (running) { again = true; return; }
    running = new AbortController();
    const giveUp = setTimeout(() => running && running.abort(), 20000);
    try {
      const answer = await fetch(location.pathname + location.search, { signal: running.signal, headers: { accept: "text/html" } });
      if (answer.status === 401) { location.reload(); return; }
      put(new DOMParser().parseFromString(await answer.text(), "text/html"));
      report(source && source.readyState === 1 ? "Updates live." : "Updates every 30 s.");
    } catch {
      report("The daemon does not respond; retrying.");
    } finally {
      clearTimeout(giveUp);
      running = null;
      if (again) { again = false; refresh(); }
    }
  };

  const every = () => { if (!fallback) fallback = setInterval(() => { if (!document.hidden) refresh(); }, FALLBACK_MS); };
  const listen = () => {
    if (!window.EventSource) { every(); return; }
    source = new EventSource("/events");
    source.addEventListener("open", () => { clearInterval(fallback); fallback = 0; report("Updates live."); });
    // The first event comes at once and covers changes between fetching the page and opening the stream.
    source.addEventListener("changed", refresh);
    source.addEventListener("error", () => {
      every();
      if (source && source.readyState === 2) { source.close(); source = null; setTimeout(() => { if (!source && !document.hidden) listen(); }, REOPEN_MS); }
    });
  };
  // A hidden page opens no stream.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { if (source) { source.close(); source = null; } }
    else if (!source) { refresh(); listen(); }
  });

  // The search works without script; this updates the list while typing.
  main.addEventListener("input", (event) => {
    if (!event.target.matches("[data-search]")) return;
    clearTimeout(typing);
    typing = setTimeout(() => {
      const sought = event.target.value.trim();
      const address = new URL(location.href);
      address.searchParams.delete("page");
      if (sought) address.searchParams.set("q", sought); else address.searchParams.delete("q");
      history.replaceState(null, "", `/${address.search}`);
      refresh();
    }, TYPING_MS);
  });
  main.addEventListener("submit", (event) => {
    if (event.target.matches(".search")) { event.preventDefault(); }
  });

  setInterval(tick, 1000);
  report("Updates every 30 s.");
  if (!document.hidden) listen();
})();
