// A client of the evs stream for browsers and other runtimes with WebSocket or EventSource: resumes by itself, leaves
// out what it has seen, and tells of every gap. No dependencies, no build step. Types are in evs.d.ts, the protocol is
// described in docs/PROTOCOL.md.

export const SUBPROTOCOL = 'evs.v1.json';

const BEARER_PREFIX = 'evs.bearer.';
const ACK_EVENTS = 64;
const ACK_MS = 200;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 30_000;
const HEALTHY_MS = 60_000;
const PONG_MS = 10_000;
const TOO_BIG = 1009;

/** Whether a client should come back after a close with this code. */
export function reconnects(code) {
  return !(code >= 4500 && code < 5000) && code !== TOO_BIG;
}

/** The time before the nth try, in ms: full jitter up to 0.5 s, then 1 s, and so on to 30 s. */
export function backoff(tries, random = Math.random) {
  return random() * Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(tries, 10));
}

/** What a client remembers of its queue: pure, so that it can be tested without a socket. */
export class Progress {
  constructor() {
    this.epoch = null;
    this.seq = 0;
    this.known = false;
    this.next = 1;
    // Per partition the last offset that a backfill has brought.
    this.offsets = new Map();
  }

  /** The first frame of a connection; answers whether the numbers begin anew. */
  welcome(frame) {
    const anew = frame.epoch !== this.epoch;
    this.next = frame.next;
    if (anew) {
      this.epoch = frame.epoch;
      this.known = false;
    }
    if (!this.known) {
      this.seq = frame.next - 1;
      this.known = true;
    } else if (['latest', 'backfill', 'new_epoch'].includes(frame.resumed)) {
      this.seq = Math.max(this.seq, frame.next - 1);
    }
    return anew;
  }

  /** The consumer was moved, or the cursor was not taken: what was known of the numbers means nothing. */
  forget(moved) {
    this.epoch = moved ? null : this.epoch;
    this.seq = this.next - 1;
  }

  /** 'new', 'seen', or 'hole': a number is missing that the server has neither told nor left out on purpose. */
  event(frame) {
    if (frame.seq === undefined) return this.backfilled(frame.position);
    if (frame.seq <= this.seq) return 'seen';
    if ((frame.after ?? frame.seq - 1) > this.seq) return 'hole';
    this.seq = frame.seq;
    return 'new';
  }

  /** A backfill that is begun again brings the same events in the same order. */
  backfilled(position = '') {
    const [partition, offset] = position.split(':').map(Number);
    if (!Number.isInteger(offset)) return 'new';
    if (offset <= (this.offsets.get(partition) ?? -1)) return 'seen';
    this.offsets.set(partition, offset);
    return 'new';
  }

  /** Everything up to here was sent, or left out on purpose. */
  checkpoint(frame) {
    this.seq = Math.max(this.seq, frame.seq);
  }

  gap(frame) {
    if (frame.to !== undefined) this.seq = Math.max(this.seq, frame.to);
  }
}

/**
 * Follows a subscriber's queue until `close()` is called or the server says that coming back is of no use.
 * See evs.d.ts for the options.
 */
export class Subscription {
  constructor(gateway, subscriber, options = {}) {
    this.gateway = String(gateway).replace(/\/+$/, '');
    this.subscriber = subscriber;
    this.options = options;
    this.state = 'connecting';
    this.cursor = options.cursor ?? null;
    this.progress = new Progress();
    this.tries = 0;
    this.first = true;
    this.caughtUp = false;
    this.closed = false;
    this.toAck = 0;
    this.unacked = 0;
    this.pending = [];
    this.connect();
  }

  /** Everything up to this delivery is processed. Needed with `ack: 'manual'` only. */
  ack(seq) {
    if (this.options.observe || this.transport() === 'sse' || !(seq > this.toAck)) return;
    this.toAck = seq;
    this.unacked += 1;
    if (this.unacked >= ACK_EVENTS) this.flush();
    else this.ackTimer ??= setTimeout(() => this.flush(), ACK_MS);
  }

