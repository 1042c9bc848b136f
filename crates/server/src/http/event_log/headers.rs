//! What a producer put beside an event, as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evs_api::events::EventHeader;
use evs_core::trace::TRACEPARENT;

use crate::ports::event_log::{Header, LoggedEvent};

/// The headers that are told, and how many more there are.
pub(super) fn wire(logged: &LoggedEvent) -> (Vec<EventHeader>, u32) {
    match (&logged.headers, logged.event.trace()) {
        (Some(headers), _) => (headers.headers.iter().map(header).collect(), headers.left_out),
        // A log without headers may still remember the trace.
        (None, Some(trace)) => {
            let value = Some(trace.to_string());
            (vec![EventHeader { name: TRACEPARENT.to_owned(), value, ..EventHeader::default() }], 0)
        }
        (None, None) => (Vec::new(), 0),
    }
}

fn header(Header { name, value, len }: &Header) -> EventHeader {
    let bytes = value.as_deref().unwrap_or_default();
    let is_cut = *len > bytes.len();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        // The cut went through a character.
        Err(error) if is_cut && error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok(),
        Err(_) => None,
    };
    EventHeader {
        name: name.clone(),
        value: value.as_ref().and(text).map(str::to_owned),
        value_base64: value.as_ref().filter(|_| text.is_none()).map(|bytes| STANDARD.encode(bytes)),
        cut_from_bytes: is_cut.then_some(*len as u64),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn told(value: Option<&[u8]>, len: usize) -> EventHeader {
        header(&Header { name: "h".to_owned(), value: value.map(Bytes::copy_from_slice), len })
    }

    #[test]
    fn a_value_is_text_where_it_can_be() {
        let named = || EventHeader { name: "h".to_owned(), ..EventHeader::default() };
        assert_eq!(told(Some("ä".as_bytes()), 2), EventHeader { value: Some("ä".to_owned()), ..named() });
        assert_eq!(told(Some(b""), 0), EventHeader { value: Some(String::new()), ..named() });
        assert_eq!(told(None, 0), named(), "no value is not an empty one");
        assert_eq!(
            told(Some(b"\xfe\x00"), 2),
            EventHeader { value_base64: Some("/gA=".to_owned()), ..named() },
            "what is no text is given whole"
        );
        // 0xc3 begins a character of two bytes.
        assert_eq!(
            told(Some(b"ab\xc3"), 900),
            EventHeader { value: Some("ab".to_owned()), cut_from_bytes: Some(900), ..named() }
        );
        assert_eq!(told(Some(b"ab\xc3"), 3), EventHeader { value_base64: Some("YWLD".to_owned()), ..named() });
    }
}
