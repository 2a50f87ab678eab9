/* Which cure for my mixture? From a reader's answers to a route, its reasons and its code. */
(() => {
  "use strict";

  const ROWS = [100, 1000, 10000, 100000, 1000000, 10000000];
  const MANY = 100000; // rows from which one Gaussian carries the posterior of separated components
  const FEW = 10000; // rows for which responsibilities of all draws fit into memory

  const KINDS = {
    normal: "numbers: normal components",
    regression: "lines: y against x in each component",
    poisson: "counts: Poisson components",
    multivariate: "points: multivariate normal components",
  };
  const NUMBERS = { two: "2", three: "3", unknown: "not known" };
  const ORDERS = {
    yes: "yes: I can say which is the larger",
    no: "no, or not in one coordinate",
  };
  const PURPOSES = {
    density: "nothing: I predict, or want the density",
    groups: "who belongs with whom",
    parameters: "each component's parameters",
  };
  const DRAWS = { none: "I have none yet", other: "I have them from another program" };

  const link = (file, text) => `<a href="chapters/${file}.html">${text}</a>`;
  const CHAPTER = {
    order: link("05_ordered_constraint", "An ordered constraint"),
    overlap: link("10_overlap", "Components that overlap"),
    relabel: link("11_relabelling", "Relabelling after the fact"),
    number: link("13_how_many_components", "How many components?"),
    switching: link("04_label_switching", "Four chains: the labels switch"),
    scale: link("16_scale", "From 10³ to 10⁷ rows"),
    space: link("12_gaussian_mixtures", "Gaussian mixtures in more dimensions"),
  };

  /** The share of rows that the best rule misplaces: equal weights, equal sds, so many sds apart. */
  function misplaced(distance) {
    // the normal distribution function at -distance / 2, by Simpson's rule
    const half = distance / 2;
    const steps = 200;
    let sum = 0;
    for (let i = 0; i <= steps; i += 1) {
      const z = (half * i) / steps;
      const weight = i === 0 || i === steps ? 1 : i % 2 ? 4 : 2;
      sum += weight * Math.exp(-0.5 * z * z);
    }
    return 0.5 - (sum * half) / steps / 3 / Math.sqrt(2 * Math.PI);
  }

  /** The model's lines for one kind of data; with `large`, mixscale computes the likelihood. */
  function model(kind, number, ordered, large) {
    const k = { two: 2, three: 3, unknown: 10 }[number];
    const transform = ordered ? ", transform=ordered, initval=start" : "";
    const concentration = number === "unknown" ? "np.full(K, 0.01)" : "np.ones(K)";
    const lines = ["import labelswitch", ...(large ? ["import mixscale"] : [])];
    lines.push("import numpy as np", "import pymc as pm");
    if (ordered) lines.push("from pymc.distributions.transforms import ordered");
    lines.push("", `K = ${k}`);
    if (ordered) {
      lines.push(
        {
          normal: "start = np.quantile(y, (np.arange(K) + 0.5) / K)",
          regression: "start = np.linspace(-1, 1, K)",
          poisson: "start = np.quantile(y, (np.arange(K) + 0.5) / K) + 0.1 * np.arange(1, K + 1)",
        }[kind]
      );
    }
    const coords =
      kind === "multivariate"
        ? '{"component": range(K), "axis": range(D), "column": range(D), "row": range(len(y))}'
        : '{"component": range(K), "row": range(len(y))}';
    if (kind === "multivariate") lines.push("D = y.shape[1]");
    lines.push(`with pm.Model(coords=${coords}) as model:`);
    const body = [`weights = pm.Dirichlet("weights", ${concentration}, dims="component")`];
    if (kind === "normal") {
      body.push(
        `means = pm.Normal("means", y.mean(), 2 * y.std(), dims="component"${transform})`,
        'sds = pm.LogNormal("sds", np.log(y.std() / K), 1, dims="component")',
        `${large ? "mixscale" : "pm"}.NormalMixture("y", w=weights, mu=means, sigma=sds, observed=y, dims="row")`
      );
    } else if (kind === "regression") {
      body.push(
        'intercepts = pm.Normal("intercepts", y.mean(), 2 * y.std(), dims="component")',
        `slopes = pm.Normal("slopes", 0, 2 * y.std() / x.std(), dims="component"${transform})`,
        'sd = pm.HalfNormal("sd", y.std())'
      );
      if (large) {
        body.push(
          "design = np.stack([np.ones_like(x), x], axis=1)",
          "both = pm.math.stack([intercepts, slopes])",
          'mixscale.RegressionMixture("y", weights, design, both, sd, observed=y, dims="row")'
        );
      } else {
        body.push(
          "mu = intercepts + slopes * x[:, None]",
          'pm.NormalMixture("y", w=weights, mu=mu, sigma=sd, observed=y, dims="row")'
        );
      }
    } else if (kind === "poisson") {
      body.push(
        `rates = pm.Gamma("rates", 1, 1 / y.mean(), dims="component"${transform})`,
        'pm.Mixture("y", w=weights, comp_dists=pm.Poisson.dist(rates), observed=y, dims="row")'
      );
    } else {
      body.push(
        'means = pm.Normal("means", y.mean(0), 2 * y.std(0), dims=("component", "axis"))',
        'sds = pm.LogNormal("sds", np.log(y.std(0) / K), 1, dims=("component", "axis"))',
        'factors = pm.LKJCorr("factors", n=D, eta=2, shape=(K, D, D), dims=("component", "axis", "column"))',
        "components = [pm.MvNormal.dist(means[k], chol=sds[k][:, None] * factors[k]) for k in range(K)]",
        'pm.Mixture("y", w=weights, comp_dists=components, observed=y, dims=("row", "axis"))'
      );
    }
    return [...lines, ...body.map((line) => `    ${line}`)];
  }

  /** From answers to steps {name, do, why} and the code of the route. */
  function route(answers) {
    const { kind, number, order, distance, rows, purpose, draws } = answers;
    const apart = distance >= 3;
    const touching = distance < 2;
    const unknown = number === "unknown";
    const steps = [];
    const add = (name, action, why) => steps.push({ name, action, why });

    if (draws === "other") {
      add(
        "Draws",
        "Take your draws as they are; name the dimension of the components.",
        `Relabelling needs draws, not a model: ${CHAPTER.relabel}.`
      );
      const code = [
        "import arviz_base as az",
        "import labelswitch",
        ...(purpose === "groups" ? ["import xarray as xr"] : []),
        "",
        "# draws: arrays of shape (chain, draw, component), from any program",
        "dt = az.from_dict(",
        '    {"posterior": draws}, dims={name: ["component"] for name in draws}',
        ")",
        ...labels({ purpose, touching, hasModel: false }, add),
      ];
      return { steps, code: code.join("\n") };
    }

    const bulky = rows > FEW && !unknown;
    const large = rows >= MANY && (kind === "normal" || kind === "regression") && !unknown;
    const gaussian = large && apart;
    const canOrder = order === "yes" && kind !== "multivariate" && !unknown;
    const ordered = canOrder && apart && !gaussian && purpose !== "density";

    if (unknown) {
      add(
        "Model",
        "Ten components and a Dirichlet prior with concentration 0.01, a sparse finite mixture.",
        `Components that the data do not need stay empty, and are counted afterwards: ${CHAPTER.number}.` +
          (rows > FEW ? " A random part of your rows is enough to count them." : "")
      );
    } else if (ordered) {
      add(
        "Model",
        "An ordered transform on the parameter that orders your components, with initial values in that order.",
        `They are ${distance.toFixed(1)} sds apart and have an order, so that one labelling is left: ${CHAPTER.order}.`
      );
    } else {
      const why = touching
        ? `Components ${distance.toFixed(1)} sds apart touch: an order cuts through the posterior and makes it harder to sample: ${CHAPTER.overlap}.`
        : purpose === "density"
          ? `Predictions do not depend on labels: ${CHAPTER.switching}.`
          : gaussian
            ? "The fit below gives one labelling by itself."
            : canOrder
              ? `At ${distance.toFixed(1)} sds an order still cuts into the posterior; relabelling does not: ${CHAPTER.overlap}.`
              : kind === "multivariate"
                ? `No single coordinate orders points: ${CHAPTER.space}.`
                : `Without a natural order an ordered coordinate is arbitrary, and bends the posterior where components cross: ${CHAPTER.order}.`;
      add("Model", "The mixture without an order.", why);
    }

    const code = model(kind, number, ordered, large);
    if (unknown && rows > FEW) {
      const few = "few = np.random.default_rng(1).choice(len(y), 5_000, replace=False)";
      const part = kind === "regression" ? "x, y = x[few], y[few]" : "y = y[few]";
      code.splice(code.indexOf(""), 1, "", few, part);
    }
    if (gaussian) {
      code.push("dt = mixscale.fit(model, random_seed=1)");
      add(
        "Sampler",
        "None: <code>mixscale.fit</code> finds the mode and draws exactly, in a handful of passes over the rows.",
        `${rows.toLocaleString("en-GB")} rows of separated components make the posterior almost Gaussian. It refuses where that is not so: ${CHAPTER.scale}.`
      );
    } else {
      code.push("with model:", "    dt = pm.sample(chains=4, random_seed=1)");
      add(
        "Sampler",
        "NUTS, four chains.",
        large
          ? `The likelihood of <code>mixscale</code> makes each step some ten times cheaper; minibatches are not needed: ${CHAPTER.scale}.`
          : "One chain cannot show that there are other labellings, or another mode."
      );
    }
    code.push(
      ...labels({ purpose, ordered, unknown, touching, gaussian, bulky, hasModel: true }, add)
    );
    return { steps, code: code.join("\n") };
  }

  /** The lines after the draws; adds the last two steps. */
  function labels({ purpose, ordered, unknown, touching, gaussian, bulky, hasModel }, add) {
    const lines = [];
    const single = ordered || gaussian; // one labelling is left
    const byParameters = bulky ? ', method="pra"' : "";
    const model = hasModel ? `, model=model${byParameters}` : "";
    const relabel = `relabelled = labelswitch.relabel(dt${model})`;
    if (gaussian) {
      lines.push('print(dt.posterior.attrs["acceptance"])  # near 1: the draws are exact');
      add(
        "Diagnosis",
        "Look at the acceptance.",
        `It says how nearly Gaussian the posterior was. It cannot see a mode that no start has found: ${CHAPTER.scale}.`
      );
    } else {
      lines.push(`print(labelswitch.diagnose(dt${model}).verdict)`);
      add(
        "Diagnosis",
        "Read the verdict of <code>diagnose</code> before anything else.",
        `It tells labels that have switched from chains in another mode, which no relabelling repairs: ${CHAPTER.relabel}.`
      );
    }
    if (unknown) lines.push("print(labelswitch.n_occupied(dt, model=model))");
    if (purpose === "density") {
      if (hasModel) {
        const some = bulky ? "dt.isel(draw=slice(None, None, 200))" : "dt";
        lines.push(`predictions = pm.sample_posterior_predictive(${some}, model=model, random_seed=1)`);
      }
      add("Labels", "None.", `Densities and predictions are the same under every labelling: ${CHAPTER.switching}.`);
    } else if (purpose === "groups" && bulky) {
      if (!single) lines.push(relabel, "dt = relabelled.dt");
      lines.push(
        "some = dt.isel(draw=slice(None, None, 200))",
        'p = labelswitch.responsibilities(some, model=model).mean(("chain", "draw"))',
        'print(p.argmax("component").values)'
      );
      add(
        "Labels",
        single
          ? "They are one labelling already: give each row to its most probable component."
          : "Relabel by the parameters, and give each row to its most probable component.",
        `A partition of more than ten thousand rows by their pairs would not fit into memory: ${CHAPTER.relabel}.`
      );
    } else if (purpose === "groups") {
      if (!hasModel) {
        lines.push(
          "# z: the sampled allocations, integers from 0, of shape (chain, draw, row)",
          'dt["posterior"]["z"] = xr.DataArray(z, dims=["chain", "draw", "row"])'
        );
      }
      lines.push(
        `partition = labelswitch.partition(dt, ${hasModel ? "model=model" : 'allocations="z"'})`,
        "print(partition.labels.values, partition.expected_loss)"
      );
      add(
        "Labels",
        "None: report the partition that minimises the expected loss.",
        `Whether two rows belong together does not depend on names: ${CHAPTER.number}.`
      );
    } else if (single) {
      lines.push('print(dt.posterior["weights"].mean(("chain", "draw")).values)');
      const none = ordered ? "They are in order already." : "They need no cure: all draws have the same.";
      add("Labels", none, "There is one labelling in these draws.");
    } else {
      lines.push(relabel, "print(relabelled.confidence.min().item())");
      add(
        "Labels",
        unknown
          ? "Relabel, and report the components that hold rows; better, fit again with their number fixed."
          : "Relabel the draws.",
        touching
          ? `Where components touch, a draw's labels are a matter of opinion; look at the confidence: ${CHAPTER.overlap}.`
          : `It works in any dimension and leaves the posterior as it is: ${CHAPTER.relabel}.`
      );
    }
    return lines;
  }

  window.mixbookCure = { route, misplaced };

  const NAMES = {
    kind: ["What are your data?", KINDS],
    number: ["How many components?", NUMBERS],
    order: ["Do the components have a natural order?", ORDERS],
    purpose: ["What do you need the labels for?", PURPOSES],
    draws: ["The draws", DRAWS],
  };

  function choices(name) {
    const [question, options] = NAMES[name];
    const items = Object.entries(options).map(
      ([value, text], i) =>
        `<option value="${value}"${i ? "" : " selected"}>${text}</option>`
    );
    return `<div class="explorable-control cure-choice"><label for="cure-${name}">${question}</label>
      <select id="cure-${name}">${items.join("")}</select></div>`;
  }

  function curve(distance) {
    const height = (t) =>
      Math.exp(-0.5 * (t - distance / 2) ** 2) + Math.exp(-0.5 * (t + distance / 2) ** 2);
    const one = (centre) => (t) => Math.exp(-0.5 * (t - centre) ** 2);
    const line = (f, scale) => {
      let d = "";
      for (let i = 0; i <= 120; i += 1) {
        const t = -6 + i * 0.1;
        d += `${i ? "L" : "M"}${(10 + (i / 120) * 320).toFixed(1)} ${(100 - scale * f(t)).toFixed(1)}`;
      }
      return d;
    };
    return [line(height, 42), line(one(-distance / 2), 42), line(one(distance / 2), 42)];
  }

  function start(root) {
    root.innerHTML = `
      <div class="explorable-controls">
        ${Object.keys(NAMES).map(choices).join("")}
        <div class="explorable-control">
          <label for="cure-rows">Number of rows</label>
          <input id="cure-rows" type="range" min="0" max="${ROWS.length - 1}" step="1" value="1">
          <output for="cure-rows"></output>
        </div>
        <div class="explorable-control">
          <label for="cure-distance">Distance of neighbouring components, in sds</label>
          <input id="cure-distance" type="range" min="0.5" max="6" step="0.5" value="4">
          <output for="cure-distance"></output>
        </div>
      </div>
      <svg class="explorable-plot cure-plot" viewBox="0 0 340 110" role="img" aria-labelledby="cure-words">
        <path class="cure-sum"/><path class="cure-one"/><path class="cure-one"/>
      </svg>
      <p id="cure-words" class="explorable-words cure-words" aria-live="polite"></p>
      <dl class="cure-route"></dl>
      <p><button type="button" class="cure-copy">Copy the code</button> <span class="cure-said" role="status"></span></p>
      <pre class="cure-code" tabindex="0" aria-label="The code of this route"><code></code></pre>`;
    const field = (name) => root.querySelector(`#cure-${name}`);
    const update = () => {
      const answers = Object.fromEntries(Object.keys(NAMES).map((name) => [name, field(name).value]));
      answers.rows = ROWS[Number(field("rows").value)];
      answers.distance = Number(field("distance").value);
      const { steps, code } = route(answers);
      const rows = answers.rows.toLocaleString("en-GB");
      root.querySelector('output[for="cure-rows"]').value = rows;
      field("rows").setAttribute("aria-valuetext", `${rows} rows`);
      root.querySelector('output[for="cure-distance"]').value = answers.distance.toFixed(1);
      const paths = root.querySelectorAll(".cure-plot path");
      curve(answers.distance).forEach((d, i) => paths[i].setAttribute("d", d));
      const share = 100 * misplaced(answers.distance);
      const digits = share < 1 ? 2 : 0;
      root.querySelector("#cure-words").textContent =
        `Two equal components ${answers.distance.toFixed(1)} sds apart have ` +
        `${answers.distance > 2 ? "two peaks" : "one peak"}; the best rule misplaces ` +
        `${share.toFixed(digits)} % of the rows.`;
      root.querySelector(".cure-route").innerHTML = steps
        .map(({ name, action, why }) => `<dt>${name}</dt><dd><b>${action}</b> ${why}</dd>`)
        .join("");
      root.querySelector(".cure-code code").textContent = code;
      root.querySelector(".cure-said").textContent = "";
    };
    root.querySelectorAll("select, input").forEach((one) => one.addEventListener("input", update));
    root.querySelector(".cure-copy").addEventListener("click", async () => {
      const said = root.querySelector(".cure-said");
      try {
        await navigator.clipboard.writeText(root.querySelector(".cure-code code").textContent);
        said.textContent = "Copied.";
      } catch {
        said.textContent = "The browser does not allow it: select the code and copy it.";
      }
    });
    update();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const root = document.getElementById("explorable-cure");
    if (root) start(root);
  });
})();
