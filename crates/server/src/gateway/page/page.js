// The page at the gateway's `/`: a form, a list, and the client of /evs.js. What it needs to go on after a reload is in
// the tab's session storage; the token is not.
import { subscribe } from './evs.js';

const SHOWN_MAX = 500;
const STORED = 'evs';
const FIELDS = ['subscriber', 'consumer', 'where', 'transport'];

const element = id => document.getElementById(id);
const counts = { events: 0, gaps: 0, reconnects: 0 };
let subscription;
let stored = {};

const save = changes => {
  stored = { ...stored, ...changes };
  sessionStorage.setItem(STORED, JSON.stringify(stored));
};

const count = (name, by = 1) => {
  counts[name] += by;
  element(name).textContent = counts[name].toLocaleString('en');
};

const line = (kind, head, text) => {
  const item = document.createElement('li');
  item.className = kind;
  const number = document.createElement('span');
  number.textContent = head;
  const body = document.createElement('code');
  body.textContent = text;
  item.append(number, body);
  const list = element('list');
  list.prepend(item);
  while (list.children.length > SHOWN_MAX) list.lastChild.remove();
};

const show = (state, text) => {
  element('state').dataset.state = state;
  element('state').textContent = text;
};

const SAID = {
  connecting: () => 'connecting',
  behind: ({ resumed }) => `connected (${resumed}), catching up`,
  live: () => 'live',
  waiting: ({ code, reason, retryMs }) =>
    `connection lost (${[code, reason].filter(Boolean).join(' ')}), again in ${(retryMs / 1000).toFixed(1)} s`,
  stopped: ({ code, reason }) => `stopped by the server: ${code} ${reason}`,
  closed: () => 'not connected',
};

const connect = () => {
  subscription?.close();
  const form = Object.fromEntries(FIELDS.map(name => [name, element(name).value.trim()]));
  const observe = element('observe').checked;
  const key = JSON.stringify([form.subscriber, form.consumer, form.where, observe]);
  // A cursor is of one queue and one way to read it.
  if (stored.key !== key) save({ ...form, observe, key, cursor: null });
  save({ ...form, connected: true });
  const own = (subscription = subscribe(location.origin, form.subscriber, {
    consumer: observe ? undefined : form.consumer || 'page',
    observe,
    where: form.where || undefined,
    transport: form.transport,
    token: element('token').value || undefined,
    cursor: observe || form.transport === 'sse' ? stored.cursor : undefined,
    onEvent: ({ seq, position, data }) => {
      count('events');
      line('event', seq ?? position, JSON.stringify(data));
    },
    onGap: ({ from, to, reason }) => {
      count('gaps');
      const which = to === undefined ? `some before ${from}` : from === to ? `${from}` : `${from} to ${to}`;
      line('gap', 'gap', `${which} will not come: ${reason}`);
    },
    onCursor: cursor => own === undefined || own === subscription ? save({ cursor }) : undefined,
    onError: ({ code, message }) => line('note', 'error', `${code}: ${message}`),
    onState: (state, detail) => {
      show(state, SAID[state](detail));
      if (state === 'waiting') {
        count('reconnects');
        line('note', '', SAID.waiting(detail));
      }
      if (state === 'stopped') line('note', '', SAID.stopped(detail));
      element('connect').textContent = ['closed', 'stopped'].includes(state) ? 'Connect' : 'Disconnect';
    },
  }));
};

element('form').addEventListener('submit', event => {
  event.preventDefault();
  if (subscription && !['closed', 'stopped'].includes(subscription.state)) {
    save({ connected: false });
    subscription.close();
    return;
  }
  connect();
});

try {
  stored = JSON.parse(sessionStorage.getItem(STORED)) ?? {};
} catch {
  // What cannot be read is forgotten.
}
for (const name of FIELDS) element(name).value = stored[name] ?? (name === 'transport' ? 'websocket' : '');
element('observe').checked = stored.observe ?? true;
if (stored.connected && stored.subscriber) connect();
