"""What is written as config.pbtxt is what Triton's own protobuf reads."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kilowit.serving.triton_config import Gathering, ModelConfig, TensorSpec
from kilowit.serving.triton_repository import TritonLimits, repository_name, text_model
from triton_clients import parsed_config

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
SPECS = st.builds(
    TensorSpec,
    name=NAMES,
    data_type=st.sampled_from(["TYPE_STRING", "TYPE_INT32", "TYPE_INT64", "TYPE_FP32", "TYPE_FP64"]),
    dims=st.lists(st.integers(-1, 1000), min_size=1, max_size=4),
)
GATHERINGS = st.builds(
    Gathering,
    wait_second=st.floats(0, 10),
    deadline_second=st.none() | st.floats(0.001, 1000),
    max_waiting=st.none() | st.integers(1, 10_000),
)


@settings(max_examples=40)
@given(
    name=NAMES,
    inputs=st.lists(SPECS, max_size=3),
    outputs=st.lists(SPECS, max_size=3),
    gathering=st.none() | GATHERINGS,
    max_batch_size=st.integers(0, 1000),
    num_instances=st.integers(1, 9),
    parameters=st.dictionaries(NAMES, NAMES, max_size=3),
)
def test_tritons_protobuf_reads_every_value_as_it_was_meant(
    name: str,
    inputs: list[TensorSpec],
    outputs: list[TensorSpec],
    gathering: Gathering | None,
    max_batch_size: int,
    num_instances: int,
    parameters: dict[str, str],
) -> None:
    config = ModelConfig(
        name=name, backend="python", inputs=inputs, outputs=outputs, gathering=gathering,
        max_batch_size=max_batch_size, num_instances=num_instances, parameters=parameters,
    )  # fmt: skip
    read = parsed_config(config.text())
    assert (read.name, read.backend, read.max_batch_size) == (name, "python", max_batch_size)
    for tensors, specs in ((read.input, inputs), (read.output, outputs)):
        assert [(t.name, list(t.dims)) for t in tensors] == [(s.name, list(s.dims)) for s in specs]
    assert [(group.count, group.kind) for group in read.instance_group] == [(num_instances, 2)]  # KIND_CPU
    assert {key: value.string_value for key, value in read.parameters.items()} == parameters
    assert read.HasField("dynamic_batching") == (gathering is not None)
    if gathering is not None:
        batching, policy = read.dynamic_batching, read.dynamic_batching.default_queue_policy
        assert batching.max_queue_delay_microseconds == round(1e6 * gathering.wait_second)
        assert policy.default_timeout_microseconds == round(1e6 * (gathering.deadline_second or 0))
        assert policy.max_queue_size == (gathering.max_waiting or 0)


def test_requests_are_gathered_and_no_queue_limit_is_set_that_nobody_asked_for() -> None:
    read = parsed_config(text_model("news", TritonLimits(max_batch_size=4)).text())
    assert list(read.dynamic_batching.preferred_batch_size) == [4] == [read.max_batch_size]
    assert not read.dynamic_batching.HasField("default_queue_policy")  # it costs throughput in Triton 24.10


def test_any_name_becomes_one_that_triton_takes() -> None:
    assert repository_name("a/b c") == "a-b-c"
    assert repository_name("日本") == "summarizer"
