// One item in the grid: a picture, or why there is none, and the facts worth a glance.

function card(record, open) {
  const state = stateOf(record);
  const button = element(
    "button",
    { type: "button", class: "card", "data-index": record.index },
    element("span", { class: "frame" }, record.file ? picture(record) : absence(reason(record)), badge(state)),
    element("span", { class: "prompt", dir: "auto" }, record.prompt || record.id),
    element("span", { class: "glance" }, joined(record.model, styleOf(record), seedOf(record))),
    element("span", { class: "glance" }, joined(priceOf(record), lengthOf(record), otherTypeOf(record))),
    record.tags && element("span", { class: "tags" }, ...record.tags.map(tagLabel)),
  );
  button.addEventListener("click", () => open(record));
  return shaped(element("li", { class: state }, button), record);
}

function picture(record) {
  const image = element("img", {
    src: address(record.thumbnail ?? record.file),
    width: record.width,
    height: record.height,
    alt: "",
    loading: "lazy",
    decoding: "async",
  });
  image.onerror = () => {
    // A thumbnail may not be made yet, an image may have been moved away.
    image.onerror = () => image.replaceWith(absence("The file is gone."));
    image.src = address(record.file);
  };
  return image;
}

const reason = (record) =>
  record.error ? shortReason(record.error) : (STATE_MEANINGS[record.state] ?? "No image.");

const absence = (words) =>
  element("span", { class: "absence" }, element("span", { class: "reason", dir: "auto" }, words));

function badge(state) {
  return state !== "done" && element("span", { class: "badge" }, STATE_NAMES[state]);
}

function tagLabel(tag) {
  return element("span", { class: "tag", dir: "auto" }, tag);
}

const joined = (...facts) => facts.filter(Boolean).join(" · ");

const styleOf = (record) => record.options?.style_preset;

const seedOf = (record) => record.seed != null && `seed ${record.seed}`;

const lengthOf = (record) => record.size && bytesInWords(record.size);

// A service may answer a JPEG where PNG was asked for, and the file has the name that was asked for.
function otherTypeOf({ file, content_type: type }) {
  const named = file?.split(".").at(-1).replace("jpg", "jpeg");
  const is = type?.replace("image/", "");
  return named && is && is !== named && `${is.toUpperCase()}, not ${named.toUpperCase()}`;
}

const priceOf = (record) =>
  record.linked_to != null
    ? `same as number ${record.linked_to + 1}`
    : record.credits > 0 && many(record.credits, "credit");

// Pictures of one row are equally high and fill it, so that mixed shapes leave no holes. A card
// has room for words, so the narrowest and the widest have bars: 9:21 is 0.43, 21:9 is 2.33.
const SHAPES = { narrowest: 0.5625, widest: 2.4 };

let usualShape = 1;

function shaped(node, { width, height }) {
  const shape = width ? width / height : usualShape;
  const bounded = Math.min(SHAPES.widest, Math.max(SHAPES.narrowest, shape));
  node.style.setProperty("--shape", bounded.toFixed(4));
  return node;
}

// The rows are as high as gives most pictures the same area, whatever shape most have.
function setRowHeight(records) {
  const shapes = records.filter(({ width }) => width).map(({ width, height }) => width / height);
  shapes.sort((a, b) => a - b);
  usualShape = shapes[Math.floor(shapes.length / 2)] ?? 1;
  find("grid").style.setProperty("--usual", Math.sqrt(usualShape).toFixed(4));
}

// Arrow keys walk the pictures as they are laid out: along, and to the nearest one above or below.
function walk(event) {
  const key = event.key;
  const cards = [...event.currentTarget.querySelectorAll(".card")];
  const here = cards.indexOf(document.activeElement);
  if (here < 0 || !key.startsWith("Arrow") || event.ctrlKey || event.metaKey || event.altKey) return;
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  const target = key in steps ? cards[here + steps[key]] : nearest(cards, here, key === "ArrowUp");
  if (!target) return;
  event.preventDefault();
  target.focus();
}

function nearest(cards, here, above) {
  const boxes = cards.map((one) => one.getBoundingClientRect());
  const { top, left, width } = boxes[here];
  const tops = boxes.map((box) => box.top).filter((other) => (above ? other < top - 1 : other > top + 1));
  const row = above ? Math.max(...tops) : Math.min(...tops);
  const distance = (box) => Math.abs(box.left + box.width / 2 - left - width / 2);
  const inRow = cards.map((one, i) => [distance(boxes[i]), one, boxes[i]]).filter(([, , box]) => Math.abs(box.top - row) <= 1);
  return inRow.sort(([a], [b]) => a - b)[0]?.[1];
}
