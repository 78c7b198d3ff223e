// The few things that the page does in the browser alone.

document.documentElement.lang = navigator.language;

// A secure context (https, or this machine) has a clipboard; elsewhere a selection has to do.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.style.position = "fixed";
    field.style.opacity = "0";
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  await copyText(button.dataset.copy);
  const before = button.textContent;
  if (before === button.dataset.copied) return;
  button.textContent = button.dataset.copied;
  setTimeout(() => (button.textContent = before), 1600);
});

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
