// Pictures of one map that zoom, pan and are read together.

const MOST_ZOOM = 32;

class Viewer {
  constructor(root, map) {
    this.root = root;
    this.map = map;
    this.pictures = map.pictures;
    this.sky = this.pictures.sky && skyOf(this.pictures);
    this.pointers = new Map();
    this.contrast = 1;
    this.lines = true;
    this.centre();
    this.where = root.querySelector(".where");
    this.spoken = root.querySelector(".spoken");
    this.panels = this.pictures.planes.map((plane) => this.addPanel(plane));
    this.watch = new ResizeObserver(() => this.draw());
    this.panels.forEach((panel) => this.watch.observe(panel.canvas));
    this.tell();
  }

  async load() {
    for (const panel of this.panels) panel.numbers = await numbersOf(panel.plane);
    if (this.closed) return; // another map was chosen meanwhile
    this.repaint();
    this.tell(); // what the pointer is on already
    await new Promise(requestAnimationFrame);
    if (!this.closed) this.root.dataset.ready = this.map.name;
  }

  close() {
    this.closed = true;
    this.watch.disconnect();
    this.panels.forEach((panel) => panel.figure.remove());
    delete this.root.dataset.ready;
  }

  centre() {
    this.zoom = 1;
    this.x = this.pictures.width / 2;
    this.y = this.pictures.height / 2;
    this.cursor = null;
  }

  addPanel(plane) {
    const template = document.getElementById("panel").content.cloneNode(true);
    const figure = template.querySelector("figure");
    const canvas = figure.querySelector("canvas");
    canvas.style.setProperty("--aspect",
      this.pictures.width / (this.pictures.height * this.pictures.aspect));
    figure.querySelector(".plane").textContent = plane.name;
    figure.querySelector(".unit").textContent = plane.unit;
    canvas.setAttribute("aria-label", `${this.map.name}, ${plane.name}: median ` +
      `${shown(plane.median)}, scatter ${shown(plane.scatter)} ${plane.unit}`);
    const larger = figure.querySelector(".larger");
    larger.setAttribute("aria-label", `Enlarge ${plane.name}`);
    larger.addEventListener("click", () => {
      const large = figure.classList.toggle("large");
      larger.setAttribute("aria-pressed", String(large));
    });
    figure.querySelector(".bar i").style.background =
      `linear-gradient(to right, ${COLOURS[plane.colours].join(", ")})`;
    this.root.querySelector(".panels").append(figure);
    const panel = { plane, figure, canvas, value: figure.querySelector(".value") };
    this.listen(canvas);
    return panel;
  }

