"use strict";
const at = (id) => document.getElementById(id);
const LOOK_MS = 2000;
const CHART_MS = 120000;
const EXAMPLE = "The town council met on Tuesday evening to decide what should become of the old mill by the river, which has "
  + "stood empty for eleven years. After two hours of debate it voted by seven to four to turn the ground floor into a "
  + "library and to lease the upper floors as workshops. Repairs begin in spring and should be finished within a year; "
  + "half of their cost is paid by the region, the rest by a levy on parking.";
// The order of an answer's figures, whichever of them comes first: progress may tell the seconds alone.
const FIGURES = ["Energy", "CO₂e", "Price", "Latency", "Per 1,000 summaries", "Tokens", "Energy is"];
let lastRequests = [];
let lastModels = "";
let everyday = null;
let grids = null;
let powers = [];

function scaleOf(size) {
  return size === 0 || (size >= 0.1 && size < 1000) ? [1, ""]
    : size >= 1e6 ? [1e-6, "M"] : size >= 1000 ? [1e-3, "k"] : size >= 1e-4 ? [1e3, "m"] : [1e6, "µ"];
}
const digits = (value) => Number(value.toPrecision(3));
function figure(value, unit) {
  if (value === null || value === undefined) return "unknown";
  const [scale, prefix] = scaleOf(Math.abs(value));
  return `${digits(value * scale)} ${prefix}${unit}`;
}
function range(low, likely, high, unit) {  // in the unit of the likely value, which stands beside it
  if (low === null || low === undefined) return "";
  const [scale, prefix] = scaleOf(Math.abs(likely));
  return `${digits(low * scale)} to ${digits(high * scale)} ${prefix}${unit}`;
}
const count = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });
const dollars = (value) => value === null ? "unknown" : `$ ${digits(value)}`;

function headers() {
  const found = { "Content-Type": "application/json" };
  if (at("token").value) found.Authorization = `Bearer ${at("token").value}`;
  return found;
}

function alive(isOn, text) {
  at("dot").className = `dot ${isOn ? "on" : "off"}`;
  at("alive").textContent = text;
}

