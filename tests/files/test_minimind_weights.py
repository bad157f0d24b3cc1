"""MiniMind's own checkpoints: the same function in both rotary conventions, and no code is run."""

import os
import pickle
import zipfile

import pytest
import torch

from minimind_lite.config import ModelConfig
from minimind_lite.files.minimind_weights import APRIL_2025, FEBRUARY_2025, load_minimind

V, C, HIDDEN, H, K, D, LAYERS = 23, 32, 128, 4, 2, 8, 2
SHAPES = {
    "q_proj": (H * D, C),
    "k_proj": (K * D, C),
    "v_proj": (K * D, C),
    "o_proj": (C, H * D),
    "gate_proj": (HIDDEN, C),
    "up_proj": (HIDDEN, C),
    "down_proj": (C, HIDDEN),
}
BOTH = pytest.mark.parametrize("names", [FEBRUARY_2025, APRIL_2025], ids=["2025-02", "2025-04"])


def state_dict(names, dtype=torch.float32, hidden=HIDDEN):
    """As MiniMind saves it; large weights, so that a wrong angle would show."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return (0.4 * torch.randn(shape, generator=generator)).to(dtype)

    tensors = {names.embedding: draw(V, C)}
    for i in range(LAYERS):
        for theirs, ours in names.parts.items():
            shape = SHAPES.get(ours.split(".")[-1], (C,))
            shape = tuple(hidden if size == HIDDEN else size for size in shape)
            tensors[f"{names.layer}{i}.{theirs}.weight"] = draw(*shape)
    tensors[names.norm] = draw(C)
    return tensors | {names.head: tensors[names.embedding]}


def saved(path, tensors, **options):
    torch.save(tensors, path, **options)
    return path


def complex_pairs(x):
    """model/model.py at e7ed058: channels 2i and 2i + 1 are one complex number. (T, heads, D)."""
    angle = torch.outer(torch.arange(len(x)), 1.0 / 1e6 ** (torch.arange(0, D, 2) / D))
    turn = torch.polar(torch.ones_like(angle), angle)[:, None]
    return torch.view_as_real(torch.view_as_complex(x.reshape(*x.shape[:2], -1, 2)) * turn).flatten(
        2
    )


def two_halves(x):
    """model/model_minimind.py: x cos + rotate_half(x) sin. (T, heads, D)."""
    angle = torch.outer(torch.arange(len(x)), 1.0 / 1e6 ** (torch.arange(0, D, 2) / D))
    cos = torch.cat([angle.cos(), angle.cos()], dim=-1)[:, None]
    sin = torch.cat([angle.sin(), angle.sin()], dim=-1)[:, None]
    return x * cos + torch.cat([-x[..., D // 2 :], x[..., : D // 2]], dim=-1) * sin


def reference(names, stored, ids, rotary):
    """MiniMind's logits, written out: RMSNorm, softmax with a mask, repeated keys, SwiGLU."""
    stored = {name: tensor.float() for name, tensor in stored.items()}
    theirs = {ours: name for name, ours in names.parts.items()}

    def norm(x, weight):
        return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)

    x, T = stored[names.embedding][ids], len(ids)
    for i in range(LAYERS):
        part = {o: stored[f"{names.layer}{i}.{name}.weight"] for o, name in theirs.items()}
        h = norm(x, part["attention_norm"])
        q = rotary((h @ part["attention.q_proj"].T).view(T, H, D))
        k = rotary((h @ part["attention.k_proj"].T).view(T, K, D)).repeat_interleave(H // K, dim=1)
        v = (h @ part["attention.v_proj"].T).view(T, K, D).repeat_interleave(H // K, dim=1)
        scores = torch.einsum("thd,shd->hts", q, k) / D**0.5
        scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
        y = torch.einsum("hts,shd->thd", scores.softmax(-1), v).reshape(T, H * D)
        x = x + y @ part["attention.o_proj"].T
        h = norm(x, part["ffn_norm"])
        gate = torch.nn.functional.silu(h @ part["feed_forward.gate_proj"].T)
        up = h @ part["feed_forward.up_proj"].T
        x = x + (gate * up) @ part["feed_forward.down_proj"].T
    return norm(x, stored[names.norm]) @ stored[names.head].T


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_is_the_same_function(tmp_path, names, dtype):
    stored, ids = state_dict(names, dtype), torch.arange(19) * 7 % V
    model = load_minimind(saved(tmp_path / "full_sft_32.pth", stored), n_heads=H)
    rotaries = (complex_pairs, two_halves)
    right, wrong = rotaries if names is FEBRUARY_2025 else rotaries[::-1]
    logits = model(ids[None])[0]
    torch.testing.assert_close(logits, reference(names, stored, ids, right), rtol=1e-5, atol=1e-4)
    assert (logits - reference(names, stored, ids, wrong)).abs().max() > 1  # it would show


@BOTH
def test_shapes_give_the_configuration(tmp_path, names):
    tables = {"pos_cis": torch.ones(3, 4, dtype=torch.complex64), "model.freqs_cos": torch.ones(3)}
    stored = state_dict(names, torch.float16) | tables
    model = load_minimind(saved(tmp_path / "a.pth", stored), n_heads=H, max_seq_len=77)
    assert model.config == ModelConfig(
        vocab_size=V, dim=C, n_layers=LAYERS, n_heads=H, n_kv_heads=K, max_seq_len=77
    )
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_feed_forward_of_another_width(tmp_path):
    stored, ids = state_dict(APRIL_2025, hidden=104), torch.arange(9)
    model = load_minimind(saved(tmp_path / "a.pth", stored), n_heads=H)
    assert model.config.hidden_dim() == 104
    expected = reference(APRIL_2025, stored, ids, two_halves)
    torch.testing.assert_close(model(ids[None])[0], expected, rtol=1e-5, atol=1e-4)
    narrow = saved(tmp_path / "b.pth", state_dict(APRIL_2025, hidden=84))
    with pytest.raises(ValueError, match=r"b\.pth: its feed-forward is 84 wide.* 85 at least"):
        load_minimind(narrow, n_heads=H)


def test_a_file_of_the_form_before_2020(tmp_path):
    stored = state_dict(APRIL_2025)
    path = saved(tmp_path / "old.pth", stored, _use_new_zipfile_serialization=False)
    model = load_minimind(path, n_heads=H)
    assert torch.equal(model.embedding.weight, stored[APRIL_2025.embedding])


@BOTH
def test_a_missing_or_an_extra_tensor_is_named(tmp_path, names):
    stored = state_dict(names)
    for name in stored.keys() - {names.embedding, names.head}:
        less = {n: t for n, t in stored.items() if n != name}
        with pytest.raises(ValueError, match=rf"a\.pth: it lacks {name}.* Give a whole model"):
            load_minimind(saved(tmp_path / "a.pth", less), n_heads=H)
    more = stored | {f"{names.layer}00.{next(iter(names.parts))}.weight": torch.zeros(C)}
    with pytest.raises(ValueError, match=r"a\.pth: it has tensors that .*layers\.00\."):
        load_minimind(saved(tmp_path / "a.pth", more), n_heads=H)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model.layers.0.mlp.experts.0.up_proj.weight": torch.zeros(1)}, "mixture of experts"),
        ({"model.layers.0.mlp.gate.weight": torch.zeros(1)}, "mixture of experts: give a dense"),
        ({"model.layers.1.self_attn.q_norm.weight": torch.zeros(1)}, "normalizes queries and keys"),
        ({"model.layers.0.self_attn.q_proj.lora.A.weight": torch.zeros(1)}, "merge them"),
        ({"layers.0.attention.mask": torch.zeros(1)}, "before February 2025"),
        ({"lm_head.weight": torch.zeros(V, C)}, r"lm_head\.weight differs from model\.embed"),
        ({"model.norm.weight": torch.full((C,), torch.nan)}, r"norm\.weight has values .*finite"),
        ({"model.norm.weight": torch.ones(C, dtype=torch.int8)}, "not quantized"),
        ({"model.norm.weight": torch.ones(1).expand(C)}, "can't be read as weights"),
        ({"model.norm.weight": 3.5}, r"norm\.weight is no tensor but a float"),
        ({"model.norm.weight": torch.ones(C + 1)}, r"norm\.weight is \(33,\).* must be \(32,\)"),
        ({"model.layers.0.self_attn.k_proj.weight": torch.ones(3)}, r"matrix .* is \(3,\)"),
        ({"model.layers.0.self_attn.k_proj.weight": torch.ones(12, C)}, r"is \(12, 32\), with 4"),
    ],
)
def test_another_model_is_refused_with_the_reason(tmp_path, change, message):
    path = saved(tmp_path / "a.pth", state_dict(APRIL_2025) | change)
    with pytest.raises(ValueError, match=rf"a\.pth: .*{message}"):
        load_minimind(path, n_heads=H)


