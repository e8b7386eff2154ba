"use strict";
// Sort a table by the column whose button is pressed; once more turns it round.
const number = /^[+\-]?\d+(\.\d+)?/;
const compare = (a, b) => {
  const [x, y] = [a, b].map((text) => text.match(number));
  if (x && y) return parseFloat(x[0]) - parseFloat(y[0]) || a.localeCompare(b);
  return !!y - !!x || a.localeCompare(b);
};
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const text = (row) => row.cells[column].textContent.trim();
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => !text(a) - !text(b) || (up ? 1 : -1) * compare(text(a), text(b)));
    table.tBodies[0].append(...rows);
  }));
}
// Show the rows of the table below that have all the words.
for (const field of document.querySelectorAll(".filter input")) {
  const rows = [...field.closest(".filter").nextElementSibling.querySelectorAll("tbody tr")];
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}
// On paper everything is unfolded.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not([open])")) {
    folded.open = true;
    addEventListener("afterprint", () => { folded.open = false; }, { once: true });
  }
});
