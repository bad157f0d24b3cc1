"""Runs side by side: what differs, and how high the same lines are in each of them."""

import numpy as np
import pytest
from PIL import Image

from minimind_lite.cli import main
from minimind_lite.files import run_folder
from minimind_lite.records import StepRecord

BATCH, ROWS = 4, 400
HARD = slice(200, 280)  # rows of a block that is 2 nats harder


def unfamiliar():
    """What a frozen model finds in each row."""
    losses = 3 + np.random.default_rng(0).normal(0, 0.05, ROWS)
    losses[HARD] += 2
    return losses


def learnt():
    """A trained one: it specializes on the rows before the block, and then has lost 0.2 nats."""
    losses = unfamiliar()
    losses[100:200] -= 0.5
    losses[HARD] += 0.2
    losses[280:] -= 0.3
    return losses


def a_run(folder, losses, *, order="file", optimizer="adamw", tokens=10, end=5.0, **info):
    config = {"order": order, "optimizer": optimizer, "learning_rate": 5e-4}
    info = {"rows": ROWS, "max_seq_len": 512, "skipped_lines": [1], "train_config": config, **info}
    rows = np.arange(ROWS)
    if order != "file":
        rows = np.random.default_rng(1).permutation(rows)
    if optimizer != "none":
        info["probes_after"] = {"zh": end}
    with run_folder.RunWriter(folder, info) as writer:
        for step, batch in enumerate(rows.reshape(-1, BATCH)):
            writer.write(
                StepRecord(
                    step=step,
                    epoch=0,
                    samples_seen=BATCH * step,
                    loss=losses[batch].mean(),
                    tokens=BATCH * tokens,
                    lr=1e-3,
                    grad_norm=1.0,
                    micro_losses=losses[batch],
                    rows=batch,
                    sample_losses=losses[batch],
                    sample_tokens=np.full(BATCH, tokens),
                    probes={} if optimizer == "none" else {"zh": 6.0 + (step == 50)},
                )
            )
    return folder


@pytest.fixture
def three(tmp_path):
    """In file order, frozen, shuffled."""
    mixed = unfamiliar() - 0.4
    mixed[HARD] -= 1.5
    return (
        a_run(tmp_path / "file", learnt()),
        a_run(tmp_path / "frozen", unfamiliar(), optimizer="none"),
        a_run(tmp_path / "mixed", mixed, order="shuffle", end=4.5),
    )


@pytest.fixture
def compare(tmp_path, capsys):
    def call(*folders, out=tmp_path / "picture.png"):
        code = main(["compare", *map(str, folders), "--out", str(out)])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err

    return call


def row(lines, name):
    """The cells of a row of the table."""
    [line] = [line for line in lines if line.startswith(f"{name}  ")]
    return line.removeprefix(name).split()


def test_a_table_says_what_each_shows_and_which_settings_differ(compare, three):
    code, lines, _ = compare(*three)
    assert code == 0 and lines[0].split() == ["file", "frozen", "mixed"]
    assert row(lines, "steps") == ["100"] * 3
    assert row(lines, "places where the loss rises") == ["1", "1", "0"]
    last = [learnt()[-40:].mean(), unfamiliar()[-40:].mean()]
    assert row(lines, "loss of the last tenth")[:2] == [f"{loss:.2f}" for loss in last]
    # Start, worst, end; nobody measures a frozen model's.
    courses = " ".join(row(lines, "held-out zh: start, worst, end"))
    assert courses == "6.00 7.00 5.00 - 6.00 7.00 4.50"
    assert row(lines, "order") == ["file", "file", "shuffle"]
    assert row(lines, "optimizer") == ["adamw", "none", "adamw"]
    assert not any(line.startswith("learning_rate") for line in lines)


def test_each_pair_has_a_sentence(compare, three):
    _, lines, _ = compare(*three)
    assert "file and frozen: optimizer (adamw, none)." in lines
    assert (
        "file and mixed: order (file, shuffle); held-out loss at the end, mixed minus file: "
        "zh -0.50." in lines
    )
    assert "frozen and mixed: order (file, shuffle), optimizer (none, adamw)." in lines


