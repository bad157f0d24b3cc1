"""The shipped data: what the build makes, what the data card says, what experiments assume."""

import importlib.util
import itertools
import math
import re
import sys
from collections import Counter

import numpy as np
import pytest

from minimind_lite.conversations import Conversation
from minimind_lite.files import jsonl, shipped
from minimind_lite.trainer import mean_loss

DATA = shipped.folder()
CHINESE = {"zh_chat", "zh_knowledge", "zh_writing"}


@pytest.fixture(scope="module")
def build():
    """data/build.py as a module."""
    spec = importlib.util.spec_from_file_location("data_build", DATA / "build.py")
    module = sys.modules["data_build"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["data_build"]


@pytest.fixture(scope="module")
def corpus(build):
    """Conversations by domain."""
    return build.read_corpus()


@pytest.fixture(scope="module")
def domain(corpus):
    """Domain of a conversation, looked up by its messages."""
    return {c.messages: name for name, rows in corpus.items() for c in rows}


@pytest.fixture(scope="module")
def parts():
    """Probes, pretraining and SFT."""
    return {
        name: list(jsonl.read(DATA / f"{name}.jsonl")) for name in ("probes", "pretrain", "sft")
    }


def said(*texts: str) -> Conversation:
    return Conversation(tuple(zip(itertools.cycle(("user", "assistant")), texts)), "memory", 1, 0)


# The corpus


def test_every_line_of_the_corpus_is_a_conversation(corpus):
    assert {name: len(rows) for name, rows in corpus.items()} == {
        name: (DATA / "corpus" / f"{name}.jsonl").read_bytes().count(b"\n") for name in corpus
    }


def test_the_data_card_counts_right(corpus, parts):
    card = (DATA / "README.md").read_text(encoding="utf-8")
    table = {name: int(n) for name, n in re.findall(r"^\| (\w+) \| (\d+) \|", card, re.MULTILINE)}
    assert table == {name: len(rows) for name, rows in corpus.items()}
    for name, rows in [*parts.items(), ("corpus/*", list(itertools.chain(*corpus.values())))]:
        assert re.search(rf"`{re.escape(name)}\.jsonl` \| {len(rows):,} ", card), name


def test_no_message_of_the_corpus_occurs_twice(corpus):
    counts = Counter(text for rows in corpus.values() for c in rows for _, text in c.messages)
    assert [text for text, n in counts.items() if n > 1] == []


def test_near_duplicates_finds_the_planted_one_and_nothing_else(build):
    original = said(
        "How do magnets work?", "Tiny currents inside the atoms line up, and their fields add."
    )
    planted = said(
        "How do magnets work?", "Tiny currents inside atoms line up, and their fields add up."
    )
    unrelated = said("Name a river in France.", "The Loire, which is the longest of them.")
    [(similarity, i, j)] = build.near_duplicates([original, unrelated, planted])
    assert (i, j) == (0, 2) and 0.6 <= similarity < 1
    assert build.near_duplicates([original, original])[0][0] == 1


def test_similarity_is_jaccard_over_five_grams(build):
    # abcdef has the 5-grams abcde, bcdef; bcdefg has bcdef, cdefg: one of three is shared
    [(similarity, _, _)] = build.near_duplicates([said("abcdef"), said("bcdefg")], threshold=0.3)
    assert similarity == pytest.approx(1 / 3)


def test_a_near_duplicate_stops_the_build_and_is_named(build):
    twin = Conversation(
        (("user", "once more"), ("assistant", "the very same words")), "en.jsonl", 7, 0
    )
    with pytest.raises(ValueError, match=r"1\.00  en\.jsonl:7  en\.jsonl:7"):
        build.check_corpus({"en": [twin, twin]})


# The build


def test_the_build_gives_the_committed_bytes(build, tmp_path):
    build.build_text(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(build.TEXT_FILES)
    for name in build.TEXT_FILES:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name


def test_too_few_chinese_rows_is_an_error_that_says_how_many(build):
    # 500 before the first segment and 200 after each of five: 1,500
    with pytest.raises(ValueError, match=r"3 Chinese rows .* 1497 are missing"):
        build.lay_out(build.Split({}, [], [said("a", "b")] * 3, {}), np.random.default_rng(0))


def test_the_data_are_small_enough_for_a_repository():
    assert sum(p.stat().st_size for p in DATA.rglob("*") if p.is_file()) < 20e6


# The parts


def test_parts_are_disjoint_and_come_from_the_corpus(parts, domain):
    rows = [c.messages for part in parts.values() for c in part]
    assert len(set(rows)) == len(rows) and set(rows) <= set(domain)


def test_no_message_is_in_two_parts(parts):
    """Whole conversations could differ and still share an answer: none does, however short."""
    texts = {name: {text for c in part for _, text in c.messages} for name, part in parts.items()}
    for a, b in itertools.combinations(texts, 2):
        assert texts[a] & texts[b] == set(), (a, b)


def test_the_bases_have_seen_two_conversations_of_each_odd_domain(parts, domain):
    seen = Counter(
        "Chinese" if domain[c.messages] in CHINESE else domain[c.messages]
        for c in parts["pretrain"]
    )
    assert seen == {"Chinese": 552, "code": 2, "en": 2, "math": 2, "zh_classical": 2}


def test_probes_are_36_conversations_of_each_domain(parts, domain):
    names = [domain[c.messages] for c in parts["probes"]]
    assert Counter(names) == dict.fromkeys(
        (*sorted(CHINESE), "code", "en", "math", "zh_classical"), 36
    )
    chat = shipped.chat()
    for name, rows in shipped.probes(chat).items():
        mine = [
            c
            for c, d in zip(parts["probes"], names)
            if d == name or (name == "zh" and d in CHINESE)
        ]
        assert len(rows) == (108 if name == "zh" else 36)
        assert np.array_equal(rows.ids, chat.encode_rows(mine, 512).ids)


def test_segments_are_where_the_truth_file_says(domain):
    found = [domain[c.messages] for c in shipped.conversations()]
    truth = ["zh"] * len(found)
    for segment in shipped.segments():
        truth[segment.start : segment.stop] = [segment.domain] * (segment.stop - segment.start)
    assert ["zh" if d in CHINESE else d for d in found] == truth


def test_segments_have_the_lengths_and_gaps_of_the_data_card():
    segments = shipped.segments()
    assert [(s.domain, s.stop - s.start) for s in segments] == [
        ("code", 64),
        ("en", 128),
        ("math", 192),
        ("zh_classical", 256),
        ("en", 24),
    ]
    edges = [*itertools.chain(*((s.start, s.stop) for s in segments)), len(shipped.conversations())]
    assert edges[0] >= 500
    assert all(start - stop >= 200 for stop, start in zip(edges[1::2], edges[2::2]))


def test_chinese_rows_have_no_steps_of_their_own(domain):
    """In any 200 Chinese rows on end, each of the three kinds is within 15 points of its share."""
    kinds = np.array([d for c in shipped.conversations() if (d := domain[c.messages]) in CHINESE])
    for kind in CHINESE:
        share = np.convolve(kinds == kind, np.full(200, 1 / 200), mode="valid")
        assert np.abs(share - np.mean(kinds == kind)).max() < 0.15


def test_every_conversation_has_an_answer_within_512_tokens():
    chat = shipped.chat()
    for rows in (shipped.sft_rows(chat), *shipped.probes(chat).values()):
        assert rows.supervised().min() > 0


# The base models


@pytest.fixture(scope="module", params=["nano", "lite"])
def base_losses(request):
    """Loss of an untouched base on each probe."""
    model = shipped.base_model(request.param)
    return {name: mean_loss(model, rows) for name, rows in shipped.probes(shipped.chat()).items()}


def test_a_base_knows_more_than_nothing_of_every_domain(base_losses):
    assert list(base_losses) == list(shipped.DOMAINS)
    assert max(base_losses.values()) < math.log(shipped.chat().vocab_size)


def test_odd_domains_are_hard_for_a_base_but_not_out_of_reach(base_losses):
    for name in ("code", "en", "math"):
        assert 0.8 < base_losses[name] - base_losses["zh"] < 2.5, name


def test_bases_speak_the_tokenizer_s_language():
    for name in ("nano", "lite"):
        assert shipped.base_model(name).config.vocab_size == shipped.chat().vocab_size == 2048


def test_a_base_is_a_fresh_copy_each_time():
    first, second = shipped.base_model("nano"), shipped.base_model("nano")
    first.embedding.weight.data.zero_()
    assert second.embedding.weight.any()


# What a user can get wrong


def test_a_base_that_is_not_shipped_is_an_error_that_lists_those_that_are():
    with pytest.raises(ValueError, match=r"'minimind2_small'; data/ holds nano, lite"):
        shipped.base_model("minimind2_small")


def test_data_that_did_not_come_along_is_an_error_with_advice(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIMIND_LITE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no sft\.jsonl.*MINIMIND_LITE_DATA"):
        shipped.conversations()
