// The folders of the library, and the update of them.

import { $, ask, clock, json } from '/page/api.js';

let library = null;

/** What the library holds; asked for once, and again after an update. */
export async function facts(anew = false) {
  if (!library || anew) library = await json('/api/library');
  return library;
}

async function open() {
  $('folders').showModal();
  await draw();
  follow();
}

async function draw(anew = true) {
  const found = await facts(anew);
  const rows = {
    videos: `${found.videos} of ${clock(3600 * found.hours)}`,
    folders: found.folders.join('\n') || 'none',
    encoder: found.encoder ?? 'not chosen yet',
    'lines of text': found.lines_of_text,
    'cannot be read': Object.keys(found.broken).join('\n') || 'none',
  };
  $('facts').replaceChildren();
  for (const [name, value] of Object.entries(rows)) {
    const [term, text] = [document.createElement('dt'), document.createElement('dd')];
    [term.textContent, text.textContent] = [name, value];
    $('facts').append(term, text);
  }
  $('add').hidden = !found.allowed.length;
  $('allowance').textContent = found.allowed.length
    ? `Folders below ${found.allowed.join(', ')} can be added.`
    : 'To add folders from here, start with: demul serve --allow FOLDER';
  $('allowed').replaceChildren(
    ...found.allowed.map((path) => Object.assign(document.createElement('option'), { value: path })),
  );
}

async function follow() {
  const state = await json('/api/update');
  $('progress').hidden = $('stop').hidden = !state.running;
  $('again').hidden = state.running;
  if (state.running) {
    $('progress').value = state.total ? (state.done + state.share) / state.total : 0;
    $('progress-text').textContent = state.file
      ? `${state.done + 1} of ${state.total}: ${state.file}`
      : 'looking for videos';
    setTimeout(follow, 500);
    return;
  }
  if (state.error) $('progress-text').textContent = state.error;
  if (state.report) {
    const { added, kept, forgotten, broken, alerts } = state.report;
    const bad = broken.length ? `, ${broken.length} cannot be read` : '';
    const told = alerts.map(
      ({ sentence, video, start, end }) =>
        `\nalert "${sentence}": ${video.split(/[\\/]/).pop()} ${clock(start)} – ${clock(end)}`,
    );
    $('progress-text').textContent =
      `${added} added, ${kept} as before, ${forgotten} forgotten${bad}${told.join('')}`;
    await draw();
  }
}

async function update(folders) {
  try {
    await ask('/api/update', { method: 'POST', body: { folders } });
    await follow();
  } catch (error) {
    $('progress-text').textContent = error.message;
  }
}

$('open-folders').addEventListener('click', open);
$('add').addEventListener('submit', (event) => {
  event.preventDefault();
  if ($('folder').value.trim()) update([$('folder').value.trim()]);
});
$('again').addEventListener('click', () => update([]));
$('stop').addEventListener('click', () => ask('/api/update', { method: 'DELETE' }));
