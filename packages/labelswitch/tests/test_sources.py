"""Draws that do not come from PyMC: CmdStanPy, NumPyro, files; and the command line."""

import os
import re
import subprocess
import sys
from functools import partial

import arviz_base as az
import numpy as np
import pytest
import xarray as xr
from extras import optional

import labelswitch
from labelswitch.__main__ import main

cmdstanpy = optional("cmdstanpy")
h5netcdf = optional("h5netcdf")
jax = optional("jax")
numpyro = optional("numpyro")
CENTRES = np.array([-2.0, 0.0, 2.0])


def switched(n_chains=2, n_draws=50, seed=0):
    """Means and weights of three components; chain 1 has them in reverse order."""
    rng = np.random.default_rng(seed)
    mu = rng.normal(CENTRES, 0.1, (n_chains, n_draws, 3))
    w = rng.dirichlet([20, 30, 50], (n_chains, n_draws))
    mu[1], w[1] = mu[1, :, ::-1], w[1, :, ::-1]
    return mu, w


def write_stan_csv(path, mu, w):
    """Write one chain as CmdStan does."""
    arguments = [
        "stan_version_major = 2",
        "stan_version_minor = 36",
        "stan_version_patch = 0",
        "model = mixture_model",
        "method = sample (Default)",
        "  sample",
        f"    num_samples = {len(mu)}",
        "    num_warmup = 1000 (Default)",
        "    save_warmup = false (Default)",
        "    thin = 1 (Default)",
        "    adapt",
        "      engaged = true (Default)",
        "    algorithm = hmc (Default)",
        "      hmc",
        "        engine = nuts (Default)",
        "          nuts",
        "            max_depth = 10 (Default)",
        "        metric = diag_e (Default)",
        "        stepsize = 1 (Default)",
    ]
    sampler = [
        "lp__",
        "accept_stat__",
        "stepsize__",
        "treedepth__",
        "n_leapfrog__",
        "divergent__",
        "energy__",
    ]
    columns = [*sampler, *(f"{name}.{k}" for name in ("mu", "w") for k in (1, 2, 3))]
    lines = [f"# {line}" for line in arguments]
    lines += [",".join(columns), "# Adaptation terminated", "# Step size = 0.8"]
    lines += ["# Diagonal elements of inverse mass matrix:", "# 1, 1, 1"]
    for row in np.hstack([mu, w]):
        lines.append(",".join(map(repr, [-10.0, 0.9, 0.8, 2, 3, 0, 11.0, *row.tolist()])))
    lines += ["# ", "#  Elapsed Time: 0.1 seconds (Warm-up)", "#   0.1 seconds (Sampling)", "# "]
    path.write_text("\n".join(lines) + "\n")


