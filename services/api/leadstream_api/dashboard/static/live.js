// Keeps a page current: the overview gets new parts, other pages load themselves anew when their streams change.
// Everything works without it; it only saves reloading. A part that somebody works in is left alone.

const body = document.body;
const light = document.getElementById("live");
let source = null;
let marks = null;
let timer = 0;
let late = false;

function say(text, state) {
  if (!light) return;
  light.hidden = false;
  light.dataset.state = state;
  light.lastElementChild.textContent = text;
}

function busy(part) {
  const at = document.activeElement;
  if (at && at !== document.body && part.contains(at)) return true;
  return part.querySelector("details[open]") !== null;
}

function put(part, html) {
  if (busy(part)) {
    late = true;
    return;
  }
  part.innerHTML = html;
}

function onRegions(event) {
  const parts = JSON.parse(event.data);
  for (const [name, html] of Object.entries(parts)) {
    const part = document.querySelector(`[data-live="${CSS.escape(name)}"]`);
    if (part) put(part, html);
  }
}

function onMarks(event) {
  const now = JSON.parse(event.data);
  const wanted = (body.dataset.refreshOn || "").split(" ").filter(Boolean);
  // The first marks say nothing of what came between the page and them, so they count as a change.
  const changed = wanted.length > 0 && (!marks || wanted.some((name) => marks[name] !== now[name]));
  marks = now;
  if (changed && !timer) timer = setTimeout(reload, 700);
}

async function reload() {
  clearTimeout(timer);
  timer = 0;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    // Gone, or to be logged in to: asking again would change nothing. Any other refusal passes.
    if (answer.redirected || [401, 403, 404, 410].includes(answer.status)) return;
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.querySelector(`[data-live="${CSS.escape(part.dataset.live)}"]`);
      if (other && other.innerHTML !== part.innerHTML) put(part, other.innerHTML);
    }
  } catch {
    if (!timer && !document.hidden) timer = setTimeout(reload, 5000); // no page now
  }
  followUp();
}

// What a page says is behind follows the log with a lag of its own, of which no mark tells.
function followUp() {
  if (!timer && !document.hidden && document.querySelector("[data-behind]")) timer = setTimeout(reload, 2000);
}

function open() {
  if (source || !body.dataset.events) return;
  source = new EventSource(body.dataset.events);
  source.addEventListener("open", () => say("Live", "on"));
  source.addEventListener("error", () => say("Reconnecting", "off"));
  source.addEventListener("regions", onRegions);
  source.addEventListener("marks", onMarks);
}

function close() {
  if (source) source.close();
  source = null;
}

// What was left alone while somebody worked in it is made good afterwards.
function catchUp() {
  if (!late || timer) return;
  late = false;
  timer = setTimeout(reload, 300);
}
document.addEventListener("focusout", catchUp);
document.addEventListener("toggle", catchUp, true);

// A hidden page costs nothing; when it is looked at again it catches up.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    close();
    say("Paused", "off");
  } else {
    open();
    if (body.dataset.refreshOn) reload();
  }
});
window.addEventListener("pagehide", close);
window.addEventListener("pageshow", open);

// A form that was sent is not sent twice by an impatient second press.
document.addEventListener("submit", (event) => {
  for (const button of event.target.querySelectorAll("button")) {
    setTimeout(() => { button.disabled = true; }, 0);
    setTimeout(() => { button.disabled = false; }, 8000);
  }
});

open();
followUp();
