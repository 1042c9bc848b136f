//! The trace that an event belongs to: what W3C Trace Context calls the parent, as it travels with the event.

use std::fmt;
use std::str::FromStr;

/// The name of the header that carries it, in HTTP and in Kafka records.
pub const TRACEPARENT: &str = "traceparent";

/// A sampled span that what happens to an event continues. Traces that nobody records do not travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trace {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
}

/// It is no `traceparent`, or one that nobody records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the traceparent of a sampled trace")]
pub struct NotATrace;

impl FromStr for Trace {
    type Err = NotATrace;

    /// `00-<trace id>-<span id>-<flags>` in lower-case hex; later versions may have more behind it.
    fn from_str(text: &str) -> Result<Self, NotATrace> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(NotATrace);
        let (version, trace_id, span_id, flags) =
            (hex::<1>(part()?)?, hex(part()?)?, hex(part()?)?, hex::<1>(part()?)?);
        let well_formed = version[0] != 0xff && (version[0] != 0 || part().is_err());
        let known = trace_id != [0; 16] && span_id != [0; 8];
        let sampled = flags[0] & 1 == 1;
        if well_formed && known && sampled { Ok(Self { trace_id, span_id }) } else { Err(NotATrace) }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id))
    }
}

fn hex<const LEN: usize>(text: &str) -> Result<[u8; LEN], NotATrace> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(NotATrace),
    };
    if text.len() != 2 * LEN {
        return Err(NotATrace);
    }
    let mut bytes = [0; LEN];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_standard_writes_and_nothing_else() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(good.parse::<Trace>().unwrap().to_string(), good);
        assert_eq!(format!("01{}-more", &good[2..]).parse::<Trace>().unwrap().to_string(), good);
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-é0af7651916cd43dd8448eb211c8031-b7ad6b7169203331-01",
        ] {
            assert_eq!(bad.parse::<Trace>(), Err(NotATrace), "{bad}");
        }
    }
}
