# /// script
# requires-python = ">=3.9"
# dependencies = ["pandas"]
# ///
"""pandas: tables that are read, grouped, joined, reshaped, resampled by time zone, and written."""

import io
import os
import tempfile

import numpy as np
import pandas as pd


def sales(rows=20_000):
    generator = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=rows, freq="min"),
            "shop": pd.Categorical(generator.choice(["north", "south", "west"], rows)),
            "units": generator.integers(1, 10, rows),
            "price": generator.normal(20, 4, rows).round(2),
        }
    )


def group(table):
    table = table.assign(total=table["units"] * table["price"])
    grouped = table.groupby("shop", observed=True)["total"].agg(["count", "sum", "mean"])
    assert int(grouped["count"].sum()) == len(table)
    assert np.isclose(grouped["sum"].sum(), table["total"].sum())
    return grouped.index.tolist()


def join(table):
    managers = pd.DataFrame({"shop": ["north", "south"], "manager": ["Ada", "Grace"]})
    joined = table.astype({"shop": str}).merge(managers, on="shop", how="left")
    missing = int(joined["manager"].isna().sum())
    assert missing == int((table["shop"] == "west").sum())
    wide = joined.pivot_table(index=joined["when"].dt.hour, columns="shop", values="units", aggfunc="sum")
    assert int(wide.to_numpy().sum()) == int(table["units"].sum())
    return wide.shape


def times(table):
    by_time = table.set_index("when")["units"]
    daily = by_time.resample("D").sum()
    assert int(daily.sum()) == int(table["units"].sum())
    utc = by_time.tz_localize("UTC")
    rolled = by_time.rolling(60).mean().dropna()
    return len(daily), str(utc.index.tz), len(rolled)


def files(table, directory):
    path = os.path.join(directory, "sales.csv.gz")
    table.to_csv(path, index=False)
    back = pd.read_csv(path, parse_dates=["when"])
    assert (back["units"] == table["units"]).all() and np.allclose(back["price"], table["price"])
    pickled = os.path.join(directory, "sales.pkl")
    table.to_pickle(pickled)
    pd.testing.assert_frame_equal(pd.read_pickle(pickled), table)
    records = table.head(50).to_json(orient="records", date_format="iso")
    assert len(pd.read_json(io.StringIO(records))) == 50
    return back.shape


def texts():
    names = pd.Series(["Ada Lovelace", "Grace Hopper", None])
    parts = names.str.extract(r"(?P<first>\w+) (?P<last>\w+)")
    summary = parts.fillna("?").to_string(index=False)
    return parts["last"].dropna().tolist(), len(summary.splitlines())


table = sales()
print("group:", *group(table))
print("join:", join(table))
print("times:", *times(table))
with tempfile.TemporaryDirectory(prefix="pandas-") as directory:
    print("files:", files(table, directory))
print("texts:", *texts())
print("query:", len(table.query("units > 5 and shop == 'north'")) > 0, table.sort_values("price").index.is_unique)
print("ok: pandas works")
