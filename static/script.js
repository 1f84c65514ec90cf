// Only adds to pages that are complete without it: copy buttons, "/" for the search box, arrow
// keys between tabs.
"use strict";

function addCopyButton(block) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy " + (block.dataset.name || "this"));
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.textContent.trim());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  block.after(button);
}

if (navigator.clipboard) {
  document.querySelectorAll("[data-copy]").forEach(addCopyButton);
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const box = document.getElementById("find");
    if (box) {
      event.preventDefault();
      box.focus();
      box.select();
    }
  }
});

const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

document.querySelectorAll(".tabs").forEach((tabs) => {
  tabs.addEventListener("keydown", (event) => {
    if (!(event.key in STEPS) || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const links = [...tabs.querySelectorAll("a")];
    const place = links.indexOf(event.target) + STEPS[event.key];
    event.preventDefault();
    links[Math.min(Math.max(place, 0), links.length - 1)].focus();
  });
});
