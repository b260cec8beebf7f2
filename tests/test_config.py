"""Run files: what is read, and every way to get one wrong, with the message that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from composir.config import RunConfig, dump, load_config
from composir.errors import ComposirError, UnknownNameError

GOOD = """
[backbone]
name = "clip-tiny"

[method]
name = "contrastive"
alpha = 0.7

[data]
name = "wardrobe"
train = 60

[train]
epochs = 2
batch_size = 16
lr = 1e-3
"""
PUBLISHED = sorted((Path(__file__).parents[1] / "configs").glob("*.toml"))


@pytest.fixture
def load(tmp_path):
    def load(text: str = GOOD, *overrides: str) -> RunConfig:
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, overrides)

    return load


def test_what_is_given_and_what_is_not(load):
    config = load()
    assert (config.method.name, config.method.arguments) == ("contrastive", {"alpha": 0.7})
    assert config.data.arguments == {"train": 60}
    assert config.backbone.arguments == {}
    assert (config.train.epochs, config.train.lr, config.train.weight_decay) == (2, 1e-3, 0.01)
    assert config.train.betas == (0.9, 0.98)
    assert (config.eval.every, config.eval.metric) == (1, "")
    assert (config.init, config.features.folder, config.features.dtype) == ("", "", "float32")
    assert (config.train.optimizer, config.train.schedule, config.train.accumulate) == ("adamw", "cosine", 1)
    assert (config.train.captions, config.train.save_every, config.train.skip_bad) == ("shuffle", 0, False)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_run_files_are_read(path):
    assert load_config(path).train.epochs >= 1


@pytest.mark.parametrize("name", [f"{part}-wardrobe-clip" for part in ("continue", "finish", "again", "settle")])
def test_what_goes_on_from_a_run_has_that_run_s_data(name):
    """Designs of val and test stay unseen through all parts of a recipe."""
    configs = {path.stem: load_config(path) for path in PUBLISHED}
    before = Path(configs[name].backbone.name)
    assert before.parts[::2] == ("runs", "backbone")
    assert configs[before.parent.name].data == configs[name].data


def test_there_are_published_run_files():
    assert PUBLISHED


def test_a_config_is_frozen(load):
    with pytest.raises(ValueError, match="frozen"):
        load().train.lr = 1.0


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("train.lr=3e-4", lambda c: c.train.lr == 3e-4),
        ("train.betas=[0.8, 0.9]", lambda c: c.train.betas == (0.8, 0.9)),
        ("train.compile=true", lambda c: c.train.compile is True),
        ("method.alpha = 0.25", lambda c: c.method.arguments == {"alpha": 0.25}),
        ("method.beta=[1, 2]", lambda c: c.method.arguments["beta"] == [1, 2]),
        ("data.name=shoes", lambda c: c.data.name == "shoes"),
        ('data.name="shoes"', lambda c: c.data.name == "shoes"),
        ("data.folder=/some/where", lambda c: c.data.arguments["folder"] == "/some/where"),
        ("eval.metric=caption R@5", lambda c: c.eval.metric == "caption R@5"),
        ("eval.every=3", lambda c: c.eval.every == 3),
        ("init=runs/first", lambda c: c.init == "runs/first"),
        ("train.optimizer=adam", lambda c: c.train.optimizer == "adam"),
        ("train.schedule=onecycle", lambda c: c.train.schedule == "onecycle"),
        ("train.accumulate=4", lambda c: c.train.accumulate == 4),
        ("features.dtype=float16", lambda c: c.features.dtype == "float16"),
        ("method.spec=a=b", lambda c: c.method.arguments["spec"] == "a=b"),
    ],
)
def test_overrides(load, override, read):
    assert read(load(GOOD, override))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["train.betas=[0.5, 0.25]", "train.lr=1e-30", "train.compile=true", "train.seed=-3"],
        ["init=runs/a b/best.safetensors", "features.folder=/x"],
        [
            'method.prompt="a \\"photo\\" of\\n\\u00fc \\\\ "',
            "method.lora={rank = 16, targets = ['q', 'v'], on = true}",
        ],
        ["method.day=2024-05-01", "method.far=inf", "method.'odd key'=1", "method.none=[]"],
    ],
)
def test_a_config_written_out_reads_as_itself(load, overrides):
    config = load(GOOD, *overrides)
    assert load(dump(config)) == config


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_run_files_written_out_read_as_themselves(load, path):
    assert load(dump(load_config(path))) == load_config(path)


def test_the_last_override_wins(load):
    assert load(GOOD, "train.seed=1", "train.seed=2").train.seed == 2


@pytest.mark.parametrize("override", ["train.lr", "lr=3", "=3", "train", ""])
def test_what_is_no_override_is_refused(load, override):
    with pytest.raises(ComposirError, match=r"is no override; write section\.key=value"):
        load(GOOD, override)


def test_override_into_a_plain_value_is_refused(load):
    with pytest.raises(ComposirError, match=r"\[train\], which the file gives a plain value"):
        load("train = 3\n", "train.lr=1")


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("[train]\nepoch = 3", "unknown key in [train] 'epoch'; did you mean 'epochs'"),
        ("[train]\nlearning_rate = 3", "unknown key in [train] 'learning_rate'"),
        ("[train]\nbatchsize = 3", "did you mean 'batch_size'"),
        ("[eval]\nmetrics = 'x'", "unknown key in [eval] 'metrics'; did you mean 'metric'"),
        ("[features]\nfloat = 3", "unknown key in [features] 'float'"),
        ("[trian]\nlr = 3", "unknown key in [the file] 'trian'; did you mean 'train'"),
        ("[optimizer]\nlr = 3", "unknown key in [the file] 'optimizer'"),
    ],
)
def test_unknown_keys_name_the_nearest(load, line, near):
    section, _, key = line.partition("\n")
    text = GOOD.replace(section, f"{section}\n{key}") if section in GOOD else f"{GOOD}\n{line}"
    with pytest.raises(ComposirError) as caught:
        load(text)
    assert near in str(caught.value)
    assert "run.toml" in str(caught.value)


def test_unknown_override_names_the_nearest(load):
    with pytest.raises(ComposirError, match=r"'warmpu'; did you mean 'warmup'"):
        load(GOOD, "train.warmpu=3")


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs=0", "train.epochs=1.5", "train.epochs=many", "train.batch_size=1", "train.lr=0", "train.lr=-1",
        "train.lr=nan", "train.lr=inf", "train.weight_decay=-0.1", "train.warmup=-1", "train.clip=-1", "train.block=0",
        "train.block_share=1.01", "train.block_share=-0.1", "train.shift=-1", "train.workers=-1", "train.seed=x",
        "train.precision=fp8", "train.betas=[0.9]", "train.betas=[0.9, 1.0]", "train.betas=[-0.1, 0.9]",
        "train.betas=0.9", "train.compile=perhaps", "train.optimizer=sgd",
        "train.schedule=cosin", "train.accumulate=0", "train.captions=both", "train.save_every=-1", "train.skip_bad=3",
        "train.tensorboard=x", "train.checkpointing=x", "features.dtype=int8",
        "eval.every=0", "eval.metric=3", "method.name=3", "train.lr=",
    ],
)  # fmt: skip
def test_values_out_of_range_are_named(load, override):
    section, _, rest = override.partition(".")
    key, _, value = rest.partition("=")
    with pytest.raises(ComposirError) as caught:
        load(GOOD, override)
    message = str(caught.value)
    assert f"[{section}.{key}" in message
    assert "given: " in message
    assert any(part in message for part in value.strip("[]").split(", "))


@pytest.mark.parametrize("section", ["backbone", "method", "data", "train"])
def test_a_missing_section_is_named(load, section):
    head, _, tail = GOOD.partition(f"[{section}]")
    text = head + ("[" + tail.split("[", 1)[1] if "[" in tail else "")
    with pytest.raises(ComposirError, match=rf"\[{section}\] Field required$"):
        load(text)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "epochs = 2",
            "epoch = 2",
            "unknown key in [train] 'epoch'; did you mean 'epochs'?; [train.epochs] Field required",
        ),
        (
            "epochs = 2\nbatch_size = 16",
            "epochs = 0\nbatchsize = 16",
            "unknown key in [train] 'batchsize'; did you mean 'batch_size'?; [train.batch_size] Field required",
        ),
        (
            '0.7\n\n[data]\nname = "wardrobe"\ntrain = 60',
            "0.7\nalpa = 0.7",
            "[method] unknown argument of method 'contrastive': 'alpa'; did you mean 'alpha'?; [data] Field required",
        ),
        (
            '"contrastive"\nalpha = 0.7\n\n[data]\nname = "wardrobe"\ntrain = 60\n\n[train]\nepochs = 2',
            '"contrastve"\n[data]\nname = "wardrobe"\ntrian = 60\n[train]\nepochs = 0',
            "[method] unknown method 'contrastve'; did you mean 'contrastive'?; "
            "[data] unknown argument of data set 'wardrobe': 'trian'; did you mean 'train'?",
        ),
    ],
)
def test_a_misspelt_key_is_told_before_what_is_missing_for_it(load, old, new, told):
    assert old in GOOD
    with pytest.raises(ComposirError) as caught:
        load(GOOD.replace(old, new))
    assert str(caught.value).partition("run.toml: ")[2] == told


@pytest.mark.parametrize(("line", "where"), [("epochs = 2", "train.epochs"), ('name = "wardrobe"', "data.name")])
def test_a_missing_key_is_named(load, line, where):
    with pytest.raises(ComposirError, match=rf"\[{where}\] Field required$"):
        load(GOOD.replace(line, ""))


def test_a_section_that_is_a_value_is_refused(load):
    with pytest.raises(ComposirError, match=r"\[method\]"):
        load(
            GOOD.replace('[method]\nname = "contrastive"\nalpha = 0.7', "").replace(
                "[backbone]", "method = 3\n[backbone]"
            )
        )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ComposirError, match=r"no run file at .*absent\.toml; the published ones lie in configs/"):
        load_config(tmp_path / "absent.toml")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ComposirError, match="cannot be read"):
        load_config(tmp_path)


@pytest.mark.parametrize("content", [b"[train\n", b"lr = ", b"a = 1\na = 2\n", b"\xff\xfe\x00", b"{}"])
def test_what_is_not_toml_is_refused(tmp_path, content):
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ComposirError, match=r"run\.toml is not TOML"):
        load_config(path)


def test_unknown_names_and_arguments_wait_until_the_part_is_built(load):
    """The run file is checked before anything heavy is imported; the parts check the rest."""
    from composir.datasets import load_dataset

    config = load(GOOD, "data.trian=60")
    with pytest.raises(UnknownNameError, match="'trian'; did you mean 'train'"):
        load_dataset(config.data.name, **config.data.arguments)
