// What happens when the page opens.

function openViewer(content) {
  const root = document.getElementById("viewer");
  if (!root) return;
  const choice = document.getElementById("map");
  let viewer = null;
  const show = (place) => {
    if (viewer) viewer.close();
    viewer = new Viewer(root, content.maps[place]);
    viewer.contrast = 2 ** Number(document.getElementById("contrast").value);
    viewer.lines = document.getElementById("lines").checked;
    viewer.load();
  };
  if (choice) choice.addEventListener("change", () => show(choice.selectedIndex));
  document.getElementById("contrast").addEventListener("input", (event) => {
    viewer.contrast = 2 ** Number(event.target.value);
    viewer.repaint();
  });
  document.getElementById("lines").addEventListener("change", (event) => {
    viewer.lines = event.target.checked;
    viewer.draw();
  });
  for (const button of root.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      const factor = Number(button.dataset.zoom);
      if (factor) viewer.zoomAbout(viewer.x, viewer.y, factor); else viewer.reset();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => viewer.draw());
  show(0);
}

async function openTable(root, table) {
  new DataTable(root, table.columns, await rowsOf(table));
}

document.documentElement.classList.add("scripted");
const CONTENT = JSON.parse(document.getElementById("content").textContent);
for (const [name, table] of [["ledger", CONTENT.ledger], ["left-out", CONTENT.leftOut]]) {
  const root = document.getElementById(`${name}-table`);
  if (root) openTable(root, table);
}
openViewer(CONTENT);
