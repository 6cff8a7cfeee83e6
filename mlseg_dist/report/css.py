"""Style sheets: what all pages share, and what the campaign report adds to it."""

from mlseg_dist.report.style import BAD, CLASS_COLOURS, GOOD, INK, LINE, MUTED, PAPER

CSS = f"""
:root {{ --ink: {INK}; --muted: {MUTED}; --line: {LINE}; --paper: {PAPER}; --good: {GOOD}; --bad: {BAD};
  --background: {CLASS_COLOURS["background"]}; --tumour: {CLASS_COLOURS["tumour"]}; --others: {CLASS_COLOURS["others"]}; }}
* {{ box-sizing: border-box; }}
html {{ -webkit-text-size-adjust: 100%; }}
body {{ margin: 0; background: #f4f5f7; color: var(--ink); line-height: 1.5;
  font: 15px/1.5 Inter, "Segoe UI", "Helvetica Neue", Roboto, Arial, sans-serif; }}
main {{ max-width: 1160px; margin: 0 auto; padding: 28px 20px 60px; }}
h1 {{ font-size: 30px; line-height: 1.2; margin: 2px 0 10px; letter-spacing: -.01em; overflow-wrap: anywhere; }}
h2 {{ font-size: 18px; margin: 0 0 2px; }}
h3 {{ font-size: 14px; margin: 18px 0 8px; }}
p {{ margin: 0 0 12px; }}
.eyebrow {{ color: var(--muted); font-size: 12.5px; letter-spacing: .06em; text-transform: uppercase; margin: 0; }}
.lead {{ color: var(--muted); max-width: 78ch; }}
.summary {{ font-size: 17px; max-width: 74ch; margin: 0 0 20px; }}
section {{ background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px;
  margin: 16px 0; }}
.badge {{ display: inline-block; padding: 3px 12px; border-radius: 99px; color: #fff; font-weight: 600; font-size: 14px;
  vertical-align: 6px; margin-left: 10px; white-space: nowrap; letter-spacing: 0; }}
.badge.good {{ background: var(--good); }} .badge.bad {{ background: var(--bad); }} .badge.open {{ background: var(--muted); }}
.badge.warn {{ background: #8a4b08; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(225px, 1fr)); gap: 14px; margin: 0 0 4px; }}
.tile {{ background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px; }}
.tile .name {{ color: var(--muted); font-size: 13px; }}
.tile .big {{ font-size: 34px; line-height: 1.15; font-weight: 650; font-variant-numeric: tabular-nums; }}
.tile .big small {{ font-size: 14px; font-weight: 500; color: var(--muted); }}
.tile .row {{ font-size: 13px; color: var(--muted); font-variant-numeric: tabular-nums; }}
.tile .row b {{ color: var(--ink); font-weight: 600; }}
.meter {{ position: relative; height: 8px; border-radius: 4px; background: #edeff2; margin: 8px 0; }}
.meter i {{ position: absolute; top: 0; bottom: 0; left: 0; border-radius: 4px; }}
.meter .last {{ background: #1f4e8c; }} .meter .base {{ background: #9db8d9; }}
.meter .mark {{ width: 2px; background: var(--ink); border-radius: 0; top: -3px; bottom: -3px; }}
.scroll {{ overflow-x: auto; position: relative; }}
table {{ border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; width: 100%; }}
th {{ font-weight: 600; color: var(--muted); text-align: right; padding: 5px 8px; white-space: nowrap; font-size: 12.5px; }}
td {{ text-align: right; padding: 6px 8px; border-top: 1px solid var(--line); white-space: nowrap; }}
th.left, td.left {{ text-align: left; }}
table.wide td:first-child, table.wide th:first-child {{ position: sticky; left: 0; background: var(--paper); }}
table.wide tr.last td:first-child {{ background: #f3f7fc; }}
table.wide th, table.wide td {{ padding-left: 6px; padding-right: 6px; }}
th.group {{ text-align: center; color: var(--ink); border-bottom: 1px solid var(--line); }}
.first {{ border-left: 1px solid var(--line); }}
td.miou {{ font-weight: 600; }}
tr.majority td {{ color: var(--muted); font-style: italic; }}
tr.control td {{ color: var(--muted); }}
tr.last td {{ background: #f3f7fc; }}
td.best {{ color: #14417c; font-weight: 700; }}
td.fell {{ color: var(--bad); font-weight: 600; }} td.rose {{ color: var(--good); }}
td small {{ display: block; font-size: 10.5px; line-height: 1.25; font-weight: 400; color: var(--muted); }}
tr.group td {{ border-top: 1px solid #b7bdc8; }}
td.kind {{ text-align: left; color: var(--muted); font-size: 12px; letter-spacing: .05em; text-transform: uppercase;
  padding-top: 14px; border-top: 0; }}
td.wrap {{ white-space: normal; overflow-wrap: anywhere; min-width: 150px; }}
.dot {{ display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 5px; }}
.dot.background {{ background: var(--background); }} .dot.tumour {{ background: var(--tumour); }}
.dot.others {{ background: var(--others); }} .dot.ignored {{ background: #fff; box-shadow: 0 0 0 1px #b7bdc8 inset; }}
.legend {{ color: var(--muted); font-size: 13px; }} .legend span {{ margin-right: 16px; white-space: nowrap; }}
.pass {{ color: var(--good); font-weight: 600; }} .fail {{ color: var(--bad); font-weight: 600; }}
.grid {{ display: grid; gap: 14px 22px; }}
.grid.two {{ grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }}
.grid.three {{ grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }}
figure {{ margin: 0; }} figure img {{ width: 100%; height: auto; display: block; }}
figure.narrow {{ max-width: 760px; }} figure.chart {{ max-width: 580px; }}
.example {{ overflow-x: auto; margin: 0 0 14px; }}
.example img {{ width: 100%; min-width: 620px; height: auto; display: block; }}
.example figcaption {{ font-size: 12.5px; color: var(--muted); margin-bottom: 2px; }}
details {{ margin: 8px 0; }} summary {{ cursor: pointer; color: #1f4e8c; font-size: 14px; }}
details[open] > summary {{ margin-bottom: 10px; }}
.heat td {{ border-top: 2px solid #fff; }} .heat td[style] {{ text-align: center; min-width: 62px; border: 2px solid #fff;
  padding: 6px 4px; font-size: 13px; }}
.heat td[style] small {{ color: inherit; }} .heat tbody th {{ padding: 5px 8px 5px 0; text-align: left; }}
.heat {{ width: auto; }}
.tag {{ background: #fdf1e3; color: #8a4b08; border-radius: 4px; font-size: 11.5px; padding: 1px 6px; margin-left: 6px; }}
pre {{ background: #f6f7f9; border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; overflow: auto;
  font-size: 12.5px; line-height: 1.45; max-height: 560px; }}
code {{ font-size: 12.5px; overflow-wrap: anywhere; }}
td.hash {{ text-align: left; white-space: normal; }}
@media (max-width: 640px) {{
  main {{ padding: 18px 10px 40px; }} section {{ padding: 16px 14px; border-radius: 8px; }} h1 {{ font-size: 24px; }}
  .badge {{ margin-left: 0; vertical-align: 0; white-space: normal; }} .tiles {{ grid-template-columns: 1fr 1fr; gap: 8px; }}
  .tile {{ padding: 10px 12px; }} .tile .big {{ font-size: 26px; }} .summary {{ font-size: 15.5px; }}
}}
@media print {{ body {{ background: #fff; }} section {{ break-inside: avoid; }} }}
"""

