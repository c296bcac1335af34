# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a corpus to a summarizer in production, with the bill
#
# Which summarizer should we put to work, and what will it cost: to train, to tune, to shrink, to serve for a month?
# This notebook goes the whole way on one machine, without a GPU, an account or a download. Every number in it comes
# from a call of `kilowit`; nothing is typed in. Start from it: put your corpus and your model where ours are.
#
# Install: `pip install 'kilowit[train,onnx,serve]'`, and Jupyter. With `fast = True` it takes a minute or two on two
# cores, and its models are too small to be good. With `fast = False` it trains longer, with three seeds, and the
# answers mean something.

# %% tags=["parameters"]
fast = True
folder = "sample-runs"  # everything that is measured goes here; run again, and nothing finished is repeated
region = "azure/westus2"  # whose electricity and whose prices
machine = "Standard_NC4as_T4_v3"  # what is paid for by the hour; the speed is that of the machine you run this on

# %%
from pathlib import Path

import kilowit
from kilowit.report.quantity import measure

runs = kilowit.Store(folder)

# %% [markdown]
# ## 1. Choose a corpus, and look at it
#
# `docstrings` is real text that needs no download: bodies of docstrings in the Python packages that are installed
# here, and their summary lines. Yours goes the same way: `{"name": "local_files", "path": "pairs.jsonl"}`, with a
# document and a summary in each line.

# %%
corpus = {
    "name": "docstrings",
    "max_train_examples": 600 if fast else 6000,
    "max_validation_examples": 40 if fast else 200,
    "max_test_examples": 60 if fast else 400,
}
card = kilowit.describe_dataset(corpus, max_source=128, max_target=32)
for split in card.splits:
    print(
        f"{split.split:10} {split.num_examples:5} pairs, {split.source_words_mean:.0f} words to "
        f"{split.target_words_mean:.0f}; {split.novel_2gram_fraction:.0%} of the word pairs of a summary are new"
    )

# %% [markdown]
# The last figure says how abstractive the summaries are. Where it is low, copying sentences goes far, and the baseline
# that copies the first one is hard to beat. It costs next to nothing to have in the study, so it is in ours.

# %% [markdown]
# ## 2. Ask: the study
#
# A study is YAML: models x datasets x recipes x seeds. Here a small BART is trained twice, once as anyone would and
# once by the packaged recipe `frugal` (weights in bfloat16, batches without padding).

# %%
text = f"""
name: sample
models: [lead, {{scratch: bart-tiny}}]
datasets: [{corpus}]
recipes: {{plain: [], frugal: frugal}}
seeds: {[0] if fast else [0, 1, 2]}
train:
  num_epochs: {1 if fast else 5}
  learning_rate: 2.0e-3
  max_source_tokens: 128
  max_target_tokens: 32
predict: {{num_beams: 2, max_new_tokens: 24, no_repeat_ngram_size: 3}}
measure: {{idle_second: {1 if fast else 10}, cooldown_second: {0 if fast else 5}, period_second: 0.5}}
factors: {{region: {region}, machine: {machine}}}
"""
study = kilowit.Study.parse(text)
[cell.label for cell in study.cells]

# %% [markdown]
# ## 3. Plan: what will it take, before anything is spent?

# %%
plan = kilowit.plan_study(study, runs)
for cell in plan.cells:
    second, joule = cell.estimate.time_second, cell.estimate.energy_total_joule
    print(
        f"{cell.cell_label:32} {measure(second.likely, 'time', 2):>8} ({second.low:.0f} to {second.high:.0f} s)"
        f" {measure(joule.likely, 'energy', 2):>8}"
    )

# %% [markdown]
# The intervals are wide: these are formulas that have never seen this machine. A plan after the first run knows
# better, and `probe=True` runs a few steps to find out.

# %% [markdown]
# ## 4. Run
#
# Each cell runs in a process of its own, metered phase by phase. Interrupt it when you like: the same call goes on.

# %%
outcome = kilowit.run_study(study, runs)
print(f"{outcome.num_finished} run now, {outcome.num_skipped} done before, {outcome.num_failed} failed")

# %% [markdown]
# ## 5. Read the trade-off
#
# What the frugal recipe saved, and what it lost. With one seed a verdict says `single run`: one run proves nothing.

# %%
trade = kilowit.compare("recipe=plain", "recipe=frugal", records=runs)
for row in trade.rows:
    if row.figure in ("train.energy_total_joule", "train.wall_second", "run.memory_host_max_byte", "rouge2"):
        effect = f"{100 * row.effect.value:+.2f} points" if row.is_difference else f"x {row.effect.value:.2f}"
        print(f"{row.label:20} {effect:>14}   {row.verdict}")

# %% [markdown]
# ## 6. Tune
#
# A search is a few more lines. Trials are judged on the validation split, the winner on the test split, and the bill of
# the search is kept beside the winner's own.

