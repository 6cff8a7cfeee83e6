"""The page's style sheet: quiet, like print; light or dark as the reader's system is."""

CSS = """
:root { --ink: #1c2330; --muted: #667085; --line: #e3e6eb; --paper: #ffffff; --ground: #f4f5f7; --good: #1a7f4b;
  --bad: #b42318; --warn: #8a4b08; --warn-paper: #fdf1e3; --bad-paper: #fdecea; --link: #1f4e8c; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --muted: #98a2b3; --line: #333a46; --paper: #1b1f27;
  --ground: #12151b; --good: #4cc38a; --bad: #f0776c; --warn: #f0b26b; --warn-paper: #3a2a15; --bad-paper: #3d1d1b;
  --link: #8ab4f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 Inter, "Segoe UI", "Helvetica Neue", Roboto, Arial, sans-serif; }
main { max-width: 1220px; margin: 0 auto; padding: 26px 20px 60px; }
h1 { font-size: 28px; line-height: 1.2; margin: 2px 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 2px; }
h3 { font-size: 14px; margin: 0 0 8px; }
p { margin: 0 0 10px; }
.eyebrow { color: var(--muted); font-size: 12.5px; letter-spacing: .06em; text-transform: uppercase; margin: 0; }
.summary { font-size: 16.5px; max-width: 86ch; margin: 0 0 16px; }
.lead { color: var(--muted); max-width: 96ch; font-size: 14px; margin: 0 0 14px; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; margin: 16px 0; }
.badge { display: inline-block; padding: 3px 12px; border-radius: 99px; color: var(--paper); font-weight: 600; font-size: 14px;
  vertical-align: 5px; margin-left: 8px; white-space: nowrap; }
.badge.good { background: var(--good); } .badge.bad { background: var(--bad); } .badge.note { background: var(--muted); }
ul.remarks { list-style: none; margin: 0; padding: 0; display: grid; gap: 5px; }
.remarks li { padding: 5px 12px; border-radius: 6px; background: var(--warn-paper); color: var(--warn); font-size: 14px;
  overflow-wrap: anywhere; }
.remarks li.bad { background: var(--bad-paper); color: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; width: 100%; }
th { font-weight: 600; color: var(--muted); text-align: right; padding: 4px 8px; white-space: nowrap; font-size: 12.5px; }
th.over { text-align: center; color: var(--ink); }
td { text-align: right; padding: 4px 8px; border-top: 1px solid var(--line); white-space: nowrap; }
th.left, td.left { text-align: left; }
td.kind { text-align: left; color: var(--muted); font-size: 12px; letter-spacing: .05em;
  text-transform: uppercase; padding-top: 12px; }
td.wrap { white-space: normal; overflow-wrap: anywhere; }
td.wide { width: 60%; }
td.barred { min-width: 74px; }
td.chart { text-align: left; padding: 6px 8px; min-width: 150px; }
.strong { font-weight: 650; } .quiet { color: var(--muted); font-weight: 400; } .first { border-left: 1px solid var(--line); }
.rail { display: block; height: 4px; border-radius: 2px; background: var(--line); margin-top: 2px; }
.bar { display: block; height: 4px; border-radius: 2px; min-width: 2px; }
.stack { display: flex; height: 16px; border-radius: 3px; overflow: hidden; background: var(--line); }
.stack i { display: block; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 5px; }
.legend { color: var(--muted); font-size: 13px; } .legend span { margin-right: 12px; white-space: nowrap; }
.two { display: grid; gap: 18px 32px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
.histogram { display: block; width: 100%; max-width: 210px; }
.histogram text { font-size: 8.5px; text-anchor: middle; fill: var(--ink); }
.histogram text.axis { fill: var(--muted); } .histogram path.axis { stroke: var(--muted); stroke-width: .6; fill: none; }
.cards { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); align-items: start; }
figure { margin: 0; min-width: 0; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 12px; }
.card figcaption, .pair figcaption { font-size: 13px; line-height: 1.4; margin-bottom: 8px; overflow-wrap: anywhere; }
.card svg.slide { display: block; width: 100%; max-height: 380px; background: #fff; border-radius: 4px; }
.none { display: grid; place-items: center; height: 120px; background: var(--ground); color: var(--muted); border-radius: 4px; }
.fact { font-size: 12.5px; line-height: 1.45; margin: 6px 0 0; color: var(--muted); }
.fact b { color: var(--ink); } .fact .legend { font-size: 12.5px; }
.flag { margin: 6px 0 0; padding: 3px 9px; border-radius: 5px; background: var(--warn-paper); color: var(--warn); font-size: 12.5px;
  overflow-wrap: anywhere; }
.flag.bad { background: var(--bad-paper); color: var(--bad); }
.slide .tissue { fill: none; stroke: #0b0f16; stroke-width: 1.1; stroke-dasharray: 3 2; stroke-linejoin: round; }
.slide .annotation path { stroke-width: 2; fill-opacity: .12; stroke-linejoin: round; fill-rule: evenodd; }
.slide .patches path { fill: none; stroke-width: calc(var(--dot) * 1px); stroke-linecap: round; }
.slide .patches .halo { stroke: #fff; stroke-width: calc(var(--dot) * 1.5px); }
.slide .patches .veil { fill: #10305e; fill-opacity: .1; stroke: none; }
.toggle { position: absolute; opacity: 0; }
.toggle + label { display: inline-block; border: 1px solid var(--line); border-radius: 99px;
  padding: 2px 12px; margin: 0 6px 12px 0; font-size: 13px; cursor: pointer; color: var(--muted); }
.toggle + label::before { content: "○ "; } .toggle:checked + label::before { content: "● "; }
.toggle:checked + label { color: var(--ink); border-color: var(--muted); }
.toggle:focus-visible + label { outline: 2px solid var(--link); }
#see-tissue:not(:checked) ~ * .tissue, #see-annotation:not(:checked) ~ * .annotation,
#see-patches:not(:checked) ~ * .patches { display: none; }
.pairs { display: grid; gap: 20px 24px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
.views { display: grid; grid-template-columns: 1fr 1fr; gap: 3px; }
.views img { width: 100%; display: block; aspect-ratio: 1; background: var(--line); }
.tag { background: var(--warn-paper); color: var(--warn);
  border-radius: 4px; font-size: 11.5px; padding: 1px 6px; margin-left: 6px; }
details { margin: 8px 0 0; } summary { cursor: pointer; color: var(--link); font-size: 13.5px; }
details[open] > summary { margin-bottom: 8px; }
pre { background: var(--ground); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; overflow: auto;
  font-size: 12px; line-height: 1.4; max-height: 320px; white-space: pre-wrap; overflow-wrap: anywhere; }
code { font-size: 12.5px; overflow-wrap: anywhere; }
@media print { body { background: #fff; } section { break-inside: avoid; } .toggle + label { display: none; } }
"""
