// The few things that the page does in the browser alone.

document.documentElement.lang = navigator.language;

// Counts as the server does: characters, not UTF-16 halves.
window.countCharacters = (text) => {
  const counter = document.getElementById("counter");
  if (!counter) return;
  const length = [...(text ?? "")].length;
  const limit = Number(counter.dataset.limit);
  counter.textContent = `${length} / ${limit}`;
  counter.classList.toggle("over", length > limit);
};

// On a narrow screen the result lies below the fields.
window.showResult = () => {
  if (window.innerWidth < 900) {
    document.getElementById("result")?.scrollIntoView({ behavior: "smooth", block: "start" });
  }
};

// The sum of the sliders, and whether it is more than may be.
window.showVectorSum = (...weights) => {
  const shown = document.getElementById("sum");
  if (!shown) return;
  const sum = weights.reduce((total, weight) => total + Number(weight), 0);
  shown.querySelector("b").textContent = sum.toFixed(2);
  shown.classList.toggle("over", sum > Number(shown.dataset.highest) + 1e-6);
};

window.seedUpTo = (highest) => String(Math.floor(Math.random() * (highest + 1)));

// The seed of the result that is shown, put into its field.
document.addEventListener("click", (event) => {
  if (event.target.closest?.("[data-seed]")) document.getElementById("seed-again").click();
});
window.seedShown = () => document.querySelector("[data-seed]").dataset.seed;

// Whether the visitor means it; the choice then, or else false.
window.confirmed = (questions, chosen) =>
  window.confirm(questions[navigator.language.startsWith("zh") ? "zh" : "en"]) && chosen;

// Has the segments shown anew, once nothing has changed for a moment and if they are looked at.
let looking;
window.lookSoon = () => {
  clearTimeout(looking);
  looking = setTimeout(() => {
    if (document.getElementById("segments")?.offsetParent) document.getElementById("look").click();
  }, 350);
};

// The live player: there while an audio is made, and until it has been heard or the visitor takes
// the player of the whole audio. Its address is relative for proxies that serve the page below
// another path.
const stopLive = () => {
  const place = document.querySelector(".live");
  if (!place || place.hidden) return;
  place.hidden = true;
  place.querySelector("audio").removeAttribute("src");
  place.querySelector("audio").load();
};
window.playLive = (requestId) => {
  stopLive();
  const place = document.querySelector(".live");
  if (!requestId || !place) return;
  place.hidden = false;
  const audio = place.querySelector("audio");
  audio.src = `live/${requestId}`;
  // A browser that plays nothing unasked shows the player, for the visitor to press.
  audio.play().catch(() => {});
};
document.addEventListener("ended", (event) => event.target.closest?.(".live") && stopLive(), true);
document.addEventListener("click", (event) => {
  if (event.target.closest?.("#player button")) stopLive();
});
