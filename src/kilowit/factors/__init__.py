"""Dated coefficients with sources: grid carbon, PUE, machines and prices, device power, embodied carbon.

Tables are package data, read on first use with the standard library; importing this costs nothing. A value is never
a default in disguise: an unknown region is ``grid:unknown`` with the world's interval, an unknown machine has no price.
"""

from __future__ import annotations

from kilowit.factors.carbon import carbon, country, pue
from kilowit.factors.catalogue import (
    checkpoint,
    dataset,
    describe,
    find,
    names,
    paper_datasets,
    paper_training,
    smartphone_charge,
)
from kilowit.factors.cpu import CpuPower, DramPower, cpu_power, dram_watt_per_gib
from kilowit.factors.device import Device, device, devices
from kilowit.factors.factor import (
    JOULE_PER_KWH,
    KG_PER_LB,
    Factor,
    joule_to_kwh,
    kg_to_lb,
    kwh_to_joule,
    lb_to_kg,
    same_basis,
)
from kilowit.factors.machines import Machine, embodied, machine, machines, price, price_regions

__all__ = [
    "JOULE_PER_KWH",
    "KG_PER_LB",
    "CpuPower",
    "Device",
    "DramPower",
    "Factor",
    "Machine",
    "carbon",
    "checkpoint",
    "country",
    "cpu_power",
    "dataset",
    "describe",
    "device",
    "devices",
    "dram_watt_per_gib",
    "embodied",
    "find",
    "joule_to_kwh",
    "kg_to_lb",
    "kwh_to_joule",
    "lb_to_kg",
    "machine",
    "machines",
    "names",
    "paper_datasets",
    "paper_training",
    "price",
    "price_regions",
    "pue",
    "same_basis",
    "smartphone_charge",
]
