"""The look of a report: wide screens, narrow screens, print."""

CSS = """
:root { --ink: #1b1b1b; --dim: #555; --line: #d9d9d9; --right: #00664b; --wrong: #b3261e; --link: #0b57a4; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1360px; padding: 0 1.2rem 2rem; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 1.2rem 0 0.2rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.6rem; padding-bottom: 0.2rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1rem; margin: 1.3rem 0 0.4rem; }
p, ul { margin: 0.4rem 0; max-width: 75rem; }
header p, footer p, figcaption, .dim { color: var(--dim); }
nav { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; margin: 0.6rem 0; }
a { color: var(--link); }
.note { border-left: 4px solid #b8860b; background: #fff8e1; padding: 0.5rem 0.8rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 9.5rem), 1fr)); gap: 0.6rem; margin: 0.8rem 0; }
.cards div { border: 1px solid var(--line); border-radius: 6px; padding: 0.5rem 0.7rem; }
.cards b { display: block; font-size: 1.3rem; line-height: 1.3; white-space: nowrap; }
.cards span { color: var(--dim); font-size: 0.85rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1rem; align-items: start; }
.figures.large { grid-template-columns: repeat(auto-fill, minmax(min(100%, 36rem), 1fr)); }
.large figure { max-width: 44rem; }
figure { margin: 0 0 0.5rem; max-width: 36rem; }
figure img { width: 100%; height: auto; display: block; }
figcaption { font-size: 0.85rem; }
.wide { overflow-x: auto; margin: 0.6rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; }
caption { text-align: left; color: var(--dim); padding-bottom: 0.2rem; }
th, td { text-align: left; padding: 0.25rem 0.7rem 0.25rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: normal; }
th.n { text-align: right; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td:first-child { min-width: 9rem; }
th { white-space: nowrap; }
summary { cursor: pointer; padding: 0.3rem 0; font-weight: 600; }
.row { margin: 0.6rem 0 1.1rem; break-inside: avoid; }
.row > p { margin: 0 0 0.3rem; }
.strip { display: flex; flex-wrap: wrap; gap: 0.45rem; }
.tile { width: 5rem; font-size: 0.75rem; line-height: 1.25; text-align: center; }
.tile img { width: 100%; height: auto; display: block; border: 4px solid #fff; }
.tile b { font-size: 0.85rem; }
.tile b, .tile span { white-space: nowrap; }
.looks .tile span { white-space: normal; }
.tile.right img { border: 4px solid var(--right); }
.tile.wrong img { border: 4px dashed var(--wrong); }
.tile.right b { color: var(--right); }
.tile.wrong b { color: var(--wrong); }
.tile.query { margin-right: 0.8rem; }
.tile.query img { border-color: #1b1b1b; }
.looks { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 31rem), 1fr)); gap: 0 1rem; }
.looks .tile { width: 7rem; }
@media (max-width: 600px) { body { padding: 0 0.7rem 1rem; } .tile { width: calc(20% - 0.45rem); min-width: 3.6rem; }
  .tile.query { margin-right: 75%; }
  .looks .tile { width: calc(25% - 0.45rem); } td:first-child { min-width: 6.5rem; } .cards b { font-size: 1.15rem; } }
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  nav { display: none; }
  .wide { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding-right: 0.5em; }
  td:first-child { min-width: 0; }
  .cards { grid-template-columns: repeat(3, 1fr); }
  .figures { grid-template-columns: repeat(2, 1fr); }
  figure, tr, .cards { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  details:first-of-type::details-content { content-visibility: visible; block-size: auto; }
  .figures.large { grid-template-columns: 1fr; }
  .tile { width: 1.45cm; font-size: 0.62rem; }
  .strip { gap: 0.12cm; }
  .looks { grid-template-columns: 1fr 1fr; }
  .looks .tile { width: 2.1cm; }
  .tile img, .note { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