def test_another_number_of_heads_is_refused_where_shapes_tell(tmp_path):
    path = saved(tmp_path / "a.pth", state_dict(APRIL_2025))
    with pytest.raises(ValueError, match=r"a\.pth: dim must be divisible by n_heads"):
        load_minimind(path, n_heads=5)
    with pytest.raises(ValueError, match=r"a\.pth: n_heads must be divisible|k_proj"):
        load_minimind(path, n_heads=1)


def test_the_state_of_a_training_is_refused(tmp_path):
    state = {"model": state_dict(APRIL_2025), "optimizer": {"state": {}}, "epoch": 1}
    with pytest.raises(ValueError, match=r"resume\.pth: it is the state .* without _resume"):
        load_minimind(saved(tmp_path / "resume.pth", state))


@pytest.mark.parametrize(
    "content, message",
    [
        ([torch.ones(2)], "holds a list where tensors by name"),
        ({}, "neither tok_embeddings.weight nor .* but nothing"),
        ({"weight": torch.ones(2)}, "but weight: it is no model of MiniMind"),
    ],
)
def test_other_contents_are_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"a\.pth.*{message}"):
        load_minimind(saved(tmp_path / "a.pth", content))


class Payload:
    """A pickle of it makes a file where it is loaded by an ordinary reader."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_a_pickle_that_runs_code_does_not_run_it(tmp_path, form):
    target, path = tmp_path / "taken", tmp_path / "evil.pth"
    content = state_dict(APRIL_2025) | {"model.norm.weight": Payload(target)}
    if form == "bare":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        saved(path, content, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ValueError, match=r"evil\.pth (asks for \S+, which may run|can't be read)"):
        load_minimind(path)
    assert not target.exists()
    Payload(target).__reduce__()[0](target)  # the payload works
    assert target.exists()


def test_code_is_named(tmp_path):
    path = saved(tmp_path / "evil.pth", {"a": Payload(tmp_path / "taken")})
    with pytest.raises(ValueError, match=r"evil\.pth asks for \w+\.mkdir, which may run code"):
        load_minimind(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x02}", b"{}\n" * 99])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pth can't be read as a checkpoint of PyTorch"):
        load_minimind(path)


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(ValueError, match=r"a\.pth can't be read as a checkpoint of PyTorch"):
        load_minimind(tmp_path / "a.pth")


def test_no_damage_is_loaded(tmp_path):
    """A flipped bit is refused, or lies where it changes no weight (padding, names of parts)."""
    stored = state_dict(APRIL_2025)
    path = saved(tmp_path / "a.pth", stored)
    whole, generator = path.read_bytes(), torch.Generator().manual_seed(0)
    refused = 0
    for i in torch.randint(len(whole), (100,), generator=generator).tolist():
        path.write_bytes(whole[:i])
        with pytest.raises(ValueError, match=r"a\.pth can't be read"):
            load_minimind(path, n_heads=H)
        flipped = bytearray(whole)
        flipped[i] ^= 1 << i % 8
        path.write_bytes(flipped)
        try:
            model = load_minimind(path, n_heads=H)
        except ValueError as error:
            assert "a.pth" in str(error) and "\n" not in str(error)
            refused += 1
        else:
            weights = dict(model.named_parameters())
            for name, tensor in stored.items():
                if ours := APRIL_2025.ours(name):
                    assert torch.equal(weights[ours], tensor)
    assert refused > 90


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        load_minimind(tmp_path / "nowhere")
    with pytest.raises(OSError, match="Is a directory"):
        load_minimind(tmp_path)
