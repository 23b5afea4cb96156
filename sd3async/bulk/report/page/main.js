// What is asked for lives in the address, so that a reload or a bookmark shows the same.

const CARDS_PER_PAGE = 60;
const NOTHING_ASKED = { query: "", state: "", endpoint: "", tag: "", view: "cards", page: 1, item: null };

const job = JSON.parse(find("job").textContent);
const records = new Records();
let asked = { ...NOTHING_ASKED };
let columns = null; // of the table, if the job is one
let found = [];
let pages = [[]];
let onPage = null;

const viewer = new Viewer({
  neighbour: (record, step) => found[found.indexOf(record) + step],
  place: (record) => {
    const place = found.indexOf(record) + 1;
    return place ? `${numbers.format(place)} of ${numbers.format(found.length)}` : "";
  },
  shown: (record) => remember({ item: record.index }),
  closed: (record) => {
    const page = pages.findIndex((one) => one.includes(record)) + 1;
    remember({ item: null, page: page || asked.page });
    show();
    document.querySelector(`.card[data-index="${record.index}"]`)?.focus();
  },
});

const isTable = () => asked.view === "table" && columns !== null;

function ask(changes) {
  remember({ page: 1, ...changes });
  search();
}

function remember(changes) {
  asked = { ...asked, ...changes };
  const told = Object.entries(asked).filter(([name, value]) => value !== NOTHING_ASKED[name]);
  history.replaceState(null, "", "#" + new URLSearchParams(told));
}

function recall() {
  const told = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const item = told.item === undefined ? null : Number(told.item);
  asked = { ...NOTHING_ASKED, ...told, page: Number(told.page) || 1, item };
}

function search() {
  found = records.matching(asked);
  if (isTable()) {
    const rows = rowsOf(found, columns);
    found = rows.flat();
    pages = inParts(rows, Math.max(1, Math.floor(CARDS_PER_PAGE / columns.size))).map((part) => part.flat());
  } else {
    pages = inParts(found, CARDS_PER_PAGE);
  }
  show();
}

function inParts(list, length) {
  const count = Math.max(1, Math.ceil(list.length / length));
  return Array.from({ length: count }, (_, i) => list.slice(i * length, (i + 1) * length));
}

function show() {
  showToolbar();
  showGrid();
  showPager();
  if (viewer.isOpen) viewer.refresh();
}

function showGrid() {
  // While records are still coming, the page asked for may not be there yet.
  const page = Math.min(asked.page, pages.length);
  const cards = pages[page - 1];
  find("empty").hidden = found.length > 0 || isLoading();
  find("grid").hidden = isTable();
  find("table").hidden = !isTable();
  // Drawn again only when it differs: focus and half-loaded pictures stay.
  const key = isTable() ? "table" : "cards";
  if (onPage?.key === key && onPage.length === cards.length && cards.every((record, i) => record === onPage[i])) return;
  onPage = Object.assign([...cards], { key });
  const open = (record) => viewer.open(record);
  find("grid").start = (page - 1) * CARDS_PER_PAGE + 1;
  find("grid").replaceChildren(...(isTable() ? [] : cards.map((record) => card(record, open))));
  find("table").replaceChildren(...(isTable() ? [table(cards, columns, open)] : []));
}

const isLoading = () => records.all.length < job.shown;

function showToolbar() {
  if (find("query").value !== asked.query) find("query").value = asked.query;
  find("endpoint").value = asked.endpoint;
  find("tag").value = asked.tag;
  for (const button of find("states").children) {
    button.setAttribute("aria-pressed", String(button.dataset.state === asked.state));
  }
  find("views").hidden = columns === null;
  for (const button of find("views").children) {
    button.setAttribute("aria-pressed", String((button.dataset.view === "table") === isTable()));
  }
  const all = isLoading() ? `${numbers.format(records.all.length)}, loading…` : "";
  const one = found.length === 1 ? "item" : "items";
  find("count").textContent = `${numbers.format(found.length)} ${one}${all && ` of ${all}`}`;
}

function showPager() {
  const count = pages.length;
  const page = Math.min(asked.page, count);
  find("pager").hidden = count === 1;
  find("pager").replaceChildren(
    pageButton("‹", page - 1, count, "Previous page"),
    ...pageNumbers(page, count).map((number) =>
      number ? pageButton(number, number, count, `Page ${number}`, number === page) : element("span", {}, "…"),
    ),
    pageButton("›", page + 1, count, "Next page"),
  );
}

