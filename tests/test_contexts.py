"""The blocks of contexts/ against straightforward formulas, and NB's fused form."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import contexts
from ann import BlockOptions, NonLocalBlock, Sampler, SegmentationNetwork
from contexts import aspp, criss_cross, ppm
from pipeline.engine import networks, yaml_file
from pipeline.engine.errors import InputError
from pipeline.reporting.tables import beyond
from pipeline.settings import contexts as checks
from pipeline.settings import inputs, params, schema, trials
from pipeline.stages import check
from tests import recorded
from tests.conftest import ROOT
from tests.reporting import make_inputs
from tests.test_report import runs

B, C, K, H, W = 2, 6, 4, 5, 7
SETTINGS = params.load(ROOT / "params.yaml")
OWN = [name for name, v in SETTINGS.variants.items() if v.context in contexts.names()]


def example(channels: int = C, height: int = H, width: int = W) -> Tensor:
    generator = torch.manual_seed(1)
    return torch.randn(B, channels, height, width, dtype=torch.float64, generator=generator)


def ready(block: nn.Module) -> nn.Module:
    """In float64, and with batch norm's averages and weights anything but trivial."""
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(values, 0.5, 1.5)  # type: ignore[arg-type]
    return block.double().eval()


def cross() -> Tensor:
    """(N, N): whether two positions share a row or a column."""
    row, column = torch.arange(H * W) // W, torch.arange(H * W) % W
    return (row[:, None] == row) | (column[:, None] == column)


def test_criss_cross_is_attention_to_the_row_and_the_column() -> None:
    query, key, value = (example(c).requires_grad_() for c in (K, K, C))
    similarity = query.flatten(2).transpose(1, 2) @ key.flatten(2)
    weights = similarity.masked_fill(~cross(), -torch.inf).softmax(dim=2)
    assert (cross().sum(1) == H + W - 1).all()
    expected = (weights @ value.flatten(2).transpose(1, 2)).transpose(1, 2).view_as(value)
    result = criss_cross.attend(query, key, value)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-14)
    weight = example()
    gradients = [
        torch.autograd.grad((y * weight).sum(), (query, key, value), retain_graph=True)
        for y in (result, expected)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("recurrence", [1, 2])
def test_two_recurrences_reach_every_position(recurrence: int) -> None:
    torch.manual_seed(0)
    block = ready(criss_cross.Context(C, BlockOptions(), recurrence=recurrence, width=K))
    x = example().requires_grad_()
    dense: list[Tensor] = []
    block.fuse.register_forward_pre_hook(lambda _, inputs: dense.append(inputs[0]))  # type: ignore[union-attr]
    block(x)
    dense[0][0, :C, 2, 3].sum().backward()
    assert x.grad is not None
    reached = x.grad[0].abs().sum(0).flatten() > 0
    assert torch.equal(reached, cross()[2 * W + 3] | torch.tensor(recurrence == 2))


def test_criss_cross_makes_nothing_quadratic() -> None:
    """Its products are N (H + W) (K + V) multiply-adds, and it keeps no more than N (H + W)."""
    height, width, keys, values = 128, 256, 8, 16
    maps = [torch.zeros(1, c, height, width, device="meta") for c in (keys, keys, values)]
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t)
    with FlopCounterMode(display=False) as counter, hooks:
        criss_cross.attend(*(m.requires_grad_() for m in maps))
    positions = height * width * (height + width)
    assert counter.get_total_flops() == 2 * positions * (keys + values)
    assert max(kept) == positions


def test_ppm_is_pooling_by_each_bin_enlarged_and_fused() -> None:
    torch.manual_seed(0)
    bins = [1, 2, 3, 5]
    block = ready(ppm.Context(C, BlockOptions(), bins=bins, width=3))
    x = example()
    maps = [x]
    for n, level in zip(bins, block.levels, strict=True):  # type: ignore[arg-type]
        pooled = level(F.adaptive_avg_pool2d(x, n))
        maps.append(F.interpolate(pooled, (H, W), mode="bilinear", align_corners=False))
    expected = block.fuse(torch.cat(maps, 1))  # type: ignore[operator]
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-14)


