"""How much work a cell is, by arithmetic that the tests show."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from kilowit.parts.flop import forward_flop
from kilowit.parts.metric import MetricCall
from kilowit.plan.analytic import phase_seconds
from kilowit.plan.hardware import hardware
from kilowit.plan.interval import Interval
from kilowit.plan.memory import FRAGMENTATION, PYTHON_BYTE, gpu_memory_byte, host_memory_byte, model_memory_byte
from kilowit.plan.scoring import unplanned_scoring
from kilowit.plan.workload import Workload, workload
from kilowit.study import Study

MakeStudy = Callable[..., Study]

LARGE = {"hub": "facebook/bart-large"}


def samsum(make_study: MakeStudy, recipe: list[object] | None = None, **train: object) -> Workload:
    settings = {"num_epochs": 3, "batch_size": 16, "max_source_tokens": 512, "max_target_tokens": 90} | train
    study = make_study(models=[LARGE], datasets=[{"name": "samsum"}], recipes={"r": recipe or []}, train=settings)
    return workload(study.cells[0])


def test_bart_large_on_samsum_is_the_published_work(make_study: MakeStudy) -> None:
    work = samsum(make_study)
    assert work.size is not None
    assert work.size.num_parameters == 406_291_456
    assert 3 * forward_flop(work.size.dimensions, 147, 26) == pytest.approx(195e9, rel=0.005)
    assert work.num_examples_seen.likely == 14_732 * 3
    assert work.num_train_steps.likely == 2763  # 921 batches of 16, three times


def test_unpadded_training_is_8_7e15_flop(make_study: MakeStudy) -> None:
    work = samsum(make_study)
    exact = dataclasses.replace(
        work, padding=Interval.exactly(1), source_tokens=Interval.exactly(147), target_tokens=Interval.exactly(26)
    )
    # 195 GFLOP x 44,196 samples = 8.6e15; the survey rounds to 8.7e15.
    assert exact.train_flop().likely == pytest.approx(8.65e15, rel=0.01)


def test_the_stock_trainer_on_an_h100_lies_within_the_interval(make_study: MakeStudy) -> None:
    # Expected baseline: 90 to 140 s for three epochs of SAMSum in bf16 with random batches of 128.
    work = samsum(make_study, ["bf16"], batch_size=128)
    phases = phase_seconds(work, hardware(gpu="H100 SXM5 80GB"))
    assert phases is not None
    assert phases["train"].low <= 90 <= 140 <= phases["train"].high


def test_sorting_pads_less_and_steps_override_epochs(make_study: MakeStudy) -> None:
    plain, sorted_ = samsum(make_study), samsum(make_study, ["sortish"])
    assert sorted_.train_flop().likely < 0.7 * plain.train_flop().likely
    assert samsum(make_study, num_steps=10).num_examples_seen.likely == 160


def test_freezing_the_encoder_and_embeddings_leaves_the_decoder(make_study: MakeStudy) -> None:
    work = samsum(make_study, [{"freeze": {"modules": ["embeddings", "encoder"]}}])
    # 12 decoder layers x (8 d^2 + 2 d ffn), d = 1024, ffn = 4096: 201 M of 406 M, and some biases and norms.
    assert work.trained_fraction == pytest.approx(0.5, abs=0.03)
    assert work.train_flop().likely < samsum(make_study).train_flop().likely


def test_training_memory_holds_sixteen_bytes_a_parameter(make_study: MakeStudy) -> None:
    work = samsum(make_study, batch_size=1)
    needed = model_memory_byte(work)
    assert needed is not None
    assert needed.low >= 16 * 406_291_456
    lighter = samsum(make_study, ["adafactor"], batch_size=1)
    saved = model_memory_byte(lighter)
    assert saved is not None
    # 8 bytes of AdamW state less 0.1 of Adafactor's, times 1.1 of fragmentation.
    assert needed.likely - saved.likely == pytest.approx(7.9 * 1.1 * 406_291_456, rel=1e-6)


@pytest.mark.parametrize(
    ("method", "saved_byte_per_parameter"),
    [
        # arXiv 1910.02054, figure 1, in fp32 over four ranks: three quarters of state (8), gradients (4), weights (4).
        ({"zero": {"stage": 1, "num_processes": 4}}, 6),
        ({"zero": {"stage": 2, "num_processes": 4}}, 9),
        ({"zero": {"stage": 3, "num_processes": 4}}, 12),
        ({"fsdp": {"num_processes": 4}}, 12),
        ({"zero_offload": {"num_processes": 4}}, 11),  # all of the state, three quarters of the gradients
    ],
)
def test_sharding_takes_from_each_gpu_what_the_formula_says(
    method: dict[str, object], saved_byte_per_parameter: float, make_study: MakeStudy
) -> None:
    replicated, sharded = samsum(make_study, [{"ddp": {"num_processes": 4}}]), samsum(make_study, [method])
    assert replicated.size is not None
    whole, part = model_memory_byte(replicated), model_memory_byte(sharded)
    assert whole is not None
    assert part is not None
    saved_byte = (whole.likely - part.likely) / FRAGMENTATION.likely
    assert saved_byte == pytest.approx(saved_byte_per_parameter * replicated.size.num_parameters, rel=1e-6)


def test_ranks_share_the_batch_of_a_gpu_and_the_memory_of_a_host(make_study: MakeStudy) -> None:
    alone, spread = samsum(make_study), samsum(make_study, [{"ddp": {"num_processes": 4}}])
    assert spread.num_train_steps == alone.num_train_steps
    assert model_memory_byte(spread).likely < model_memory_byte(alone).likely  # type: ignore[union-attr]
    cpu = dataclasses.replace(hardware(), gpu=None, num_gpus=0)
    assert host_memory_byte(spread, cpu).low > 3 * PYTHON_BYTE.low + host_memory_byte(alone, cpu).low * 0.9


def test_ranks_on_as_many_gpus_take_less_time_and_more_power(make_study: MakeStudy) -> None:
    machine = hardware(machine="Standard_ND96asr_v4")  # 8 x A100
    alone, spread = samsum(make_study, ["bf16"]), samsum(make_study, ["bf16", {"ddp": {"num_processes": 8}}])
    seconds = [phase_seconds(work, machine) for work in (alone, spread)]
    assert seconds[0] is not None
    assert seconds[1] is not None
    assert seconds[1]["train"].likely < seconds[0]["train"].likely / 4
    assert seconds[1]["predict"] == seconds[0]["predict"]
    assert machine.busy_watt("train", 8).likely > 2 * machine.busy_watt("train").likely


def test_memory_grows_with_the_batch_and_a_cpu_has_none_of_the_gpu(make_study: MakeStudy) -> None:
    h100 = hardware(gpu="H100 SXM5 80GB")
    small, large = (gpu_memory_byte(samsum(make_study, batch_size=n), h100) for n in (4, 64))
    assert small is not None
    assert large is not None
    assert small.likely < large.likely
    no_gpu = dataclasses.replace(h100, gpu=None, num_gpus=0)
    assert gpu_memory_byte(samsum(make_study), no_gpu) is None


def test_unknown_lengths_are_a_wide_interval(make_study: MakeStudy) -> None:
    study = make_study(models=[LARGE], datasets=[{"name": "reddit_tifu", "max_train_examples": 100}])
    work = workload(study.cells[0])
    assert work.num_train_examples == Interval.exactly(100)
    assert work.source_tokens.high / work.source_tokens.low == pytest.approx(10)
    assert any("not known" in note for note in work.notes)


def test_a_local_corpus_is_read_for_its_counts_and_words(make_study: MakeStudy) -> None:
    work = workload(make_study().cells[0])
    assert work.num_train_examples == Interval.exactly(200)
    assert work.source_tokens.likely == pytest.approx(100 * 1.4)  # 100 words a document
    assert work.target_tokens.likely == pytest.approx(3 * 1.4)


def test_low_resource_leaves_fewer_examples_to_plan_for(make_study: MakeStudy) -> None:
    work = samsum(make_study, [{"low_resource": {"fraction": 0.1}}])
    assert work.num_train_examples.likely == 1473
    assert samsum(make_study, [{"low_resource": {"num_examples": 100}}]).num_train_examples.likely == 100


def test_what_is_not_trained_or_kept_in_8_bits_takes_less_memory(make_study: MakeStudy) -> None:
    plain, eight_bit, low_rank = (samsum(make_study, recipe) for recipe in ([], ["adam8bit"], ["lora"]))
    # Rank 8 for query and value of 12 + 2 x 12 attentions of width 1024: 36 x 2 x 8 x 2048 = 1.18 M of 406 M.
    assert low_rank.trained_fraction == pytest.approx(1_179_648 / 406_291_456)
    peaks = [model_memory_byte(work) for work in (plain, eight_bit, low_rank)]
    likely = [peak.likely for peak in peaks if peak is not None]
    # 355 M of 406 M parameters are no token embeddings: 5.9 bytes less for each; LoRA saves 12 for nearly all, and the
    # gradients of 50,265 x 1,024 embeddings on their way, 1.1 times 4 bytes.
    assert likely[0] - likely[1] == pytest.approx(1.1 * 5.9 * 354.8e6, rel=0.01)
    assert likely[0] - likely[2] == pytest.approx(1.1 * (12 * 405.1e6 + 1.1 * 4 * 51.5e6), rel=0.01)


def test_packed_rows_are_planned_without_padding_and_by_the_mean_length(make_study: MakeStudy) -> None:
    plain, packed = samsum(make_study, ["bf16"]), samsum(make_study, ["bf16", "packing"])
    assert packed.padding == Interval.exactly(1.0)
    assert packed.train_flop().likely == pytest.approx(8.7e15, rel=0.03)  # 195 GFLOP an example, 44,196 of them
    assert packed.num_train_steps == plain.num_train_steps
    plain_byte, packed_byte = model_memory_byte(plain), model_memory_byte(packed)
    assert plain_byte is not None
    assert packed_byte is not None
    assert packed_byte.likely < 0.7 * plain_byte.likely


def test_tokens_of_a_batch_decide_how_many_steps_there_are(make_study: MakeStudy) -> None:
    work = samsum(make_study, [{"token_budget": {"max_tokens": 4096}}])
    per_batch = work.num_examples_per_batch.likely
    assert 20 < per_batch < 25  # 147 + 26 tokens, 1.03 of them with padding
    assert work.num_train_steps.likely == pytest.approx(14_732 / per_batch * 3, rel=0.01)
    assert work.num_examples_seen.likely == 14_732 * 3


def test_bf16_weights_are_planned_with_masters_and_the_loss_in_chunks_without_logits(make_study: MakeStudy) -> None:
    names: list[list[object]] = [["packing"], ["packing", "bf16_weights"], ["packing", "bf16_weights", "fused_loss"]]
    works = [samsum(make_study, recipe, batch_size=1) for recipe in names]
    single, half, chunked = (model_memory_byte(work) for work in works)
    assert single is not None
    assert half is not None
    assert chunked is not None
    parameters = 406_291_456
    # One example: activations are small. 16 bytes a parameter, and 4 more: bfloat16 weights and gradients.
    assert half.low > 20 * parameters
    assert half.low - single.low == pytest.approx(4 * parameters, rel=0.2)
    many = [samsum(make_study, recipe, batch_size=128) for recipe in names]
    byte = [model_memory_byte(work) for work in many]
    assert byte[1] is not None
    assert byte[2] is not None
    assert byte[1].likely - byte[2].likely > 2e9 - 1e9  # 3 x 128 x 26 tokens x 50,265 words x 4 bytes, less a chunk's


def test_compilation_is_on_the_plans_bill(make_study: MakeStudy) -> None:
    works = (samsum(make_study, ["bf16"]), samsum(make_study, ["bf16", "compile"]))
    phases = [phase_seconds(work, hardware(gpu="H100")) for work in works]
    assert phases[0] is not None
    assert phases[1] is not None
    assert "warmup" not in phases[0]
    assert phases[1]["warmup"].likely > 5


def test_recomputation_is_planned_as_a_third_more_flops_and_less_memory(make_study: MakeStudy) -> None:
    plain, recomputed = samsum(make_study), samsum(make_study, ["gradient_checkpointing"])
    assert recomputed.train_flop().likely == pytest.approx(4 / 3 * plain.train_flop().likely)
    plain_byte, recomputed_byte = model_memory_byte(plain), model_memory_byte(recomputed)
    assert plain_byte is not None
    assert recomputed_byte is not None
    assert recomputed_byte.likely < 0.6 * plain_byte.likely


def test_student_is_planned_as_published_and_its_teacher_is_in_the_plan(make_study: MakeStudy) -> None:
    student = samsum(make_study, [{"distill": {"decoder_layers": 6}}])
    assert student.size is not None
    assert student.size.num_parameters == pytest.approx(306e6, rel=0.005)  # distilbart-cnn-12-6, checkpoints.csv
    smallest = samsum(make_study, [{"distill": {"decoder_layers": 3}}])
    assert smallest.size is not None
    assert smallest.size.num_parameters == pytest.approx(255e6, rel=0.005)  # distilbart-cnn-12-3
    gpu = hardware(gpu="H100 SXM5 80GB")
    plain = phase_seconds(samsum(make_study), gpu)
    taught = phase_seconds(samsum(make_study, [{"distill": {"decoder_layers": 6, "train_first": True}}]), gpu)
    writing = phase_seconds(samsum(make_study, [{"distill": {"kind": "pseudo_labels"}}]), gpu)
    ready = phase_seconds(smallest, gpu)
    assert plain and taught and writing and ready
    assert taught["compress"] == plain["train"]
    assert taught["train"].likely < plain["train"].likely
    assert writing["compress"].likely > 10 * plain["predict"].likely  # 14,732 documents for 819
    assert "compress" not in plain
    assert "compress" not in ready  # the teacher is pretrained


def test_members_of_an_ensemble_are_planned_each(make_study: MakeStudy) -> None:
    gpu = hardware(gpu="H100 SXM5 80GB")
    plain, three = (samsum(make_study, recipe) for recipe in ([], ["ensemble"]))
    one, all_ = phase_seconds(plain, gpu), phase_seconds(three, gpu)
    assert one and all_
    for name in ("train", "predict"):
        assert all_[name].likely == pytest.approx(3 * one[name].likely)
    assert all_["validate"].likely == pytest.approx(3 * one["validate"].likely)
    soup = samsum(make_study, [{"ensemble": {"kind": "checkpoint_soup"}}], num_validations=3)
    assert soup.num_members == 1


def test_scoring_is_planned_by_metric(make_study: MakeStudy) -> None:
    def likely_second(*metrics: object) -> float:
        return workload(make_study(metrics=list(metrics)).cells[0]).score_second_per_pair.likely

    ngrams = likely_second("rouge", "repetition")
    assert ngrams == pytest.approx(1 / 380)
    assert likely_second("rouge", "sentence_similarity") == pytest.approx(ngrams + 0.051)
    assert likely_second("source_similarity", "token_matching") == pytest.approx(ngrams + 0.710 + 0.052)


def test_scoring_at_an_unknown_pace_is_said_to_be_left_out(make_study: MakeStudy) -> None:
    judge = {"judge": {"name": "grader", "command": ["python3"], "scores": ["good"], "version": "1"}}
    assert unplanned_scoring(make_study(metrics=["rouge", judge]).cells[0].metric_calls) == [
        "scoring by judge:grader is not planned: what it takes is not known before a run"
    ]
    assert MetricCall("sentence_similarity", {"encoder": "some/other"}).second_per_pair is None
