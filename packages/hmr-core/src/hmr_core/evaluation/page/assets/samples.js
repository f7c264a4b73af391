"use strict";
// The table of samples, a page of rows at a time.
const ROWS = 25;
const table = document.getElementById("samples-table");
const sampleMetric = document.getElementById("samples-metric");
const search = document.getElementById("samples-search");
const order = { column: 1, ascending: false };
let first = 0;

// What a column sorts by: the id, each evaluation's error, how far these are apart.
function sampleValue(sample, column) {
  if (column === 0) return page.ids[sample];
  const errors = errorsOf(sampleMetric.value, sample);
  return column <= errors.length ? errors[column - 1] : apart(errors);
}

function sampleRow(sample) {
  const row = document.createElement("tr");
  row.dataset.sample = sample;
  const cell = (text, kind = "") => {
    const made = document.createElement("td");
    made.textContent = text;
    made.className = kind;
    row.append(made);
    return made;
  };
  cell(page.ids[sample], "id");
  const errors = errorsOf(sampleMetric.value, sample);
  for (const value of errors) cell(number(value));
  if (errors.length > 1) cell(number(apart(errors)));
  const button = document.createElement("button");
  button.className = "open";
  button.textContent = page.hands[sample] ? "picture" : "errors only";
  button.setAttribute("aria-label", `${button.textContent} of ${page.ids[sample]}`);
  cell("", "text").append(button);
  return row;
}

function showSamples() {
  const wanted = search.value.trim().toLowerCase();
  const chosen = page.ids.map((_, i) => i).filter((i) => page.ids[i].toLowerCase().includes(wanted));
  const values = new Map(chosen.map((i) => [i, sampleValue(i, order.column)]));
  chosen.sort((a, b) => compare(values.get(a), values.get(b), order.ascending));
  first = Math.max(0, Math.min(first, Math.floor((chosen.length - 1) / ROWS) * ROWS));
  const shown = chosen.slice(first, first + ROWS);
  table.tBodies[0].replaceChildren(...shown.map(sampleRow));
  const counted = chosen.length === 1 ? "1 sample" : `${chosen.length} samples`;
  document.getElementById("samples-place").textContent = shown.length
    ? `${first + 1} to ${first + shown.length} of ${counted}`
    : "no sample has this in its id";
  document.getElementById("samples-before").disabled = first === 0;
  document.getElementById("samples-after").disabled = first + ROWS >= chosen.length;
}

if (table) {
  table.tHead.rows[0].cells[order.column].setAttribute("aria-sort", "descending");
  fill(sampleMetric, Object.keys(page.errors).map((metric) => [metric, page.labels[metric]]));
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!event.target.closest("button")) return;
    [order.column, order.ascending, first] = [head.cellIndex, nextOrder(head), 0];
    showSamples();
  });
  sampleMetric.addEventListener("change", showSamples);
  search.addEventListener("input", () => {
    first = 0;
    showSamples();
  });
  for (const [id, step] of [["samples-before", -ROWS], ["samples-after", ROWS]]) {
    document.getElementById(id).addEventListener("click", () => {
      first += step;
      showSamples();
    });
  }
  showSamples();
}
