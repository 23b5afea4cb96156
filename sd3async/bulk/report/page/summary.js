// The head of the page: what the run came to.

function showSummary(job) {
  find("name").textContent = job.job.name;
  find("origin").textContent = [
    nameOf(job.job.manifest),
    job.job.emulated ? "emulated: drawn by the emulator, made by no model" : "",
    job.job.service === "emulator" ? "" : job.job.base_url,
    (job.job.runs > 1 ? "last run " : "") + moment(Date.parse(job.job.started_at) / 1000),
  ]
    .filter(Boolean)
    .join("  ·  ");
  find("tiles").replaceChildren(...tiles(job).map(tile));
  if (job.rate.spells.length) new Timeline(job.rate);
}

// The page may be read anywhere: where the manifest lay is for report.json to say.
const nameOf = (path) => path.split(/[\\/]/).at(-1);

function tiles({ job, items, money: spent, requests, latency, bytes }) {
  const rows = [
    ["Images", items.done, `of ${numbers.format(items.total)}, ${bytesInWords(bytes)}`],
    ["Failed", items.failed, items.invalid ? many(items.invalid, "invalid line") : "", "bad"],
    ["Credits", spent.credits, moneyNote(spent)],
    ["Time", durationInWords(job.seconds), timeNote(job.runs, latency)],
    ["Retries", requests.retried, `of ${many(requests.attempts, "request")}`],
    ["Frozen", requests.frozen, requests.frozen ? "stopped by a 429" : "no 429", "odd"],
    ["Possibly paid", spent.possibly_paid, "without an image", "odd"],
  ];
  if (items.filtered) rows.push(["Filtered", items.filtered, "blurred, and paid", "odd"]);
  if (items.missing) rows.push(["Gone", items.missing, "paid, no longer in the folder", "bad"]);
  if (items.unknown) rows.push(["Held for review", items.unknown, "possibly paid", "odd"]);
  if (items.unsent) rows.push(["Not sent", items.unsent, "run again to go on", "odd"]);
  return rows;
}

function tile([name, value, note, tone]) {
  const isZero = value === 0;
  return element(
    "div",
    { class: isZero ? "zero" : tone },
    element("dt", {}, name),
    element("dd", { class: "value" }, typeof value === "number" ? numbers.format(value) : value),
    element("dd", { class: "note" }, note),
  );
}

function moneyNote({ dollars, balance_after: balance }) {
  const left = balance == null ? "" : `, ${numbers.format(balance)} left`;
  return money.format(dollars) + left;
}

function timeNote(runs, { total }) {
  const latency = total && `p50 ${durationInWords(total.p50)}, p99 ${durationInWords(total.p99)}`;
  return [runs > 1 && `in ${numbers.format(runs)} runs`, latency].filter(Boolean).join("; ");
}
