"""When and where the grid is cleanest for as long as a study takes."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kilowit.cli import main
from kilowit.errors import StudyError
from kilowit.factors import JOULE_PER_KWH
from kilowit.plan import Estimate, Interval, best_windows

HOURS = [50.0] * 6 + [20.0, 10.0, 30.0] + [50.0] * 6


def hourly(path: Path, columns: dict[str, list[float | str]], start: str = "2026-11-23T00:00") -> Path:
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    lines = [",".join(["time", *columns])]
    for i, row in enumerate(zip(*columns.values(), strict=True)):
        lines.append(",".join([(begin + timedelta(hours=i)).strftime("%Y-%m-%dT%H:%MZ"), *map(str, row)]))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def estimate(hour: float, kwh: float = 2.0) -> Estimate:
    nothing = dict.fromkeys(f.name for f in dataclasses.fields(Estimate) if f.name not in ("basis", "phase_second"))
    known = {
        "time_second": Interval.exactly(hour * 3600),
        "energy_total_joule": Interval.exactly(kwh * JOULE_PER_KWH),
    }
    return Estimate(basis="analytic", **{**nothing, **known})  # type: ignore[arg-type]


def test_the_window_with_the_least_mean_is_found_and_set_beside_starting_at_once(tmp_path: Path) -> None:
    found = best_windows(estimate(2.0), hourly(tmp_path / "i.csv", {"country/FR": HOURS}), region="country/FR")
    (window,) = found.windows
    assert (window.starts_at_utc, window.ends_at_utc) == ("2026-11-23T06:00Z", "2026-11-23T08:00Z")
    assert window.gram_per_kwh == 15.0
    assert window.co2e_operational_kg == pytest.approx(2.0 * 15 / 1000)
    assert found.now is not None and found.now.gram_per_kwh == 50.0
    assert found.saved_fraction == pytest.approx(0.7)


def test_an_hour_begun_counts_by_its_share(tmp_path: Path) -> None:
    path = hourly(tmp_path / "i.csv", {"a": [10.0, 40.0, 90.0]})
    window = best_windows(estimate(1.5), path, region=None).windows[0]
    assert window.gram_per_kwh == pytest.approx((10 + 40 / 2) / 1.5)
    assert window.ends_at_utc == "2026-11-23T01:30Z"


def test_regions_are_ranked_with_their_pue_and_unknown_hours_are_avoided(tmp_path: Path) -> None:
    path = hourly(tmp_path / "i.csv", {"country/PL": [600.0] * 4, "country/FR": [30.0, "", 40.0, 45.0]})
    found = best_windows(estimate(2.0), path, region="country/PL")
    assert [w.region for w in found.windows] == ["country/FR", "country/PL"]
    assert found.windows[0].starts_at_utc == "2026-11-23T02:00Z"
    with_pue = best_windows(estimate(2.0), path, region=None, pue=1.5)
    assert with_pue.windows[0].co2e_operational_kg == pytest.approx(1.5 * found.windows[0].co2e_operational_kg)


WRONG = {
    "when,a\n2026-11-23T00:00Z,1": "its first line is",
    "time,a,a\n2026-11-23T00:00Z,1,2": "its first line is",
    "time,a": "no hours",
    "time,a\nyesterday,1": "is no time",
    "time,a\n2026-11-23T00:00Z,-3": "is no intensity",
    "time,a\n2026-11-23T00:00Z,1\n2026-11-23T02:00Z,1": "does not follow",
    "time,a\n2026-11-23T00:00Z,1,2": "2 values for|3 values for",
    "time,a\n2026-11-23T00:00Z,5": "no region has the 2.0 hours in a row",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_file_is_said_to_be_with_its_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "i.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=WRONG[text]) as error:
        best_windows(estimate(2.0), path, region=None)
    assert "i.csv" in str(error.value)
    with pytest.raises(StudyError, match="cannot be read"):
        best_windows(estimate(2.0), tmp_path / "absent.csv", region=None)


def test_a_study_of_unknown_length_has_no_window(tmp_path: Path) -> None:
    path = hourly(tmp_path / "i.csv", {"a": [1.0]})
    with pytest.raises(StudyError, match="not known"):
        best_windows(dataclasses.replace(estimate(1.0), time_second=None), path, region=None)


def test_the_verb_says_when(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "s.yaml"
    study.write_text("{name: a, models: [{scratch: bart-tiny}], datasets: [docstrings], train: {num_steps: 5}}")
    path = hourly(tmp_path / "i.csv", {"country/FR": HOURS * 4})
    asked = [
        "plan",
        str(study),
        "--store",
        str(tmp_path / "runs"),
        "--when",
        str(path),
        "--machine",
        "Standard_NC6s_v3",
    ]
    assert main(asked) == 0
    assert "2026-11-23T07:00Z" in capsys.readouterr().out
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["when"]["windows"][0]["gram_per_kwh"] == pytest.approx(10.0)
