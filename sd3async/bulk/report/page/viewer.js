// The large view: one picture, everything known about it, and the way to its neighbours.

const PHASES = [
  ["slot_wait", "waiting for a connection"],
  ["limiter_wait", "waiting for the rate limit"],
  ["connect", "sending"],
  ["headers", "at the service"],
  ["body", "receiving"],
];

class Viewer {
  // neighbour(record, step) gives the next record in that direction, or nothing;
  // place(record) says where it stands; shown(record) and closed(record) are told.
  constructor({ neighbour, place, shown, closed }) {
    this.dialog = find("viewer");
    Object.assign(this, { neighbour, place, shown });
    find("viewer-previous").addEventListener("click", () => this.turn(-1));
    find("viewer-next").addEventListener("click", () => this.turn(1));
    find("viewer-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
    this.dialog.addEventListener("close", () => {
      find("viewer-picture").replaceChildren();
      closed(this.record);
    });
  }

  get isOpen() {
    return this.dialog.open;
  }

  open(record) {
    this.record = record;
    if (!this.dialog.open) this.dialog.showModal();
    find("viewer-picture").replaceChildren(this.#picture(record));
    find("viewer-prompt").textContent = record.prompt ?? "";
    find("viewer-rows").replaceChildren(...facts(record));
    find("viewer-facts").scrollTop = 0;
    find("viewer-facts").focus({ preventScroll: true });
    this.refresh();
    this.shown(record);
  }

  // Where it stands may change while more records are loaded.
  refresh() {
    find("viewer-place").textContent = this.place(this.record);
    find("viewer-previous").disabled = !this.neighbour(this.record, -1);
    find("viewer-next").disabled = !this.neighbour(this.record, 1);
  }

  turn(step) {
    const next = this.neighbour(this.record, step);
    if (next) this.open(next);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    this.turn(step);
  }

  #picture(record) {
    if (!record.file) {
      return element("div", { class: `absent ${record.state}` }, reason(record));
    }
    const image = element("img", {
      src: address(record.file),
      width: record.width,
      height: record.height,
      alt: record.prompt ?? "",
      decoding: "async",
    });
    image.onerror = () =>
      image.replaceWith(element("div", { class: "absent" }, "The file is gone: " + record.file));
    for (const step of [1, -1]) {
      const next = this.neighbour(record, step);
      if (next?.file) new Image().src = address(next.file);
    }
    return image;
  }
}

function facts(record) {
  const { negative_prompt: negative, ...options } = record.options ?? {};
  delete options.seed;
  return [
    record.tags && element("p", { class: "tags" }, ...record.tags.map(tagLabel)),
    record.error && element("p", { class: "error" }, record.error),
    !record.error &&
      STATE_MEANINGS[record.state] &&
      element("p", { class: "error" }, STATE_MEANINGS[record.state]),
    negative && element("p", { class: "negative", dir: "auto" }, element("b", {}, "Not: "), negative),
    record.source && sourcePicture(record.source),
    list("Request", requestRows(record, options)),
    list("Image", imageRows(record)),
    list("Answer", answerRows(record)),
    list("Time", timeRows(record)),
  ].filter(Boolean);
}

function sourcePicture(source) {
  const image = element("img", { src: address(source), alt: "", decoding: "async" });
  const figure = element("figure", { class: "source" }, image, element("figcaption", {}, "made from this image"));
  image.onerror = () => figure.remove();
  return figure;
}

function list(title, rows) {
  const told = rows.filter(([, value]) => value != null && value !== false && value !== "");
  if (!told.length) return null;
  return element(
    "section",
    { class: "list" },
    element("h2", {}, title),
    element(
      "dl",
      {},
      ...told.flatMap(([name, value]) => [
        element("dt", {}, name),
        element("dd", { dir: "auto" }, value instanceof Node ? value : String(value)),
      ]),
    ),
  );
}

function requestRows(record, options) {
  return [
    ["id", record.id],
    ["endpoint", record.endpoint],
    ["model", record.model],
    ["seed", record.seed ?? record.options?.seed],
    ...Object.entries(options).map(([name, value]) => [
      name.replaceAll("_", " "),
      typeof value === "object" ? JSON.stringify(value) : value,
    ]),
    ["priority", record.priority || null],
  ];
}

function imageRows(record) {
  return [
    ["size", record.width && `${record.width} × ${record.height} px`],
    ["file", record.file && element("a", { href: address(record.file), target: "_blank" }, record.file)],
    ["length", record.size && bytesInWords(record.size)],
    ["type", joined(record.content_type, otherTypeOf(record))],
    ["sha256", record.sha256],
    ["same as", record.linked_to != null && `number ${record.linked_to + 1}, an identical request`],
  ];
}

function answerRows(record) {
  const price = record.credits > 0 && many(record.credits, "credit");
  return [
    ["state", STATE_NAMES[stateOf(record)]],
    ["finish reason", record.finish_reason],
    ["price", price && `${price}, ${smallMoney.format(record.credits / 100)}`],
    ["attempts", record.attempts || null],
    ["possibly paid", record.unknown_charges ? many(record.unknown_charges, "more time") : null],
    ["request id", record.request_id],
    ["emulated", record.emulated && "yes: made by no model"],
  ];
}

function timeRows(record) {
  const timings = record.timings ?? {};
  return [
    ["sent", record.sent_at && moment(record.sent_at)],
    ["ended", record.finished_at && moment(record.finished_at)],
    ...PHASES.map(([name, words]) => [words, timings[name] > 0 && durationInWords(timings[name])]),
    ["in all", timings.total && durationInWords(timings.total)],
  ];
}