function trouble(text) {
  at("trouble").textContent = text;
  at("trouble").hidden = !text;
}

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const response = await fetch(path, { ...options, headers: headers() });
  if (response.status === 401) at("token-row").hidden = false;
  if (!response.ok) {
    const told = await response.json().catch(() => ({ error: `status ${response.status}` }));
    throw new Error([told.error, told.hint].filter(Boolean).join(" "));
  }
  return response;
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function drawing(name, attributes) {
  const made = document.createElementNS(at("chart").namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// A bar from 0: solid to the low end, pale to the high end, a tick at the likely value. All bars have one scale.
function drawRanges(shown) {
  const drawn = shown.filter((one) => one.bill && one.bill.energy_joule !== null);
  const most = Math.max(...drawn.map((one) => one.bill.energy_joule_high ?? one.bill.energy_joule));
  for (const { bill, bar } of drawn) {
    const [low, likely, high] = [bill.energy_joule_low ?? bill.energy_joule, bill.energy_joule, bill.energy_joule_high ?? bill.energy_joule]
      .map((joule) => most > 0 ? 100 * joule / most : 0);
    bar.replaceChildren(
      drawing("rect", { class: "span", x: 0, y: 3, width: high, height: 4 }),
      drawing("rect", { class: "fill", x: 0, y: 3, width: low, height: 4 }),
      drawing("rect", { class: "fill", x: Math.max(0, likely - 0.4), y: 0, width: 0.8, height: 10 }),
    );
  }
}

function card(model) {
  const box = element("section", undefined, "answer");
  const title = element("h3", model);
  const text = element("p", "", "text busy");
  const list = element("dl", undefined, "figures");
  const note = element("p", "", "state");
  title.append(element("small", runtimes[model] || ""));
  box.setAttribute("aria-label", `Summary by ${model}`);
  text.setAttribute("aria-busy", "true");
  box.append(title, text, list, note);
  at("answers").append(box);
  const entries = {};
  return {
    model, text, note, bill: null,
    bar: drawing("svg", { class: "range", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }),
    set(name, value, ...below) {
      if (!entries[name]) {
        const row = element("div", undefined, name === "Energy" ? "main" : "");
        entries[name] = element("dd");
        row.append(element("dt", name), entries[name]);
        const later = FIGURES.slice(FIGURES.indexOf(name) + 1).find((one) => entries[one]);
        list.insertBefore(row, later ? entries[later].parentNode : null);
      }
      const parts = below.filter(Boolean).map((part) => typeof part === "string" ? element("small", part) : part);
      entries[name].replaceChildren(value, ...parts);
    },
  };
}

function still(shown) {
  shown.text.classList.remove("busy");
  shown.text.removeAttribute("aria-busy");
}

function showDone(shown, told) {
  const [bill, summary] = [told.bill, told.summaries[0]];
  shown.bill = bill;
  still(shown);
  shown.text.textContent = summary.text || "(an empty summary)";
  shown.set("Energy", figure(bill.energy_joule, "J"), shown.bar, range(bill.energy_joule_low, bill.energy_joule, bill.energy_joule_high, "J"));
  shown.set("CO₂e", figure(bill.co2e_gram, "g"), range(bill.co2e_gram_low, bill.co2e_gram, bill.co2e_gram_high, "g"));
  shown.set("Price", dollars(bill.cost_usd), bill.cost_usd === null ? "start with --machine" : "of the whole machine");
  const first = told.time_to_first_token_second;
  shown.set("Latency", figure(told.latency_second, "s"),
    first === null ? "" : `first text after ${figure(first, "s")}`, `${figure(summary.wait_second, "s")} waiting`);
  shown.set("Per 1,000 summaries", figure(bill.energy_wh_per_1000, "Wh"));
  shown.set("Tokens", `${count(summary.num_input_tokens)} read`, `${count(summary.num_output_tokens)} written`,
    summary.num_input_tokens >= longest[told.model] ? "the text was cut to this length" : "");
  shown.set("Energy is", bill.energy_basis, bill.energy_source);
  shown.note.textContent = "";
  at("source").textContent = `Last answer: energy from ${bill.energy_source}; factors ${bill.factors.join(", ")}.`;
  showEveryday(bill.energy_joule);
}

function showEveryday(joule) {
  if (!everyday || !joule) return;
  const name = everyday.name[0].toUpperCase() + everyday.name.slice(1);
  at("everyday").textContent = `${name} takes ${figure(everyday.joule, "J")}: as much as ${count(everyday.joule / joule)} summaries like this one.`;
  at("everyday-source").textContent = `Source: ${everyday.source}.`;
}

function onEvent(shown, name, told) {
  if (name === "progress") {
    shown.note.textContent = told.status === "waiting" ? `Waiting; ${told.num_waiting} before or with it.` : "Computing.";
    shown.set("Latency", figure(told.elapsed_second, "s"), "so far");
    if (told.energy_joule !== null) shown.set("Energy", figure(told.energy_joule, "J"), "so far");
  } else if (name === "text") {
    shown.text.append(told.text);
    shown.text.dataset.pieces = Number(shown.text.dataset.pieces || 0) + 1;
  } else if (name === "done") {
    showDone(shown, told);
    lastRequests.push({ id: told.request_id, model: told.model });
  } else if (name === "error") {
    throw new Error([told.error, told.hint].filter(Boolean).join(" "));
  }
}

async function summarize(shown) {
  let isOver = false;
  try {
    const response = await ask("v1/summarize", { text: at("text").value, model: shown.model, stream: true, client: "page" });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffered = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      buffered += value;
      for (let end; (end = buffered.indexOf("\n\n")) >= 0; buffered = buffered.slice(end + 2)) {
        const [, name, data] = buffered.slice(0, end).match(/^event: (.*)\ndata: (.*)$/);
        onEvent(shown, name, JSON.parse(data));
        isOver = isOver || name === "done";
      }
    }
    if (!isOver) throw new TypeError("the connection ended");
  } catch (error) {
    still(shown);
    const isDead = error instanceof TypeError;
    shown.note.textContent = isDead ? "The server went away before the summary was written." : error.message;
    if (isDead) look();
  }
}

function showVersus([one, other]) {
  const both = other && one.bill && other.bill && one.bill.energy_joule && other.bill.energy_joule;
  at("versus").hidden = !both;
  if (!both) return;
  const [less, more] = one.bill.energy_joule <= other.bill.energy_joule ? [one, other] : [other, one];
  const saved = Math.round(100 * (1 - less.bill.energy_joule / more.bill.energy_joule));
  const same = one.text.textContent === other.text.textContent ? "the same" : "not the same";
  at("versus").textContent = `This once, ${less.model} took ${saved} % less energy than ${more.model}; their summaries are ${same}. `
    + "One request each is no comparison: kilowit bench asks many.";
}

at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("answers").replaceChildren();
  at("versus").hidden = true;
  at("go").disabled = true;
  at("state").textContent = "Summarizing…";
  lastRequests = [];
  const shown = [...new Set([at("first").value, at("second").value])].filter(Boolean).map(card);
  await Promise.all(shown.map(summarize));
  drawRanges(shown);
  showVersus(shown);
  at("go").disabled = false;
  at("state").textContent = lastRequests.length ? "Done." : "No summary.";
  look();
});
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("form").requestSubmit();
});
at("example").addEventListener("click", () => {
  at("text").value = EXAMPLE;
  at("text").scrollTop = 0;
  at("text").focus();
});

