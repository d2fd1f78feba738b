// A sentence, the moments that were found for it, and what is said of them.

import { $, ask, clock, copy, json, url } from '/page/api.js';
import { facts } from '/page/library.js';
import { current, nudge, play, playFrom, show } from '/page/player.js';

const STEP = 20; // moments that are asked for, and more each time
const SHOWN = 3; // of a video, until all are asked for
const TALL = 46; // of the pictures of a whole video
const said = { yes: new Map(), no: new Map() }; // of the moments of this sentence, by name
const moved = new Map(); // borders that were nudged, by name
const chosen = new Map(); // for export, of all sentences
let found = []; // moments as they stand on the page
let query = '';
let number = STEP;
let running = null;

const nameOf = ({ video, found: [start, end] }) => `${video} ${start} ${end}`;

// Searching.

async function search() {
  running?.abort();
  running = new AbortController();
  const kept = current();
  $('message').textContent = 'searching …';
  const spans = (which) =>
    [...which.values()].map(({ video, found: [start, end] }) => ({ video, start, end }));
  try {
    const answer = await json('/api/search', {
      method: 'POST',
      signal: running.signal,
      body: {
        query,
        number,
        kinds: $('kinds').value.split(','),
        liked: spans(said.yes),
        disliked: spans(said.no),
      },
    });
    draw(answer.moments);
    $('next').hidden = found.length < number || number >= 200;
    tell();
    if (!found.length) return;
    const again = kept && found.find((one) => nameOf(one) === nameOf(kept));
    if (again) select(again, false);
    else if (window.matchMedia('(min-width: 60rem)').matches) select(found[0], false);
  } catch (error) {
    if (error.name !== 'AbortError') $('message').textContent = error.message;
  }
}

function tell() {
  const [yes, no] = [said.yes.size, said.no.size];
  const refined = yes + no ? `, refined by ${yes} yes and ${no} no` : '';
  const videos = new Set(found.map((one) => one.video)).size;
  $('message').textContent = found.length
    ? `${found.length} moments in ${videos} videos${refined}`
    : `Nothing was found${refined}.`;
}

function draw(moments) {
  found = [];
  $('groups').replaceChildren();
  for (const moment of moments) place(adopt(moment));
}

/** A moment as the page keeps it: with the borders that it was found with, and those now. */
function adopt(answer) {
  const moment = { ...answer, query, found: [answer.start, answer.end] };
  return Object.assign(chosen.get(nameOf(moment)) ?? moment, moment, moved.get(nameOf(moment)));
}

// Drawing.

function place(moment) {
  const id = `video-${moment.video}`;
  const group = $(id) ?? drawGroup(id, moment);
  const [row, part] = copy('moment');
  const mark = document.createElement('button');
  mark.addEventListener('click', (event) => {
    event.stopPropagation();
    select(moment, true);
  });
  group.querySelector('.marks').append(mark);
  Object.assign(moment, { row, mark });
  const label = moment.rank ?? '+';
  part('.rank').textContent = mark.textContent = label;
  mark.setAttribute('aria-label', `Play moment ${label}`);
  const [start, end] = moment.found;
  part('.shot img').addEventListener('load', ({ target }) => drawSheet(group, moment, target));
  part('.shot img').src = url(moment.video, 'sheet', { start, end, count: 1, height: 120 });
  part('.shot').setAttribute('aria-label', `Play moment ${label} of ${moment.name}`);
  for (const why of moment.why) part('.why').append(reason(why));
  part('.shot').addEventListener('click', () => select(moment, true));
  part('.what').addEventListener('click', () => select(moment, false));
  for (const which of ['yes', 'no']) {
    part(`.${which}`).setAttribute('aria-pressed', said[which].has(nameOf(moment)));
    part(`.${which}`).addEventListener('click', () => say(moment, which));
  }
  part('.choose').checked = chosen.has(nameOf(moment));
  part('.choose').addEventListener('change', () => choose(moment));
  const rows = group.querySelector('ol');
  rows.append(row);
  row.classList.toggle('extra', rows.children.length > SHOWN);
  group.querySelector('.all').hidden = rows.children.length <= SHOWN;
  group.querySelector('.all').textContent = `${rows.children.length - SHOWN} more of this video`;
  found.push(moment);
  measure(moment);
}

/** Why it was found; in what was said, the words of the sentence stand out. */
function reason(why) {
  const item = document.createElement('li');
  const words = new Set(query.toLowerCase().match(/[\p{L}\p{N}]{3,}/gu) ?? []);
  for (const part of why.split(/([\p{L}\p{N}]+)/u)) {
    const hit = why.includes('"') && words.has(part.toLowerCase());
    item.append(hit ? Object.assign(document.createElement('mark'), { textContent: part }) : part);
  }
  return item;
}

