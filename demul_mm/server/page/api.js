// What all parts of the page share.

export const $ = (id) => document.getElementById(id);

/** Ask the server; a refusal is an Error with its words. */
export async function ask(path, options = {}) {
  if (options.body) {
    options = { ...options, body: JSON.stringify(options.body) };
    options.headers = { 'Content-Type': 'application/json' };
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Error('The server does not answer; is it still running?');
  }
  if (answer.ok) return answer;
  const text = await answer.text();
  let detail = text;
  try {
    detail = JSON.parse(text).detail;
  } catch { /* plain text */ }
  if (Array.isArray(detail)) detail = detail.map((one) => one.msg).join('; ');
  throw new Error(detail || `The server refused (${answer.status}).`);
}

export const json = async (path, options) => (await ask(path, options)).json();

/** 1:02:03.4 or 2:03.4 */
export function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const hours = Math.floor(tenths / 36000);
  const minutes = Math.floor(tenths / 600) % 60;
  const rest = `${String(Math.floor(tenths / 10) % 60).padStart(2, '0')}.${tenths % 10}`;
  return hours ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`;
}

export const url = (video, what, values = {}) =>
  `/api/videos/${encodeURIComponent(video)}/${what}?${new URLSearchParams(values)}`;

/** A copy of a template's one element, and a way to its parts. */
export function copy(template) {
  const element = $(template).content.firstElementChild.cloneNode(true);
  return [element, (selector) => element.querySelector(selector)];
}
