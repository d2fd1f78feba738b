// Plays exactly a moment, and moves its borders.

import { $, clock, url } from '/page/api.js';

const video = $('video');
// Seconds around a moment that are cut out where a browser cannot play the file itself.
const AROUND = 10;
let moment = null; // that is shown
let offset = 0; // of what is played in the file, in seconds
let stopAt = null;

export const current = () => moment;

/** Show a moment: its first frame, or play it. */
export function show(found, playing) {
  const other = !moment || moment.video !== found.video || offset > 0;
  moment = found;
  $('player').hidden = false;
  $('playing').textContent = found.name;
  $('playing').title = found.path;
  if (other) {
    offset = 0;
    video.src = url(found.video, 'file');
  }
  tell();
  if (playing) play();
  else seek(moment.start);
}

/** Play the moment from its start to its end, or pause. */
export function play(pausing = false) {
  if (!moment) return;
  if (pausing && !video.paused) {
    video.pause();
    return;
  }
  seek(moment.start);
  stopAt = moment.end;
  video.play().catch(() => {}); // an error is told by its event
}

/** Play from a time on, past the moment. */
export function playFrom(seconds) {
  stopAt = null;
  seek(seconds);
  video.play().catch(() => {});
}

/** Move a border, and show the picture there. */
export function nudge(edge, by) {
  if (!moment) return;
  const last = moment.duration ?? Infinity;
  const wanted = Math.round((moment[edge] + by) * 1000) / 1000;
  moment[edge] =
    edge === 'start'
      ? Math.max(0, Math.min(wanted, moment.end - 0.1))
      : Math.min(last, Math.max(wanted, moment.start + 0.1));
  video.pause();
  seek(edge === 'start' ? moment.start : Math.max(moment.start, moment.end - 0.04));
  tell();
  document.dispatchEvent(new CustomEvent('moved', { detail: moment }));
}

function tell() {
  $('start').textContent = clock(moment.start);
  $('end').textContent = clock(moment.end);
  $('cut').href = url(moment.video, 'cut', { start: moment.start, end: moment.end });
}

function seek(seconds) {
  stopAt = null;
  const place = () => {
    video.currentTime = Math.max(0, seconds - offset);
  };
  if (video.readyState >= HTMLMediaElement.HAVE_METADATA) place();
  else video.addEventListener('loadedmetadata', place, { once: true });
}

function watch() {
  if (stopAt !== null && video.currentTime + offset >= stopAt) {
    const end = stopAt;
    stopAt = null;
    video.pause();
    video.currentTime = end - offset;
  }
  if (!video.paused) requestAnimationFrame(watch);
}

video.addEventListener('play', watch);
video.addEventListener('timeupdate', watch); // where the page is not seen, no frame is drawn
video.addEventListener('error', () => {
  if (!moment || offset > 0 || !video.src.includes('/file')) return;
  // A kind of file that browsers do not play: what is around the moment is encoded anew.
  const start = Math.max(0, moment.start - AROUND);
  offset = Math.max(start, 1e-6);
  const wanted = stopAt;
  video.src = url(moment.video, 'cut', { start, end: moment.end + AROUND });
  seek(moment.start);
  stopAt = wanted;
  if (wanted !== null) video.play().catch(() => {});
});

$('play').addEventListener('click', () => play());
for (const button of document.querySelectorAll('[data-edge]')) {
  button.addEventListener('click', () => nudge(button.dataset.edge, Number(button.dataset.by)));
}
