"use strict";
// Text on hovering: the plots carry it as <title>; with a script it also shows on touch, at once.
const tip = document.getElementById("tip");
for (const title of document.querySelectorAll("figure svg title")) {
  title.parentNode.dataset.tip = title.textContent;
  title.remove();
}
function show(event) {
  const mark = event.target.closest && event.target.closest("[data-tip]");
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const x = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8);
  const above = event.clientY - tip.offsetHeight - 12;
  tip.style.left = Math.max(8, x) + "px";
  tip.style.top = (above < 4 ? event.clientY + 18 : above) + "px";
}
for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, show);
addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

// A table's rows in the order of a column; a second click turns it round. Empty cells stay last.
function key(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim();
}
function sort(head, column) {
  const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const body = head.closest("table").tBodies[0];
  const empty = (text) => text === "" || text === "–";
  const rows = [...body.rows].sort((one, two) => {
    const a = key(one, column), b = key(two, column);
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    const numbers = !isNaN(a) && !isNaN(b);
    return turn * (numbers ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  });
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
  body.append(...rows);
}
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(head, column));
  });
}
// What is folded away on the screen is wanted on paper.
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
