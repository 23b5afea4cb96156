// What is loaded so far, and what of it was asked for.

class Records {
  constructor() {
    this.all = [];
    this.byIndex = new Map();
  }

  add(records) {
    for (const record of records) {
      this.all.push(record);
      this.byIndex.set(record.index, record);
    }
  }

  matching({ query, state, endpoint, tag }) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length && !state && !endpoint && !tag) return this.all;
    return this.all.filter(
      (record) =>
        (!state || stateOf(record) === state) &&
        (!endpoint || record.endpoint === endpoint) &&
        (!tag || (record.tags ?? []).includes(tag)) &&
        words.every((word) => searchText(record).includes(word)),
    );
  }
}

function searchText(record) {
  record.searchText ??= [
    record.prompt,
    record.id,
    record.model,
    record.seed,
    record.error,
    record.request_id,
    ...(record.tags ?? []),
    ...Object.values(record.options ?? {}),
  ]
    .join("\n")
    .toLowerCase();
  return record.searchText;
}

// A page opened from disk may not fetch files, but it may load scripts: each calls
// receiveRecords. One at a time keeps the order, and the page alive in between.
function loadRecordFiles(count, { received, missing }) {
  globalThis.receiveRecords = received;
  const load = (number) => {
    if (number === count) return;
    const name = `records-${String(number).padStart(5, "0")}.js`;
    const script = element("script", { src: `./gallery/${name}` });
    script.onload = () => {
      script.remove();
      load(number + 1);
    };
    script.onerror = () => missing(`gallery/${name}`);
    document.head.append(script);
  };
  load(0);
}
