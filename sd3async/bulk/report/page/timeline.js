// Items that ended in each second, against what the rate limit allows.

const PLOT = { height: 150, left: 34, right: 6, top: 10, bottom: 20, pause: 30, widestBar: 26 };

class Timeline {
  constructor(rate) {
    this.rate = rate;
    this.plot = find("timeline-plot");
    this.readout = find("timeline-readout");
    this.title = `Finished per second, in steps of ${stepInWords(rate.bucket)}`;
    this.summary = this.#summary();
    find("timeline-title").textContent = this.title;
    find("timeline").hidden = false;
    this.#say(this.summary);
    new ResizeObserver(() => this.draw()).observe(this.plot);
    this.plot.addEventListener("pointermove", (event) => this.#point(event));
    this.plot.addEventListener("pointerleave", () => this.#say(this.summary));
  }

  #buckets() {
    return this.rate.spells.flatMap((spell, place) =>
      spell.done.map((done, i) => ({
        place,
        done,
        failed: spell.failed[i],
        start: spell.start + i * this.rate.bucket,
        rate: (done + spell.failed[i]) / this.rate.bucket,
      })),
    );
  }

  #summary() {
    const rates = this.#buckets().map((bucket) => bucket.rate);
    const peak = Math.max(...rates);
    // The limit counts 10 s windows, so a burst in shorter steps breaks no rule.
    const remark = this.rate.ceiling && peak > this.rate.ceiling ? " in a burst" : "";
    const ceiling = this.rate.ceiling ? `, ceiling ${numbers.format(this.rate.ceiling)}` : "";
    // A job shorter than a window has no mean that says anything about the limit.
    const hasMean = this.rate.mean != null && this.rate.mean <= Math.min(peak, this.rate.ceiling ?? peak);
    return `${hasMean ? `mean ${numbers.format(this.rate.mean)}, ` : ""}peak ${numbers.format(peak)}${remark}${ceiling}`;
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    const buckets = this.#buckets();
    const pauses = this.rate.spells.length - 1;
    const room = width - PLOT.left - PLOT.right - pauses * PLOT.pause;
    const step = Math.min(PLOT.widestBar, room / buckets.length);
    const most = 1.08 * Math.max(this.rate.ceiling ?? 0, ...buckets.map((bucket) => bucket.rate));
    const scale = (PLOT.height - PLOT.top - PLOT.bottom) / most;
    this.bars = buckets.map((bucket, i) => ({
      ...bucket,
      x: PLOT.left + i * step + bucket.place * PLOT.pause,
      width: step,
    }));
    this.plot.replaceChildren(
      drawing(
        "svg",
        { width, height: PLOT.height, role: "img", "aria-label": `${this.title}: ${this.summary}` },
        ...this.#axis(width, most, scale),
        ...this.bars.flatMap((bar) => this.#bar(bar, scale)),
        ...this.#instants(width),
        ...this.#ceiling(width, scale),
      ),
    );
  }

  #bar(bar, scale) {
    const base = PLOT.height - PLOT.bottom;
    const x = bar.x + Math.min(0.75, bar.width * 0.1);
    const width = bar.width - Math.min(1.5, bar.width * 0.2);
    const done = (bar.done / this.rate.bucket) * scale;
    const failed = (bar.failed / this.rate.bucket) * scale;
    return [
      done > 0 && drawing("rect", { class: "done", x, width, y: base - done, height: done }),
      failed > 0 &&
        drawing("rect", { class: "failed", x, width, y: base - done - failed, height: failed }),
    ].filter(Boolean);
  }

  #axis(width, most, scale) {
    const base = PLOT.height - PLOT.bottom;
    const step = roundStep(most / 3);
    const ticks = [];
    const ceiling = this.rate.ceiling ?? Infinity;
    for (let value = 0; value <= most; value += step) {
      // The ceiling has a label of its own, and needs the room.
      if (Math.abs(value - ceiling) * scale > 13) ticks.push(value);
    }
    return ticks.flatMap((value) => [
      drawing("line", {
        class: value ? "tick" : "base",
        x1: PLOT.left,
        x2: width - PLOT.right,
        y1: base - value * scale,
        y2: base - value * scale,
      }),
      drawing(
        "text",
        { x: PLOT.left - 7, y: base - value * scale + 3.5, "text-anchor": "end" },
        numbers.format(value),
      ),
    ]);
  }

  #ceiling(width, scale) {
    if (!this.rate.ceiling) return [];
    const y = PLOT.height - PLOT.bottom - this.rate.ceiling * scale;
    return [
      drawing("line", { class: "ceiling", x1: PLOT.left, x2: width - PLOT.right, y1: y, y2: y }),
      drawing(
        "text",
        { class: "ceiling", x: PLOT.left - 7, y: y + 3.5, "text-anchor": "end" },
        numbers.format(this.rate.ceiling),
      ),
    ];
  }

  #instants(width) {
    const y = PLOT.height - 5;
    const clock = this.rate.bucket < 5 ? secondClocks : clocks;
    const written = [];
    let free = 0;
    this.rate.spells.forEach((spell, place) => {
      const first = this.bars.find((bar) => bar.place === place);
      if (place) written.push(drawing("text", { x: first.x - PLOT.pause / 2, y: y - 22, "text-anchor": "middle" }, "⋯"));
      if (first.x < free || first.x > width - 52) return;
      written.push(drawing("text", { x: first.x, y }, clock.format(instant(spell.start))));
      free = first.x + 56;
    });
    const last = this.bars.at(-1);
    const end = last.x + last.width;
    if (end - 52 > free) {
      const ended = instant(last.start + this.rate.bucket);
      written.push(drawing("text", { x: end, y, "text-anchor": "end" }, clock.format(ended)));
    }
    return written;
  }

  #point(event) {
    const x = event.clientX - this.plot.getBoundingClientRect().left;
    const bar = this.bars?.find((bar) => x >= bar.x && x < bar.x + bar.width);
    if (!bar) return this.#say(this.summary);
    const failed = bar.failed ? `, ${numbers.format(bar.failed)} failed` : "";
    this.#say(
      `${secondClocks.format(instant(bar.start))}: ${numbers.format(bar.rate)}/s ` +
        `(${numbers.format(bar.done)} done${failed})`,
    );
  }

  #say(words) {
    this.readout.textContent = words;
  }
}

function stepInWords(seconds) {
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3600 ? `${seconds / 60} min` : `${seconds / 3600} h`;
}

function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= least);
}
