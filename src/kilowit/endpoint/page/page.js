"use strict";
const at = (id) => document.getElementById(id);
const LAMP_WATT = 9; // an everyday lamp; 1 W is 1 J a second, so that joules are seconds of light
const LOOK_MS = 2000;
let lastRequests = [];
let lastModels = "";

function figure(value, unit) {
  if (value === null || value === undefined) return "unknown";
  const size = Math.abs(value);
  const [scale, prefix] = size === 0 || (size >= 0.1 && size < 1000) ? [1, ""]
    : size >= 1e6 ? [1e-6, "M"] : size >= 1000 ? [1e-3, "k"] : size >= 1e-4 ? [1e3, "m"] : [1e6, "µ"];
  return `${Number((value * scale).toPrecision(3))} ${prefix}${unit}`;
}
const range = (low, high, unit) => low === null || low === undefined ? "" : `${figure(low, unit)} to ${figure(high, unit)}`;
const dollars = (value) => value === null ? "unknown: name the machine" : `$ ${Number(value.toPrecision(3))}`;

function headers() {
  const found = { "Content-Type": "application/json" };
  if (at("token").value) found.Authorization = `Bearer ${at("token").value}`;
  return found;
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

function card(model) {
  const box = element("section", undefined, "answer");
  const title = element("h3", model);
  const text = element("p", "", "text busy");
  const list = element("dl", undefined, "figures");
  const note = element("p", "", "state");
  box.setAttribute("aria-label", `Summary by ${model}`);
  box.append(title, text, list, note);
  at("answers").append(box);
  const entries = {};
  return {
    text, note,
    set(name, value, small) {
      if (!entries[name]) {
        const row = element("div");
        entries[name] = element("dd");
        row.append(element("dt", name), entries[name]);
        list.append(row);
      }
      entries[name].replaceChildren(value, ...(small ? [element("small", small)] : []));
    },
  };
}

function showDone(shown, told) {
  const bill = told.bill;
  shown.text.classList.remove("busy");
  shown.text.textContent = told.summaries[0].text || "(an empty summary)";
  shown.set("Energy", figure(bill.energy_joule, "J"), range(bill.energy_joule_low, bill.energy_joule_high, "J"));
  shown.set("CO₂e", figure(bill.co2e_gram, "g"), range(bill.co2e_gram_low, bill.co2e_gram_high, "g"));
  shown.set("Price", dollars(bill.cost_usd));
  shown.set("Latency", figure(told.latency_second, "s"), `${figure(told.summaries[0].wait_second, "s")} of it waiting`);
  shown.set("Per 1,000 summaries", figure(bill.energy_wh_per_1000, "Wh"));
  shown.set("Energy is", bill.energy_basis, bill.energy_source);
  const lamp = bill.energy_joule === null ? "" : `A ${LAMP_WATT} W lamp shines ${figure(bill.energy_joule / LAMP_WATT, "s")} `
    + "on that (1 W is 1 J a second).";
  shown.note.textContent = lamp;
  at("source").textContent = `Last answer: energy from ${bill.energy_source}; factors ${bill.factors.join(", ")}.`;
}

function onEvent(shown, name, told) {
  if (name === "progress") {
    shown.note.textContent = told.status === "waiting" ? `Waiting; ${told.num_waiting} before or with it.` : "Computing.";
    shown.set("Latency", figure(told.elapsed_second, "s"), "so far");
    if (told.energy_joule !== null) shown.set("Energy", figure(told.energy_joule, "J"), "so far");
  } else if (name === "summary") {
    shown.text.textContent = told.text;
  } else if (name === "done") {
    showDone(shown, told);
    lastRequests.push({ id: told.request_id, model: told.model });
  } else if (name === "error") {
    throw new Error([told.error, told.hint].filter(Boolean).join(" "));
  }
}

async function summarize(model) {
  const shown = card(model);
  let isOver = false;
  try {
    const response = await ask("v1/summarize", { text: at("text").value, model, stream: true, client: "page" });
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
    shown.text.classList.remove("busy");
    const isDead = error instanceof TypeError;
    shown.note.textContent = isDead ? "The server went away before the summary was written." : error.message;
    if (isDead) look();
  }
}

at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("answers").replaceChildren();
  at("go").disabled = true;
  at("state").textContent = "Summarizing…";
  lastRequests = [];
  await Promise.all([...new Set([at("first").value, at("second").value])].filter(Boolean).map(summarize));
  at("go").disabled = false;
  at("state").textContent = lastRequests.length ? "Done." : "No summary.";
  look();
});

let isPueGiven = false;
at("pue").addEventListener("input", () => {
  isPueGiven = true;
  at("pue-value").textContent = Number(at("pue").value).toFixed(2);
});

at("dial").addEventListener("submit", async (event) => {
  event.preventDefault();
  const place = { region: at("region").value.trim() || null };
  if (isPueGiven) place.pue = Number(at("pue").value);
  try {
    const asked = lastRequests.length ? lastRequests : [{ model: "all of today" }];
    const told = await Promise.all(asked.map(async (one) => {
      const bill = await (await ask("v1/carbon", one.id ? { ...place, request_id: one.id } : place)).json();
      return `${one.model}: ${figure(bill.co2e_gram, "g")} CO₂e (${range(bill.co2e_gram_low, bill.co2e_gram_high, "g")})`;
    }));
    at("elsewhere").textContent = `${told.join("; ")}. No machine ran again for this.`;
  } catch (error) {
    at("elsewhere").textContent = error.message;
  }
});

function offer(models) {
  const names = Object.keys(models);
  if (names.join() === lastModels) return;
  lastModels = names.join();
  const option = (name) => {
    const made = element("option", `${name} (${models[name].runtime})`);
    made.value = name;
    return made;
  };
  at("first").replaceChildren(...names.map(option));
  at("second").replaceChildren(at("second").options[0], ...names.map(option));
}

function showMaking(told) {
  const lines = Object.entries(told.models).filter(([, model]) => model.making_joule).map(([name, model]) => {
    const each = told.ever.by_model[name];
    const joule = each && each.num_documents ? each.joule / each.num_documents : 0;
    const passed = joule > 0 ? `; serving passes that at ${Math.ceil(model.making_joule / joule).toLocaleString("en")} summaries` : "";
    return `${name} took ${figure(model.making_joule, "J")} to train${passed}.`;
  });
  at("making").textContent = lines.join(" ");
}

async function look() {
  try {
    const told = await (await ask("v1/totals")).json();
    trouble("");
    offer(told.models);
    at("power").textContent = figure(told.power_watt, "W");
    at("idle-power").textContent = figure(told.idle_power_watt, "W");
    at("waiting").textContent = told.num_waiting;
    at("today-count").textContent = told.today.requests.num_documents.toLocaleString("en");
    at("today-energy").textContent = figure(told.today.requests.joule, "J");
    at("today-idle").textContent = figure(told.today.idle.joule, "J");
    showMaking(told);
  } catch (error) {
    trouble(error instanceof TypeError ? "The server does not answer: it was stopped, or it died." : error.message);
  }
}

async function keepLooking() {
  if (!document.hidden) await look();
  setTimeout(keepLooking, LOOK_MS);
}
at("token").addEventListener("change", look);
keepLooking();