function drawGroup(id, { video, name, path, duration }) {
  const [group, part] = copy('group');
  group.id = id;
  part('h2').textContent = name;
  part('h2').title = path;
  if (duration) {
    part('h2').append(Object.assign(document.createElement('small'), { textContent: clock(duration) }));
    part('.line').addEventListener('click', (event) => {
      const box = part('.line').getBoundingClientRect();
      const first = found.find((one) => one.video === video);
      select(first, false);
      playFrom((duration * (event.clientX - box.left)) / box.width);
    });
    drawCurve(part('.curve'), video);
  }
  part('.all').addEventListener('click', () => group.classList.add('open'));
  $('groups').append(group);
  return group;
}

/** Pictures of the whole video, as many as there is room for in their own shape. */
function drawSheet(group, { video, duration }, { naturalWidth, naturalHeight }) {
  const sheet = group.querySelector('.sheet');
  if (!duration || sheet.src) return;
  const tile = (TALL * naturalWidth) / naturalHeight;
  const count = Math.max(1, Math.min(24, Math.round(sheet.parentNode.clientWidth / tile)));
  sheet.src = url(video, 'sheet', { start: 0, end: duration, count, height: 2 * TALL });
}

async function drawCurve(svg, video) {
  if ($('kinds').value === 'text') return;
  try {
    const { scores } = await json(url(video, 'curve', { query }), { signal: running?.signal });
    const [low, high] = [Math.min(...scores), Math.max(...scores)];
    const points = scores.map((score, i) => {
      const x = (1000 * (i + 0.5)) / scores.length;
      return `${x.toFixed(1)},${(96 - (88 * (score - low)) / (high - low || 1)).toFixed(1)}`;
    });
    const [head, tail] = [points[0].split(',')[1], points.at(-1).split(',')[1]];
    const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    path.setAttribute('d', `M0,100 L0,${head} L${points.join(' ')} L1000,${tail} L1000,100 Z`);
    svg.replaceChildren(path);
  } catch { /* a curve is an extra; the moments are there without it */ }
}

/** Where a moment is, now. */
function measure({ row, mark, start, end, duration, rank }) {
  row.querySelector('.time').textContent = `${clock(start)} – ${clock(end)}`;
  mark.title = `${rank ? `moment ${rank}: ` : ''}${clock(start)} – ${clock(end)}`;
  mark.style.left = `${(100 * start) / (duration || 1)}%`;
  mark.style.width = `${(100 * (end - start)) / (duration || 1)}%`;
}

// What is done with a moment.

function select(moment, playing) {
  for (const one of found) {
    const now = one === moment;
    one.row.classList.toggle('current', now);
    one.mark.classList.toggle('current', now);
    if (now) one.row.setAttribute('aria-current', 'true');
    else one.row.removeAttribute('aria-current');
  }
  show(moment, playing);
  drawWords(moment);
}

/** What each word has to do with a moment's being found, if its pictures are what was searched. */
async function drawWords({ video, found: [start, end], query }) {
  $('words').replaceChildren();
  if ($('kinds').value === 'text') return;
  const words = await json(url(video, 'words', { query, start, end })).catch(() => []);
  if (current().found[0] !== start || current().video !== video) return; // another was selected
  $('words').replaceChildren(
    ...words.map(({ word, share }) => {
      const part = document.createElement('span');
      part.textContent = word;
      part.title = `${Math.round(100 * share)} %`;
      part.style.setProperty('--share', share);
      return part;
    }),
  );
}

function step(by) {
  if (!found.length) return;
  const shown = [...document.querySelectorAll('.group.open .moment, .moment:not(.extra)')];
  const at = shown.findIndex((row) => row.classList.contains('current'));
  const row = shown[Math.max(0, Math.min(shown.length - 1, at + by))];
  select(found.find((one) => one.row === row), false);
  row.scrollIntoView({ block: 'nearest' });
}

let later = 0;
function say(moment, which) {
  const other = which === 'yes' ? 'no' : 'yes';
  const name = nameOf(moment);
  said[other].delete(name);
  if (!said[which].delete(name)) said[which].set(name, moment);
  for (const one of ['yes', 'no']) {
    moment.row.querySelector(`.${one}`).setAttribute('aria-pressed', said[one].has(name));
  }
  clearTimeout(later);
  later = setTimeout(search, 400); // several may be said at once
}

function choose(moment) {
  if (!chosen.delete(nameOf(moment))) chosen.set(nameOf(moment), moment);
  moment.row.querySelector('.choose').checked = chosen.has(nameOf(moment));
  $('selection').hidden = !chosen.size;
  $('chosen').textContent = `${chosen.size} selected`;
}

