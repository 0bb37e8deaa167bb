"""The ablation of the field runs at tiny sizes, goes on where it was, and draws what it found."""

from __future__ import annotations

from pathlib import Path

import ablate_field
import pytest
from result_schema import read_results

from dfanerf_rt.clip.format import Clip

pytest.importorskip("mediapipe", reason="mediapipe is not installed (extra: track)")


def test_script(
    tiny_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    import plot_field

    target, drawn = tmp_path / "field.json", tmp_path / "field.svg"
    options = ["--clip", str(tiny_clip.root), "--avatar", "presenter", "--steps", "3", "--tiny", "--json", str(target)]
    options += ["--landmark-clip", str(tiny_clip.root)]
    names = ["concat", ablate_field.DEFAULT]
    assert ablate_field.main([*options, "--only", *names, "--plot", str(drawn)]) == 0
    document = read_results(target)
    assert {row["variant"] for row in document["results"]} == {*names, ablate_field.BY_LANDMARKS}
    found = {(row["variant"], row["row"], row["measure"]): row["value"] for row in document["results"]}
    assert 3.0 < found["concat", "recorded", "psnr_db"] < 60.0
    assert found["concat", "field", "mb"] < found[ablate_field.DEFAULT, "field", "mb"]
    assert found["concat", "field", "fps"] > 0.0 and 0.0 < found["concat", "field", "edge_error"] <= 1.0
    assert "| concat" in capsys.readouterr().out

    def never(*arguments: object, **named: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(ablate_field.Bench, "train", never)
    assert ablate_field.main([*options, "--only", *names, "--resume"]) == 0
    assert read_results(target)["results"] == document["results"]
    again = tmp_path / "again.svg"
    assert plot_field.main([str(target), "--out", str(again)]) == 0
    assert again.read_bytes() == drawn.read_bytes()
    assert f"dB against {ablate_field.DEFAULT}" in again.read_text(encoding="utf-8")
    target.write_text(target.read_text().replace(f'"base": "{ablate_field.DEFAULT}"', '"base": "another"'))
    capsys.readouterr()
    assert ablate_field.main([*options, "--resume"]) == 2
    assert "its rows start from 'another'" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in ablate_field.VARIANTS if name != ablate_field.DEFAULT])
def test_every_variant_changes_something(name: str) -> None:
    plain = (ablate_field.FieldConfig(), ablate_field.FieldTrainConfig())
    assert ablate_field.VARIANTS[name](*plain) != plain


def test_what_cannot_be_used_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ablate_field.main(["--clip", str(tmp_path), "--avatar", "presenter"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("ablate_field: ") and message.count("\n") == 1