  listen(canvas) {
    canvas.addEventListener("pointerdown", (event) => this.press(canvas, event));
    canvas.addEventListener("pointermove", (event) => this.move(canvas, event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => {
        this.pointers.delete(event.pointerId);
        this.draw();
      });
    }
    canvas.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") this.point(null);
    });
    canvas.addEventListener("dblclick", (event) => this.zoomAt(canvas, event, 2));
    canvas.addEventListener("wheel", (event) => {
      // A page that is scrolled past must not stop at each picture.
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
      event.preventDefault();
      this.zoomAt(canvas, event, Math.exp(-event.deltaY * 0.002));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** The pixel, with fractions, under a pointer; y from the bottom. */
  pixelAt(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const { width, height } = this.pictures;
    return [
      this.x + ((event.clientX - box.left) / box.width - 0.5) * (width / this.zoom),
      this.y - ((event.clientY - box.top) / box.height - 0.5) * (height / this.zoom),
    ];
  }

  press(canvas, event) {
    canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    this.point(this.pixelAt(canvas, event));
  }

  move(canvas, event) {
    const before = this.pointers.get(event.pointerId);
    if (before && this.pointers.size === 1) {
      const [x, y] = this.pixelAt(canvas, event);
      const [x0, y0] = this.pixelAt(canvas, before);
      this.look(this.x - (x - x0), this.y - (y - y0));
    } else if (before) {
      this.pinch(canvas, before, event);
    }
    if (before) this.pointers.set(event.pointerId, event);
    this.point(this.pixelAt(canvas, event));
  }

  pinch(canvas, before, event) {
    const other = [...this.pointers.values()].find((one) => one.pointerId !== event.pointerId);
    const apart = (one) =>
      Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
    const middle = {
      clientX: (event.clientX + other.clientX) / 2,
      clientY: (event.clientY + other.clientY) / 2,
    };
    this.zoomAt(canvas, middle, apart(event) / apart(before));
  }

  zoomAt(canvas, event, factor) {
    const [x, y] = this.pixelAt(canvas, event);
    this.zoomAbout(x, y, factor);
  }

  /** Zoom so that one pixel stays where it is. */
  zoomAbout(x, y, factor) {
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
    const kept = this.zoom / zoom;
    this.zoom = zoom;
    this.look(x + (this.x - x) * kept, y + (this.y - y) * kept);
  }

  look(x, y) {
    const { width, height } = this.pictures;
    const half = [width / this.zoom / 2, height / this.zoom / 2];
    this.x = Math.min(width - half[0], Math.max(half[0], x));
    this.y = Math.min(height - half[1], Math.max(half[1], y));
    this.draw();
  }

  key(event) {
    const { width, height } = this.pictures;
    const [x, y] = this.cursor || [Math.floor(this.x) + 0.5, Math.floor(this.y) + 0.5];
    const step = (event.shiftKey ? 10 : 1) * Math.max(1, Math.round(width / this.zoom / 100));
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) {
      const [dx, dy] = moves[event.key];
      const to = [Math.min(width - 0.5, Math.max(0.5, x + dx * step)),
        Math.min(height - 0.5, Math.max(0.5, y + dy * step))];
      this.follow(to);
      this.point(to);
    } else if (event.key === "+" || event.key === "=") {
      this.zoomAbout(x, y, 1.5);
    } else if (event.key === "-") {
      this.zoomAbout(x, y, 1 / 1.5);
    } else if (event.key === "0") {
      this.reset();
    } else {
      return;
    }
    event.preventDefault();
    const { value, place } = this.reading(this.panels.find((one) => one.canvas === event.target));
    this.spoken.textContent = `${value}, ${place}, zoom ${this.zoom.toFixed(1)}`;
  }

  /** Keep the cursor in sight. */
  follow([x, y]) {
    const half = [this.pictures.width / this.zoom / 2, this.pictures.height / this.zoom / 2];
    this.look(
      Math.min(Math.max(this.x, x - half[0]), x + half[0]),
      Math.min(Math.max(this.y, y - half[1]), y + half[1]),
    );
  }

  reset() {
    this.centre();
    this.draw();
    this.tell();
  }

  point(pixel) {
    this.cursor = pixel;
    this.draw();
    this.tell();
  }

  reading(panel) {
    const { width, height, names } = this.pictures;
    const [x, y] = (this.cursor || [-1, -1]).map(Math.floor);
    if (x < 0 || y < 0 || x >= width || y >= height) return { value: "", place: "" };
    const number = panel.numbers && panel.numbers[y * width + x];
    const value = number === undefined ? "loading"
      : number === UNOBSERVED ? "not observed"
        : shown(valueOf(panel.plane, number));
    if (!this.sky) return { value, place: `pixel ${x}, ${y}` };
    const [longitude, latitude] = this.sky(x, y);
    const place = Number.isNaN(longitude) ? "off the sky"
      : `${names[0]} ${longitude.toFixed(3)}°, ${names[1]} ` +
        `${latitude.toFixed(3).replace("-", "−")}°`;
    return { value, place };
  }

  tell() {
    for (const panel of this.panels) panel.value.textContent = this.reading(panel).value;
    const { place } = this.reading(this.panels[0]);
    this.where.textContent = place || "Point at a picture to read its values.";
  }

  repaint() {
    const { width, height } = this.pictures;
    for (const panel of this.panels) {
      const { low, high } = panel.plane;
      const top = high / this.contrast;
      const bottom = low / this.contrast;
      panel.picture = paint(panel.plane, panel.numbers, width, height, bottom, top);
      panel.figure.querySelector(".low").textContent = shown(bottom);
      panel.figure.querySelector(".high").textContent = shown(top);
    }
    this.draw();
  }

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.panels.forEach((panel) => this.drawPanel(panel));
    });
  }

  drawPanel({ canvas, picture }) {
    const { width, height } = this.pictures;
    const density = window.devicePixelRatio || 1;
    const wide = Math.round(canvas.clientWidth * density);
    const high = Math.round(canvas.clientHeight * density);
    if (!picture || !wide || !high) return;
    if (canvas.width !== wide || canvas.height !== high) {
      canvas.width = wide;
      canvas.height = high;
    }
    canvas.style.touchAction = this.zoom > 1 ? "none" : "pan-y";
    const context = canvas.getContext("2d");
    const across = (wide / width) * this.zoom;
    const up = (high / height) * this.zoom;
    const left = wide / 2 - this.x * across;
    const top = high / 2 - (height - this.y) * up;
    context.clearRect(0, 0, wide, high);
    context.imageSmoothingEnabled = Math.min(across, up) < 1; // pixels that are seen keep their edges
    context.drawImage(picture, left, top, width * across, height * up);
    const at = (x, y) => [left + (x + 0.5) * across, top + (height - 0.5 - y) * up];
    if (this.lines) this.drawGraticule(context, at, density, wide, high);
    if (this.cursor && this.pointers.size === 0) {
      const [x, y] = at(this.cursor[0] - 0.5, this.cursor[1] - 0.5);
      for (const [colour, line] of [["#fff", 3], ["#000", 1]]) {
        context.strokeStyle = colour;
        context.lineWidth = line * density;
        context.beginPath();
        context.arc(x, y, 6 * density, 0, 2 * Math.PI);
        context.stroke();
      }
    }
  }

  drawGraticule(context, at, density, wide, high) {
    const ink = getComputedStyle(this.root).getPropertyValue("--graticule");
    context.font = `${11 * density}px system-ui, sans-serif`;
    context.lineJoin = "round";
    const labels = [];
    const named = new Set();
    // Of the whole sky, and around a pole, few curves meet the edges.
    const inside = this.pictures.inside && this.zoom < 1.5;
    for (const { label, kind, xy } of this.pictures.graticule) {
      context.beginPath();
      let before = null;
      const seen = [];
      for (let i = 0; i < xy.length; i += 2) {
        const here = at(xy[i], xy[i + 1]);
        if (before) context.lineTo(...here); else context.moveTo(...here);
        if (here[0] > 0 && here[0] < wide && here[1] > 0 && here[1] < high) seen.push(here);
        const place = before && !inside && !named.has(kind + label) && Viewer.edge(before, here, kind, high);
        const room = kind === "meridian" ? context.measureText(label).width + 6 * density : 0;
        if (place && place[0] <= wide - room && place[0] >= 0 && place[1] >= 0) {
          labels.push([label, place, kind]);
          named.add(kind + label);
        }
        before = here;
      }
      if (inside && !named.has(kind + label) && seen.length > 9) {
        named.add(kind + label);
        const along = kind === "meridian" ? 0.5 : 0.4; // not where these meet those
        labels.push([label, seen[Math.floor(along * seen.length)], "inside"]);
      }
      context.strokeStyle = ink;
      context.lineWidth = 0.6 * density;
      context.stroke();
    }
    for (const [label, [x, y], kind] of labels) {
      const place = kind === "meridian" ? [x + 3 * density, high - 5 * density]
        : kind === "inside" ? [x + 3 * density, y - 3 * density] : [4 * density, y - 3 * density];
      if (kind === "parallel" && y > high - 22 * density) continue; // meridians are named there
      // Light, since pictures are so on dark pages, too; narrow pictures leave no room beside a map.
      context.fillStyle = "rgb(255 255 255 / 85%)";
      context.fillRect(place[0] - 2 * density, place[1] - 10 * density,
        context.measureText(label).width + 4 * density, 13 * density);
      context.fillStyle = "#1d2226";
      context.fillText(label, ...place);
    }
  }

  /** Where a piece of a meridian meets the lower edge, or one of a parallel the left one. */
  static edge([x0, y0], [x1, y1], kind, high) {
    const [a, b] = kind === "meridian" ? [y0 - high, y1 - high] : [x0, x1];
    if (a * b > 0 || a === b) return null;
    const part = a / (a - b);
    return [x0 + part * (x1 - x0), y0 + part * (y1 - y0)];
  }
}
