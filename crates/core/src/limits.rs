//! Every bound of the system, with the reason for its value.

/// Subscriber, consumer and filter names: fits every key, label and URL we put them in.
pub const NAME_BYTES_MAX: usize = 128;

/// One event: Kafka's default `max.message.bytes`, so that an event accepted here is accepted there.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Nesting of an event: deeper than any sane producer, shallow enough for a recursive reader's stack.
pub const EVENT_DEPTH_MAX: usize = 64;

/// Events in one `POST /events`: a batch is one transaction and must not hold the writer for long.
pub const BATCH_EVENTS_MAX: usize = 10_000;

/// Body of one `POST /events`.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Text of a `where` expression.
pub const WHERE_BYTES_MAX: usize = 8 * 1024;

/// Nesting of a `where` expression: parser, compiler and printer recurse.
pub const WHERE_DEPTH_MAX: usize = 32;

/// Operators and operands of a `where` expression.
pub const WHERE_NODES_MAX: usize = 512;

/// Values of one `in [...]` list, and of `event_types` and `user_tiers`.
pub const LIST_VALUES_MAX: usize = 1024;

/// One string literal of a filter.
pub const LITERAL_BYTES_MAX: usize = 1024;

/// Fields of one path such as `device.os.version`.
pub const PATH_SEGMENTS_MAX: usize = 16;

/// Pattern of `matches(...)`; the regex crate is linear in the text, but patterns cost memory.
pub const REGEX_BYTES_MAX: usize = 256;

/// Compiled size of one pattern.
pub const REGEX_COMPILED_BYTES_MAX: usize = 256 * 1024;

/// Filters of one subscriber.
pub const SUBSCRIBER_FILTERS_MAX: usize = 1_000;

/// Routes (deliveries) of one delivery log entry: a reader and Redis handle it in a few milliseconds.
pub const ENTRY_ROUTES_MAX: usize = 200_000;

/// Event bodies of one delivery log entry; one event may exceed it alone.
pub const ENTRY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Events that a session may hold unacked before the server stops sending (MQTT 5 calls it Receive Maximum).
pub const SESSION_EVENTS_MAX: usize = 256;

/// Bytes that a session may hold unacked.
pub const SESSION_BYTES_MAX: usize = 1024 * 1024;

/// One frame from a client: acks and small requests only.
pub const CLIENT_FRAME_BYTES_MAX: usize = 16 * 1024;

/// Consumers of one subscriber: what every consumer has acked is a minimum over all of them.
pub const SUBSCRIBER_CONSUMERS_MAX: usize = 1_000;

/// Deliveries of one write, and so the unsent bytes kept for a socket that does not take more, but for the last
/// delivery. What ten thousand clients cost that read nothing, and how long they hold up those that read, grow with it.
pub const SOCKET_BUFFER_BYTES_MAX: usize = 16 * 1024;