def test_draws_of_stan(tmp_path):
    mu, w = switched()
    paths = []
    for chain in range(2):
        paths.append(str(tmp_path / f"mixture-{chain + 1}.csv"))
        write_stan_csv(tmp_path / f"mixture-{chain + 1}.csv", mu[chain], w[chain])
    dt = az.from_cmdstanpy(cmdstanpy.from_csv(paths))
    relabelled = labelswitch.relabel(dt, dim=["mu_dim_0", "w_dim_0"])
    assert set(relabelled.permuted) == {"mu", "w"}
    found = relabelled.dt.posterior
    np.testing.assert_allclose(found["mu"].mean(("chain", "draw")), CENTRES, atol=0.05)
    np.testing.assert_array_equal(found["w"][1], w[1, :, ::-1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_draws_of_numpyro():
    dist = numpyro.distributions
    x = np.concatenate([np.random.default_rng(1).normal(c, 0.3, 30) for c in (-2, 2)])

    def model():
        w = numpyro.sample("w", dist.Dirichlet(np.ones(2)))
        mu = numpyro.sample("mu", dist.Normal(0, 3).expand([2]).to_event(1))
        mixture = dist.MixtureSameFamily(dist.Categorical(w), dist.Normal(mu, 0.3))
        numpyro.sample("x", mixture, obs=x)

    kernel = numpyro.infer.NUTS(model)
    sampler = partial(numpyro.infer.MCMC, num_chains=2, chain_method="sequential")
    mcmc = sampler(kernel, num_warmup=100, num_samples=100, progress_bar=False)
    # On the unconstrained scale: K - 1 sticks for the weights.
    starts = {"mu": np.array([[-2.0, 2.0], [2.0, -2.0]]), "w": np.zeros((2, 1))}
    mcmc.run(jax.random.PRNGKey(1), init_params=starts)
    dt = az.from_numpyro(mcmc, dims={"mu": ["component"], "w": ["component"]})
    # The chains were started in different labellings, and stayed there.
    assert np.sign(dt.posterior["mu"].mean("draw")).values.tolist() == [[-1, 1], [1, -1]]
    diagnosis = labelswitch.diagnose(dt)
    assert "switching_between_chains" in diagnosis.findings
    mu = diagnosis.relabelled.dt.posterior["mu"].mean("draw").values
    np.testing.assert_allclose(np.sort(mu[0]), x.reshape(2, 30).mean(axis=1), atol=0.2)
    np.testing.assert_allclose(mu[0], mu[1], atol=0.1)


# The command line --------------------------------------------------------------------------------


def write(path, **changes):
    """Write a file as ArviZ does, from R or from any other program."""
    mu, w = switched(n_draws=400)
    posterior = {"mu": mu, "w": w} | changes
    dt = az.from_dict(
        {"posterior": posterior, "observed_data": {"x": np.arange(5.0)}},
        dims={"mu": ["component"], "w": ["component"]},
    )
    dt.to_netcdf(path, engine=h5netcdf.__name__)
    return dt


def test_the_command_prints_the_diagnosis_and_writes_the_draws(tmp_path, capsys):
    path = tmp_path / "draws.nc"
    dt = write(path)
    before = path.read_bytes()
    assert main([str(path), "--dim", "component"]) == 0
    printed = capsys.readouterr().out
    assert labelswitch.diagnose(dt, dim="component").verdict in printed
    assert f"in {tmp_path / 'draws.relabelled.nc'}." in printed
    written = xr.open_datatree(tmp_path / "draws.relabelled.nc", engine="h5netcdf").load()
    written.close()
    expected = labelswitch.relabel(dt, dim="component").dt
    xr.testing.assert_equal(written.posterior.to_dataset(), expected.posterior.to_dataset())
    xr.testing.assert_equal(written.observed_data.to_dataset(), dt.observed_data.to_dataset())
    assert path.read_bytes() == before


def test_the_command_takes_the_options_of_relabel(tmp_path, capsys):
    path, output = tmp_path / "draws.nc", tmp_path / "out.nc"
    dt = write(path)
    options = ["--method", "order", "--var-names", "mu", "--output", str(output)]
    assert main([str(path), *options]) == 0
    assert "Diagnosis by order" in capsys.readouterr().out
    written = xr.open_datatree(output, engine="h5netcdf").load()
    written.close()
    np.testing.assert_array_equal(written.posterior["mu"], np.sort(dt.posterior["mu"]))


def test_the_command_writes_nothing_where_values_are_missing(tmp_path, capsys):
    path = tmp_path / "draws.nc"
    mu = switched(n_draws=400)[0]
    mu[0, 3, 1] = np.nan
    write(path, mu=mu)
    assert main([str(path)]) == 1
    assert "Nothing was written." in capsys.readouterr().out
    assert [item.name for item in tmp_path.iterdir()] == ["draws.nc"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.nc"], "there is no file missing.nc"),
        (["draws.nc", "--dim", "kind"], "draws.nc: .*'kind'"),
        (["draws.nc", "--method", "magic"], "'magic' is unknown"),
        (["draws.nc", "--output", "there.nc"], "there.nc exists.*--overwrite"),
        (["draws.nc", "--output", "draws.nc", "--overwrite"], "stays as it is"),
        (["draws.nc", "--output", "nowhere/out.nc"], "there is no folder .*nowhere"),
        (["text.nc"], "text.nc: "),
        (["draws.nc", "--output", "folder", "--overwrite"], "folder is a folder; name a file"),
        (["draws.nc", "--one-based"], "--one-based: name the variables of labels"),
        (["folder"], "folder is a folder, and the command reads NetCDF files.*Zarr"),
    ],
)
def test_what_the_command_refuses(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "draws.nc")
    (tmp_path / "there.nc").touch()
    (tmp_path / "text.nc").write_text("no draws")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(message, error), error
    assert (tmp_path / "there.nc").stat().st_size == 0


@pytest.mark.parametrize("group", ["posterior", "posterior_predictive"])
def test_the_command_reads_labels_with_a_fill_value_as_integers(tmp_path, capsys, group):
    """Xarray decodes them as floats, whether one is missing or not."""
    path = tmp_path / "draws.nc"
    mu, w = switched(n_draws=400)
    z = (mu[..., [0, 1, 1, 2]] > mu.mean()).astype(np.int32)
    dims = {"mu": ["component"], "w": ["component"], "z": ["obs"]}
    groups = {"posterior": {"mu": mu, "w": w}}
    groups.setdefault(group, {})["z"] = z
    dt = az.from_dict(groups, dims=dims)
    dt[group]["z"].encoding["_FillValue"] = np.int32(-1)
    dt.to_netcdf(path, engine=h5netcdf.__name__)
    assert main([str(path), "--allocations", "z", "--method", "pra"]) == 0
    assert "'z' was read as whole numbers of type float64, and" in capsys.readouterr().err
    written = xr.open_datatree(tmp_path / "draws.relabelled.nc", engine="h5netcdf").load()
    written.close()
    expected = labelswitch.relabel(dt, allocations="z", method="pra").dt[group]["z"]
    np.testing.assert_array_equal(written[group]["z"], expected)
    assert written[group]["z"].dtype.kind == "i"


def test_the_command_reads_and_writes_labels_that_count_from_one(tmp_path, capsys):
    path, output = tmp_path / "draws.nc", tmp_path / "draws.relabelled.nc"
    mu, w = switched(n_draws=400)
    z = mu.argsort(axis=-1)[..., [0, 1, 1, 2]]
    dims = {"mu": ["component"], "w": ["component"], "z": ["obs"]}
    from_zero = az.from_dict({"posterior": {"mu": mu, "w": w, "z": z}}, dims=dims)
    az.from_dict({"posterior": {"mu": mu, "w": w, "z": z + 1.0}}, dims=dims).to_netcdf(
        path, engine=h5netcdf.__name__
    )
    options = [str(path), "--allocations", "z", "--method", "pra"]
    with pytest.raises(SystemExit):
        main(options)
    assert "look 1-based" in (error := capsys.readouterr().err)
    assert "Or say --one-based." in error
    assert main([*options, "--one-based"]) == 0
    assert "'z' was read as whole numbers" in capsys.readouterr().err
    written = xr.open_datatree(output, engine="h5netcdf").load()
    written.close()
    expected = labelswitch.relabel(from_zero, allocations="z", method="pra").dt.posterior
    np.testing.assert_array_equal(written.posterior["z"], expected["z"] + 1)
    np.testing.assert_array_equal(written.posterior["mu"], expected["mu"])
    assert main([*options, "--one-based", "--overwrite"]) == 0
    output.unlink()
    from_zero.to_netcdf(path, engine=h5netcdf.__name__)
    with pytest.raises(SystemExit):
        main([*options, "--one-based"])
    error = " ".join(capsys.readouterr().err.split())
    assert "the labels of 'z' go down to 0" in error
    assert "leave --one-based out" in error
    assert not output.exists()


def test_the_module_runs_as_a_command(tmp_path):
    write(tmp_path / "draws.nc")
    command = [sys.executable, "-m", "labelswitch", "draws.nc"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ})
    assert (run.returncode, run.stderr) == (0, "")
    assert "Diagnosis by pra" in run.stdout
