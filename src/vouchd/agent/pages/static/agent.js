// What the agent pages do beyond HTML; without this script everything works, only nothing refreshes itself.
"use strict";

function localTimes(root) {
  const form = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
  for (const time of root.querySelectorAll("time[data-local]")) {
    time.title = form.format(new Date(time.dateTime));
  }
}

// Replaces the part of the page that changes, unless the reader is working in it.
async function refresh(region) {
  if (document.hidden || region.contains(document.activeElement) || !window.getSelection().isCollapsed) return;
  const address = new URL(location.href);
  address.searchParams.set("fragment", "1");
  try {
    const answer = await fetch(address, { credentials: "same-origin", redirect: "error" });
    region.classList.toggle("stale", !answer.ok);
    if (!answer.ok) return;
    const found = new DOMParser().parseFromString(await answer.text(), "text/html");
    region.replaceChildren(...found.body.childNodes);
    localTimes(region);
  } catch {
    region.classList.add("stale");
  }
}

// A form is sent once; the browser shows it again from memory when one comes back to it.
function sendOnce(form) {
  form.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (button) setTimeout(() => { button.disabled = true; button.classList.add("busy"); });
  });
}

// A file dropped anywhere on a document field is taken.
function takeDropped(fieldset) {
  const file = fieldset.querySelector("input[type=file]");
  for (const kind of ["dragover", "dragleave", "drop"]) {
    fieldset.addEventListener(kind, (event) => {
      event.preventDefault();
      fieldset.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) file.files = event.dataTransfer.files;
    });
  }
}

// On a narrow screen the menu is folded away behind a button.
function foldMenu(menu) {
  const button = menu.querySelector(".unfold");
  button.hidden = false;
  menu.classList.add("folded");
  button.addEventListener("click", () => {
    const folded = menu.classList.toggle("folded");
    button.setAttribute("aria-expanded", String(!folded));
  });
}

localTimes(document);
document.querySelectorAll(".menu").forEach(foldMenu);
document.querySelectorAll("form[method=post]").forEach(sendOnce);
document.querySelectorAll("[data-drop]").forEach(takeDropped);
document.querySelectorAll("[data-refresh]").forEach((region) => {
  setInterval(refresh, 1000 * Number(region.dataset.refresh), region);
});
document.querySelector("[data-focus]")?.focus();
addEventListener("pageshow", (event) => {
  if (event.persisted) document.querySelectorAll("button.busy").forEach((button) => {
    button.disabled = false;
    button.classList.remove("busy");
  });
});
