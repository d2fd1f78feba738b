"""The look of the HTML report: one style sheet, for light and dark, without outside resources."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1b2026; --soft: #5c6570; --line: #e1e5ea;
  --track: #eef1f4; --true: #0f8a6a; --guess: #3b67d6; --floor: #a9b1bb;
  --good: #0b6b52; --good-bg: #dcf3ea; --bad: #8a4a12; --bad-bg: #fbeadb;
  --shadow: 0 1px 2px rgb(20 30 40 / 6%), 0 4px 16px rgb(20 30 40 / 5%);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12151a; --card: #1a1f26; --ink: #e8ebef; --soft: #9aa5b1; --line: #2a313a;
    --track: #242b34; --true: #35c39a; --guess: #7d9df5; --floor: #5d6875;
    --good: #7be0c0; --good-bg: #123b30; --bad: #f0b685; --bad-bg: #43290f;
    --shadow: none;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -0.015em; }
h2 { font-size: 18px; margin: 44px 0 4px; letter-spacing: -0.01em; }
h3 { font-size: 15px; margin: 0; font-weight: 600; }
p.lead { color: var(--soft); margin: 0 0 18px; max-width: 72ch; }
.meta { color: var(--soft); font-size: 13.5px; display: flex; flex-wrap: wrap; gap: 2px 18px; }
.notice {
  background: var(--bad-bg); color: var(--bad); border-radius: 8px; padding: 9px 14px;
  margin: 16px 0 0; font-size: 14px;
}
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  box-shadow: var(--shadow); padding: 18px 20px; margin: 14px 0;
}
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px; }
.tiles .card { margin: 0; }
.tile-name { color: var(--soft); font-size: 13px; }
.tile-value { font-size: 32px; font-weight: 650; letter-spacing: -0.02em; line-height: 1.25; }
.tile-value small { font-size: 15px; font-weight: 400; color: var(--soft); letter-spacing: 0; }
.tile-floor { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th, td { padding: 7px 10px; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { color: var(--soft); font-weight: 500; border-bottom: 1px solid var(--line); }
td { border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
tr:last-child td { border-bottom: 0; }
td { color: var(--soft); } td.model { font-weight: 650; color: var(--ink); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 13px; color: var(--soft); }
.legend i {
  display: inline-block; width: 22px; height: 9px; border-radius: 3px; margin-right: 7px;
}
.i-true { background: var(--true); } .i-guess { background: var(--guess); }
.i-other { background: var(--guess); opacity: .35; }
.video-head { display: flex; justify-content: space-between; gap: 12px; margin-bottom: 10px; }
.video-head span { color: var(--soft); font-size: 13px; white-space: nowrap; }
.strip { display: flex; gap: 2px; border-radius: 7px; overflow: hidden; }
.strip img {
  flex: 1 1 0; min-width: 0; height: auto; max-height: 112px; object-fit: cover; display: block;
}
svg { display: block; width: 100%; overflow: visible; }
svg .axis { stroke: var(--line); } svg text { fill: var(--soft); font-size: 11px; }
svg .track { fill: var(--track); } svg .true { fill: var(--true); }
svg .guess { fill: var(--guess); } svg .other { fill: var(--guess); opacity: .35; }
svg .bar { fill: var(--guess); } svg .floor { stroke: var(--ink); stroke-width: 2; }
.query { padding: 10px 0 0; border-top: 1px solid var(--line); margin-top: 8px; }
.query:first-of-type { border-top: 0; margin-top: 2px; }
.query-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: 3px 10px;
  margin-bottom: 6px;
}
.query-head q { flex: 1 1 260px; quotes: none; }
.times { color: var(--soft); font-size: 13px; font-variant-numeric: tabular-nums; }
.badge {
  font-size: 12px; border-radius: 99px; padding: 1px 9px; white-space: nowrap;
  font-variant-numeric: tabular-nums;
}
.hit { background: var(--good-bg); color: var(--good); }
.miss { background: var(--bad-bg); color: var(--bad); }
.tag { color: var(--soft); border: 1px solid var(--line); }
details { font-size: 12.5px; color: var(--soft); margin: 3px 0 0; }
summary { cursor: pointer; width: fit-content; opacity: .75; }
.terms { display: grid; grid-template-columns: max-content 1fr max-content; gap: 2px 10px;
  max-width: 420px; margin: 6px 0; align-items: center; }
.hits { display: grid; grid-template-columns: repeat(auto-fill, minmax(178px, 1fr)); gap: 12px; }
.search-hit { border: 1px solid var(--line); border-radius: 9px; overflow: hidden; }
.search-hit.right { outline: 2px solid var(--true); outline-offset: -1px; }
.search-hit img { width: 100%; height: 124px; object-fit: cover; display: block; }
.search-hit .noimg { height: 34px; background: var(--track); }
.search-hit div.text { padding: 8px 11px 10px; font-size: 13px; }
.search-hit b { font-weight: 600; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: 13px; margin-top: 44px; }
"""
