//! Reads frames of the stream protocol.

use std::borrow::Cow;

use evs_api::frames::{EventFrame, ServerFrame};
use serde::Deserialize;

/// How the server begins an event frame; a frame that begins otherwise is read all the same, only slower.
const EVENT_START: &str = r#"{"t":"event""#;

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(borrow)]
    t: Cow<'a, str>,
}

/// In two steps, because a raw value cannot be read through an internally tagged enum: the tag, then the right type.
/// An event's data is copied once, out of the message.
///
/// # Errors
/// If it is not a frame.
pub fn parse(text: &str) -> Result<ServerFrame, serde_json::Error> {
    let is_event = text.starts_with(EVENT_START) || serde_json::from_str::<Tag<'_>>(text)?.t == "event";
    if is_event { serde_json::from_str::<EventFrame>(text).map(ServerFrame::Event) } else { serde_json::from_str(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_frames_keep_their_data_to_the_byte() {
        for text in [
            r#"{"t":"event","seq":7,"filters":[3,4],"data":{"a": 1.10,"ü":"\u00e9"}}"#,
            r#"{"seq":7,"data":{"a": 1.10,"ü":"\u00e9"},"filters":[3,4],"new":true,"t":"event"}"#,
        ] {
            let Ok(ServerFrame::Event(frame)) = parse(text) else { panic!("{text}") };
            assert_eq!(frame.seq, Some(7));
            assert_eq!(frame.filters, [3, 4]);
            assert_eq!(frame.data.get(), r#"{"a": 1.10,"ü":"\u00e9"}"#);
        }
    }

    #[test]
    fn newer_frames_are_known_as_unknown() {
        assert!(matches!(parse(r#"{"t":"confetti","n":1}"#), Ok(ServerFrame::Unknown)));
        assert!(matches!(parse(r#"{"t":"caught_up","seq":3,"later":1}"#), Ok(ServerFrame::CaughtUp { seq: 3, .. })));
        assert!(parse("[]").is_err());
        assert!(parse("{}").is_err());
    }
}
