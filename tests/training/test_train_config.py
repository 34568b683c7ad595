"""Training configurations: what is read, and that every mistake names its key."""

from pathlib import Path

import pytest

from gentg_blender.core.contract import GentgError
from inference_backend.training.compare import load_compare
from inference_backend.training.config import TrainConfig, load_config, to_dict

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "train"


def refused(*overrides: str, path=None) -> GentgError:
    with pytest.raises(GentgError) as caught:
        load_config(path, list(overrides))
    return caught.value


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_given_means_the_defaults():
    assert load_config(None) == TrainConfig()


def test_file_then_overrides(tmp_path):
    path = written(
        tmp_path,
        "name: mine\noptim:\n  steps: 5\n  minutes: null\n  batch: 3\ngenerator:\n  focal_mm: [20, 50]\n",
    )
    config = load_config(
        path,
        [
            "optim.steps=7",
            "optim.minutes=1.5",
            "data.held_out_subjects=[a, b]",
            "tgt.rotary=false",
            "optim.learning_rate=1e-3",
            "gpc.schedule=sqrt",
        ],
    )
    assert (config.name, config.optim.steps, config.optim.batch, config.optim.minutes) == ("mine", 7, 3, 1.5)
    assert config.generator.focal_mm == (20.0, 50.0) and config.data.held_out_subjects == ["a", "b"]
    assert config.tgt.rotary is False and config.optim.learning_rate == 1e-3 and config.gpc.schedule == "sqrt"


def test_tables_come_back_as_they_went(tmp_path):
    import yaml

    config = load_config(None, ["optim.steps=3", "generator.focal_mm=[30, 40]"])
    plain = to_dict(config) | {"name": "again"}
    plain["generator"]["focal_mm"] = list(plain["generator"]["focal_mm"])
    again = load_config(written(tmp_path, yaml.safe_dump(plain)))
    assert again.optim == config.optim and again.generator == config.generator and again.name == "again"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_the_shipped_configurations_are_valid(path):
    assert (load_compare if path.stem.startswith("compare") else load_config)(path).name


@pytest.mark.parametrize(
    "override, key",
    [
        ("optim.stepz=5", "optim.stepz"),
        ("nonsense=5", "nonsense"),
        ("optim.steps=many", "optim.steps"),
        ("optim.steps=1.5", "optim.steps"),
        ("optim.steps=true", "optim.steps"),
        ("optim.learning_rate=fast", "optim.learning_rate"),
        ("tgt.rotary=1", "tgt.rotary"),
        ("name=5", "name"),
        ("optim=5", "optim"),
        ("generator.frame_rates=30", "generator.frame_rates"),
        ("generator.frame_rates=[30, x]", "generator.frame_rates"),
        ("generator.focal_mm=[20, 30, 40]", "generator.focal_mm"),
        ("optim.steps.more=5", "optim.steps"),
        ("optim.precision=fp16", "optim.precision"),
        ("kind=everything", "kind"),
        ("gpc.schedule=quadratic", "gpc.schedule"),
        ("optim.steps=[1", "optim.steps"),
        ("optim.steps", "optim.steps"),
        ("=5", "=5"),
        ("optim..steps=5", "optim..steps"),
    ],
)
def test_mistakes_in_overrides_name_the_key(override, key):
    error = refused(override)
    assert error.code == "bad_request" and key in error.message


def test_an_override_below_a_plain_value_of_the_file_is_refused(tmp_path):
    error = refused("optim.steps.more=5", path=written(tmp_path, "optim:\n  steps: 5\n"))
    assert "optim.steps.more" in error.message


@pytest.mark.parametrize(
    "text, word",
    [
        ("optim:\n  stepz: 5\n", "optim.stepz"),
        ("- a\n- b\n", "table"),
        ("optim: [", "YAML"),
        ("tgt: 3\n", "tgt"),
    ],
)
def test_mistakes_in_the_file_name_key_and_file(tmp_path, text, word):
    path = written(tmp_path, text)
    error = refused("optim.steps=5", path=path)
    assert error.code == "bad_request" and word in error.message and error.file == str(path)


def test_a_missing_file_is_named(tmp_path):
    error = refused(path=tmp_path / "none.yaml")
    assert error.code == "no_such_file" and error.file == str(tmp_path / "none.yaml")
