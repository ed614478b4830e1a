// Rows that are links; a plain click asks Python to open the view, so that nothing is loaded again.
export default function ({ parentElement, data, setTriggerValue }) {
  const card = parentElement.querySelector(".card");
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.textContent = text;
    return element;
  };
  const title = make("h2", "", data.title);
  if (data.subtitle) title.append(" ", make("small", "", data.subtitle));   // the space is for who has it read out
  const rows = data.rows.map((row, index) => {
    const link = document.createElement("a");
    link.href = row.href;
    if (row.hint) link.title = row.hint;
    const text = make("span", "text", row.text);
    if (row.color) {
      const dot = make("span", "dot", "");
      dot.style.background = row.color;
      text.prepend(dot);
    }
    link.append(text, make("span", "detail", row.detail), make("span", "value", row.value));
    link.onclick = (event) => {
      if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      setTriggerValue("open", index);
    };
    return link;
  });
  card.replaceChildren(title, ...(rows.length ? rows : [make("p", "", data.empty)]));
}