def test_aspp_is_convolutions_of_shifted_maps_and_the_average() -> None:
    torch.manual_seed(0)
    rates = [1, 2, 4]
    block = ready(aspp.Context(C, BlockOptions(), rates=rates, width=3))
    branches = list(block.convs)  # type: ignore[arg-type]
    x = example()
    maps = [branches[0](x)]
    for rate, (conv, *rest) in zip(rates, branches[1:-1], strict=True):
        wide = F.pad(x, [rate] * 4)
        taps = [
            torch.einsum(
                "oc,bchw->bohw",
                conv.weight[:, :, i, j],
                wide[:, :, i * rate : i * rate + H, j * rate : j * rate + W],
            )
            for i in range(3)
            for j in range(3)
        ]
        maps.append(nn.Sequential(*rest)(sum(taps)))
    _, *rest = branches[-1]
    average = nn.Sequential(*rest)(x.mean((2, 3), keepdim=True))
    maps.append(average.expand(-1, -1, H, W))
    expected = block.project(torch.cat(maps, 1))  # type: ignore[operator]
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("sampled", [False, True])
def test_the_fused_form_is_the_plain_one_by_the_librarys_attention(
    sampled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[torch.Size] = []
    attention = F.scaled_dot_product_attention

    def counted(*inputs: Tensor, **settings: Any) -> Tensor:
        calls.append(inputs[1].shape)
        return attention(*inputs, **settings)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    results = []
    for form in ("plain", "fast", "fused"):
        torch.manual_seed(0)
        sampler = Sampler("pyramid_average", [1, 3]) if sampled else None
        options = BlockOptions(form=form, scale=True)
        block = NonLocalBlock(
            C, key_channels=K, value_channels=K, sampler=sampler, options=options
        ).double()
        x = example().requires_grad_()
        y = block(x)
        (y * example()).sum().backward()
        results.append([y, x.grad, *(p.grad for p in block.parameters())])
        assert len(calls) == (form == "fused")
    assert calls[0][2] == (10 if sampled else H * W)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("profile", SETTINGS.profiles)
def test_every_budget_is_nbs_in_every_profile(profile: str) -> None:
    small = {  # what is before the slot
        "backbone": "small",
        "widths": [4] * 4,
        "stem": "plain",
        "weights": None,
        "levels": None,
        "pixels": "imagenet",
        "freeze": False,
    }

    def parameters(variant: str) -> int:
        network = networks.build(SETTINGS.resolve_network(variant, profile) | small, 2)
        assert network.context is not None
        return sum(p.numel() for p in network.context.parameters())

    wanted = parameters("nb")
    for variant in OWN:
        assert abs(parameters(variant) / wanted - 1) < 0.06, variant


@pytest.mark.parametrize("variant", OWN)
@pytest.mark.usefixtures("one_thread")
def test_each_trains_every_parameter_and_has_dropout_by_key(variant: str) -> None:
    torch.manual_seed(0)
    network = networks.build(SETTINGS.resolve_network(variant) | {"dropout": 0.5}, 5)
    images = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
    logits, aux = network(images, torch.tensor([1, 2]))
    assert aux is not None
    (logits.square().mean() + aux.square().mean()).backward()
    gradients = {n: p.grad for n, p in network.named_parameters()}
    assert all(g is not None and g.isfinite().all() and g.any() for g in gradients.values())
    again, _ = network(images, torch.tensor([1, 2]))
    other, _ = network(images, torch.tensor([1, 3]))
    assert torch.equal(logits, again)
    assert not torch.equal(logits, other)


def changed(tmp_path: Path, variant: str, **own: Any) -> schema.Params:
    raw = yaml_file.read_yaml(ROOT / "params.yaml")
    raw["variants"][variant] |= own
    file = tmp_path / "params.yaml"
    yaml_file.write_yaml(file, raw)
    return params.load(file)


def refuse(settings: schema.Params) -> None:
    """As the check stage does."""
    checks.check_contexts(settings)
    check.check_networks(settings)


@pytest.mark.parametrize(
    ("variant", "settings", "sentence"),
    [
        (
            "aspp",
            {"rates": [3, 16]},
            "variants.aspp: rates must be 1 to 15, got [3, 16], because",
        ),
        ("aspp", {"rates": ["3"]}, "variants.aspp.settings.rates.0 must be a valid int"),
        ("aspp", {"rate": 3}, "variants.aspp.settings.rate is not a known key"),
        (
            "ppm",
            {"bins": [1, -2]},
            "variants.ppm: bins must be 1 or more",
        ),
        ("ppm", {"width": 0}, "variants.ppm: width must be 1 or more"),
        ("ppm", {"bins": []}, "variants.ppm: bins must be 1 or more"),
        ("ppm", {"width": 2.5}, "variants.ppm.settings.width must be a valid integer"),
        ("criss_cross", {"recurrence": 0}, "criss_cross: recurrence must be 1 or more"),
    ],
)
def test_nonsensical_settings_are_refused(
    variant: str, settings: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        refuse(changed(tmp_path, variant, settings=settings))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_setting_names_the_profiles_key() -> None:
    raw = yaml_file.read_yaml(ROOT / "params.yaml")
    del raw["profiles"]["embedded"]["network"]["contexts"]["ppm"]["width"]
    home = "profiles.embedded.network.contexts.ppm.width is missing"
    with pytest.raises(InputError, match=home):
        checks.check_contexts(schema.Params.model_validate(raw))


DIGESTS = {"ann": "0"}  # of the code of every stage


def test_a_variant_replaces_its_profiles_settings_and_depends_on_its_own_file_only(
    tmp_path: Path,
) -> None:
    settings = changed(tmp_path, "aspp", settings={"rates": [1, 2]})
    assert settings.resolve_network("aspp")["settings"] == {"rates": [1, 2], "width": 7}
    assert "settings" not in settings.resolve_network("nb")
    before, after = (
        {v: inputs.of_run(own, "train", v, DIGESTS) for v in own.variants}
        for own in (SETTINGS, settings)
    )
    assert [v for v in before if before[v] != after[v]] == ["aspp"]
    assert before["nb"]["code"] == DIGESTS
    assert len({str(before[v]["code"]) for v in OWN}) == len(OWN)
    scored = [inputs.of_run(own, "evaluate", "aspp", DIGESTS) for own in (SETTINGS, settings)]
    assert scored[0] == scored[1]


def test_the_library_takes_any_block_for_the_slot() -> None:
    def double(channels: int, options: BlockOptions) -> nn.Module:
        assert channels == 8
        assert options.scale
        return nn.Conv2d(channels, channels, 1)

    network = SegmentationNetwork(
        2,
        backbone="small",
        widths=(4, 4, 8, 8),
        channels=8,
        context=double,
        options=BlockOptions(scale=True),
    )
    assert network(torch.zeros(2, 3, 64, 64))[0].shape == (2, 2, 8, 8)


def test_the_table_shows_costs_beside_scores_and_says_what_is_unknown() -> None:
    mious = {"baseline": [40.0, 42.0], "apnb": [60.0, 64.0], "ppm": [59.0, 61.5]}
    found = {name: runs(name, *mious.get(name, [])) for name in SETTINGS.variants}
    crop, batch = [128, 256], SETTINGS.active.train.batch_size
    measured = recorded.measurement(0.02).model_dump()
    parameters = {"baseline": 100_000, "apnb": 110_000, "ppm": 109_500}
    rows = [
        {"profile": profile, "variant": name, "call": call, "size": crop, "batch": batch}
        | {"parameters": count, "flops": 2 * 10**9, "status": "measured", "measured": measured}
        for profile in ("embedded", "cityscapes")
        for name, count in parameters.items()
        for call in ("forward", "step")
    ]
    rows[-7] |= {"status": "over", "measured": None}  # the step of ppm
    inputs = make_inputs(SETTINGS, found, networks=recorded.networks(*rows))
    shown = beyond.build_table(inputs).format_cells().set_index("variant")
    assert shown.index.tolist() == SETTINGS.tables["beyond"]
    assert shown.loc["ppm", "model"] == "+ PPM"
    assert shown.loc["nb_fused", "model"] == "+ NB, fused attention"
    assert shown.loc["ppm", "mIoU"] == "60.2 ± 1.8"
    assert shown.loc["ppm", "to apnb"].startswith("-1.8 (")  # type: ignore[union-attr]
    assert shown.loc["ppm", "parameters (M)"] == "0.110"
    assert shown.loc[["baseline", "apnb", "ppm"], "block (K)"].tolist() == ["0.0", "10.0", "9.5"]
    assert shown.loc[["apnb", "ppm", "aspp"], "step (ms)"].tolist() == [
        "20.0",
        "not measured",
        "not measured",
    ]
    assert shown.loc["aspp", "mIoU"] == "not measured"
    assert shown.loc["criss_cross", "paper"] == "Huang et al., ICCV 2019, arXiv 1811.11721"
    assert not [name for name in shown if "paper mIoU" in name or "verdict" in name]
    unmeasured = beyond.build_table(make_inputs(SETTINGS, found)).format_cells()
    assert set(unmeasured["GFLOPs"]) == {"not measured"}


def test_a_trial_leaves_nothing_without_values_behind() -> None:
    settings = params.load(ROOT / "params.yaml")
    trial = trials.Trial(1, (136, 264), False, "here")
    trials.check_network("variants.ppm", settings.resolve_network("ppm"), [trial])
    built = networks.build(settings.resolve_network("ppm"), 19).eval()
    assert built(torch.zeros(1, 3, 136, 264, dtype=torch.uint8))[0].isfinite().all()
