"use strict";
// Whatever a trajectory says is put on the page as text (make, below): there is no other way to it here.

const PER_PAGE = 50;
const SEGMENTS = ["context", "reason", "action", "final"];
const ATTEMPT = "students (attempts)", POOL = "teacher (pool)", SELECTED = "teacher, trained on";
const EITHER = "fixed or broken", FAILED = "failed in any way";
const by = (id) => document.getElementById(id);

function make(tag, about, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(about || {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...inside.filter((one) => one !== null && one !== undefined).map((one) => one instanceof Node ? one : String(one)));
  return made;
}

async function unpack(text) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser is too old to unpack the trajectories. Chrome 80, Firefox 113, Safari 16.4 and newer can.");
  }
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function viewer(data) {
  const all = data.trajectories, form = by("filters");
  const byId = new Map(all.map((one) => [one.id, one])), byQuestion = new Map();
  for (const one of all) {
    if (!byQuestion.has(one.question)) byQuestion.set(one.question, []);
    byQuestion.get(one.question).push(one);
  }
  let found = all, page = 0;

  const rowOf = ([row, seed]) => `${data.rows[row]}, seed ${seed}`;
  function rowsOf([first, ...more]) {
    if (!more.length) return rowOf(first);
    if (more.some((place) => place[0] !== first[0])) return `${rowOf(first)} and ${more.length} more`;
    return `${data.rows[first[0]]}, seeds ${[first, ...more].map((place) => place[1]).join(" and ")}`;
  }
  const nameOf = (one) => one.pool ? `teacher's pool, sample ${one.sample}` : rowsOf(one.places) + (one.sample ? `, sample ${one.sample}` : "");
  const flipsOf = (one, row, seed) => one.places.filter((place) => (row === "" || String(place[0]) === row) &&
    (seed === "" || String(place[1]) === seed)).map((place) => place[2]).filter(Boolean);
  const linkTo = (one, other) => `#trajectory=${encodeURIComponent(one.id)}${other ? `&beside=${encodeURIComponent(other.id)}` : ""}`;
  const classOf = (says) => says.startsWith("not") ? "yet" : says;

  function haystack(one) {
    if (one.haystack === undefined) {
      const question = data.questions[one.question];
      const said = one.steps.flatMap((step) => [step.pieces.map((piece) => piece[1]).join(""), step.seen]);
      one.haystack = [one.id, question.text, ...question.gold, one.answer || "", ...said, ...one.verdicts.map((verdict) => verdict.why)]
        .join("\n").toLowerCase();
    }
    return one.haystack;
  }

  function offer(name, values, every) {
    const select = form.elements[name];
    select.replaceChildren(make("option", { value: "" }, every), ...values.map(([value, text]) => make("option", { value }, text)));
    select.closest("label").hidden = values.length < 2 && !["verdict", "flip"].includes(name);
  }

  function offers() {
    const unique = (values) => [...new Set(values)].sort();
    const same = (values) => values.map((value) => [value, value]);
    const attempts = all.filter((one) => !one.pool);
    const rows = [...new Set(attempts.flatMap((one) => one.places.map((place) => place[0])))].sort((a, b) => a - b);
    const seeds = [...new Set(attempts.flatMap((one) => one.places.map((place) => place[1])))].sort((a, b) => a - b);
    const kinds = [[ATTEMPT, attempts.length], [POOL, all.length - attempts.length],
      [SELECTED, all.filter((one) => one.pool && one.selected && one.selected.length).length]];
    offer("kind", same(kinds.filter((kind) => kind[1]).map((kind) => kind[0])), "anybody");
    offer("row", rows.map((row) => [String(row), data.rows[row]]), "every row");
    offer("seed", seeds.map((seed) => [String(seed), String(seed)]), "every seed");
    offer("set", same(unique(all.map((one) => one.set))), "every benchmark");
    offer("verdict", same(unique(all.map((one) => one.verdicts[0].says))), "any");
    offer("stop", same(unique(all.map((one) => one.stop))), "anything");
    offer("step", same([FAILED, ...unique(all.flatMap((one) => one.steps.map((step) => step.status)))]), "of any kind");
    offer("flip", same(data.baseline === null ? [] : ["fixed", "broken", EITHER]), data.baseline === null ? "there is none" : "the same or not");
    form.elements.flip.disabled = data.baseline === null;
  }

  function fits(one, want) {
    if (want.kind === ATTEMPT && one.pool || want.kind === POOL && !one.pool) return false;
    if (want.kind === SELECTED && !(one.pool && one.selected && one.selected.length &&
        (want.row === "" || one.selected.includes(Number(want.row))))) return false;
    if ((want.row !== "" || want.seed !== "") && !one.places.some((place) =>
      (want.row === "" || String(place[0]) === want.row) && (want.seed === "" || String(place[1]) === want.seed))) return false;
    if (want.set && one.set !== want.set || want.verdict && one.verdicts[0].says !== want.verdict) return false;
    if (want.stop && one.stop !== want.stop) return false;
    if (want.step && !one.steps.some((step) => want.step === FAILED ? failed(step) : step.status === want.step)) return false;
    if (want.flip) {
      const flips = flipsOf(one, want.row, want.seed);
      if (!flips.length || want.flip !== EITHER && !flips.includes(want.flip)) return false;
    }
    return !want.text || haystack(one).includes(want.text);
  }

  const failed = (step) => step.status !== "ok" && step.status !== "final";

  function search() {
    const want = Object.fromEntries(new FormData(form));
    want.text = want.text.toLowerCase().trim();
    want.flip = want.flip || "";
    found = all.filter((one) => fits(one, want));
    page = 0;
    by("count").textContent = `${found.length} of ${all.length} trajectories`;
    list();
  }

  function list() {
    const open = new URLSearchParams(location.hash.slice(1)).get("trajectory");
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    by("list").replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map((one) => {
      const says = one.verdicts[0].says, flips = new Set(flipsOf(one, form.elements.row.value, form.elements.seed.value));
      return make("li", null, make("a", { href: linkTo(one), "aria-current": one.id === open ? "true" : null },
        make("span", { class: "what" }, data.questions[one.question].text.slice(0, 200)),
        make("small", null, make("b", { class: classOf(says) }, says), ...[...flips].map((flip) => make("b", { class: flip }, `, ${flip}`)),
          ` · ${one.question} · ${nameOf(one)}`)));
    }));
    by("list").scrollTop = 0;
    by("page").textContent = found.length ? `${page + 1} of ${pages}` : "none";
    by("before").disabled = page === 0;
    by("after").disabled = page === pages - 1;
  }

  function steps(one, parts) {
    const hard = one.nll || [];
    return make("ol", null, ...one.steps.map((step, number) => make("li", { class: number === parts ? "parts" : null },
      make("h4", null, `Step ${number + 1} · `, make("span", { class: failed(step) ? "failed" : null }, step.status),
        ...hard.map((of) => number < of.turn_nll.length ? ` · NLL ${of.turn_nll[number].toFixed(3)}${hard.length > 1 ? ` (${of.student})` : ""}` : ""),
        number === parts ? make("span", { class: "ungraded" }, " · here the two part") : null),
      make("pre", { tabindex: "0" }, ...step.pieces.map(([segment, text]) => make("span", { class: `s${segment}` }, text))),
      step.seen ? make("pre", { class: "s0 seen", tabindex: "0" }, step.seen) : null)));
  }

  function facts(one) {
    const [counts, ...others] = one.verdicts;
    const lines = [["Answer", one.answer === null ? "none was given" : one.answer],
      ["Verdict", make("span", null, make("b", { class: classOf(counts.says) }, counts.says), counts.by ? ` by ${counts.by}` : "", counts.why ? `: ${counts.why}` : "")],
      ...others.map((other) => ["Also graded", `${other.says} by ${other.by}${other.why ? `: ${other.why}` : ""}`]),
      ["Ended by", one.stop + (one.why ? `: ${one.why}` : "")],
      ["Tokens", one.tokens === null ? "not counted" : one.tokens.toLocaleString("en")]];
    if (one.pool) {
      for (const of of one.nll || []) {
        const mean = of.turn_nll.reduce((sum, nll) => sum + nll, 0) / of.turn_nll.length;
        lines.push(["NLL", `${mean.toFixed(3)} nats per token for ${of.student}: number ${of.rank} of ${of.of} of its question, the easiest first`]);
      }
      if (!(one.nll || []).length) lines.push(["NLL", "not scored"]);
      const rows = one.selected || [];
      lines.push(["Trained on by", rows.length ? rows.map((row) => data.rows[row]).join(", ") : "no row"]);
    } else {
      lines.push(["Row", one.places.map((place) => rowOf(place) + (place[2] ? ` (${place[2]})` : "")).join("; ")]);
      lines.push(["NLL", "only a teacher's trajectories are scored, students' attempts are not"]);
    }
    if (one.first !== null && one.first !== "") lines.push(["Made to begin with", one.first]);
    lines.push(["From", make("code", null, one.id)]);
    return make("dl", { class: "list" }, ...lines.flatMap(([name, value]) => [make("dt", null, name), make("dd", null, value)]));
  }

  const article = (one, parts) => make("article", { "aria-label": nameOf(one) }, make("h3", null, nameOf(one)), facts(one), steps(one, parts));

  function partAt(one, other) {
    const text = (step) => step ? step.pieces.map((piece) => piece[1]).join("") : null;
    for (let number = 0; number < Math.max(one.steps.length, other.steps.length); number++) {
      if (text(one.steps[number]) !== text(other.steps[number])) return number;
    }
    return -1;
  }

  // Of the baseline's attempts at the same question, that of the same seed where there is one.
  function ofBaseline(one) {
    const row = data.rows.indexOf(data.baseline), seeds = one.places.map((place) => place[1]);
    const others = byQuestion.get(one.question).filter((other) => !other.pool && other !== one && other.places[0][0] === row);
    return others.find((other) => other.places.some((place) => seeds.includes(place[1]))) || others[0];
  }

  function chooser(one, other) {
    const others = byQuestion.get(one.question).filter((candidate) => candidate !== one);
    if (!others.length) return make("p", { class: "note" }, "No other trajectory of this question is in this file.");
    const select = make("select", { id: "beside" }, make("option", { value: "" }, "nothing"),
      ...others.map((candidate) => make("option", { value: candidate.id, selected: candidate === other },
        `${nameOf(candidate)}: ${candidate.verdicts[0].says}`)));
    select.addEventListener("change", () => { location.hash = linkTo(one, byId.get(select.value)).slice(1); });
    const baseline = one.pool ? undefined : ofBaseline(one);
    return make("div", null, make("label", null, "Beside it ", select),
      baseline && baseline !== other ? make("p", null, make("a", { href: linkTo(one, baseline) }, "beside the baseline's")) : null);
  }

  function show() {
    const words = new URLSearchParams(location.hash.slice(1));
    if (!words.has("trajectory")) return;
    const one = byId.get(words.get("trajectory")), other = byId.get(words.get("beside")), shown = by("shown");
    for (const link of by("list").querySelectorAll("a")) {
      if (one !== undefined && link.getAttribute("href") === linkTo(one)) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (one === undefined) {
      shown.replaceChildren(make("p", { class: "note" }, `${words.get("trajectory")} is not among the trajectories in this file.`));
    } else {
      const question = data.questions[one.question], parts = other ? partAt(one, other) : -1;
      const hardness = [question.level, question.subject].filter(Boolean).join(", ");
      const back = make("button", { id: "back", type: "button" }, "Back to the list");
      back.addEventListener("click", () => by("count").scrollIntoView());
      shown.replaceChildren(back,
        make("pre", { class: "question", tabindex: "0" }, question.text),
        make("dl", { class: "list" }, make("dt", null, "Question"), make("dd", null, one.question + (hardness ? ` (${hardness})` : "")),
          make("dt", null, "Gold"), make("dd", null, question.gold.length ? question.gold.join(" | ") : "none: it cannot be graded"),
          ...one.passages ? [make("dt", null, "Looked up before"), make("dd", null, one.passages)] : []),
        chooser(one, other),
        make("p", { class: "legend" }, ...SEGMENTS.map((name, number) => make("span", { class: `s${number}` },
          number ? name : "observation and other context"))),
        make("div", { class: other ? "pair" : "" }, article(one, parts), ...other ? [article(other, parts)] : []));
    }
    shown.focus({ preventScroll: true });
    shown.scrollIntoView({ block: "nearest" });
    if (shown.getBoundingClientRect().top < 0 || shown.getBoundingClientRect().top > innerHeight / 2) shown.scrollIntoView();
  }

  offers();
  form.addEventListener("input", search);
  form.addEventListener("reset", () => setTimeout(search));  // the fields are cleared after this event
  form.addEventListener("submit", (event) => event.preventDefault());
  by("before").addEventListener("click", () => { page--; list(); });
  by("after").addEventListener("click", () => { page++; list(); });
  addEventListener("hashchange", show);
  by("viewer").hidden = false;
  by("trouble").hidden = true;
  search();
  show();
}

unpack(by("packed").textContent).then(viewer).catch((error) => {
  by("trouble").textContent = error.message;
});