function pageButton(words, page, count, label, isCurrent = false) {
  const button = element(
    "button",
    {
      type: "button",
      "aria-label": label,
      "aria-current": isCurrent && "page",
      disabled: page < 1 || page > count,
    },
    typeof words === "number" ? numbers.format(words) : words,
  );
  button.addEventListener("click", () => {
    remember({ page });
    show();
    find("toolbar").scrollIntoView();
    find("grid").focus({ preventScroll: true });
  });
  return button;
}

// First, last, and the neighbourhood; 0 stands for a gap.
function pageNumbers(page, count) {
  const near = new Set([1, count, page - 1, page, page + 1, page < 4 && 2, page > count - 3 && count - 1]);
  const shown = [...near].filter((n) => n >= 1 && n <= count).sort((a, b) => a - b);
  return shown.flatMap((n, i) => (i && n - shown[i - 1] > 1 ? [0, n] : [n]));
}

function setUpStates() {
  const counts = { ...job.by_state };
  if (job.items.filtered) {
    counts.filtered = job.items.filtered;
    counts.done -= counts.filtered;
  }
  const all = Object.values(job.by_state).reduce((sum, count) => sum + count, 0);
  const states = Object.keys(STATE_NAMES).filter((state) => counts[state] > 0);
  find("states").replaceChildren(
    stateButton("", "All", all),
    ...(states.length > 1 ? states : []).map((state) =>
      stateButton(state, STATE_NAMES[state], counts[state]),
    ),
  );
}

function stateButton(state, name, count) {
  const label = element("span", { class: "number" }, numbers.format(count));
  const button = element("button", { type: "button", "data-state": state }, name, " ", label);
  button.addEventListener("click", () => ask({ state: state === asked.state ? "" : state }));
  return button;
}

function setUpSelect(id, everything, names) {
  const select = find(id);
  select.replaceChildren(
    element("option", { value: "" }, everything),
    ...names.map(([name, count]) =>
      element("option", { value: name }, `${name} (${numbers.format(count)})`),
    ),
  );
  select.hidden = names.length === 0;
  select.addEventListener("change", () => ask({ [id]: select.value }));
}

function setUpKeys() {
  addEventListener("keydown", (event) => {
    const isTyping = event.target.matches("input, select, textarea");
    if (event.key !== "/" || isTyping || viewer.isOpen) return;
    event.preventDefault();
    find("query").select();
  });
  for (const place of [find("grid"), find("table")]) place.addEventListener("keydown", walk);
  find("query").addEventListener("input", () => ask({ query: find("query").value }));
  find("reset").addEventListener("click", () => ask({ ...NOTHING_ASKED, view: asked.view }));
  for (const button of find("views").children) {
    button.addEventListener("click", () => ask({ view: button.dataset.view }));
  }
  addEventListener("hashchange", () => {
    recall();
    search();
    openAskedItem();
  });
}

function openAskedItem() {
  const record = records.byIndex.get(asked.item);
  if (record && !(viewer.isOpen && viewer.record === record)) viewer.open(record);
}

function note(words) {
  find("note").textContent = words;
  find("note").hidden = false;
}

function noteWhatIsLeftOut() {
  const all = Object.values(job.by_state).reduce((sum, count) => sum + count, 0);
  if (job.shown < all) {
    note(
      `This page shows the first ${numbers.format(job.shown)} of ${numbers.format(all)} items; ` +
        "results.jsonl lists all of them.",
    );
  }
}

function receive(more) {
  records.add(more);
  if (!isLoading()) columns = columnsOf(records.all);
}

function start() {
  showSummary(job);
  setUpStates();
  const endpoints = Object.entries(job.by_endpoint).map(([name, group]) => [name, group.items]);
  setUpSelect("endpoint", "Every endpoint", endpoints.filter(([name]) => name));
  setUpSelect("tag", "Every tag", job.tags);
  setUpKeys();
  noteWhatIsLeftOut();
  recall();
  receive(JSON.parse(find("records").textContent));
  setRowHeight(records.all);
  search();
  openAskedItem();
  loadRecordFiles(job.files, {
    received: (more) => {
      receive(more);
      search();
      if (asked.item !== null && !viewer.isOpen) openAskedItem();
    },
    missing: (file) => note(`${file} could not be loaded: the items in and after it are missing.`),
  });
}

start();
