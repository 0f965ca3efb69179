// Tables that sort, search and turn pages.

const PAGE_ROWS = 25;
const TITLES = {
  map: "Map", file: "File", frame: "Frame", id: "Id", observation: "Observation", sign: "Sign",
  pixels: "Pixels", weight: "Weight", checksum: "Checksum", reason: "Reason",
};
const NUMERIC = new Set(["frame", "sign", "pixels", "weight"]);

class DataTable {
  constructor(root, columns, rows) {
    this.root = root;
    this.columns = columns;
    this.rows = rows;
    this.texts = rows.map((row) => row.join("\t").toLowerCase());
    this.order = rows.map((_, place) => place);
    this.found = this.order;
    this.sorted = null;
    this.descending = false;
    this.page = 0;
    this.body = root.querySelector("tbody");
    this.status = root.querySelector(".status");
    this.addHeads(root.querySelector("thead tr"));
    const search = root.querySelector("input[type=search]");
    search.addEventListener("input", () => this.search(search.value));
    for (const button of root.querySelectorAll("[data-to]")) {
      button.addEventListener("click", () => this.turn(button.dataset.to));
    }
    this.show();
  }

  addHeads(line) {
    this.heads = this.columns.map((name, column) => {
      const head = document.createElement("th");
      head.scope = "col";
      head.setAttribute("aria-sort", "none");
      if (NUMERIC.has(name)) head.className = "number";
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = TITLES[name] || name;
      button.addEventListener("click", () => this.sort(column));
      head.append(button);
      line.append(head);
      return head;
    });
  }

  sort(column) {
    this.descending = this.sorted === column ? !this.descending : false;
    this.sorted = column;
    const collator = new Intl.Collator("en", { numeric: true });
    const sign = this.descending ? -1 : 1;
    const compare = (a, b) => {
      const [left, right] = [this.rows[a][column], this.rows[b][column]];
      if (left === right) return a - b;
      if (left === null) return 1; // what is not known comes last
      if (right === null) return -1;
      const order = typeof left === "number" ? left - right : collator.compare(left, right);
      return sign * order || a - b;
    };
    this.order.sort(compare);
    this.heads.forEach((head, place) => {
      const order = this.descending ? "descending" : "ascending";
      head.setAttribute("aria-sort", place === column ? order : "none");
    });
    this.filter();
  }

  search(text) {
    this.words = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.filter();
  }

  filter() {
    const words = this.words || [];
    this.found = words.length === 0 ? this.order
      : this.order.filter((row) => words.every((word) => this.texts[row].includes(word)));
    this.page = 0;
    this.show();
  }

  get last() {
    return Math.max(0, Math.ceil(this.found.length / PAGE_ROWS) - 1);
  }

  turn(to) {
    const pages = { first: 0, previous: this.page - 1, next: this.page + 1, last: this.last };
    this.page = Math.min(this.last, Math.max(0, pages[to]));
    this.show();
  }

  show() {
    const begin = this.page * PAGE_ROWS;
    const shownRows = this.found.slice(begin, begin + PAGE_ROWS);
    this.body.replaceChildren(...shownRows.map((row) => this.line(this.rows[row])));
    const total = this.rows.length.toLocaleString("en");
    const count = this.found.length.toLocaleString("en");
    const range = `${(begin + 1).toLocaleString("en")}–` +
      `${(begin + shownRows.length).toLocaleString("en")}`;
    const of = this.found.length === this.rows.length ? total : `${count} found, ${total} in all`;
    this.status.textContent = shownRows.length ? `${range} of ${of}` : `None of ${total} is found`;
    for (const button of this.root.querySelectorAll("[data-to]")) {
      const back = ["first", "previous"].includes(button.dataset.to);
      button.disabled = back ? this.page === 0 : this.page === this.last;
    }
    this.root.querySelector(".turning").hidden = this.last === 0;
  }

  line(row) {
    const line = document.createElement("tr");
    row.forEach((value, column) => {
      const name = this.columns[column];
      const cell = document.createElement("td");
      const isNumber = typeof value === "number";
      if (NUMERIC.has(name)) cell.className = "number";
      if (["map", "id", "checksum"].includes(name)) cell.className = "mark";
      if (name === "sign") cell.textContent = value < 0 ? "−1" : "+1";
      else cell.textContent = isNumber ? shown(value) : value ?? "–";
      if (name === "pixels" && isNumber) cell.textContent = value.toLocaleString("en");
      if (name === "file" && value.includes("/")) {
        cell.title = value;
        const folder = document.createElement("span");
        folder.className = "folder";
        const at = value.lastIndexOf("/") + 1;
        folder.textContent = value.slice(0, at);
        cell.replaceChildren(folder, value.slice(at));
      }
      line.append(cell);
    });
    return line;
  }
}
