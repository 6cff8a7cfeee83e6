"""The page's style sheet."""

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
.scroll {{ overflow-x: auto; }}
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
tr.last td {{ background: #f3f7fc; }}
td.best {{ color: #14417c; font-weight: 700; }}
.dot {{ display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 5px; }}
.dot.background {{ background: var(--background); }} .dot.tumour {{ background: var(--tumour); }}
.dot.others {{ background: var(--others); }} .dot.ignored {{ background: #fff; box-shadow: 0 0 0 1px #b7bdc8 inset; }}
.legend {{ color: var(--muted); font-size: 13px; }} .legend span {{ margin-right: 16px; white-space: nowrap; }}
.pass {{ color: var(--good); font-weight: 600; }} .fail {{ color: var(--bad); font-weight: 600; }}
.grid {{ display: grid; gap: 14px 22px; }}
.grid.two {{ grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }}
.grid.three {{ grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }}
figure {{ margin: 0; }} figure img {{ width: 100%; height: auto; display: block; }}
figure.narrow {{ max-width: 760px; }}
.example {{ overflow-x: auto; margin: 0 0 14px; }}
.example img {{ width: 100%; min-width: 620px; height: auto; display: block; }}
.example figcaption {{ font-size: 12.5px; color: var(--muted); margin-bottom: 2px; }}
details {{ margin: 8px 0; }} summary {{ cursor: pointer; color: #1f4e8c; font-size: 14px; }}
details[open] > summary {{ margin-bottom: 10px; }}
.confusion td {{ text-align: center; min-width: 66px; border: 2px solid #fff; padding: 8px 4px; font-size: 13px; }}
.confusion td small {{ display: block; font-size: 11px; opacity: .75; }}
.confusion th {{ text-align: right; }} .confusion thead th {{ text-align: center; }} .confusion th {{ padding: 5px; }}
.confusion {{ width: auto; }}
.tag {{ background: #fdf1e3; color: #8a4b08; border-radius: 4px; font-size: 11.5px; padding: 1px 6px; margin-left: 6px; }}
pre {{ background: #f6f7f9; border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; overflow: auto;
  font-size: 12.5px; line-height: 1.45; max-height: 560px; }}
code {{ font-size: 12.5px; overflow-wrap: anywhere; }}
td.hash {{ text-align: left; white-space: normal; }}
@media (max-width: 640px) {{
  main {{ padding: 18px 10px 40px; }} section {{ padding: 16px 14px; border-radius: 8px; }} h1 {{ font-size: 24px; }}
  .badge {{ margin-left: 0; vertical-align: 0; }} .tiles {{ grid-template-columns: 1fr 1fr; gap: 8px; }}
  .tile {{ padding: 10px 12px; }} .tile .big {{ font-size: 26px; }} .summary {{ font-size: 15.5px; }}
}}
@media print {{ body {{ background: #fff; }} section {{ break-inside: avoid; }} }}
"""
