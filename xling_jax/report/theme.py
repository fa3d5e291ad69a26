"""How the page looks and the little it can do: its CSS and its scripts, inlined.

Every text has a contrast of at least 4.5 to what lies behind it, in both themes (WCAG 2.2, 1.4.3); without scripts all
is there but the switch of the theme and the sorting.
"""

LIGHT = (
    "--paper:#fff;--ink:#14181d;--muted:#5f6974;--line:#d3d8de;--wash:#f5f7f9;"
    "--blue:#0064a0;--red:#b34700;--green:#00704e;--purple:#98407c;"
)
DARK = (
    "--paper:#13161a;--ink:#e8ebee;--muted:#9aa4ae;--line:#343b43;--wash:#1b2026;"
    "--blue:#5db4ea;--red:#ff9950;--green:#3ecb9f;--purple:#e39ac6;"
)

CSS = f"""
:root {{ color-scheme:light; {LIGHT} --font:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif; }}
@media (prefers-color-scheme:dark) {{ :root:not([data-theme=light]) {{ color-scheme:dark; {DARK} }} }}
:root[data-theme=dark] {{ color-scheme:dark; {DARK} }}
* {{ box-sizing:border-box; }}
html {{ -webkit-text-size-adjust:100%; }}
body {{ margin:0 auto; padding:2rem 1.25rem 5rem; max-width:74rem; background:var(--paper); color:var(--ink);
  font:16px/1.55 var(--font); overflow-wrap:anywhere; }}
h1 {{ font-size:1.7rem; line-height:1.25; font-weight:650; margin:.2rem 0 1.2rem; max-width:46rem; text-wrap:balance; }}
h2 {{ font-size:1.2rem; font-weight:650; margin:3rem 0 .3rem; padding-top:1.1rem; border-top:1px solid var(--line); }}
h3 {{ font-size:1rem; font-weight:650; margin:1.8rem 0 .2rem; }}
h4, h5 {{ font-size:.93rem; font-weight:650; margin:1.5rem 0 .2rem; }}
p {{ margin:.3rem 0 .7rem; max-width:46rem; }}
a {{ color:var(--blue); }}
nav {{ margin:1rem 0 4rem; }}
nav li {{ margin:.6rem 0; max-width:46rem; }}
details.experiment {{ margin:.6rem 0; padding:.6rem .9rem; border:1px solid var(--line); border-radius:.3rem; }}
details.experiment > summary span {{ display:inline-block; vertical-align:top; max-width:calc(100% - 1.5rem); }}
article + article {{ margin-top:5rem; padding-top:2rem; border-top:3px solid var(--ink); }}
.top {{ display:flex; flex-wrap:wrap; justify-content:space-between; align-items:center; gap:.3rem 1rem;
  color:var(--muted); font-size:.85rem; }}
button {{ font:inherit; color:inherit; background:none; border:0; padding:0; cursor:pointer; text-align:inherit; }}
#theme {{ border:0; margin:0; padding:0; min-width:0; }}
#theme legend {{ position:absolute; opacity:0; pointer-events:none; }}
#theme label {{ position:relative; display:inline-block; cursor:pointer; }}
#theme input {{ position:absolute; opacity:0; }}
#theme span {{ display:block; padding:.15rem .7rem; border:1px solid transparent; border-radius:1rem; }}
#theme input:checked + span {{ border-color:var(--muted); color:var(--ink); }}
#theme input:focus-visible + span {{ outline:2px solid var(--blue); outline-offset:1px; }}
:focus-visible {{ outline:2px solid var(--blue); outline-offset:2px; }}
.banner {{ display:inline-block; margin:0 0 1rem; padding:.3rem .8rem; border-radius:.3rem; font-size:.9rem;
  color:var(--red); border:1px solid currentColor; }}
.answer {{ padding:1.1rem 1.3rem; background:var(--wash); border-left:4px solid var(--muted); border-radius:.3rem; }}
.answer.supported {{ border-color:var(--blue); }}
.answer.not-supported {{ border-color:var(--red); }}
.answer p {{ margin:.25rem 0; }}
.answer .sentence {{ font-size:1.12rem; font-variant-numeric:tabular-nums; }}
.verdict {{ font-size:.8rem; font-weight:650; text-transform:uppercase; letter-spacing:.06em; color:var(--muted); }}
.verdict .sign {{ font-size:1.1rem; line-height:1; }}
.supported .verdict {{ color:var(--blue); }}
.not-supported .verdict {{ color:var(--red); }}
.note, figcaption, .answer .remark {{ color:var(--muted); font-size:.88rem; }}
.scroll {{ overflow-x:auto; margin:.6rem 0 1rem; }}
figure .scroll {{ margin:0; }}
.paper {{ display:none; }}
table {{ border-spacing:0; font-variant-numeric:tabular-nums; font-size:.93rem; overflow-wrap:normal; }}
th, td {{ padding:.38rem .48rem; text-align:right; vertical-align:top; white-space:nowrap; }}
th:first-child, td:first-child {{ text-align:left; padding-left:0; position:sticky; left:0; background:var(--paper); }}
.wordy tbody th {{ white-space:normal; min-width:16rem; max-width:26rem; }}
thead th {{ font-weight:600; vertical-align:bottom; }}
thead tr:last-child th {{ border-bottom:1px solid var(--ink); }}
thead .group th {{ font-weight:400; color:var(--muted); font-size:.82rem; text-align:center; padding-bottom:.1rem; }}
thead .group th span {{ display:block; border-bottom:1px solid var(--line); padding-bottom:.1rem; }}
tbody tr + tr > * {{ border-top:1px solid var(--line); }}
tbody th {{ font-weight:500; }}
tfoot th, tfoot td {{ color:var(--muted); font-weight:400; border-top:1px solid var(--line); }}
td small {{ display:block; color:var(--muted); font-size:.76rem; line-height:1.35; }}
th.text, td.text, th.left, td.left {{ text-align:left; }}
td.mean {{ font-weight:650; }}
td .sign {{ display:inline-block; width:1.1em; font-weight:650; text-align:center; }}
td.supported .sign {{ color:var(--blue); }}
td.not-supported .sign {{ color:var(--red); }}
.pinned th:last-child, .pinned td:last-child {{ position:sticky; right:0; padding-left:1rem;
  background:var(--paper); box-shadow:-1px 0 var(--line); }}
td.mean small, tfoot td.mean {{ font-weight:400; }}
td.missing, td.not-finite {{ color:var(--red); font-style:italic; }}
td.floor, td.not-parallel {{ color:var(--muted); }}
td.not-parallel {{ font-style:italic; }}
td.missing small, td.not-finite small {{ white-space:normal; min-width:6.5rem; font-style:normal; }}
th button::after {{ content:""; display:inline-block; width:.8em; text-align:right; color:var(--muted); }}
th[aria-sort=descending] button::after {{ content:"↓"; }}
th[aria-sort=ascending] button::after {{ content:"↑"; }}
.figures {{ display:flex; flex-wrap:wrap; gap:1rem 2.5rem; align-items:flex-start; }}
.curves {{ display:grid; grid-template-columns:repeat(auto-fill,minmax(min(15rem,100%),1fr)); gap:1rem 1.5rem; }}
figure {{ margin:.8rem 0; min-width:0; flex:0 1 auto; max-width:100%; }}
figure svg {{ display:block; height:auto; }}
figcaption {{ margin-top:.3rem; max-width:30rem; }}
.legend {{ display:flex; flex-wrap:wrap; gap:.1rem 1.4rem; padding:0; margin:.9rem 0; list-style:none; }}
dl {{ display:grid; grid-template-columns:max-content 1fr; gap:.25rem 1.2rem; font-size:.92rem; }}
dt {{ color:var(--muted); }}
dd {{ margin:0; min-width:0; }}
code, pre {{ font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace; }}
pre {{ background:var(--wash); padding:.9rem 1rem; border-radius:.3rem; white-space:pre-wrap; }}
summary {{ cursor:pointer; }}
@media (max-width:40rem) {{
  body {{ padding:1rem 1rem 3rem; }}
  h1 {{ font-size:1.35rem; }}
  th, td {{ padding:.35rem .5rem; }}
  th:first-child {{ white-space:normal; overflow-wrap:break-word; min-width:6.5rem; max-width:8rem; }}
  .pinned th:last-child, .pinned td:last-child {{ position:static; }}
  dl {{ grid-template-columns:1fr; gap:0; }}
  dd {{ margin-bottom:.5rem; }}
}}
@media print {{
  @page {{ size:A4 landscape; margin:14mm; }}
  :root, :root[data-theme=dark], :root:not([data-theme=light]) {{ color-scheme:light; {LIGHT} }}
  body {{ max-width:none; padding:0; font-size:10pt; }}
  #theme {{ display:none; }}
  .scroll {{ overflow:visible; }}
  .screen {{ display:none; }}
  .paper {{ display:block; margin-bottom:1rem; }}
  th, td {{ position:static !important; box-shadow:none !important; }}
  table {{ font-size:8.5pt; }}
  th, td {{ padding:.2rem .4rem; }}
  thead {{ display:table-header-group; }}
  th button {{ display:contents; }}  /* Chromium draws no button when it repeats the head */
  tfoot {{ display:table-row-group; }}
  tr, figure, .answer {{ break-inside:avoid; }}
  details::details-content {{ content-visibility:visible; block-size:auto; }}
  figure svg {{ min-width:0 !important; }}
  td small, thead .group th {{ font-size:7pt; }}
  th:first-child, td small {{ white-space:normal; }}
  h2, h3, h4, h5, h3 + p.note, h4 + p.note, h5 + p.note, summary {{ break-after:avoid; }}
  .legend {{ break-inside:avoid; }}
}}
"""

