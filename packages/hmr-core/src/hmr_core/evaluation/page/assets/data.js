"use strict";
// What the page shows, and how all parts of it write numbers and names.
const page = JSON.parse(document.getElementById("data").textContent);

const DASHES = ["solid", "dash", "dot", "dashdot"];
const colour = (evaluation) => page.colours[evaluation % page.colours.length];
const dash = (evaluation) => DASHES[Math.floor(evaluation / page.colours.length) % DASHES.length];

// Texts of a chart may hold tags, as Plotly reads them; names and ids are text alone.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const number = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));

function mean(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

// A sample's errors, one of each evaluation.
const errorsOf = (metric, sample) => page.errors[metric].map((values) => values[sample]);

// How far a sample's errors are apart.
function apart(values) {
  const known = values.filter((value) => value !== null);
  return known.length > 1 ? Math.max(...known) - Math.min(...known) : null;
}

// Compares for sorting; what is not known comes last, whichever way round.
function compare(a, b, ascending) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  return ascending ? order : -order;
}

// The first click sorts a column of text from A, one of numbers from the largest; the next one turns it round.
function nextOrder(head) {
  const ascending = head.classList.contains("text")
    ? head.getAttribute("aria-sort") !== "ascending"
    : head.getAttribute("aria-sort") === "descending";
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  return ascending;
}

function fill(select, options) {
  for (const [value, text] of options) select.add(new Option(text, value));
}
