// The few things that the operations page does in the browser alone.

document.documentElement.lang = navigator.language;

// What was clicked, for the hidden buttons that send it.
window.chosenRequest = "";
window.chosenGroup = "";

const pick = (target) => {
  const request = target.closest?.("[data-open]");
  if (request) {
    window.chosenRequest = request.dataset.open;
    document.getElementById("open").click();
    window.scrollTo({ top: 0, behavior: "smooth" });
    return true;
  }
  const group = target.closest?.("[data-drill]");
  if (group) {
    document.querySelectorAll("[data-drill].chosen").forEach((row) => row.classList.remove("chosen"));
    group.classList.add("chosen");
    window.chosenGroup = group.dataset.drill;
    document.getElementById("drill").click();
  }
  return Boolean(group);
};
document.addEventListener("click", (event) => pick(event.target));
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches?.("[data-drill]")) pick(event.target);
});

window.showDrilled = () => {
  document.getElementById("drilled")?.scrollIntoView({ behavior: "smooth", block: "nearest" });
};

// A link to a story: /operations/?id=01K…
window.openLinked = () => {
  const id = new URLSearchParams(window.location.search).get("id");
  if (!id) return;
  window.chosenRequest = id;
  document.getElementById("open").click();
};
