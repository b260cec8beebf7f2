// What a checker of accessibility would find on the page as it stands: a list of complaints, empty if there are none.
() => {
  const found = [];
  const complain = (what, element) => found.push(`${what}: <${element.tagName.toLowerCase()} id="${element.id}" class="${element.className?.baseVal ?? element.className}"> ${element.textContent.trim().slice(0, 40)}`);
  const seen = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && element.getClientRects().length > 0;
  const open = document.querySelector("dialog[open]");
  const all = [...(open ?? document.body).querySelectorAll("*")].filter(seen);

  const spoken = (element) => {
    if (element.getAttribute("aria-hidden") === "true") return "";
    if (element.tagName === "IMG") return element.alt;
    return [...element.childNodes].map((node) => (node.nodeType === 3 ? node.textContent : node.nodeType === 1 ? spoken(node) : "")).join(" ");
  };
  const nameOf = (element) => {
    const named = (element.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ");
    const labels = [...(element.labels ?? [])].map(spoken).join(" ");
    return [element.getAttribute("aria-label"), named, labels, element.matches("input, select, textarea") ? "" : spoken(element)].find((name) => name?.trim());
  };
  for (const element of all) {
    if (element.matches("button, input, select, textarea, a, summary, dialog, nav, section, [role=group]") && !nameOf(element) && !element.matches("section section"))
      complain("no name", element);
    if (element.tagName === "IMG" && !element.hasAttribute("alt")) complain("no alt", element);
    for (const attribute of ["for", "aria-controls", "aria-labelledby", "aria-describedby"])
      for (const id of (element.getAttribute(attribute) ?? "").split(" ").filter(Boolean)) if (!document.getElementById(id)) complain(`${attribute} leads nowhere`, element);
    if (element.tabIndex > 0) complain("a tab order of its own", element);
    if (element.matches("[role=listitem]") && !element.closest("ul, ol, [role=list]")) complain("an item without a list", element);
    const inert = element.closest("[aria-hidden=true]");
    if (inert && element.matches("button, input, a, select, textarea")) complain("a control that readers cannot reach", element);
  }
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) found.push(`id ${id} stands twice`);
  const levels = all.filter((element) => /^H[1-6]$/.test(element.tagName)).map((element) => Number(element.tagName[1]));
  levels.reduce((before, level) => (level > before + 1 && before && found.push(`h${level} after h${before}`), level), 0);
  if (!document.documentElement.lang) found.push("no language");

  // Contrast: every text against what is behind it, over pictures against the worst that could be.
  const parse = (colour) => {
    const numbers = colour.match(/[\d.]+/g).map(Number);
    const [r, g, b] = colour.startsWith("color(srgb") ? numbers.slice(0, 3).map((n) => n * 255) : numbers;
    return [r, g, b, numbers[3] ?? 1];
  };
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1];
  const behind = (element, worst) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      const style = getComputedStyle(each);
      const colour = parse(style.backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
      if (each.matches(".frame, .well, .shot")) { layers.push(worst); break; }
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const light = (colour) => colour.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (one, two) => { const [low, high] = [light(one), light(two)].sort((a, b) => a - b); return (high + 0.05) / (low + 0.05); };
  let texts = 0;
  for (const element of all) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    const typed = element.matches("input:not([type=range], [type=checkbox]), textarea");
    if ((!own && !typed) || element.disabled || element.closest("button:disabled")) continue;
    texts++;
    const style = getComputedStyle(element);
    for (const worst of [[0, 0, 0, 1], [255, 255, 255, 1]]) {
      const paper = behind(element, worst);
      const value = ratio(over(parse(style.color), paper), paper);
      if (value < 4.5) complain(`contrast ${value.toFixed(2)}, ${style.color} on ${paper.map(Math.round)}`, element);
    }
    if (parseFloat(style.fontSize) < 11) complain(`${style.fontSize} is small`, element);
  }
  if (texts < 5) found.push(`only ${texts} texts were looked at`);

  // What is pointed at is large enough: 24 pixels, unless it is a link among words.
  for (const element of all) {
    if (element.matches(".unseen") || !element.matches("button:not(.link), select, input:not([type=range]), textarea, summary")) continue;
    const box = (element.closest("label.switch") ?? element).getBoundingClientRect();
    if (box.width < 24 || box.height < 19.5) complain(`a target of ${Math.round(box.width)} x ${Math.round(box.height)}`, element);
  }
  return found;
};
