"use strict";
// The samples with pictures: the buttons choose which of them are shown.
const cards = document.getElementById("cards");

function showGroup(name) {
  for (const button of document.querySelectorAll("#groups button")) {
    button.setAttribute("aria-pressed", String(button.dataset.group === name));
  }
  for (const card of cards.children) card.hidden = true;
  for (const sample of page.groups[name]) {
    const card = cards.querySelector(`[data-sample="${sample}"]`);
    card.hidden = false;
    cards.append(card); // in the group's order
  }
}

if (cards) {
  for (const button of document.querySelectorAll("#groups button")) {
    button.addEventListener("click", () => showGroup(button.dataset.group));
  }
  showGroup("worst");
}
