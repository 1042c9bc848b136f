// Types of evs.js.

export declare const SUBPROTOCOL: 'evs.v1.json';

export interface EventFrame<T = unknown> {
  t: 'event';
  /** Absent for events of a backfill. */
  seq?: number;
  /** The number told before this one, where those between were left out on purpose. */
  after?: number;
  /** `partition:offset` in the event log. */
  position?: string;
  filters: number[];
  data: T;
}

export interface GapFrame {
  t: 'gap';
  from: number;
  /** Absent where the number of lost events cannot be known. */
  to?: number;
  reason: 'retention' | 'acked' | 'data_loss';
}

export interface CaughtUpFrame {
  t: 'caught_up';
  seq: number;
  cursor?: string;
}

export interface ErrorFrame {
  /** Of the server, or `connect`, `hole`. */
  code: string;
  message: string;
}

/** `behind`: connected, what waited is being sent; `stopped`: the server said that coming back is of no use. */
export type State = 'connecting' | 'behind' | 'live' | 'waiting' | 'stopped' | 'closed';

export interface StateDetail {
  /** With `behind`: how the connection began. */
  resumed?: 'new' | 'exact' | 'gap' | 'new_epoch' | 'latest' | 'backfill';
  /** With `waiting` and `stopped`: the close code and its word. */
  code?: number;
  reason?: string;
  /** With `waiting`: milliseconds until the next try. */
  retryMs?: number;
}

export interface Options<T = unknown> {
  /** Whose position is used and moved; `default` if absent. */
  consumer?: string;
  /** Reads and never acks; resumes by cursor. */
  observe?: boolean;
  /** Where to go on, from `onCursor` of an earlier page. */
  cursor?: string | null;
  /** Only for the first connection, and only without a cursor. */
  from?: 'latest' | 'earliest';
  since?: string;
  /** A further condition, as docs/FILTERS.md describes. */
  where?: string;
  /** `auto` (the default) acks what `onEvent` has returned from; `manual` waits for `ack(seq)`. */
  ack?: 'auto' | 'manual';
  /** `websocket` by default. Event streams cannot ack: the server moves the position as it sends. */
  transport?: 'websocket' | 'sse';
  /** A bearer token, or what gives one. Only for WebSocket; an event stream takes a ticket. */
  token?: string | (() => string | Promise<string>);
  /** With a token function: a new one is sent on the open connection this often. */
  refreshMs?: number;
  /** Gives a single-use ticket for each connection. */
  ticket?: () => string | Promise<string>;
  onEvent?: (frame: EventFrame<T>) => void;
  onGap?: (frame: GapFrame) => void;
  onCaughtUp?: (frame: CaughtUpFrame) => void;
  /** A cursor for everything so far: keep it for the next page. */
  onCursor?: (cursor: string) => void;
  onState?: (state: State, detail: StateDetail) => void;
  onError?: (error: ErrorFrame) => void;
  /** For runtimes without these. */
  WebSocket?: typeof WebSocket;
  EventSource?: typeof EventSource;
}

export declare class Subscription<T = unknown> {
  constructor(gateway: string | URL, subscriber: string, options?: Options<T>);
  readonly subscriber: string;
  readonly state: State;
  readonly cursor: string | null;
  ack(seq: number): void;
  close(): void;
}

export declare function subscribe<T = unknown>(
  gateway: string | URL,
  subscriber: string,
  options?: Options<T>,
): Subscription<T>;

export declare function reconnects(code: number): boolean;
export declare function backoff(tries: number, random?: () => number): number;

export declare class Progress {
  epoch: string | null;
  seq: number;
  welcome(frame: { epoch: string; next: number; resumed: string }): void;
  event(frame: { seq?: number; after?: number }): 'new' | 'seen' | 'hole';
  checkpoint(frame: { seq: number }): void;
  gap(frame: { to?: number }): void;
}
