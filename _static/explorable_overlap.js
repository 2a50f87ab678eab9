/* The log posterior over two means, for any separation and number of rows (chapter 10). */
(() => {
  "use strict";

  const PRIOR_SD = 2;
  const ROWS = [10, 20, 50, 100, 200, 500, 1000];
  const EDGE = 3;
  const SIDE = 101; // grid points along an axis
  const STEP = (2 * EDGE) / (SIDE - 1);
  const BANDS = [1, 3, 6, 12]; // nats below the highest point

  const normal = (y, mean) => Math.exp(-0.5 * (y - mean) ** 2) / Math.sqrt(2 * Math.PI);

  /** Points and weights of the trapezoid rule for an expectation over the true density. */
  function density(separation) {
    const half = separation / 2;
    const width = 0.125;
    const nodes = [];
    for (let y = -half - 7; y <= half + 7; y += width) {
      nodes.push([y, width * 0.5 * (normal(y, half) + normal(y, -half))]);
    }
    return nodes;
  }

  /** Expected log likelihood of one row at the means (first, second); weights 1/2, sds 1. */
  function perRow(nodes, first, second) {
    let sum = 0;
    for (const [y, weight] of nodes) {
      // the larger term is taken out, so that no logarithm of 0 arises far from the data
      const a = -0.5 * (y - first) ** 2;
      const b = -0.5 * (y - second) ** 2;
      sum += weight * (Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b))));
    }
    return sum - Math.log(2) - 0.5 * Math.log(2 * Math.PI);
  }

  const logPrior = (first, second) => -(first ** 2 + second ** 2) / (2 * PRIOR_SD ** 2);

  /** Log posterior, up to its constant, of n rows that are distributed exactly as expected. */
  function logPosterior(separation, n, first, second) {
    return n * perRow(density(separation), first, second) + logPrior(first, second);
  }

  const axis = Array.from({ length: SIDE }, (_, i) => -EDGE + i * STEP);
  let grid = { separation: null, nodes: null, values: null };

  /** The grid of per-row log likelihoods: all that the data say. It is reused while n moves. */
  function sufficientGrid(separation) {
    if (grid.separation !== separation) {
      const nodes = density(separation);
      const values = axis.map(() => new Float64Array(SIDE));
      for (let i = 0; i < SIDE; i += 1) {
        for (let j = 0; j <= i; j += 1) {
          values[i][j] = values[j][i] = perRow(nodes, axis[i], axis[j]);
        }
      }
      grid = { separation, nodes, values };
    }
    return grid;
  }

  /** What the words say: the modes, the height of the pass, the expected label switches. */
  function summary(separation, n) {
    const { nodes, values } = sufficientGrid(separation);
    const across = (m) => n * perRow(nodes, m, -m) + logPrior(m, -m);
    let low = 0;
    let high = EDGE;
    const ratio = (Math.sqrt(5) - 1) / 2;
    while (high - low > 1e-6) {
      const left = high - ratio * (high - low);
      const right = low + ratio * (high - low);
      if (across(left) < across(right)) low = left;
      else high = right;
    }
    const found = (low + high) / 2;
    const mode = found < 1e-3 ? 0 : found;
    const top = across(mode);
    let total = 0;
    let diagonal = 0;
    let square = 0;
    for (let i = 0; i < SIDE; i += 1) {
      for (let j = 0; j < SIDE; j += 1) {
        const p = Math.exp(n * values[i][j] + logPrior(axis[i], axis[j]) - top);
        total += p;
        square += p * axis[i] ** 2;
        if (i === j) diagonal += p;
      }
    }
    // Rice's formula: density on the diagonal, times the mean speed across it
    const atZero = (diagonal / total / STEP) * Math.SQRT2;
    const switches = 1000 * atZero * Math.sqrt(square / total) * Math.sqrt(2 / Math.PI);
    return { mode, pass: top - across(0), top, switches };
  }

  window.mixbookOverlap = { logPosterior, summary };

  const signed = (x) => (x < 0 ? "−" : "") + Math.abs(x).toFixed(2);
  const counted = (x) => x.toLocaleString("en-GB");

  function words(separation, n, found) {
    const start = `Separation ${separation.toFixed(1)}, ${counted(n)} rows. `;
    const m = found.mode;
    const modes =
      m === 0
        ? "One mode, on the diagonal. "
        : `Two modes, at (${signed(-m)}, ${signed(m)}) and (${signed(m)}, ${signed(-m)}). ` +
          `The pass between them lies ${found.pass.toFixed(1)} nats below. `;
    const rate = found.switches;
    const often =
      rate < 0.1 ? "fewer than one in 10,000" : `about ${rate < 10 ? rate.toFixed(1) : rate.toFixed(0)} in 1,000`;
    const verdict =
      rate >= 20
        ? "A chain crosses often and mixes over both labellings."
        : rate >= 0.5
          ? "A chain crosses now and then: neither mixed nor stuck, the worst case."
          : "A chain stays in the labelling in which it began.";
    return `${start}${modes}Expected label switches: ${often} draws. ${verdict}`;
  }

  function draw(svg, separation, n, found) {
    const { values } = sufficientGrid(separation);
    const cell = 300 / SIDE;
    const paths = BANDS.map(() => "");
    for (let j = 0; j < SIDE; j += 1) {
      BANDS.forEach((band, b) => {
        let begun = -1;
        for (let i = 0; i <= SIDE; i += 1) {
          const inside =
            i < SIDE && found.top - (n * values[i][j] + logPrior(axis[i], axis[j])) <= band;
          if (inside && begun < 0) begun = i;
          if (!inside && begun >= 0) {
            const x = (45 + begun * cell).toFixed(2);
            const y = (10 + (SIDE - 1 - j) * cell).toFixed(2);
            const w = ((i - begun) * cell).toFixed(2);
            paths[b] += `M${x} ${y}h${w}v${cell.toFixed(2)}h-${w}z`;
            begun = -1;
          }
        }
      });
    }
    svg.querySelectorAll(".overlap-band").forEach((path, b) => path.setAttribute("d", paths[b]));
    const place = (v) => [45 + ((v + EDGE) / (2 * EDGE)) * 300, 10 + ((EDGE - v) / (2 * EDGE)) * 300];
    svg.querySelectorAll(".overlap-mode").forEach((mark, k) => {
      const m = k === 0 ? found.mode : -found.mode;
      mark.setAttribute("cx", place(m)[0]);
      mark.setAttribute("cy", place(-m)[1]);
    });
  }

  function frame() {
    let ticks = "";
    for (let v = -EDGE; v <= EDGE; v += 1) {
      const p = ((v + EDGE) / (2 * EDGE)) * 300;
      const label = v < 0 ? `−${-v}` : v;
      ticks += `<text x="${45 + p}" y="328" text-anchor="middle">${label}</text>`;
      ticks += `<text x="38" y="${315 - p}" text-anchor="end">${label}</text>`;
    }
    return (
      BANDS.map((_, b) => `<path class="overlap-band" data-band="${b}"/>`).join("") +
      '<line class="overlap-diagonal" x1="45" y1="310" x2="345" y2="10"/>' +
      '<circle class="overlap-mode" r="5"/><circle class="overlap-mode" r="5"/>' +
      '<rect class="overlap-frame" x="45" y="10" width="300" height="300"/>' +
      `${ticks}<text x="195" y="350" text-anchor="middle">first mean</text>` +
      '<text x="12" y="160" text-anchor="middle" transform="rotate(-90 12 160)">second mean</text>'
    );
  }

  function start(root) {
    const swatch = (band, text) =>
      `<li><svg class="explorable-swatch" aria-hidden="true" viewBox="0 0 20 12">${band}</svg> ${text}</li>`;
    const bandSwatch = (b, text) =>
      swatch(
        BANDS.map((_, k) => (k >= b ? `<rect class="overlap-band" width="20" height="12"/>` : "")).join(""),
        text
      );
    root.innerHTML = `
      <div class="explorable-controls">
        <div class="explorable-control">
          <label for="overlap-separation">Separation of the two normals, in sds</label>
          <input id="overlap-separation" type="range" min="0" max="4" step="0.1" value="1.5">
          <output for="overlap-separation"></output>
        </div>
        <div class="explorable-control">
          <label for="overlap-rows">Number of rows</label>
          <input id="overlap-rows" type="range" min="0" max="${ROWS.length - 1}" step="1" value="3">
          <output for="overlap-rows"></output>
        </div>
      </div>
      <svg class="explorable-plot overlap-plot" viewBox="0 0 360 358" role="img"
        aria-labelledby="overlap-words">${frame()}</svg>
      <ul class="explorable-legend">
        ${bandSwatch(0, "within 1 nat of the top")}
        ${bandSwatch(1, "within 3")}
        ${bandSwatch(2, "within 6")}
        ${bandSwatch(3, "within 12")}
        ${swatch('<line class="overlap-diagonal" x1="0" y1="6" x2="20" y2="6"/>', "equal means")}
        ${swatch('<circle class="overlap-mode" cx="10" cy="6" r="5"/>', "mode")}
      </ul>
      <p id="overlap-words" class="explorable-words" aria-live="polite"></p>`;
    const separationInput = root.querySelector("#overlap-separation");
    const rowsInput = root.querySelector("#overlap-rows");
    const svg = root.querySelector(".overlap-plot");
    const update = () => {
      const separation = Number(separationInput.value);
      const n = ROWS[Number(rowsInput.value)];
      const found = summary(separation, n);
      root.querySelector('output[for="overlap-separation"]').value = separation.toFixed(1);
      root.querySelector('output[for="overlap-rows"]').value = counted(n);
      rowsInput.setAttribute("aria-valuetext", `${counted(n)} rows`);
      draw(svg, separation, n, found);
      root.querySelector("#overlap-words").textContent = words(separation, n, found);
    };
    separationInput.addEventListener("input", update);
    rowsInput.addEventListener("input", update);
    update();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const root = document.getElementById("explorable-overlap");
    if (root) start(root);
  });
})();
