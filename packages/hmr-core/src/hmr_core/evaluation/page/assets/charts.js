"use strict";
// The PCK curves and the bars of the breakdowns.
const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
const FONT = { family: getComputedStyle(document.body).fontFamily, size: 13, color: "#1b1f24" };
const GRID = { gridcolor: "#e4e8ec", zerolinecolor: "#b5bdc6", automargin: true };
const LEGEND = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" };
const MOST_BARS = 40;

for (const [place, curve] of page.curves.entries()) {
  const traces = page.names.map((name, i) => ({
    name: plain(name),
    x: curve.thresholds_mm,
    y: curve.shares[i].map((share) => 100 * share),
    mode: "lines",
    line: { color: colour(i), dash: dash(i), width: 2.5 },
    hovertemplate: "%{y:.1f} %",
  }));
  Plotly.newPlot(`curve-${place}`, traces, {
    font: FONT,
    height: 400,
    margin: { l: 60, r: 16, t: 60, b: 56 },
    hovermode: "x unified",
    legend: LEGEND,
    xaxis: { ...GRID, title: { text: "threshold (mm)" }, hoverformat: ".1f" },
    yaxis: { ...GRID, title: { text: "joints within it (%)" }, range: [0, 101] },
  }, CONFIG);
}

const bySelect = document.getElementById("breakdown-by");
const metricSelect = document.getElementById("breakdown-metric");

function showBreakdown() {
  const chosen = page.breakdowns.findIndex((one) => one.by === bySelect.value && one.metric === metricSelect.value);
  for (const table of document.querySelectorAll(".breakdown")) table.hidden = Number(table.dataset.place) !== chosen;
  const chart = document.getElementById("breakdown-chart");
  const said = document.getElementById("breakdown-said");
  chart.hidden = chosen < 0;
  if (chosen < 0) {
    said.textContent = `There is no ${page.labels[metricSelect.value]} by ${bySelect.value}.`;
    return;
  }
  const { groups, metric } = page.breakdowns[chosen];
  // The groups with the most samples, where they are too many for bars, in their order.
  const most = [...groups].sort((a, b) => b.samples - a.samples).slice(0, MOST_BARS);
  const shown = groups.length > MOST_BARS ? groups.filter((group) => most.includes(group)) : groups;
  said.textContent = shown.length < groups.length
    ? `The bars are of the ${shown.length} groups with the most samples; the table has all ${groups.length}.`
    : "";
  const traces = page.names.map((name, i) => {
    const values = shown.map((group) => group.values[i]);
    const known = (from) => values.map((one) => (one.value === null || one.low === null ? 0 : from(one)));
    return {
      type: "bar",
      name: plain(name),
      x: shown.map((group) => plain(group.name)),
      y: values.map((one) => one.value),
      customdata: shown.map((group) => group.samples),
      marker: { color: colour(i) },
      error_y: {
        type: "data",
        array: known((one) => one.high - one.value),
        arrayminus: known((one) => one.value - one.low),
        thickness: 1.2,
        width: 3,
        color: "#3c434b",
      },
      hovertemplate: `%{x}: %{y:.2f} ${page.units[metric]} (%{customdata} samples)`,
    };
  });
  const label = page.labels[metric] + (page.units[metric] ? ` (${page.units[metric]})` : "");
  Plotly.react(chart, traces, {
    font: FONT,
    height: 420,
    margin: { l: 60, r: 16, t: 50, b: 60 },
    barmode: "group",
    bargap: 0.3,
    showlegend: true,
    legend: LEGEND,
    xaxis: { type: "category", automargin: true, tickangle: shown.length > 8 ? -45 : 0 },
    yaxis: { ...GRID, title: { text: label }, rangemode: "tozero" },
  }, CONFIG);
}

if (bySelect) {
  fill(bySelect, [...new Set(page.breakdowns.map((one) => one.by))].map((by) => [by, by]));
  fill(metricSelect, [...new Set(page.breakdowns.map((one) => one.metric))].map((name) => [name, page.labels[name]]));
  bySelect.addEventListener("change", showBreakdown);
  metricSelect.addEventListener("change", showBreakdown);
  showBreakdown();
}
