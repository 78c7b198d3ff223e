// This browser's recent results: kept here and nowhere else, so that one can be heard, saved, looked
// up or made again. The service hands over what it made; text and settings never leave again but in
// a request of the visitor's own.

const HISTORY = "indextts.history";
const HISTORY_OFF = "indextts.history.off";

const historyPart = () => document.querySelector(".history");
const historyWords = () => JSON.parse(historyPart().dataset.words);
const historyKept = () => !localStorage.getItem(HISTORY_OFF);
const historyItems = () => {
  try {
    const items = JSON.parse(localStorage.getItem(HISTORY) ?? "[]");
    return Array.isArray(items) ? items : [];
  } catch {
    return [];
  }
};
const storeHistory = (items) => {
  // Where the browser has no room for all, the oldest go.
  for (let kept = items; ; kept = kept.slice(0, -1)) {
    try {
      localStorage.setItem(HISTORY, JSON.stringify(kept));
      return;
    } catch {
      if (!kept.length) return;
    }
  }
};

// What was asked, by the names of the fields; a recording is not kept.
let asked = {};
window.asked = (...values) => {
  window.showResult();
  const part = historyPart();
  if (!part) return;
  const recordings = JSON.parse(part.dataset.recordings);
  asked = Object.fromEntries(
    JSON.parse(part.dataset.fields).map((name, place) => [
      name,
      recordings.includes(name) ? null : values[place],
    ]),
  );
  asked[""] = recordings.some((name) => values[JSON.parse(part.dataset.fields).indexOf(name)]);
};

// What came of it.
window.keepResult = (told) => {
  if (!told || !historyPart() || !historyKept()) return;
  const { "": withRecording, ...fields } = asked;
  const item = { ...JSON.parse(told), at: Date.now(), fields, withRecording };
  const others = historyItems().filter((one) => one.request_id !== item.request_id);
  storeHistory([item, ...others].slice(0, Number(historyPart().dataset.most)));
  window.showHistory();
};

const element = (name, content, attributes = {}) => {
  const made = document.createElement(name);
  if (content) made.textContent = content;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

// A file is there until the service sweeps it; then the row says so.
const whenThere = async (item, row, use) => {
  const words = historyWords();
  const answer = await fetch(item.url, { method: "HEAD" }).catch(() => null);
  if (answer?.ok) use();
  else row.querySelector(".gone").textContent = answer ? words.gone : words.unreachable;
};

// Zero is one as well.
const hasSeed = (item) => item.seed !== undefined;

const historyRow = (item) => {
  const words = historyWords();
  const row = element("li", "", { "data-id": item.request_id });
  const head = element("div", "", { class: "history-head" });
  const when = new Date(item.at).toLocaleString(navigator.language, {
    dateStyle: "short",
    timeStyle: "short",
  });
  head.append(element("time", when, { datetime: new Date(item.at).toISOString() }));
  const good = item.verdict === "ok";
  head.append(element("span", item.said, { class: `badge ${good ? "good" : "bad"}` }));
  for (const said of [item.speaker, item.emotion, item.length])
    if (said) head.append(element("span", said));
  row.append(head, element("p", item.fields.text ?? "", { class: "history-text" }));

  const foot = element("div", "", { class: "history-id" });
  const copy = element("button", words.copy, { type: "button", "data-copy": item.request_id });
  copy.dataset.copied = words.copied;
  foot.append(element("code", item.request_id), copy);
  const button = (word, work) => {
    const made = element("button", word, { type: "button" });
    made.addEventListener("click", work);
    foot.append(made);
  };
  if (item.url) {
    button(words.listen, () =>
      whenThere(item, row, () => {
        if (row.querySelector("audio")) return;
        const player = element("audio", "", { controls: "", src: item.url });
        row.append(player);
        player.play().catch(() => {});
      }),
    );
    button(words.save, () =>
      whenThere(item, row, () => element("a", "", { href: item.url, download: item.file }).click()),
    );
  }
  button(hasSeed(item) ? words.again_seed : words.again, () => {
    again = item;
    document.getElementById("history-again").click();
  });
  row.append(foot, element("p", item.withRecording ? words.recording : "", { class: "gone" }));
  return row;
};

window.showHistory = () => {
  const part = historyPart();
  if (!part) return;
  const items = historyItems();
  part.querySelector("ol").replaceChildren(...items.map(historyRow));
  part.querySelector(".none").hidden = items.length > 0;
  part.querySelector("#history-keep").checked = historyKept();
};

// The fields as they were, for the form to be filled with; then the button is pressed.
let again;
window.fieldsAgain = (...now) => {
  const fields = { ...again.fields, ...(hasSeed(again) ? { seed: String(again.seed) } : {}) };
  return JSON.parse(historyPart().dataset.fields).map((name, place) =>
    name in fields ? fields[name] : now[place],
  );
};
window.makeAgain = () => document.getElementById("generate").click();

document.addEventListener("change", (event) => {
  if (event.target.id !== "history-keep") return;
  if (event.target.checked) localStorage.removeItem(HISTORY_OFF);
  else {
    localStorage.setItem(HISTORY_OFF, "1");
    localStorage.removeItem(HISTORY);
  }
  window.showHistory();
});
document.addEventListener("click", (event) => {
  if (event.target.id !== "history-clear") return;
  localStorage.removeItem(HISTORY);
  window.showHistory();
});
// Whoever logs out leaves nothing behind for the next one at this browser.
document.addEventListener("submit", (event) => {
  if (event.target.classList.contains("log-out")) localStorage.removeItem(HISTORY);
});
