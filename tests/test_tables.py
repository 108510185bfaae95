"""Columns of recordings, whatever the file: the same readings from each, and times that are exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from eventnet.errors import DataError, EventNetError
from eventnet.experiment.parts import Signal
from eventnet.experiment.signals import hear
from eventnet.experiment.tables import read

T = np.array([1_403_715_273_262_142_976 + 5_000_017 * k for k in range(7)])  # ns since 1970
XY = np.stack([np.sin(np.arange(7.0)), np.arange(7.0) ** 2], axis=1)


def written(folder: Path) -> dict[str, Signal]:
    """The same recording in every kind of file."""
    table = pa.table({"t": T, "x": XY[:, 0], "y": XY[:, 1]})
    csv.write_csv(table, folder / "a.csv")
    parquet.write_table(table, folder / "a.parquet")
    np.savez(folder / "a.npz", t=T, xy=XY)
    rows = np.array([(t, *xy) for t, xy in zip(T, XY, strict=True)], dtype="i8,f8,f8")
    np.save(folder / "a.npy", rows)
    with h5py.File(folder / "a.h5", "w") as file:
        file["imu/t"], file["imu/xy"] = T, XY
    (folder / "semicolon.csv").write_text(
        "\n".join(f"{t};{x!r};{y!r}" for t, (x, y) in zip(T, XY.tolist(), strict=True))
    )
    return {
        "a.csv": Signal(time="t", columns=["x", "y"]),
        "a.parquet": Signal(time="t"),
        "a.npz": Signal(time="t", columns=["xy"]),
        "a.npy": Signal(time="f0", columns=["f1", 2]),
        "a.h5": Signal(time="imu/t"),
        "semicolon.csv": Signal(time=0, columns=[1, 2], header=False, delimiter=";"),
    }


def heard(
    folder: Path, origin: Any = "first", **signals: Signal
) -> dict[str, np.ndarray[Any, Any]]:
    keyed = {f"sensors.{name}": signal for name, signal in signals.items()}
    found = hear(keyed, base=folder, origin=origin, seed=0)
    return {key.partition(".")[2]: h.stamps for key, h in found.items()}


def test_every_kind_of_file_gives_the_same_readings(tmp_path: Path) -> None:
    for name, signal in written(tmp_path).items():
        table = read(signal.model_copy(update={"unit": "ns"}), tmp_path / name)
        np.testing.assert_array_equal(table.stamps, T, err_msg=name)
        np.testing.assert_array_equal(table.values, XY, err_msg=name)


def test_nanoseconds_since_1970_keep_their_last_digit(tmp_path: Path) -> None:
    written(tmp_path)
    log = {"file": "a.csv", "time": "t", "columns": ["x"]}
    found = heard(tmp_path, a=Signal(**log, unit="ns"))["a"]
    assert found.tolist() == [5_000_017 * k / 1e9 for k in range(7)]
    # As floats in seconds they would be a quarter of a microsecond apart at best.
    assert (np.diff(T / 1e9) != np.diff(found)).all()


def test_files_of_different_units_share_one_clock(tmp_path: Path) -> None:
    (tmp_path / "ms.csv").write_text("t,x\n5000,1\n5250,2\n")
    (tmp_path / "s.csv").write_text("t,x\n5.125,1\n6.5,2\n")
    (tmp_path / "iso.csv").write_text("t,x\n1970-01-01 00:00:04.5,1\n1970-01-01T00:00:05,2\n")
    (tmp_path / "none.csv").write_text("x\n1\n2\n")
    signals = {
        "ms": Signal(file="ms.csv", time="t", unit="ms", columns=["x"]),
        "s": Signal(file="s.csv", time="t"),
        "none": Signal(file="none.csv", rate=4.0, start=1.0),
    }
    assert {k: v.tolist() for k, v in heard(tmp_path, **signals).items()} == {
        "ms": [0.0, 0.25],
        "s": [0.125, 1.5],
        "none": [1.0, 1.25],
    }
    iso = signals | {"iso": Signal(file="iso.csv", time="t")}
    assert heard(tmp_path, **iso)["ms"].tolist() == [0.5, 0.75]
    assert heard(tmp_path, **iso)["iso"].tolist() == [0.0, 0.5]
    assert heard(tmp_path, 4.0, **signals)["s"].tolist() == [1.125, 2.5]


def test_rows_of_other_sensors_are_no_readings_of_this_one(tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text("t,a,b,c\n0,1,,\n1,,5,6\n2,NA,,7\n3,4,,\n")
    a = read(Signal(time="t", columns=["a"]), tmp_path / "wide.csv")
    assert (np.asarray(a.stamps).tolist(), a.values.tolist()) == ([0, 3e9], [[1.0], [4.0]])
    bc = read(Signal(time="t", columns=["b", "c"]), tmp_path / "wide.csv")
    assert np.asarray(bc.stamps).tolist() == [1e9, 2e9]
    np.testing.assert_array_equal(bc.values, [[5.0, 6.0], [np.nan, 7.0]])


@pytest.mark.parametrize(
    ("name", "signal", "message"),
    [
        ("a.npz", Signal(time=0, columns=["xy"]), "time: unknown column of a.npz '0'"),
        ("a.npz", Signal(time="xy", columns=["xy"]), "time: 'xy' of a.npz has shape (7, 2)"),
        ("a.h5", Signal(time="imu/t", unit="ns", columns=["imu/yx"]), "did you mean 'imu/xy'"),
        (
            "short.npz",
            Signal(time="t", unit="ns"),
            "columns: 'x' of short.npz has 3 rows, another 7",
        ),
        (
            "scalar.npz",
            Signal(time="t", unit="ns"),
            "columns: 'x' of scalar.npz: is a single value",
        ),
        ("pickled.npy", Signal(rate=1.0), "pickled.npy cannot be read as .npy"),
        ("torn.parquet", Signal(rate=1.0), "torn.parquet cannot be read as .parquet"),
        ("torn.npz", Signal(rate=1.0), "torn.npz cannot be read as .npz"),
        ("torn.h5", Signal(rate=1.0), "torn.h5 cannot be read as .h5"),
        ("twice.csv", Signal(rate=1.0), "twice.csv has two columns 'x': rename one"),
        ("a.csv", Signal(time="t", unit="s"), "'t' of a.csv: beyond 292 years in 's'"),
    ],
)
def test_what_cannot_be_read_is_said(
    tmp_path: Path, name: str, signal: Signal, message: str
) -> None:
    written(tmp_path)
    np.savez(tmp_path / "short.npz", t=T, x=XY[:3, 0])
    np.savez(tmp_path / "scalar.npz", t=T, x=3.0)
    np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "twice.csv").write_text("x,x\n1,2\n")
    for kind in ("parquet", "npz", "h5"):
        whole = (tmp_path / f"a.{kind}").read_bytes()
        (tmp_path / f"torn.{kind}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EventNetError) as caught:
        read(signal, tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_time_stamp_out_of_order_is_an_error_dropped_or_put_in_place(tmp_path: Path) -> None:
    (tmp_path / "back.csv").write_text("t,x\n0,0\n1,1\n3,3\n2,2\n4,4\n4,5\n")
    log: dict[str, Any] = {"file": "back.csv", "time": "t"}
    with pytest.raises(
        DataError, match=r"sensors.a\.time: a: the reading of 2 s comes 1 s too late; raise"
    ):
        heard(tmp_path, a=Signal(**log))
    assert heard(tmp_path, a=Signal(**log, late="drop"))["a"].tolist() == [0, 1, 3, 4]
    assert heard(tmp_path, a=Signal(**log, lateness=1.0))["a"].tolist() == [0, 1, 2, 3, 4]