async function more() {
  const of = current();
  if (!of) return;
  try {
    const body = { query, number: 5 };
    const answer = await json(url(of.video, 'ask'), { method: 'POST', body });
    const known = new Set(found.map(nameOf));
    const fresh = answer.moments
      .map(({ rank, ...moment }) => adopt(moment))
      .filter((moment) => !known.has(nameOf(moment)));
    for (const moment of fresh) place(moment);
    $(`video-${of.video}`)?.classList.add('open');
    if (fresh.length) select(fresh[0], false);
    fresh[0]?.row.scrollIntoView({ block: 'nearest' });
  } catch (error) {
    $('message').textContent = error.message;
  }
}

async function exportChosen() {
  const rows = [...chosen.values()];
  const title = [...new Set(rows.map((one) => one.query))].join(' / ').slice(0, 1000);
  const moments = rows.map(({ video, start, end, score, probability, why }) => ({
    video,
    start,
    end,
    score,
    probability,
    why,
  }));
  const form = $('form').value;
  try {
    const body = { query: title, moments, form, padding: Number($('padding').value) || 0 };
    const answer = await ask('/api/export', { method: 'POST', body });
    const href = URL.createObjectURL(await answer.blob());
    Object.assign(document.createElement('a'), { href, download: `moments.${form}` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
    $('chosen').textContent = `${chosen.size} selected`;
  } catch (error) {
    $('chosen').textContent = error.message;
  }
}

// Events.

function fromAddress() {
  const values = new URLSearchParams(location.hash.slice(1));
  $('query').value = values.get('q') ?? '';
  if (values.get('in')) $('kinds').value = values.get('in');
  start();
}

function start() {
  number = STEP;
  if (query !== $('query').value.trim()) for (const one of Object.values(said)) one.clear();
  query = $('query').value.trim();
  document.title = query ? `${query} – demul` : 'demul';
  if (query) search();
}

$('search').addEventListener('submit', (event) => {
  event.preventDefault();
  const hash = `#${new URLSearchParams({ q: $('query').value.trim(), in: $('kinds').value })}`;
  if (location.hash === hash) start();
  else location.hash = hash;
  $('query').blur();
});
window.addEventListener('hashchange', fromAddress);
document.addEventListener('moved', ({ detail: moment }) => {
  moved.set(nameOf(moment), { start: moment.start, end: moment.end });
  measure(moment);
});
$('kinds').addEventListener('change', () => query && $('search').requestSubmit());
$('more').addEventListener('click', more);
$('next').addEventListener('click', () => {
  number += STEP;
  search();
});
$('export').addEventListener('click', exportChosen);
$('clear').addEventListener('click', () => [...chosen.values()].forEach(choose));
$('open-keys').addEventListener('click', () => $('keys').showModal());
$('theme').addEventListener('click', () => {
  const dark = getComputedStyle(document.documentElement).colorScheme.startsWith('dark');
  setTheme(dark ? 'light' : 'dark');
});

function setTheme(theme) {
  if (theme) localStorage.setItem('theme', theme);
  else theme = localStorage.getItem('theme');
  const dark = theme ? theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
}

const keys = {
  '/': () => $('query').select(),
  '?': () => $('keys').showModal(),
  j: () => step(1),
  k: () => step(-1),
  ' ': () => play(true),
  y: () => current() && say(current(), 'yes'),
  n: () => current() && say(current(), 'no'),
  x: () => current() && choose(current()),
  c: () => current() && $('cut').click(),
  m: more,
};
const edges = { a: ['start', -1], s: ['start', 1], d: ['end', -1], f: ['end', 1] };

document.addEventListener('keydown', (event) => {
  const typing = event.target.matches('input:not([type=checkbox]), select, textarea');
  const busy = typing || event.ctrlKey || event.metaKey || event.altKey;
  if (busy || document.querySelector('dialog[open]')) return;
  if (event.key === ' ' && event.target.matches('button, a, input, video')) return;
  const edge = edges[event.key.toLowerCase()];
  if (edge) nudge(edge[0], edge[1] * (event.shiftKey ? 1 : 0.1));
  else if (keys[event.key]) keys[event.key]();
  else return;
  event.preventDefault();
});

setTheme();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => setTheme());
facts()
  .then(({ forms, videos }) => {
    for (const form of forms) $('form').append(new Option(form, form));
    $('form').value = 'edl';
    if (!query) {
      $('message').textContent = videos
        ? `${videos} videos can be searched.`
        : 'The library is empty: add a folder (Folders, above).';
    }
  })
  .catch((error) => {
    $('message').textContent = error.message;
  });
fromAddress();
