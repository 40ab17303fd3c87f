"""Alpha158 on real, ragged panels: time per cell beside a dense panel, gaps beside pandas.

``sp500_iex_201802`` has 505 names of which 35 begin late; the daily drops of ``pystock_2015Q3``
have some 6,300 symbols of which many hardly trade. VWAP is absent in both, so the 157 formulas
that need none are computed. The dense panel holds random walks of the same shape. Where a value
is missing has to be where pandas has it missing. Run ``python benchmarks/ragged.py``.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from expressions import PANDAS, market

from quant_engine.core.panel import PRICE_FIELDS, Panel, PriceBasis, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.features.expressions.program import Program, compile_expressions
from quant_engine.features.sets import FeatureSet


def wide(frame: pd.DataFrame, basis: PriceBasis) -> Panel:
    """A panel from rows of date, symbol and bar fields; the last row of a symbol and day counts."""
    frame = frame.drop_duplicates(["date", "symbol"], keep="last")
    fields = {
        name: frame.pivot(index="date", columns="symbol", values=name).sort_index()
        for name in (*PRICE_FIELDS, "volume")
    }
    days = fields["close"].index.to_numpy().astype("datetime64[D]")
    ids = tuple(f"{symbol}@US#1" for symbol in fields["close"].columns)
    arrays = {name: values.to_numpy(dtype=float) for name, values in fields.items()}
    return Panel(TimeAxis.sessions(days), ids, arrays, price_basis=basis)


def sp500(root: Path) -> Panel:
    """Five years of 505 names, adjusted for splits."""
    folder = root / "equities" / "sp500_iex_201802"
    frames = [pd.read_csv(path) for path in sorted(folder.glob("*_data.csv"))]
    frame = pd.concat(frames).rename(columns={"Name": "symbol"})
    return wide(frame.assign(date=pd.to_datetime(frame["date"])), PriceBasis.SPLIT_ADJ)


def pystock(root: Path) -> Panel:
    """A quarter of all listed symbols; prices scaled to the adjusted close."""
    frames = []
    for path in sorted((root / "equities" / "pystock_2015Q3").glob("*.tar.gz")):
        with tarfile.open(path) as archive:
            members = [m for m in archive.getmembers() if m.name.endswith("prices.csv")]
            for member in members:
                frames.append(pd.read_csv(io.BytesIO(archive.extractfile(member).read())))
    frame = pd.concat(frames)
    factor = frame["adj_close"] / frame["close"]
    frame = frame.assign(**{name: frame[name] * factor for name in PRICE_FIELDS})
    return wide(frame.assign(date=pd.to_datetime(frame["date"])), PriceBasis.TOTAL_ADJ)


def seconds_of(program: Program, panel: Panel, runs: int) -> list[float]:
    """CPU seconds of some runs into one buffer, after one to warm up."""
    out = np.empty((len(program.names), *panel.shape), np.float32)
    program.run(panel, out=out, allow_short=True)
    times = []
    for _ in range(runs):
        start = time.process_time()
        program.run(panel, out=out, allow_short=True)
        times.append(time.process_time() - start)
    return times


def nan_mismatches(texts: dict[str, str], panel: Panel) -> int:
    """Cells that are missing here or in pandas, but not in both."""
    frames = {
        name: pd.DataFrame(values if name == "volume" else np.where(values > 0, values, np.nan))
        for name, values in panel.fields.items()
    }
    few = compile_expressions({name: texts[name] for name in PANDAS})
    got = few.run(panel, dtype=np.float64, allow_short=True)
    with np.errstate(all="ignore"):
        wanted = {name: formula(frames).to_numpy() for name, formula in PANDAS.items()}
    return sum(
        int((np.isnan(got.field(name)) != ~np.isfinite(want)).sum())
        for name, want in wanted.items()
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    loaded = SpecCatalog.default().load("features", "alpha158", FeatureSet)
    texts = {s.name: s.expression for s in loaded.features if "$vwap" not in s.expression}
    program = compile_expressions(texts)
    for name, read in (("sp500_iex_201802", sp500), ("pystock_2015Q3", pystock)):
        if not args.data.exists():
            print(f"{name}: data absent in {args.data}")
            continue
        ragged = read(args.data)
        dense = market(*ragged.shape).only_fields([*PRICE_FIELDS, "volume"])
        # Alternating, so that a busy machine slows both.
        pairs = [
            (*seconds_of(program, ragged, 1), *seconds_of(program, dense, 1))
            for _ in range(args.runs)
        ]
        ours, theirs = np.median(pairs, axis=0)
        present = np.isfinite(ragged.field("close")).mean()
        print(
            f"{name} {ragged.shape}, {present:.1%} of cells present: {ours:.2f} CPU s, dense "
            f"{theirs:.2f}, ratio {ours / theirs:.2f}; cells missing in one of us and pandas "
            f"alone: {nan_mismatches(texts, ragged)}"
        )


if __name__ == "__main__":
    main()
