"use strict";
// Each sample's error in one evaluation against that in another; a click on a point opens the sample.
const MANY = 5000; // points that SVG would be slow with
const scatter = document.getElementById("scatter");
const [across, up, scatterMetric] = ["scatter-a", "scatter-b", "scatter-metric"].map((id) => document.getElementById(id));

function showScatter() {
  const metric = scatterMetric.value;
  const [a, b] = [Number(across.value), Number(up.value)];
  const [x, y] = [page.errors[metric][a], page.errors[metric][b]];
  const there = page.ids.map((_, i) => i).filter((i) => x[i] !== null && y[i] !== null);
  const type = there.length > MANY ? "scattergl" : "scatter";
  const trace = (name, samples, marker) => ({
    type, name, marker,
    mode: "markers",
    x: samples.map((i) => x[i]),
    y: samples.map((i) => y[i]),
    text: samples.map((i) => plain(page.ids[i])),
    customdata: samples,
    hovertemplate: "%{text}<br>%{x:.2f} and %{y:.2f} mm<extra></extra>",
  });
  const largest = there.reduce((most, i) => Math.max(most, x[i], y[i]), 0) * 1.04 || 1;
  const traces = [
    { x: [0, largest], y: [0, largest], mode: "lines", line: { color: "#8c959f", dash: "dot", width: 1.5 }, name: "equal", hoverinfo: "skip" },
    trace("without a picture", there.filter((i) => !page.hands[i]), { color: "#0072b2", size: 6, opacity: 0.45 }),
    trace("with a picture", there.filter((i) => page.hands[i]), { color: "#d55e00", size: 9, symbol: "diamond", line: { color: "#fff", width: 1 } }),
  ].filter((one) => one.x.length);
  const axis = (evaluation) => ({
    ...GRID,
    range: [-0.02 * largest, largest], // errors of zero can be clicked on, too
    title: { text: `${plain(page.names[evaluation])}: ${page.labels[metric]} (mm)` },
  });
  Plotly.react(scatter, traces, {
    font: FONT,
    height: 620,
    margin: { l: 64, r: 16, t: 50, b: 60 },
    hovermode: "closest",
    legend: LEGEND,
    xaxis: axis(a),
    yaxis: axis(b),
  }, CONFIG);
}

if (scatter) {
  const names = page.names.map((name, i) => [i, name]);
  fill(across, names);
  fill(up, names);
  fill(scatterMetric, Object.keys(page.errors).map((metric) => [metric, page.labels[metric]]));
  up.value = "1";
  for (const select of [across, up, scatterMetric]) select.addEventListener("change", showScatter);
  showScatter();
  scatter.on("plotly_click", (event) => {
    if (event.points[0].customdata !== undefined) showSample(event.points[0].customdata);
  });
}
