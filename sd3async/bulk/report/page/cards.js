// One item in the grid: a picture, or why there is none, and the facts worth a glance.

function card(record, open) {
  const state = stateOf(record);
  const button = element(
    "button",
    { type: "button", class: "card", "data-index": record.index },
    element("span", { class: "frame" }, record.file ? picture(record) : absence(reason(record)), badge(state)),
    element("span", { class: "prompt", dir: "auto" }, record.prompt || record.id),
    element("span", { class: "glance" }, joined(record.model, seedOf(record))),
    element("span", { class: "glance" }, joined(priceOf(record), lengthOf(record))),
    record.tags && element("span", { class: "tags" }, ...record.tags.map(tagLabel)),
  );
  button.addEventListener("click", () => open(record));
  return element("li", { class: state }, button);
}

function picture(record) {
  const image = element("img", {
    src: address(record.thumbnail ?? record.file),
    width: record.width,
    height: record.height,
    class: record.width / record.height >= frameShape ? "wide" : "tall",
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

const seedOf = (record) => record.seed != null && `seed ${record.seed}`;

const lengthOf = (record) => record.size && bytesInWords(record.size);

const priceOf = (record) =>
  record.linked_to != null
    ? `same as number ${record.linked_to + 1}`
    : record.credits > 0 && many(record.credits, "credit");

let frameShape = 1;

// Where most pictures share a shape, they fill their frames; else the frames are as high as all
// but the highest need, and at most square.
function shapeFrames(records) {
  const shapes = records.filter(({ width }) => width).map(({ width, height }) => width / height);
  if (!shapes.length) return;
  shapes.sort((a, b) => a - b);
  const middle = shapes[Math.floor(shapes.length / 2)];
  const alike = shapes.filter((shape) => Math.abs(shape - middle) < 0.02);
  const highest = Math.max(1, shapes[Math.floor(shapes.length / 10)]);
  frameShape = Math.min(1.8, Math.max(0.7, alike.length > shapes.length / 2 ? middle : highest));
  find("grid").style.setProperty("--shape", frameShape);
}

// Arrow keys walk the grid as it is laid out, whatever number of columns that makes.
function walk(grid, event) {
  const cards = [...grid.querySelectorAll(".card")];
  const here = cards.indexOf(document.activeElement);
  const columns = cards.filter((one) => one.offsetTop === cards[0].offsetTop).length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const step = steps[event.key];
  if (here < 0 || !step || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = cards[here + step];
  if (!target) return;
  event.preventDefault();
  target.focus();
}