  /** Ends the stream; what was acked is sent first. */
  close() {
    this.closed = true;
    this.flush();
    this.drop();
    clearTimeout(this.retryTimer);
    this.enter('closed');
  }

  // The rest is nobody's business.

  transport() {
    return this.options.transport ?? 'websocket';
  }

  call(name, ...args) {
    const handler = this.options[name];
    if (handler) handler(...args);
  }

  enter(state, detail = {}) {
    this.state = state;
    this.call('onState', state, detail);
  }

  /** A consumer's position is the server's to know; an observer's, and that of an event stream, is the cursor. */
  url() {
    const { consumer, observe, where, from, since } = this.options;
    const query = new URLSearchParams();
    if (consumer) query.set('consumer', consumer);
    if (observe) query.set('observe', 'true');
    if (where) query.set('where', where);
    const keepsCursor = observe || this.transport() === 'sse';
    if (this.cursor && (this.first || keepsCursor)) query.set('cursor', this.cursor);
    else if (this.first && from) query.set('from', from);
    else if (since && !this.caughtUp && !(this.cursor && keepsCursor)) query.set('since', since);
    const sse = this.transport() === 'sse';
    const base = sse ? this.gateway.replace(/^ws/, 'http') : this.gateway.replace(/^http/, 'ws');
    return { path: `${base}/${sse ? 'sse' : 'ws'}/${encodeURIComponent(this.subscriber)}`, query };
  }

  async connect() {
    const attempt = (this.attempt = (this.attempt ?? 0) + 1);
    try {
      const { path, query } = this.url();
      const protocols = [SUBPROTOCOL];
      if (this.options.ticket) query.set('ticket', await this.options.ticket());
      const token = await this.token();
      if (token) protocols.push(BEARER_PREFIX + token);
      if (this.closed || attempt !== this.attempt) return;
      const text = query.toString();
      const url = text ? `${path}?${text}` : path;
      if (this.transport() === 'sse') this.openStream(url);
      else this.openSocket(url, protocols);
    } catch (error) {
      this.call('onError', { code: 'connect', message: String(error?.message ?? error) });
      this.later();
    }
  }

  async token() {
    const { token } = this.options;
    return typeof token === 'function' ? await token() : token;
  }

  openSocket(url, protocols) {
    const Socket = this.options.WebSocket ?? globalThis.WebSocket;
    const socket = new Socket(url, protocols);
    this.socket = socket;
    socket.onmessage = ({ data }) => socket === this.socket && this.heard(data);
    socket.onclose = ({ code, reason }) => socket === this.socket && this.ended(code, reason);
    socket.onerror = () => {};
  }

  openStream(url) {
    const Source = this.options.EventSource ?? globalThis.EventSource;
    const source = new Source(url);
    this.source = source;
    const take = message => {
      if (source !== this.source) return;
      if (message.lastEventId) this.remember(message.lastEventId);
      if (message.data !== undefined) this.heard(message.data);
    };
    for (const type of ['welcome', 'event', 'gap', 'caught_up', 'checkpoint', 'error', 'draining']) {
      source.addEventListener(type, take);
    }
    source.onerror = message => {
      // A frame named `error` comes by the same name, with data.
      if (source !== this.source || message.data !== undefined) return;
      // An EventSource that gave up has no code; one that is coming back resumes by its own Last-Event-ID.
      if (source.readyState === 2) this.ended(1006, '');
      else if (this.state !== 'connecting') this.enter('waiting', { code: 1006, reason: '', retryMs: 0 });
    };
  }

  heard(text) {
    this.heardAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    switch (frame.t) {
      case 'welcome':
        this.welcome(frame);
        break;
      case 'event':
        this.event(frame);
        break;
      case 'gap':
        this.progress.gap(frame);
        this.call('onGap', frame);
        if (frame.to !== undefined && this.options.ack !== 'manual') this.ack(frame.to);
        break;
      case 'caught_up':
        this.caughtUp = true;
        this.checkpoint(frame);
        this.enter('live');
        this.call('onCaughtUp', frame);
        break;
      case 'checkpoint':
        this.checkpoint(frame);
        break;
      case 'error':
        this.call('onError', frame);
        this.forget(frame.code);
        break;
      case 'draining':
        this.drainMs = frame.reconnect_within_ms;
        break;
      default: // `acked`, `pong`, and what a newer server says
    }
  }

