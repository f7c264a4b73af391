"use strict";
// The tables that are whole in the page: a click on a column's head sorts by it.
function valueOf(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.value === undefined) return cell.textContent.trim();
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!event.target.closest("button") || !head) return;
    const ascending = nextOrder(head);
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => compare(valueOf(a, head.cellIndex), valueOf(b, head.cellIndex), ascending));
    table.tBodies[0].append(...rows);
  });
}
