const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const money = new Intl.NumberFormat("en", { style: "currency", currency: "USD" });
const smallMoney = new Intl.NumberFormat("en", {
  style: "currency",
  currency: "USD",
  maximumFractionDigits: 3,
});
const days = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });
const clocks = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const secondClocks = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

const many = (count, one, more = one + "s") =>
  `${numbers.format(count)} ${count === 1 ? one : more}`;

const instant = (seconds) => new Date(seconds * 1000);

const moment = (seconds) =>
  `${days.format(instant(seconds))}, ${secondClocks.format(instant(seconds))}`;

function bytesInWords(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

function durationInWords(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(Math.round(seconds) / 60);
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  return `${minutes} min ${Math.round(seconds) % 60} s`;
}

const STATE_NAMES = {
  done: "Done",
  filtered: "Filtered",
  failed: "Failed",
  unknown: "Perhaps paid",
  missing: "Gone",
  sent: "Cut off",
  pending: "Not sent",
  invalid: "Invalid",
};

const STATE_MEANINGS = {
  unknown: "Sent, but no whole answer came: it may have been paid for.",
  missing: "Paid for, but the image is gone or empty: --remake-missing makes it again.",
  sent: "The run stopped while this one was on its way.",
  pending: "The run stopped before its turn.",
};

// How a person would sort them: a blurred image is done, but not what was wanted.
const stateOf = (record) =>
  record.finish_reason === "CONTENT_FILTERED" ? "filtered" : record.state;

// The history of attempts is for the large view.
const shortReason = (error) => error.replace(/ \[\d+ attempts: [^]*$/, "");