function turnNeedle(gram) {
  const most = Math.max(...Object.values(grids || { one: gram }));
  const turn = Math.PI * Math.min(1, gram / most);
  at("needle").setAttribute("d", `M60 60 L${60 - 42 * Math.cos(turn)} ${60 - 42 * Math.sin(turn)}`);
  at("dial-text").textContent = `${count(gram)} g CO₂e per kWh of 0 to ${count(most)}`;
}

let isPueGiven = false;
at("pue").addEventListener("input", () => {
  isPueGiven = true;
  at("pue-value").textContent = Number(at("pue").value).toFixed(2);
});

async function reprice() {
  const place = { region: at("region").value.trim() || null };
  if (isPueGiven) place.pue = Number(at("pue").value);
  try {
    const asked = lastRequests.length ? lastRequests : [{ model: "all of today" }];
    const told = await Promise.all(asked.map(async (one) => {
      const bill = await (await ask("v1/carbon", one.id ? { ...place, request_id: one.id } : place)).json();
      return `${one.model}: ${figure(bill.co2e_gram, "g")} CO₂e (${range(bill.co2e_gram_low, bill.co2e_gram, bill.co2e_gram_high, "g")})`;
    }));
    at("elsewhere").textContent = `${told.join("; ")}. No machine ran again for this.`;
    if (grids && place.region in grids) turnNeedle(grids[place.region]);
  } catch (error) {
    at("elsewhere").textContent = error.message;
  }
}
at("dial").addEventListener("submit", (event) => {
  event.preventDefault();
  reprice();
});
at("pue").addEventListener("change", reprice);
at("region").addEventListener("change", reprice);

async function learnRegions(gram) {
  if (grids) return;
  grids = await (await ask("v1/regions")).json();
  at("regions").replaceChildren(...Object.keys(grids).map((name) => {
    const made = element("option");
    made.value = name;
    return made;
  }));
  turnNeedle(gram);
}

const [runtimes, longest] = [{}, {}];
function offer(models) {
  const names = Object.keys(models);
  for (const name of names) {
    runtimes[name] = `${models[name].runtime}, on ${models[name].device}`;
    longest[name] = models[name].max_source_tokens;
  }
  if (names.join() === lastModels) return;
  lastModels = names.join();
  const option = (name) => {
    const made = element("option", name);
    made.value = name;
    return made;
  };
  at("first").replaceChildren(...names.map(option));
  at("second").replaceChildren(at("second").options[0], ...names.map(option));
}