PAGE_CSS = """
html { scroll-padding-top: 12px; }
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }
h4, h3.block { font-size: 13.5px; margin: 0 0 6px; font-weight: 600; }
.block small { color: var(--muted); font-weight: 400; margin-left: 6px; }
a { color: #1f4e8c; }
section > h3:first-of-type { margin-top: 20px; }
.report h1 { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 14px; } .report .badge { margin-left: 0; }
.summary code { font-size: .85em; }
.summary { max-width: 80ch; margin-bottom: 10px; }
.further { color: #475467; max-width: 92ch; margin: 0 0 18px; }
.note { color: var(--muted); font-size: 13px; margin: 8px 0 0; max-width: 92ch; }
.warning { background: #fdf1e3; color: #8a4b08; border-radius: 6px; padding: 8px 12px; margin: 12px 0; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.tile .meter { margin-bottom: 12px; } .tile .meter .range { top: 11px; bottom: -5px; background: var(--ink); border-radius: 0; }
.scroll:focus-visible, a:focus-visible, summary:focus-visible { outline: 2px solid #1f4e8c; outline-offset: 2px; }
.scroll td:first-child, .scroll th:first-child { position: sticky; left: 0; background: var(--paper); z-index: 1; }
.scroll tr.last td:first-child { background: #f3f7fc; }
.grid.two > div > .scroll th, .grid.two > div > .scroll td { padding-left: 5px; padding-right: 5px; }
tr.majority td:first-child { white-space: normal; line-height: 1.25; }
.report .lead { max-width: 92ch; font-size: 14px; }
.scroll + .grid, .grid + .grid, .scroll + .scroll { margin-top: 18px; }
.worst figcaption b { color: var(--ink); font-weight: 600; }
td.drawn { min-width: 150px; padding: 0 10px; }
.rail { position: relative; display: block; height: 12px;
  background: linear-gradient(var(--line), var(--line)) center / 100% 1px no-repeat; }
.rail i { position: absolute; }
.rail .spread { top: 3px; height: 6px; background: #dbe6f3; border-radius: 3px; min-width: 2px; }
.rail .range { top: 5px; height: 2px; background: #1f4e8c; min-width: 2px; }
.rail .was, .rail .now { width: 9px; height: 9px; top: 1.5px; margin-left: -4.5px; border-radius: 50%;
  border: 1.5px solid #1f4e8c; }
.rail .was { background: var(--paper); border-color: #7d9fc9; } .rail .now { background: #1f4e8c; }
.grid.two { align-items: start; gap: 18px 30px; }
.worst figcaption { font-size: 12.5px; color: var(--muted); margin-bottom: 4px; overflow-wrap: anywhere; }
.worst img { border: 1px solid var(--line); border-radius: 4px; }
nav { font-size: 13.5px; }
nav ol { list-style: none; margin: 0; padding: 0; }
nav a { display: block; padding: 4px 10px; color: #475467; text-decoration: none; border-radius: 6px; }
nav a:hover { background: #e9edf3; color: var(--ink); }
nav .open, nav .close { font-weight: 600; }
@media (min-width: 1000px) {
  body.report { display: grid; grid-template-columns: 210px minmax(0, 1080px); justify-content: center; gap: 8px; }
  body.report main { margin: 0; width: 100%; }
  nav { position: sticky; top: 0; align-self: start; max-height: 100vh; overflow-y: auto; padding: 30px 0 20px 14px; }
  nav .open { color: var(--muted); font-size: 12px; letter-spacing: .06em; text-transform: uppercase; }
  nav .close { display: none; }
}
@media (max-width: 999px) {
  nav { position: sticky; top: 0; z-index: 5; background: rgba(255, 255, 255, .96); border-bottom: 1px solid var(--line); }
  nav .open, nav .close { padding: 9px 16px; color: #1f4e8c; }
  nav .open::before { content: "☰  "; } nav .close::before { content: "×  "; }
  nav ol { display: none; padding: 0 6px 10px; columns: 2 150px; }
  nav:target ol { display: block; } nav .close, nav:target .open { display: none; } nav:target .close { display: block; }
  html { scroll-padding-top: 52px; }
}
@media (max-width: 640px) {
  .report table { font-size: 13px; } .report th { font-size: 11.5px; }
  .report .scroll th, .report .scroll td, .grid.two > div > .scroll th, .grid.two > div > .scroll td {
    padding-left: 4px; padding-right: 4px; }
  .report td small { font-size: 10px; } .grid.two > div > .scroll td:first-child, .report td.wrap { white-space: normal; }
  .report td.wrap { min-width: 92px; } .grid.two > div > .scroll th .dot { display: none; }
  .report .dot { width: 7px; height: 7px; margin-right: 3px; }
  .heat td[style] { min-width: 54px; }
}
@media print { nav { display: none; } body.report { display: block; } .scroll { overflow: visible; }
  .tiles { break-inside: avoid; } details:not([open]) { display: none; } main { max-width: none; padding: 0; } }
"""
