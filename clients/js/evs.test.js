// The pure part; a browser tests the rest against a running server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Progress, Subscription, backoff, reconnects } from './evs.js';

test('close codes say whether to come back', () => {
  for (const code of [1001, 1006, 4000, 4004, 4499, 5000]) assert.ok(reconnects(code), `${code}`);
  for (const code of [1009, 4500, 4504, 4509, 4999]) assert.ok(!reconnects(code), `${code}`);
});

test('the wait grows and is bounded', () => {
  assert.deepEqual([0, 1, 2, 6, 50].map(tries => backoff(tries, () => 1)), [500, 1000, 2000, 30000, 30000]);
  assert.equal(backoff(3, () => 0), 0);
});

test('what was seen is left out, and a hole is told', () => {
  const progress = new Progress();
  progress.welcome({ epoch: 'a', next: 5, resumed: 'exact' });
  assert.equal(progress.event({ seq: 5 }), 'new');
  assert.equal(progress.event({ seq: 5 }), 'seen');
  assert.equal(progress.event({ seq: 7 }), 'hole');
  progress.gap({ from: 6, to: 7 });
  assert.equal(progress.event({ seq: 8 }), 'new');
  assert.equal(progress.event({ seq: 12, after: 9 }), 'hole');
  assert.equal(progress.event({ seq: 12, after: 8 }), 'new');
  progress.checkpoint({ seq: 15 });
  assert.equal(progress.event({ seq: 17, after: 15 }), 'new');
  // A server that goes back further than it was asked to tells numbers from before what is known.
  assert.equal(progress.event({ seq: 20, after: 12 }), 'new');
  assert.equal(progress.event({ position: '0:1' }), 'new');
});

test('a resumed connection repeats nothing, a new epoch begins anew', () => {
  const progress = new Progress();
  progress.welcome({ epoch: 'a', next: 1, resumed: 'new' });
  for (const seq of [1, 2, 3]) assert.equal(progress.event({ seq }), 'new');
  progress.welcome({ epoch: 'a', next: 2, resumed: 'exact' });
  assert.deepEqual([2, 3, 4].map(seq => progress.event({ seq })), ['seen', 'seen', 'new']);
  progress.welcome({ epoch: 'b', next: 1, resumed: 'new_epoch' });
  assert.equal(progress.event({ seq: 1 }), 'new');
});

test('a consumer that was moved begins anew, and so do its acks', () => {
  const progress = new Progress();
  progress.welcome({ epoch: 'a', next: 1, resumed: 'new' });
  for (const seq of [1, 2, 3]) assert.equal(progress.event({ seq }), 'new');
  progress.forget(true);
  assert.ok(progress.welcome({ epoch: 'a', next: 2, resumed: 'exact' }));
  assert.equal(progress.event({ seq: 2 }), 'new');
});

test('a cursor that was not taken is forgotten', () => {
  const progress = new Progress();
  progress.welcome({ epoch: 'a', next: 6, resumed: 'exact' });
  for (const seq of [6, 7]) assert.equal(progress.event({ seq }), 'new');
  progress.welcome({ epoch: 'a', next: 1, resumed: 'new' });
  progress.forget(false);
  assert.equal(progress.event({ seq: 1 }), 'new');
});

test('a backfill that is begun again repeats nothing', () => {
  const progress = new Progress();
  progress.welcome({ epoch: 'a', next: 9, resumed: 'backfill' });
  const say = positions => positions.map(position => progress.event({ position }));
  assert.deepEqual(say(['0:1', '1:1', '0:2']), ['new', 'new', 'new']);
  progress.welcome({ epoch: 'a', next: 12, resumed: 'backfill' });
  assert.deepEqual(say(['0:1', '1:1', '0:2', '0:3']), ['seen', 'seen', 'seen', 'new']);
  assert.equal(progress.event({ seq: 12 }), 'new');
});

test('a connection resumes, acks in bundles and stops when told', async () => {
  const sockets = [];
  class Socket {
    readyState = 1;
    sent = [];
    constructor(url, protocols) {
      Object.assign(this, { url, protocols });
      sockets.push(this);
    }
    send(text) { this.sent.push(JSON.parse(text)); }
    close() { this.readyState = 3; }
    say(frame) { this.onmessage({ data: JSON.stringify(frame) }); }
  }
  const next = async count => { while (sockets.length < count) await new Promise(setImmediate); return sockets[count - 1]; };
  const seen = [];
  const states = [];
  let stopped;
  const ended = new Promise(resolve => { stopped = resolve; });
  const subscription = new Subscription('http://gateway/', 'a b', {
    consumer: 'tab', from: 'earliest', token: () => 't', WebSocket: Socket,
    onEvent: ({ seq }) => seen.push(seq),
    onState: (state, { code }) => { states.push(state); if (state === 'stopped') stopped(code); },
  });
  const welcome = { t: 'welcome', epoch: 'e', next: 1, resumed: 'new', ping_s: 25 };
  const first = await next(1);
  assert.equal(first.url, 'ws://gateway/ws/a%20b?consumer=tab&from=earliest');
  assert.deepEqual(first.protocols, ['evs.v1.json', 'evs.bearer.t']);
  first.say(welcome);
  for (let seq = 1; seq <= 64; seq += 1) first.say({ t: 'event', seq, filters: [1], data: {} });
  assert.deepEqual(first.sent, [{ t: 'ack', seq: 64 }]);
  first.onclose({ code: 1006, reason: '' });
  const second = await next(2);
  assert.equal(second.url, 'ws://gateway/ws/a%20b?consumer=tab', 'a consumer resumes at its acks');
  second.say({ ...welcome, next: 64, resumed: 'exact' });
  for (const seq of [64, 65]) second.say({ t: 'event', seq, filters: [1], data: {} });
  second.onclose({ code: 4509, reason: 'superseded' });
  assert.equal(await ended, 4509);
  assert.deepEqual(seen, Array.from({ length: 65 }, (_, at) => at + 1));
  assert.deepEqual(states, ['behind', 'waiting', 'connecting', 'behind', 'stopped']);
  subscription.close();
});