function drawPower(watt, idle) {
  const now = performance.now();
  powers = [...powers.filter(({ ms }) => now - ms < CHART_MS), { ms: now, watt }].filter((one) => one.watt !== null);
  if (!powers.length) return;
  const most = 1.15 * Math.max(...powers.map((one) => one.watt), idle ?? 0);
  const up = (value) => (72 - 72 * value / most).toFixed(1);
  const along = (ms) => (300 - 300 * (now - ms) / CHART_MS).toFixed(1);
  const points = powers.map((one) => `${along(one.ms)} ${up(one.watt)}`);
  at("chart-line").setAttribute("d", `M${points.join(" L")}`);
  at("chart-area").setAttribute("d", `M${along(powers[0].ms)} 72 L${points.join(" L")} L300 72 Z`);
  at("chart-idle").setAttribute("d", idle === null ? "" : `M0 ${up(idle)} L300 ${up(idle)}`);
  at("chart").setAttribute("aria-label", `Power over the last two minutes: now ${figure(watt, "W")}, idle ${figure(idle, "W")}`);
  at("power-of").textContent = idle ? `${(watt / idle).toFixed(2)} × idle` : "";
}

function showMaking(told) {
  const made = Object.entries(told.models).filter(([, model]) => model.making);
  if (!made.length) return;
  at("making").replaceChildren(...made.flatMap(([name, model]) => {
    const served = told.ever.by_model[name];
    const [joule, number] = [model.making.energy_joule, model.break_even_summaries];
    const part = served && joule ? Math.min(100, 100 * served.joule / joule) : 0;
    const bar = drawing("svg", { class: "stack", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" });
    bar.append(drawing("rect", { class: "rest", width: 100, height: 6 }), drawing("rect", { class: "used", width: part, height: 6 }));
    const passed = number === null ? "" : ` Serving passes that at ${count(number)} summaries; it has written ${count(served.num_documents)}.`;
    return [element("p", `${name} took ${figure(joule, "J")} and ${figure(model.making.co2e_gram, "g")} CO₂e to train.${passed}`), bar];
  }));
}

function showToday(told) {
  const [asked, idle] = [told.today.requests, told.today.idle];
  at("today-count").textContent = asked.num_documents.toLocaleString("en");
  at("today-energy").textContent = figure(asked.joule, "J");
  at("today-idle").textContent = figure(idle.joule, "J");
  at("today-carbon").textContent = figure(asked.co2e_gram, "g");
  at("today-price").textContent = dollars(asked.cost_usd);
  at("today-thousand").textContent = asked.num_documents ? figure(asked.energy_wh_per_1000, "Wh") : "–";
  at("today-bar").setAttribute("width", asked.joule + idle.joule > 0 ? 100 * asked.joule / (asked.joule + idle.joule) : 0);
}

async function look() {
  try {
    const told = await (await ask("v1/totals")).json();
    trouble("");
    alive(true, `serving ${Object.keys(told.models).length} model${Object.keys(told.models).length > 1 ? "s" : ""}`);
    offer(told.models);
    everyday = told.everyday;
    at("power").textContent = figure(told.power_watt, "W");
    at("idle-power").textContent = figure(told.idle_power_watt, "W");
    at("waiting").textContent = told.num_waiting;
    drawPower(told.power_watt, told.idle_power_watt);
    showToday(told);
    showMaking(told);
    await learnRegions(told.grid_gram_per_kwh);
  } catch (error) {
    const isDead = error instanceof TypeError;
    alive(false, isDead ? "no answer" : "refused");
    trouble(isDead ? "The server does not answer: it was stopped, or it died." : error.message);
  }
}

async function keepLooking() {
  if (!document.hidden) await look();
  setTimeout(keepLooking, LOOK_MS);
}
at("token").addEventListener("change", look);
keepLooking();
