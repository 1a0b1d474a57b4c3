"""What `check` says of the engine and of models."""

from __future__ import annotations

from pathlib import Path

from tests.rigs.changing_models import ChangingModels
from tests.rigs.engine_questions import MODELS

from torchgate.engine.checks import checks
from torchgate.engine.settings import EngineSettings, ModelsSettings


def sentences(engine: EngineSettings, *allowed: str, folder: Path = MODELS) -> list[tuple[str, str, str]]:
    found = checks(engine, ModelsSettings(folder=folder.absolute(), allow_code=allowed))
    return [(one.severity, one.setting, one.sentence) for one in found]


ALL = ("broken", "dies_at_load", "once", "owner", "texts", "tiny_mlp", "whole")


def test_sound_models_give_no_error():
    assert [one for one in sentences(EngineSettings(), *ALL) if one[0] == "error"] == []


def test_an_allowance_for_nobody_is_named_with_the_nearest_name():
    found = sentences(EngineSettings(), *ALL, "ownr")
    assert ("warning", "models.allow_code.7", "there is no model 'ownr'. Did you mean 'owner'?") in found


def test_a_deadline_too_short_for_companions_of_a_hanging_row_is_a_warning_where_somebody_chose_it(tmp_path: Path):
    settings = (MODELS / "owner" / "model.toml").read_text(encoding="utf-8")
    (tmp_path / "owner" / "1").mkdir(parents=True)
    (tmp_path / "owner" / "1" / "model.py").write_bytes((MODELS / "owner" / "1" / "model.py").read_bytes())
    (tmp_path / "owner" / "model.toml").write_text(
        settings.replace("= 300.0", "= 20.0").replace("= 5.0", "= 1.5"), encoding="utf-8"
    )
    found = sentences(EngineSettings(), "owner", folder=tmp_path)
    assert [(severity, setting) for severity, setting, _ in found] == [("warning", "limits.max_timeout_s")]
    assert "27" in found[0][2]


def test_no_standby_is_a_warning():
    found = sentences(EngineSettings(standbys=0), *ALL)
    assert ("warning", "engine.standbys") in [(severity, setting) for severity, setting, _ in found]


def test_a_golden_file_that_does_not_fit_the_model_is_an_error(tmp_path: Path):
    models = ChangingModels(tmp_path)
    models.write("1")
    models.golden("1", answer=9)
    assert sentences(EngineSettings(), "owner", folder=tmp_path) == []
    for text, said in (("{}", "is not what it must be"), ('{"inputs": [], "outputs": []}', "each input once: number")):
        (tmp_path / "owner" / "1" / "golden.json").write_text(text, encoding="utf-8")
        ((severity, _, sentence),) = sentences(EngineSettings(), "owner", folder=tmp_path)
        assert severity == "error"
        assert said in sentence


def test_models_that_do_not_fit_together_are_a_warning_with_the_numbers(tmp_path: Path):
    models = ChangingModels(tmp_path)
    models.configure("memory_bytes = 3145728")
    models.write("1")
    models.write("2")
    engine = EngineSettings(memory_bytes=5 << 20)
    ((severity, setting, sentence),) = sentences(engine, "owner", folder=tmp_path)
    assert (severity, setting) == ("warning", "engine.memory_bytes")
    assert "take 6 MiB, more than 5 MiB" in sentence
    models.configure('memory_bytes = 3145728\nreload = "hand_over"')
    assert sentences(engine, "owner", folder=tmp_path) == []
