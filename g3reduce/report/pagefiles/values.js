"use strict";
// Planes as numbers, and numbers as colours.

const UNOBSERVED = -32768;

// Blue to red by way of white, and purple to yellow: both can be told apart without red and green.
const COLOURS = {
  diverging: ["#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7",
    "#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"],
  sequential: ["#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89",
    "#35b779", "#6dcd59", "#b4de2c", "#fde725"],
};

function bytesOf(text) {
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
}

/** What was deflated, to be read as text or bytes. */
function inflated(text) {
  const stream = new Blob([bytesOf(text)]).stream();
  return new Response(stream.pipeThrough(new DecompressionStream("deflate")));
}

/** The rows of a table, which is kept column by column. */
async function rowsOf({ data, count }) {
  const columns = await inflated(data).json();
  return Array.from({ length: count }, (_, row) => columns.map((column) => column[row]));
}

/** The numbers of a plane: the low bytes of all pixels come first, then the high bytes. */
async function numbersOf(plane) {
  const bytes = new Uint8Array(await inflated(plane.data).arrayBuffer());
  const size = bytes.length / 2;
  const numbers = new Int16Array(size);
  for (let i = 0; i < size; i++) numbers[i] = bytes[i] | (bytes[size + i] << 8);
  return numbers;
}

/** The value that a number of a plane stands for. */
function valueOf({ offset, step, far }, number) {
  const size = Math.abs(number);
  if (!far || size <= 16000) return offset + step * number;
  return offset + step * Math.sign(number) * 16000 * Math.exp(far * (size - 16000));
}

/** 256 colours of a scale, as red, green, blue, red, … */
function paletteOf(name) {
  const stops = COLOURS[name].map((hex) =>
    [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const palette = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (stops.length - 1);
    const before = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c++) {
      const [a, b] = [stops[before][c], stops[before + 1][c]];
      palette[3 * i + c] = Math.round(a + (place - before) * (b - a));
    }
  }
  return palette;
}

/** A plane drawn pixel by pixel. Rows of planes begin at the bottom, those of pictures at the top. */
function paint(plane, numbers, width, height, low, high) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const palette = paletteOf(plane.colours);
  const perValue = 255 / (high - low);
  for (let y = 0; y < height; y++) {
    let to = 4 * (height - 1 - y) * width;
    for (let x = 0; x < width; x++, to += 4) {
      const number = numbers[y * width + x];
      if (number === UNOBSERVED) continue; // stays transparent
      const value = valueOf(plane, number);
      const colour = 3 * Math.round(Math.min(255, Math.max(0, (value - low) * perValue)));
      image.data[to] = palette[colour];
      image.data[to + 1] = palette[colour + 1];
      image.data[to + 2] = palette[colour + 2];
      image.data[to + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Longitude and latitude, in degrees, of pixels. */
function skyOf(pictures) {
  const { centre } = pictures.sky;
  return centre === undefined ? betweenNodes(pictures) : mollweide(pictures, centre);
}

/** The inverse of Mollweide's projection: Snyder 1987, page 251. */
function mollweide({ height }, centre) {
  return (x, y) => {
    const across = (x + 0.5) / (height / 2) - 2;
    const up = (y + 0.5) / (height / 2) - 1;
    if ((across / 2) ** 2 + up ** 2 >= 1) return [NaN, NaN];
    const theta = Math.asin(up);
    const latitude = Math.asin((2 * theta + Math.sin(2 * theta)) / Math.PI);
    const longitude = centre - (90 * across) / Math.cos(theta);
    return [((longitude % 360) + 360) % 360, (latitude * 180) / Math.PI];
  };
}

/** What lies between the nodes of a coarse grid. */
function betweenNodes(pictures) {
  const nodes = pictures.sky.nodes;
  const vectors = new Float32Array(bytesOf(pictures.sky.vectors).buffer);
  return (x, y) => {
    const u = (x / Math.max(1, pictures.width - 1)) * (nodes - 1);
    const v = (y / Math.max(1, pictures.height - 1)) * (nodes - 1);
    const i = Math.min(nodes - 2, Math.max(0, Math.floor(u)));
    const j = Math.min(nodes - 2, Math.max(0, Math.floor(v)));
    const corner = (a, b, c) => vectors[3 * ((j + b) * nodes + i + a) + c];
    const mix = (c) =>
      (1 - v + j) * ((1 - u + i) * corner(0, 0, c) + (u - i) * corner(1, 0, c)) +
      (v - j) * ((1 - u + i) * corner(0, 1, c) + (u - i) * corner(1, 1, c));
    const [a, b, c] = [mix(0), mix(1), mix(2)];
    const degrees = 180 / Math.PI;
    const longitude = (Math.atan2(b, a) * degrees + 360) % 360;
    return [longitude, Math.atan2(c, Math.hypot(a, b)) * degrees];
  };
}

/** A number as people write it, with four digits. */
function shown(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) {
    const [digits, power] = value.toExponential(2).split("e");
    const raised = [...String(Number(power))].map((sign) =>
      sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(sign)]).join("");
    return `${digits.replace("-", "−")} × 10${raised}`;
  }
  return value.toLocaleString("en", { maximumSignificantDigits: 4 }).replace("-", "−");
}