# %%
tuning = kilowit.Study.parse(
    text
    + f"""
search:
  algorithm: random
  space: {{train.learning_rate: {{log_uniform: [5.0e-4, 8.0e-3]}}}}
  objective: rouge2
  num_trials: {2 if fast else 12}
""",
    overrides=["name=sample-tuned", "models=[{scratch: bart-tiny}]", "recipes={tuned: frugal}", "seeds=[0]"],
)
kilowit.run_study(tuning, runs)
(search,) = kilowit.searches(runs)
print(f"best of {len(search.trials)} trials: learning rate {search.parameters['train.learning_rate']:.1e}")
alone_joule = search.energy_of_winner(search.winner)
print(f"the search took {measure(search.energy_joule, 'energy')}, its winner alone {measure(alone_joule, 'energy')}")

# %% [markdown]
# ## 7. Compress
#
# The tuned recipe once more, and now its model is cut to 8-bit integers, predicts in that form, is kept, and is served
# one document at a time beside the model as it was. `maintenance:` says how it would work for us.

# %%
learning_rate = search.parameters["train.learning_rate"]
compressing = kilowit.Study.parse(
    text
    + """
serve:
  runtimes: [torch, {name: onnxruntime, precision: int8}]
  scenarios: [single_stream]
  num_documents: 24
maintenance: {horizon_day: 30, summaries_per_day: 20000, retrain_every_day: 15, drift_check_every_day: 1}
""",
    overrides=[
        "name=sample-int8", "models=[{scratch: bart-tiny}]", "recipes={int8: [bf16_weights, packing, int8_dynamic]}",
        "seeds=[0]", f"train.learning_rate={learning_rate!r}", "measure.keep_model=true",
    ],
)  # fmt: skip
kilowit.run_study(compressing, runs)
compressed = runs.done(compressing.cells[0].key)
for served in compressed.serving:
    (row,) = served.scenarios
    joule = row.energy_total_joule / row.num_examples
    print(
        f"{served.label:18} {measure(served.disk_byte, 'byte'):>9} {measure(joule, 'energy'):>8} a summary, "
        f"p95 {measure(row.latency_p95_second, 'time')}, "
        f"{served.agreement.identical_fraction:.0%} of the summaries as PyTorch in fp32 writes them"
    )

# %% [markdown]
# ## 8. Export
#
# A folder that runs without torch and without kilowit, with a model card that says what it took to make.

# %%
exported = Path(folder) / "exported"
if not exported.exists():
    kilowit.export_model(runs.path / compressed.run_id, exported, "onnxruntime:int8")
sorted(path.name for path in exported.iterdir())

# %% [markdown]
# ## 9. Serve, and look at the page
#
# An endpoint on this machine, in a process of its own. Every answer says what it took. The page that people see asks no
# other server for anything: open its address in a browser while it is up.

# %%
document = kilowit.load_dataset(corpus).test.documents[0]
with kilowit.start_endpoint({"sample": exported}, store=Path(folder) / "serving") as endpoint:
    answer = endpoint.summarize(document)
    page, today = endpoint.page(), endpoint.totals()["today"]["requests"]

bill = answer["bill"]
print("document:", document[:300])
print("summary: ", answer["summaries"][0]["text"])
print(f"{measure(bill['energy_joule'], 'energy')}, {measure(answer['latency_second'], 'time')}")
print("the page:", page[page.index("<title>") + 7 : page.index("</title>")])
print(f"it counts today: {today['num_documents']} summary, {measure(today['joule'], 'energy')} on requests")

# %% [markdown]
# ## 10. What would a month of it cost?
#
# Training, retraining, drift checks, serving and idling, from what the runs above took. Change any assumption without
# running anything again.

# %%
(month,) = kilowit.life_cycles(runs, region=region, machine=machine)
for part in (*month.parts, month.total):
    energy, cost = part.energy_total_joule, part.cost_usd
    print(f"{part.name:12} {measure(energy.likely, 'energy_wh'):>9}  {measure(cost.likely, 'money')}")

# %%
busier = [
    *kilowit.life_cycles([compressed], {"endpoint_hour_per_day": 0.0}),
    *kilowit.life_cycles([compressed], {"summaries_per_day": 2_000_000.0}),
]
kilowit.draw_life_cycles([month, *busier])

# %% [markdown]
# The same summarizer three times: as asked, up only while it writes, and with a hundred times the load. For a small
# model nearly all of a month is waiting: put several behind one endpoint, or switch it off at night.

# %% [markdown]
# ## 11. Decide
#
# One question to all runs: the best ROUGE-2 among what answers within half a second. If the answer is `lead`, believe
# it: a model that trained for seconds does not beat the first sentence. With one seed the probability covers other
# test examples alone, and it says so.

# %%
decision = kilowit.recommend(runs, at_most={"latency_p95_second": 0.5}, weigh_next_runs=not fast)[0]
for sentence in decision.sentences:
    print(sentence)

# %% [markdown]
# And everything as one offline page, for whoever has to sign it:

# %%
report = kilowit.write_report(runs, Path(folder) / "report")
print(*report.answer.sentences, sep="\n")
print(report.html)
