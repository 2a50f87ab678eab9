/* Gaussian fits to a distribution with two modes, by either direction of KL (chapter 8). */
(() => {
  "use strict";

  const FURTHEST = 4.5; // largest separation of the slider and of the curves
  const TOP = 1.6; // largest divergence drawn

  // Trapezoid rule for an expectation over a standard normal.
  const NODES = Float64Array.from({ length: 301 }, (_, i) => (i - 150) * 0.04);
  const WEIGHTS = NODES.map((z) => Math.exp(-0.5 * z * z));
  const TOTAL = WEIGHTS.reduce((sum, weight) => sum + weight);
  WEIGHTS.forEach((weight, i) => (WEIGHTS[i] = weight / TOTAL));

  const logCosh = (x) => Math.abs(x) + Math.log1p(Math.exp(-2 * Math.abs(x))) - Math.LN2;
  const shift = (weight) => 0.5 * Math.log(weight / (1 - weight));
  const dimensions = (family) => (family === "mean-field" ? 2 : 1);

  /** KL(q || p), its gradient and its Hessian, in the mean and the sd of q along the line. */
  function reverse(mean, sd, d, k, weight) {
    const h = shift(weight);
    let value = 0;
    let first = 0;
    let curvature = 0;
    let mixed = 0;
    let square = 0;
    for (let i = 0; i < NODES.length; i += 1) {
      const z = NODES[i];
      const w = WEIGHTS[i];
      const x = d * (mean + sd * z) + h;
      const t = Math.tanh(x);
      const c = w * (1 - t * t);
      value += w * logCosh(x);
      first += w * t;
      curvature += c;
      mixed += c * z;
      square += c * z * z;
    }
    const d2 = d * d;
    return {
      value:
        0.5 * (mean * mean + k * sd * sd - k + d2) -
        k * Math.log(sd) -
        0.5 * Math.log(4 * weight * (1 - weight)) -
        value,
      gradient: [mean - d * first, k * sd - k / sd - d2 * sd * curvature],
      hessian: [1 - d2 * curvature, -d2 * mixed, k + k / (sd * sd) - d2 * square],
    };
  }

  /** Newton's method with backtracking from a start; null where it does not end in an optimum. */
  function descend(mean, sd, d, k, weight) {
    let here = reverse(mean, sd, d, k, weight);
    for (let iteration = 0; iteration < 200; iteration += 1) {
      const [g, s] = here.gradient;
      const [a, b, c] = here.hessian;
      if (Math.hypot(g, s) < 1e-9) break;
      const determinant = a * c - b * b;
      // where the surface is not bowl-shaped: downhill in each coordinate by itself
      const bowl = determinant > 1e-12 && a > 0;
      const step = bowl
        ? [-(c * g - b * s) / determinant, -(a * s - b * g) / determinant]
        : [-g / Math.max(Math.abs(a), 0.1), -s / Math.max(Math.abs(c), 0.1)];
      let size = 1;
      let next = null;
      while (size > 1e-6) {
        const sdThere = sd + size * step[1];
        if (sdThere > 0.05) {
          const there = reverse(mean + size * step[0], sdThere, d, k, weight);
          // close to an optimum rounding hides the decrease, and Newton needs no guard
          const close = bowl && Math.hypot(g, s) < 1e-5;
          if (close || there.value < here.value + 1e-4 * size * (g * step[0] + s * step[1])) {
            next = there;
            break;
          }
        }
        size /= 2;
      }
      if (next === null) break;
      mean += size * step[0];
      sd += size * step[1];
      here = next;
    }
    const [a, b, c] = here.hessian;
    const flat = Math.hypot(...here.gradient) < 1e-6;
    if (!flat || a <= 0 || a * c - b * b <= 0) return null;
    return { mean, sd, kl: here.value };
  }

  /** All local optima of the reverse divergence, those found from the modes and from the middle. */
  function reverseOptima(d, k, weight) {
    const tilt = (2 * weight - 1) * d;
    const starts = [
      [d, 1],
      [-d, 1],
      [0.4 * tilt, Math.max(1, k === 1 ? 0.8 * d : 1)],
      [0.9 * tilt, Math.max(1, k === 1 ? 0.8 * d : 1)],
    ];
    const optima = [];
    for (const [mean, sd] of starts) {
      const end = descend(mean, sd, d, k, weight);
      if (end && !optima.some((other) => Math.hypot(other.mean - end.mean, other.sd - end.sd) < 1e-3))
        optima.push(end);
    }
    return optima;
  }

  /** The one optimum of the forward divergence: it matches the moments of p. */
  function forwardOptimum(d, k, weight) {
    const mean = (2 * weight - 1) * d;
    const sd = Math.sqrt(1 + (4 * weight * (1 - weight) * d * d) / k);
    let logDensity = 0; // E_p log p along the line
    const width = 0.02;
    for (let u = -d - 8; u <= d + 8; u += width) {
      const p = lineDensity(u, d, weight);
      if (p > 0) logDensity += width * p * Math.log(p);
    }
    const half = 0.5 * Math.log(2 * Math.PI);
    const kl = logDensity + k * Math.log(sd) + half + 0.5;
    return { mean, sd, kl };
  }

  const normal = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
  const lineDensity = (u, d, weight) => weight * normal(u - d) + (1 - weight) * normal(u + d);

  /** Standard normal distribution function, by a power series. */
  function phi(x) {
    if (x < -8) return 0;
    if (x > 8) return 1;
    let term = x;
    let sum = x;
    for (let i = 1; Math.abs(term) > 1e-16 * Math.abs(sum); i += 1) {
      term *= (x * x) / (2 * i + 1);
      sum += term;
    }
    return 0.5 + sum * normal(x);
  }

  /** The optima for one position of the controls, the best first, and what to say of them. */
  function solve({ separation, weight, family, direction }) {
    const k = dimensions(family);
    const optima =
      direction === "forward"
        ? [forwardOptimum(separation, k, weight)]
        : reverseOptima(separation, k, weight);
    optima.sort((one, other) => one.kl - other.kl);
    for (const fit of optima) {
      fit.best = fit.kl - optima[0].kl < 1e-9;
      fit.smallerShare = phi(-Math.abs(fit.mean) / fit.sd);
      fit.covers = fit.smallerShare > 0.1;
    }
    return { optima, regime: words(separation, weight, family, direction, optima) };
  }

  const two = (x) => x.toFixed(2);
  const percent = (x) => `${Math.round(100 * x)} %`;

  function words(separation, weight, family, direction, optima) {
    const [best, ...rest] = optima;
    const ties = optima.filter((fit) => fit.best);
    const start =
      `${family === "mean-field" ? "Mean-field" : "Full-rank"}, ${direction} KL, ` +
      `separation ${two(separation)}. `;
    const price = ` KL ${two(best.kl)}.`;
    if (direction === "forward") {
      return `${start}One optimum, always: q matches the mean and the variances of p.${price}`;
    }
    if (optima.length === 1) {
      if (Math.abs(best.mean) < 1e-6) return `${start}One optimum: q covers both modes.${price}`;
      const how = best.covers ? "q covers both modes and leans to the heavier" : "q sits on the heavier mode";
      return `${start}One optimum: ${how}; ${percent(best.smallerShare)} of q lies on the other side.${price}`;
    }
    if (ties.length === 2) {
      const covering = rest.find((fit) => fit.covers && !fit.best);
      if (covering) {
        return (
          `${start}Three optima. Best: either mode, and the start decides which.${price} ` +
          `The covering fit is a worse local optimum, with KL ${two(covering.kl)}; a wide start ends there.`
        );
      }
      const how = best.covers ? "q leans to either mode" : "q sits on either mode";
      return `${start}Two optima of equal KL: ${how}, and the start decides which.${price}`;
    }
    const others = rest
      .map((fit) => {
        const mode = Math.abs(weight - 0.5) < 1e-9 ? "either mode" : fit.mean > 0 ? "the heavier mode" : "the lighter mode";
        return `${fit.covers ? "covering" : `on ${mode}`}, KL ${two(fit.kl)}`;
      })
      .filter((text, i, all) => all.indexOf(text) === i)
      .join("; ");
    const what = best.covers ? "covers both modes" : "sits on the heavier mode";
    return (
      `${start}${["", "", "Two", "Three"][optima.length]} optima. The best fit ${what}.${price} ` +
      `Worse local ${optima.length > 2 ? "optima" : "optimum"}: ${others}.`
    );
  }

  window.mixbookModeSeeking = { solve };

  // ---- drawing ----

  const SIZE = 300; // side of a panel
  const EDGE = 6; // of the plane, in sds of one mode
  const LEFT = 42;
  const UP = 10;
  const points = (list) => list.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join(" ");

  /** From coordinates along and across the line to the panel; (1, -1) points down and right. */
  function place(u, v) {
    const first = (u + v) / Math.SQRT2;
    const second = (v - u) / Math.SQRT2;
    return [LEFT + ((first + EDGE) / (2 * EDGE)) * SIZE, UP + ((EDGE - second) / (2 * EDGE)) * SIZE];
  }

  /** Contours of p, exactly: p(u, v) = g(u) N(v), so v follows from u and the level. */
  function targetContours(d, weight, drop) {
    const width = 0.02;
    let top = 0;
    for (let u = -d - 6; u <= d + 6; u += width) top = Math.max(top, lineDensity(u, d, weight));
    const level = Math.log(top) - drop;
    let path = "";
    let run = [];
    for (let u = -d - 6; u <= d + 6 + width; u += width) {
      const room = 2 * (Math.log(lineDensity(u, d, weight)) - level);
      if (room > 0) run.push([u, Math.sqrt(room)]);
      if (room <= 0 && run.length > 0) {
        const around = [...run, ...run.map(([a, v]) => [a, -v]).reverse()].map((at) => place(...at));
        path += `M${points(around).replaceAll(" ", "L")}Z`;
        run = [];
      }
    }
    return path;
  }

  function ellipse(fit, k, size) {
    const across = k === 2 ? fit.sd : 1;
    const list = [];
    for (let i = 0; i < 72; i += 1) {
      const angle = (i / 72) * 2 * Math.PI;
      list.push(
        place(fit.mean + size * fit.sd * Math.cos(angle), size * across * Math.sin(angle))
      );
    }
    return points(list);
  }

  /** The divergence of every optimum against separation, as pieces that belong together. */
  const cache = new Map();
  function curves(weight, family, direction) {
    const key = `${weight} ${family} ${direction}`;
    if (!cache.has(key)) {
      const pieces = [];
      for (let i = 1; i <= 150; i += 1) {
        const d = (i / 150) * FURTHEST;
        for (const fit of solve({ separation: d, weight, family, direction }).optima) {
          const piece = pieces.find((other) => {
            const last = other[other.length - 1];
            return last.step === i - 1 && Math.abs(last.mean - fit.mean) < 1 && Math.abs(last.sd - fit.sd) < 0.3;
          });
          const at = { step: i, d, ...fit };
          if (piece) piece.push(at);
          else pieces.push([at]);
        }
      }
      cache.set(key, pieces);
    }
    return cache.get(key);
  }

  const acrossX = (d) => LEFT + (d / FURTHEST) * SIZE;
  const upY = (kl) => UP + SIZE - (kl / TOP) * SIZE;

  function axes(labels, xTitle, yTitle) {
    let text = "";
    for (const [value, x] of labels.x) {
      text += `<text x="${x}" y="${UP + SIZE + 18}" text-anchor="middle">${value}</text>`;
    }
    for (const [value, y] of labels.y) {
      text += `<text x="${LEFT - 6}" y="${y + 5}" text-anchor="end">${value}</text>`;
    }
    return (
      `<rect class="seeking-frame" x="${LEFT}" y="${UP}" width="${SIZE}" height="${SIZE}"/>${text}` +
      `<text x="${LEFT + SIZE / 2}" y="${UP + SIZE + 38}" text-anchor="middle">${xTitle}</text>` +
      `<text x="12" y="${UP + SIZE / 2}" text-anchor="middle" transform="rotate(-90 12 ${UP + SIZE / 2})">${yTitle}</text>`
    );
  }

  const minus = (value) => String(value).replace("-", "−");

  function planeFrame() {
    const ticks = [-6, -4, -2, 0, 2, 4, 6];
    const at = (value) => ((value + EDGE) / (2 * EDGE)) * SIZE;
    return (
      `<clipPath id="seeking-plane-clip"><rect x="${LEFT}" y="${UP}" width="${SIZE}" height="${SIZE}"/></clipPath>` +
      '<g clip-path="url(#seeking-plane-clip)">' +
      `<line class="seeking-diagonal" x1="${LEFT}" y1="${UP + SIZE}" x2="${LEFT + SIZE}" y2="${UP}"/>` +
      '<g data-part="target"></g><g data-part="fits"></g></g>' +
      axes(
        {
          x: ticks.map((value) => [minus(value), LEFT + at(value)]),
          y: ticks.map((value) => [minus(value), UP + SIZE - at(value)]),
        },
        "first mean, in sds",
        "second mean, in sds"
      )
    );
  }

  function curveFrame() {
    return (
      `<clipPath id="seeking-curve-clip"><rect x="${LEFT}" y="${UP}" width="${SIZE}" height="${SIZE}"/></clipPath>` +
      '<g clip-path="url(#seeking-curve-clip)"><g data-part="curves"></g>' +
      '<line class="seeking-now" data-part="now"/><g data-part="points"></g></g>' +
      axes(
        {
          x: [0, 1, 2, 3, 4].map((value) => [value, acrossX(value)]),
          y: [0, 0.5, 1, 1.5].map((value) => [value, upY(value)]),
        },
        "separation",
        "KL"
      )
    );
  }

  function draw(root, state, found) {
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    const k = dimensions(state.family);
    part("target").innerHTML = [4.5, 2, 0.5]
      .map((drop) => `<path class="seeking-target" d="${targetContours(state.separation, state.weight, drop)}"/>`)
      .join("");
    part("fits").innerHTML = found.optima
      .map((fit) =>
        [1, 2]
          .map((size) => `<polygon class="${fit.best ? "seeking-best" : "seeking-worse"}" points="${ellipse(fit, k, size)}"/>`)
          .join("")
      )
      .join("");
    part("curves").innerHTML = curves(state.weight, state.family, state.direction)
      .map((piece) => {
        let out = "";
        let run = [];
        piece.forEach((at, i) => {
          run.push([acrossX(at.d), upY(at.kl)]);
          const next = piece[i + 1];
          if (!next || next.best !== at.best) {
            if (next) run.push([acrossX(next.d), upY(next.kl)]);
            out += `<polyline class="${at.best ? "seeking-best" : "seeking-worse"}" points="${points(run)}"/>`;
            run = [];
          }
        });
        return out;
      })
      .join("");
    const x = acrossX(state.separation);
    const now = part("now");
    now.setAttribute("x1", x);
    now.setAttribute("x2", x);
    now.setAttribute("y1", UP);
    now.setAttribute("y2", UP + SIZE);
    part("points").innerHTML = found.optima
      .map((fit) => `<circle class="${fit.best ? "seeking-dot" : "seeking-ring"}" cx="${x}" cy="${upY(fit.kl)}" r="5"/>`)
      .join("");
  }

  function start(root) {
    const swatch = (mark, text) =>
      `<li><svg class="explorable-swatch" aria-hidden="true" viewBox="0 0 20 12">${mark}</svg> ${text}</li>`;
    const choice = (name, value, text, checked) =>
      `<label><input type="radio" name="seeking-${name}" value="${value}"${checked ? " checked" : ""}> ${text}</label>`;
    root.innerHTML = `
      <div class="explorable-controls">
        <div class="explorable-control">
          <label for="seeking-separation">Separation: half the distance of the modes, in sds</label>
          <input id="seeking-separation" type="range" min="0.1" max="${FURTHEST}" step="0.01" value="1.5">
          <output for="seeking-separation"></output>
        </div>
        <div class="explorable-control">
          <label for="seeking-weight">Weight of the first mode</label>
          <input id="seeking-weight" type="range" min="0.5" max="0.9" step="0.01" value="0.5">
          <output for="seeking-weight"></output>
        </div>
        <fieldset class="explorable-choice">
          <legend>Family of q</legend>
          ${choice("family", "mean-field", "mean-field", true)}
          ${choice("family", "full-rank", "full-rank", false)}
        </fieldset>
        <fieldset class="explorable-choice">
          <legend>Direction of KL</legend>
          ${choice("direction", "reverse", "reverse, KL(q‖p)", true)}
          ${choice("direction", "forward", "forward, KL(p‖q)", false)}
        </fieldset>
      </div>
      <div class="seeking-panels">
        <svg class="explorable-plot seeking-plot" viewBox="0 0 360 352" role="img"
          aria-label="The two modes of p and the fits q in the plane of the two means">${planeFrame()}</svg>
        <svg class="explorable-plot seeking-plot" viewBox="0 0 360 352" role="img"
          aria-label="The divergence of each local optimum against the separation">${curveFrame()}</svg>
      </div>
      <ul class="explorable-legend">
        ${swatch('<rect class="seeking-target" width="20" height="12"/><rect class="seeking-target" x="5" width="10" height="12"/>', "p")}
        ${swatch('<line class="seeking-best" x1="0" y1="6" x2="20" y2="6"/>', "best q, at 1 and 2 sds, and its KL")}
        ${swatch('<line class="seeking-worse" x1="0" y1="6" x2="20" y2="6"/>', "other local optima")}
        ${swatch('<circle class="seeking-dot" cx="10" cy="6" r="5"/>', "the current separation")}
      </ul>
      <p id="seeking-words" class="explorable-words" aria-live="polite"></p>`;
    const input = (name) => root.querySelector(`#seeking-${name}`);
    const chosen = (name) => root.querySelector(`input[name="seeking-${name}"]:checked`).value;
    const update = () => {
      const state = {
        separation: Number(input("separation").value),
        weight: Number(input("weight").value),
        family: chosen("family"),
        direction: chosen("direction"),
      };
      const found = solve(state);
      root.querySelector('output[for="seeking-separation"]').value = two(state.separation);
      root.querySelector('output[for="seeking-weight"]').value = two(state.weight);
      draw(root, state, found);
      input("words").textContent = found.regime;
    };
    root.addEventListener("input", update);
    update();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const root = document.getElementById("explorable-mode-seeking");
    if (root) start(root);
  });
})();