  welcome(frame) {
    this.first = false;
    this.welcomedAt = Date.now();
    if (this.progress.welcome(frame)) this.toAck = this.unacked = 0;
    this.enter('behind', { resumed: frame.resumed });
    if (this.transport() !== 'sse') this.beat(frame.ping_s * 1000);
    if (this.options.refreshMs && typeof this.options.token === 'function') {
      this.refreshTimer = setInterval(() => this.refresh(), this.options.refreshMs);
    }
  }

  forget(code) {
    const moved = code === 'moved';
    if (!moved && code !== 'foreign_cursor' && code !== 'future_cursor') return;
    this.progress.forget(moved);
    this.toAck = this.unacked = 0;
    this.cursor = null;
    // An EventSource would come back by the id that it remembers.
    if (moved && this.transport() === 'sse') this.ended(1006, 'moved');
  }

  async refresh() {
    const socket = this.socket;
    const token = await this.token();
    if (token && socket && socket === this.socket) socket.send(JSON.stringify({ t: 'refresh', token }));
  }

  event(frame) {
    switch (this.progress.event(frame)) {
      case 'seen':
        return;
      case 'hole':
        this.call('onError', { code: 'hole', message: `delivery ${frame.seq} does not follow ${this.progress.seq}` });
        this.drop();
        this.ended(1006, 'hole');
        return;
      default:
    }
    this.call('onEvent', frame);
    if (frame.seq !== undefined && this.options.ack !== 'manual') this.ack(frame.seq);
  }

  checkpoint(frame) {
    this.progress.checkpoint(frame);
    if (frame.cursor !== undefined) this.remember(frame.cursor);
    if (this.options.ack !== 'manual') this.ack(frame.seq);
  }

  remember(cursor) {
    this.cursor = cursor;
    this.call('onCursor', cursor);
  }

  /** Pages cannot see WebSocket pings, so they ask, and take silence for the end. */
  beat(pingMs) {
    clearInterval(this.beatTimer);
    this.beatTimer = setInterval(() => {
      if (Date.now() - this.heardAt > 2 * pingMs + PONG_MS) {
        this.drop();
        this.ended(1006, 'silence');
      } else if (this.socket?.readyState === 1) {
        this.socket.send('{"t":"ping"}');
      }
    }, pingMs);
  }

  flush() {
    clearTimeout(this.ackTimer);
    this.ackTimer = undefined;
    if (this.unacked > 0 && this.socket?.readyState === 1) {
      this.socket.send(JSON.stringify({ t: 'ack', seq: this.toAck }));
      this.unacked = 0;
    }
  }

  drop() {
    clearInterval(this.beatTimer);
    clearInterval(this.refreshTimer);
    const { socket, source } = this;
    this.socket = this.source = undefined;
    socket?.close();
    source?.close();
  }

  ended(code, reason) {
    this.drop();
    if (this.closed) return;
    if (!reconnects(code)) {
      this.closed = true;
      this.enter('stopped', { code, reason });
      return;
    }
    this.later(code, reason);
  }

  later(code = 1006, reason = '') {
    if (this.closed) return;
    if (this.welcomedAt && Date.now() - this.welcomedAt > HEALTHY_MS) this.tries = 0;
    this.welcomedAt = undefined;
    const retryMs = this.drainMs ? Math.random() * this.drainMs : backoff(this.tries);
    this.drainMs = undefined;
    this.tries += 1;
    this.enter('waiting', { code, reason, retryMs });
    this.retryTimer = setTimeout(() => {
      this.enter('connecting');
      this.connect();
    }, retryMs);
  }
}

/** Begins to follow; the same as `new Subscription(…)`. */
export function subscribe(gateway, subscriber, options) {
  return new Subscription(gateway, subscriber, options);
}
