//! Names and numbers of the domain, valid by construction.

use std::fmt;
use std::str::FromStr;

use crate::limits;

/// A number that means one thing only.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

number! {
    /// An ordered part of the event log, as in Kafka.
    Partition(u32)
}
number! {
    /// The place of an event in its partition; the first is 0.
    Offset(u64)
}
number! {
    /// A shard of the delivery log. Subscribers are spread over the shards by a hash of their id.
    Shard(u16)
}
number! {
    /// A subscriber's dense number in its shard. Never given twice (rule 17 of the delivery log).
    Slot(u32)
}
number! {
    /// The number of a delivery in its queue: 1, 2, 3… without holes within an epoch; 0 is "before the first".
    Seq(u64)
}
number! {
    /// A filter's id, unique in the installation.
    FilterId(u32)
}
number! {
    /// Counts every change of any filter; a matcher that has applied version v knows every filter up to v.
    FilterVersion(u64)
}

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {max} bytes long, this has {len}")]
    TooLong { len: usize, max: usize },
    #[error("{found:?} at byte {at} is not allowed; use letters, digits and . _ - : @ + =")]
    Character { at: usize, found: char },
}

fn check_name(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong { len: text.len(), max });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '@' | '+' | '=');
    match text.char_indices().find(|(_, c)| !allowed(*c)) {
        Some((at, found)) => Err(NameError::Character { at, found }),
        None => Ok(()),
    }
}

/// A validated name: safe in a URL path, a key and a log line.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// # Errors
            /// [`NameError`] says which character or length is wrong.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check_name(text, $max)?;
                Ok(Self(text.into()))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name! {
    /// Who gets events: an app, a dashboard, a partner service.
    SubscriberId, limits::NAME_BYTES_MAX
}
name! {
    /// A named reader of a queue with a durable position of its own.
    ConsumerName, limits::NAME_BYTES_MAX
}

impl ConsumerName {
    /// The consumer of connections that name none.
    #[must_use]
    pub fn default_consumer() -> Self {
        Self("default".into())
    }
}

/// The life of a shard's sequence numbers: a random number, never a counter (rule 29), written as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

impl FromStr for Epoch {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// Where an event lies in the event log, written `partition:offset`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    pub partition: Partition,
    pub offset: Offset,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

/// The text is not `partition:offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position is written partition:offset, for example 0:1234")]
pub struct ParsePositionError;

impl FromStr for Position {
    type Err = ParsePositionError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (partition, offset) = text.split_once(':').ok_or(ParsePositionError)?;
        Ok(Self {
            partition: Partition(partition.parse().map_err(|_| ParsePositionError)?),
            offset: Offset(offset.parse().map_err(|_| ParsePositionError)?),
        })
    }
}

impl SubscriberId {
    /// The shard that holds this subscriber's queue, of `shards` in all: FNV-1a, which is the same on every machine
    /// and version. Persisted by its effect, so it must be kept stable.
    #[must_use]
    pub fn shard(&self, shards: u16) -> Shard {
        let hash = self
            .0
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Shard(u16::try_from(hash % u64::from(shards.max(1))).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_wrong() {
        assert_eq!(SubscriberId::new(""), Err(NameError::Empty));
        assert_eq!(SubscriberId::new("a/b"), Err(NameError::Character { at: 1, found: '/' }));
        assert!(SubscriberId::new(&"x".repeat(limits::NAME_BYTES_MAX)).is_ok());
        assert!(SubscriberId::new(&"x".repeat(limits::NAME_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn epochs_and_positions_survive_text() {
        let epoch = Epoch(0x00ab);
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        assert_eq!("3:9".parse(), Ok(Position { partition: Partition(3), offset: Offset(9) }));
        assert!("3".parse::<Position>().is_err());
    }

    #[test]
    fn shards_are_stable() {
        let id = SubscriberId::new("user_1").unwrap();
        assert_eq!(id.shard(1), Shard(0));
        assert_eq!(id.shard(64), id.clone().shard(64));
    }
}
