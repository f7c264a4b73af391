"use strict";
// One sample, over the page: its errors, its pictures, and its hands in three dimensions.
const viewer = document.getElementById("viewer");
const meshPlace = document.getElementById("viewer-mesh");
const TRUTH = "#6e7781";

function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

// Points as the page keeps them: whole tenths of a millimetre from the true wrist; the lowest number: not known.
function points(text) {
  const view = new DataView(bytes(text).buffer);
  const axes = [[], [], []];
  for (let i = 0; i < view.byteLength / 2; i++) {
    const value = view.getInt16(2 * i, true);
    axes[i % 3].push(value === -32768 ? null : value / 10);
  }
  return axes;
}

const faces = (() => {
  if (!page.faces) return null;
  const view = new DataView(bytes(page.faces).buffer);
  const corners = [[], [], []];
  for (let i = 0; i < view.byteLength / 2; i++) corners[i % 3].push(view.getUint16(2 * i, true));
  return corners;
})();

function meshTrace(name, held, fill, opacity, left) {
  const [x, y, z] = points(held);
  const [i, j, k] = left ? [faces[0], faces[2], faces[1]] : faces; // a left hand's faces are turned the other way
  return {
    type: "mesh3d", name, x, y, z, i, j, k, opacity,
    color: fill,
    flatshading: false,
    lighting: { ambient: 0.5, diffuse: 0.9, specular: 0.1, roughness: 0.8 },
    lightposition: { x: 30000, y: -60000, z: -90000 }, // from the upper right, before the hand
    showlegend: true,
    hoverinfo: "name",
  };
}

function skeletonTrace(name, held, line) {
  const [x, y, z] = points(held);
  const along = (axis) => page.bones.flatMap(([parent, child]) => [axis[parent], axis[child], null]);
  return {
    type: "scatter3d", name, x: along(x), y: along(y), z: along(z),
    mode: "lines+markers",
    line: { color: line, width: 6 },
    marker: { color: line, size: 3 },
    showlegend: true,
    hoverinfo: "name",
  };
}

function handTraces(hand) {
  const trace = (name, held, fill, opacity) => held.verts && faces
    ? meshTrace(plain(name), held.verts, fill, opacity, hand.left)
    : skeletonTrace(plain(name), held.joints, fill);
  return [
    trace("truth", hand.truth, TRUTH, 0.5),
    ...hand.predicted.map((held, i) => trace(page.names[i], held, colour(i), 1)),
  ];
}

const AXIS = { visible: false, showspikes: false };

function showSample(sample) {
  const card = document.querySelector(`.card[data-sample="${sample}"]`);
  const hand = page.hands[sample];
  document.getElementById("viewer-title").textContent = page.ids[sample];
  document.getElementById("viewer-labels").textContent = hand
    ? Object.entries(hand.labels).map(([name, label]) => `${name} ${label}`).join(", ")
    : "";
  const list = document.getElementById("viewer-errors");
  list.replaceChildren(...Object.keys(page.errors).map((metric) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = page.labels[metric] + (page.units[metric] ? ` (${page.units[metric]})` : "");
    row.append(head, ...errorsOf(metric, sample).map((value) => {
      const cell = document.createElement("td");
      cell.textContent = number(value);
      return cell;
    }));
    return row;
  }));
  const pictures = document.getElementById("viewer-pictures");
  pictures.replaceChildren(...(card ? [...card.querySelectorAll(".panel")].map((panel) => panel.cloneNode(true)) : []));
  const said = document.getElementById("viewer-said");
  said.hidden = Boolean(card);
  said.textContent = page.no_picture;
  document.getElementById("viewer-body").classList.toggle("both", Boolean(hand));
  viewer.showModal();
  if (!hand) return;
  Plotly.newPlot(meshPlace, handTraces(hand), {
    font: FONT,
    height: 444,
    margin: { l: 0, r: 0, t: 0, b: 0 },
    legend: { orientation: "h", x: 0, y: 1, yanchor: "top" },
    // Camera space as the picture shows it: x to the right, y down, z away.
    scene: {
      domain: { x: [0, 1], y: [0, 0.9] },
      aspectmode: "data",
      dragmode: "orbit",
      xaxis: AXIS,
      yaxis: AXIS,
      zaxis: AXIS,
      camera: { up: { x: 0, y: -1, z: 0 }, eye: { x: 0, y: 0, z: -2.1 } },
    },
  }, { ...CONFIG, displayModeBar: false }); // it would be over the names
}

viewer.addEventListener("close", () => {
  Plotly.purge(meshPlace);
  meshPlace.replaceChildren();
});
document.getElementById("viewer-close").addEventListener("click", () => viewer.close());
viewer.addEventListener("click", (event) => {
  if (event.target === viewer) viewer.close(); // beside it
});

document.addEventListener("click", (event) => {
  const opener = event.target.closest(".open, .card img");
  if (opener) showSample(Number(opener.closest("[data-sample]").dataset.sample));
});
