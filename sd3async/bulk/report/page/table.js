// Every prompt in every setting: a row for each prompt, a column for each style, model or seed.

const MOST_COLUMNS = 30;

// Returns the columns of a job that is such a table, and null for any other job.
function columnsOf(records) {
  const names = differingSettings(records);
  const columns = new Map();
  const rows = new Map();
  for (const record of records) {
    const setting = names.map((name) => inWords(settings(record)[name])).join(" · ");
    const row = rows.get(record.prompt) ?? new Map();
    const variation = row.get(setting) ?? 0;
    rows.set(record.prompt, row.set(setting, variation + 1));
    record.column = `${variation} ${setting}`;
    const column = columns.get(record.column) ?? { setting, variation, count: 0, seeds: new Set() };
    column.count += 1;
    column.seeds.add(record.options?.seed);
    columns.set(record.column, column);
    if (columns.size > MOST_COLUMNS) return null;
  }
  const isFull = [...columns.values()].every(({ count }) => count === rows.size);
  const isVaried = names.length > 0 || [...columns.values()].every(hasOneSeed);
  if (!isFull || !isVaried || rows.size < 2 || columns.size < 2) return null;
  const order = [...new Set([...columns.values()].map(({ setting }) => setting))];
  return new Map(
    [...columns].sort(
      ([, a], [, b]) => order.indexOf(a.setting) - order.indexOf(b.setting) || a.variation - b.variation,
    ),
  );
}

const hasOneSeed = ({ seeds }) => seeds.size === 1 && !seeds.has(undefined);

const settings = ({ endpoint, model, options: { seed, ...others } = {} }) => ({ ...others, endpoint, model });

const inWords = (value) =>
  value === undefined ? "none" : typeof value === "object" ? JSON.stringify(value) : String(value);

function differingSettings(records) {
  const first = settings(records[0] ?? {});
  const differing = new Set();
  for (const record of records) {
    const own = settings(record);
    for (const name of Object.keys({ ...first, ...own })) {
      if (inWords(own[name]) !== inWords(first[name])) differing.add(name);
    }
  }
  // Where the model tells the endpoint as well, once is enough.
  if (differing.has("model")) differing.delete("endpoint");
  return [...differing];
}

function rowsOf(records, columns) {
  const rows = new Map();
  for (const record of records) {
    rows.set(record.prompt, (rows.get(record.prompt) ?? new Map()).set(record.column, record));
  }
  return [...rows.values()].map((row) => [...columns.keys()].map((column) => row.get(column)).filter(Boolean));
}

function table(records, columns, open) {
  const rows = rowsOf(records, columns).map((row) => {
    const cells = new Map(row.map((record) => [record.column, cell(record, columns.get(record.column), open)]));
    return element(
      "tr",
      {},
      element("th", { scope: "row", dir: "auto" }, row[0].prompt),
      ...[...columns.keys()].map((column) => element("td", {}, cells.get(column))),
    );
  });
  return element("table", {}, element("thead", {}, ...heads(columns)), element("tbody", {}, ...rows));
}

function heads(columns) {
  const all = [...columns.values()];
  const variations = new Set(all.map(({ variation }) => variation)).size;
  const names = all.filter(({ variation }) => variation === 0);
  const head = (words, span) => element("th", { scope: "col", colspan: span, dir: "auto" }, words);
  const top = names.map(({ setting }) => head(setting, variations));
  const seeds = all.map((one) => head(hasOneSeed(one) ? `seed ${[...one.seeds][0]}` : one.variation + 1, 1));
  return [names.length > 1 && top, variations > 1 && seeds]
    .filter(Boolean)
    .map((line) => element("tr", {}, element("td"), ...line));
}

function cell(record, { setting }, open) {
  const state = stateOf(record);
  const button = element(
    "button",
    {
      type: "button",
      class: `card ${state}`,
      "data-index": record.index,
      "aria-label": joined(record.prompt, setting, seedOf(record)),
    },
    element("span", { class: "frame" }, record.file ? picture(record) : absence(reason(record)), badge(state)),
  );
  button.addEventListener("click", () => open(record));
  return shaped(button, record);
}