def test_a_rollback_is_a_setting_that_differs(compare, three, tmp_path):
    """It said: no setting differs."""
    other = a_run(tmp_path / "back", learnt(), options={"rollback": "palm", "hold_out": None})
    _, lines, _ = compare(three[0], other)
    assert any(line.startswith("file and back: rollback (-, palm)") for line in lines)
    third = a_run(tmp_path / "lite", learnt(), options={"model": "lite"})
    _, lines, _ = compare(three[0], third)
    assert any(line.startswith("file and lite: model (-, lite)") for line in lines)


def test_a_run_that_was_broken_off_is_said_to_be_so(compare, three, tmp_path):
    other = a_run(tmp_path / "short", learnt(), total_steps=200, finished=False)
    _, lines, _ = compare(three[0], other)
    words = "short stopped at step 100 of 200; its end is the last measurement, step 99."
    assert any(line.endswith(words) for line in lines)
    whole = a_run(tmp_path / "whole", learnt(), total_steps=100, finished=True)
    assert not any("stopped at step" in line for line in compare(three[0], whole)[1])


def test_the_same_lines_in_each_run_show_what_is_in_the_data(compare, three):
    """A frozen run alone called half of a stranger's spikes "not in the data"."""
    _, lines, _ = compare(*three)
    at = next(i for i, line in enumerate(lines) if line.startswith("line "))
    [cells] = [lines[at + 1].split()]
    line, in_file, frozen, mixed, *terms = cells[:1] + [float(cell) for cell in cells[1:]]
    assert line == "202"  # row 200; line 1 was bad
    # The 160 rows before: 60 as they were, 100 half a nat lower.
    truth = unfamiliar()
    height = truth[200:220].mean() - truth[40:200].mean()
    specialized = 0.5 * 100 / 160
    assert frozen == pytest.approx(height, abs=0.01)
    assert in_file == pytest.approx(height + 0.2 + specialized, abs=0.01)
    assert mixed == pytest.approx(height - 1.5, abs=0.01)
    assert terms == pytest.approx([height, 0.2, specialized], abs=0.011)
    assert sum(terms) == pytest.approx(in_file, abs=1e-9)  # as printed
    assert any("In mixed these lines are at most +0.5" in line for line in lines)


def test_runs_on_different_files_are_said_to_be_so(compare, three, tmp_path):
    other = a_run(tmp_path / "other", learnt(), tokens=11)
    _, lines, _ = compare(three[0], other)
    [sentence] = [line for line in lines if line.startswith("file and other")]
    assert "they read different rows" in sentence
    assert not any(line.startswith("line ") for line in lines)


def test_without_a_run_in_file_order_no_lines_are_compared(compare, three):
    _, lines, _ = compare(three[1], three[2])
    assert any("None of them was trained in file order" in line for line in lines)


def test_a_shorter_run_has_no_height_where_it_read_nothing(compare, three, tmp_path):
    run = run_folder.load(three[0])
    with run_folder.RunWriter(tmp_path / "half", run.info) as writer:
        for record in run.records[:40]:
            writer.write(record)
    code, lines, _ = compare(three[0], tmp_path / "half")
    at = next(i for i, line in enumerate(lines) if line.startswith("line "))
    assert code == 0 and lines[at + 1].split()[-1] == "-"


def test_a_picture_is_left(compare, three, tmp_path):
    _, lines, _ = compare(*three, out=tmp_path / "new" / "picture.png")
    assert lines[-1] == f"Picture: {tmp_path / 'new' / 'picture.png'}"
    with Image.open(tmp_path / "new" / "picture.png") as image:
        assert image.width > 500


@pytest.mark.parametrize(
    "names, message",
    [
        (["file"], "2 to 5 run folders, got 1"),
        (["file"] * 6, "2 to 5 run folders, got 6"),
        (["file", "file"], "can't be compared with itself"),
        (["file", "nothing"], "is no run folder"),
    ],
)
def test_what_can_t_be_compared_is_one_line(compare, three, tmp_path, names, message):
    code, _, err = compare(*(tmp_path / name for name in names))
    [line] = err.splitlines()
    assert code == 1 and message in line


def test_runs_of_one_name_are_told_apart_by_their_folders(compare, three, tmp_path):
    twin = a_run(tmp_path / "b" / "file", learnt())
    _, lines, _ = compare(three[0], twin)
    assert lines[0].split() == [str(three[0]), str(twin)]
    assert any("no setting differs" in line for line in lines)
