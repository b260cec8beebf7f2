// Before the first paint: light or dark as chosen earlier. Not a module, so that it is not too late.
"use strict";
(() => {
  const KEPT = "composir.theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = localStorage.getItem(KEPT);
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  addEventListener("click", ({ target }) => target.closest?.("#theme") && root.dispatchEvent(new Event("composir-theme")));
  root.addEventListener("composir-theme", () => {
    const dark = (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem(KEPT, root.dataset.theme);
  });
})();
