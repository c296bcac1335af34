"""GPUs by the names that the driver gives them."""

from __future__ import annotations

import pytest

from kilowit import factors


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "H100 SXM5 80GB"),
        ("NVIDIA H100 PCIe", "H100 PCIe 80GB"),
        ("NVIDIA H100 NVL", "H100 NVL 94GB"),
        ("NVIDIA H200", "H200 SXM 141GB"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM4 80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100 SXM4 40GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB"),
        ("A100-PCIE-40GB", "A100 PCIe 40GB"),
        ("Tesla V100-SXM2-16GB", "V100 SXM2 16GB"),
        ("Tesla V100-PCIE-32GB", "V100 PCIe 32GB"),
        ("Tesla V100S-PCIE-32GB", "V100S PCIe 32GB"),
        ("Tesla P100-PCIE-16GB", "P100 PCIe 16GB"),
        ("Tesla T4", "T4 16GB"),
        ("NVIDIA A10", "A10 24GB"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090 24GB"),
        ("NVIDIA L40S", "L40S 48GB"),
    ],
)
def test_a_reported_name_finds_its_board(reported: str, expected: str) -> None:
    found = factors.device(reported)
    assert found is not None
    assert found.name == expected


@pytest.mark.parametrize("name", ["NVIDIA A10G", "NVIDIA GeForce GTX 1080", "NVIDIA GH200 480GB", "Radeon", ""])
def test_a_board_that_the_table_lacks_is_unknown_rather_than_its_neighbour(name: str) -> None:
    assert factors.device(name) is None


def test_every_name_of_the_table_finds_itself() -> None:
    for name in factors.devices():
        found = factors.device(name)
        assert found is not None
        assert found.name == name


def test_memory_tells_boards_apart_that_share_a_name() -> None:
    found = factors.device("Tesla V100-SXM2", 34_089_730_048)
    assert found is not None
    assert found.name == "V100 SXM2 32GB"


def test_boards_before_ampere_have_no_bf16() -> None:
    for name in ("T4 16GB", "V100 SXM2 16GB", "P100 PCIe 16GB"):
        found = factors.device(name)
        assert found is not None
        assert "bf16" not in found.peak_flop_per_second