# In the head, so that a page in the other theme does not flash.
EARLY_SCRIPT = """
try {
  const kept = localStorage.getItem("xling-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch {}
"""

SCRIPT = """
const root = document.documentElement, theme = document.getElementById("theme");
theme.hidden = false;
for (const choice of theme.querySelectorAll("input")) {
  choice.checked = choice.value === (root.dataset.theme ?? "auto");
  choice.onchange = () => {
    if (choice.value === "auto") delete root.dataset.theme;
    else root.dataset.theme = choice.value;
    try { localStorage.setItem("xling-theme", choice.value); } catch {}
  };
}

const collator = new Intl.Collator("en", { numeric: true });
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], given = [...body.rows];
  for (const button of table.querySelectorAll("thead button")) button.onclick = () => {
    const head = button.parentElement, words = head.classList.contains("text");
    const turns = words ? ["ascending", "descending"] : ["descending", "ascending"];
    const turn = turns[turns.indexOf(head.getAttribute("aria-sort")) + 1];
    for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    if (!turn) return body.append(...given);
    head.setAttribute("aria-sort", turn);
    const value = row => words ? row.cells[head.cellIndex].textContent : row.cells[head.cellIndex].dataset.value;
    const order = (a, b) => words ? collator.compare(value(a), value(b)) : value(a) - value(b);
    const known = given.filter(row => value(row) !== undefined), rest = given.filter(row => !known.includes(row));
    body.append(...known.sort((a, b) => (turn === "ascending" ? 1 : -1) * order(a, b)), ...rest);
  };
}

const opened = [];
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open])")) opened.push(part), part.open = true;
});
addEventListener("afterprint", () => { while (opened.length) opened.pop().open = false; });
"""
