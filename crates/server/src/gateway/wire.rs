//! WebSocket framing (RFC 6455), spoken directly: what a server needs, without a buffer per socket.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Control frames carry at most so much (RFC 6455, 5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;

/// The longest header of a client's frame.
const HEADER_BYTES_MAX: usize = 14;

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    Text(&'a str),
    Ping(&'a [u8]),
    Pong,
    /// The client closes, or answers our close.
    Close,
}

/// The connection must be closed with this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProtocolError {
    /// 1002.
    Protocol(&'static str),
    /// 1003: a binary message.
    Binary,
    /// 1007: text that is no UTF-8.
    Utf8,
    /// 1009.
    TooBig,
}

impl ProtocolError {
    pub(super) fn close(self) -> (u16, &'static str) {
        match self {
            Self::Protocol(reason) => (1002, reason),
            Self::Binary => (1003, "text_frames_only"),
            Self::Utf8 => (1007, "invalid_utf8"),
            Self::TooBig => (1009, "too_big"),
        }
    }
}

/// Takes a client's bytes as they come. It holds heap memory only while a frame or a fragmented message is incomplete.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a frame that has not come whole.
    partial: Vec<u8>,
    /// The fragments of a message so far.
    message: Vec<u8>,
    fragmented: bool,
}

impl Decoder {
    /// Calls `take` with each message that is complete; it answers whether to go on.
    ///
    /// # Errors
    /// [`ProtocolError`]: nothing more may be read.
    pub(super) fn feed(
        &mut self,
        bytes: &mut [u8],
        bytes_max: usize,
        mut take: impl FnMut(Message<'_>) -> bool,
    ) -> Result<(), ProtocolError> {
        if self.partial.is_empty() {
            let used = self.frames(bytes, bytes_max, &mut take)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            self.partial.extend_from_slice(bytes);
            let mut partial = std::mem::take(&mut self.partial);
            let used = self.frames(&mut partial, bytes_max, &mut take)?;
            if used < partial.len() {
                partial.drain(..used);
                self.partial = partial;
            }
        }
        Ok(())
    }

    /// Reads whole frames; answers how many bytes they took.
    fn frames(
        &mut self,
        bytes: &mut [u8],
        bytes_max: usize,
        take: &mut impl FnMut(Message<'_>) -> bool,
    ) -> Result<usize, ProtocolError> {
        let mut used = 0;
        while used < bytes.len() {
            let mut cursor = Cursor::new(&bytes[used..]);
            let header = FrameHeader::parse(&mut cursor);
            let Some((header, len)) = header.map_err(|_| ProtocolError::Protocol("bad_frame_header"))? else {
                // A header that is still incomplete at its longest is no header.
                return if bytes.len() - used > HEADER_BYTES_MAX {
                    Err(ProtocolError::Protocol("bad_frame_header"))
                } else {
                    Ok(used)
                };
            };
            let body_from = used + usize::try_from(cursor.position()).unwrap_or(usize::MAX);
            let len = usize::try_from(len).ok().filter(|len| self.message.len().saturating_add(*len) <= bytes_max);
            let len = len.ok_or(ProtocolError::TooBig)?;
            if header.rsv1 || header.rsv2 || header.rsv3 {
                return Err(ProtocolError::Protocol("reserved_bits"));
            }
            let mask = header.mask.ok_or(ProtocolError::Protocol("unmasked_frame"))?;
            let control = matches!(header.opcode, OpCode::Control(_));
            if control && (len > CONTROL_BYTES_MAX || !header.is_final) {
                return Err(ProtocolError::Protocol("bad_control_frame"));
            }
            let Some(body) = bytes.get_mut(body_from..body_from + len) else { return Ok(used) };
            for (byte, key) in body.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= key;
            }
            used = body_from + len;
            if !self.frame(header.opcode, header.is_final, body, take)? {
                return Ok(bytes.len());
            }
        }
        Ok(used)
    }

    fn frame(
        &mut self,
        opcode: OpCode,
        is_final: bool,
        body: &[u8],
        take: &mut impl FnMut(Message<'_>) -> bool,
    ) -> Result<bool, ProtocolError> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| ProtocolError::Utf8);
        match opcode {
            OpCode::Control(Control::Ping) => Ok(take(Message::Ping(body))),
            OpCode::Control(Control::Pong) => Ok(take(Message::Pong)),
            OpCode::Control(Control::Close) => {
                take(Message::Close);
                Ok(false)
            }
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => {
                Err(ProtocolError::Protocol("reserved_opcode"))
            }
            OpCode::Data(Data::Binary) => Err(ProtocolError::Binary),
            OpCode::Data(Data::Text) if self.fragmented => Err(ProtocolError::Protocol("message_in_message")),
            OpCode::Data(Data::Continue) if !self.fragmented => Err(ProtocolError::Protocol("nothing_to_continue")),
            OpCode::Data(Data::Text) if is_final => Ok(take(Message::Text(text(body)?))),
            OpCode::Data(Data::Text | Data::Continue) => {
                self.message.extend_from_slice(body);
                self.fragmented = !is_final;
                if !is_final {
                    return Ok(true);
                }
                let message = std::mem::take(&mut self.message);
                Ok(take(Message::Text(text(&message)?)))
            }
        }
    }
}

/// The header of an unmasked, final text frame.
pub(super) fn put_text_header(out: &mut Vec<u8>, len: usize) {
    put_header(out, 0x1, len);
}

/// A whole control frame; a payload that is too long is cut.
pub(super) fn put_control(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    put_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xA;

/// A close frame; the reason is one of our short words.
pub(super) fn put_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    put_control(out, 0x8, &payload);
}

fn put_header(out: &mut Vec<u8>, opcode: u8, len: usize) {
    out.push(0x80 | opcode);
    if len < 126 {
        out.push(len as u8);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(126);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_header(&mut out, 0, payload.len());
        out[0] = first;
        out[1] |= 0x80;
        let mask = [7, 77, 177, 3];
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        out
    }

    fn decode(decoder: &mut Decoder, mut bytes: Vec<u8>) -> Result<Vec<String>, ProtocolError> {
        let mut seen = Vec::new();
        decoder.feed(&mut bytes, 1000, |message| {
            seen.push(format!("{message:?}"));
            true
        })?;
        Ok(seen)
    }

    #[test]
    fn refuses_what_the_standard_refuses() {
        let check = |bytes: Vec<u8>, expect: ProtocolError| {
            assert_eq!(decode(&mut Decoder::default(), bytes), Err(expect));
        };
        check(client_frame(0x82, b"x"), ProtocolError::Binary);
        check(client_frame(0x81, &[0xff]), ProtocolError::Utf8);
        check(client_frame(0x81, &[b'x'; 1001]), ProtocolError::TooBig);
        check(client_frame(0x80, b"x"), ProtocolError::Protocol("nothing_to_continue"));
        check(client_frame(0xc1, b"x"), ProtocolError::Protocol("reserved_bits"));
        check(client_frame(0x89, &[0; 126]), ProtocolError::Protocol("bad_control_frame"));
        check(client_frame(0x09, b""), ProtocolError::Protocol("bad_control_frame"));
        check(vec![0x81, 1, b'x'], ProtocolError::Protocol("unmasked_frame"));
        check(
            [client_frame(0x01, b"x"), client_frame(0x81, b"y")].concat(),
            ProtocolError::Protocol("message_in_message"),
        );
        check([client_frame(0x01, &[b'x'; 600]), client_frame(0x80, &[b'x'; 600])].concat(), ProtocolError::TooBig);
        check(client_frame(0x8b, b""), ProtocolError::Protocol("bad_frame_header"));
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_messages(cuts in prop::collection::vec(0..400_usize, 0..8)) {
            let stream = [
                client_frame(0x81, b"one"),
                client_frame(0x01, b"tw"),
                client_frame(0x89, b"ping"),
                client_frame(0x80, b"o"),
                client_frame(0x81, &[b'x'; 200]),
                client_frame(0x8a, b""),
                client_frame(0x88, b""),
            ]
            .concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % stream.len()).collect();
            cuts.push(stream.len());
            cuts.sort_unstable();
            let (mut decoder, mut seen, mut from) = (Decoder::default(), Vec::new(), 0);
            for cut in cuts {
                seen.extend(decode(&mut decoder, stream[from..cut].to_vec()).unwrap());
                from = cut;
            }
            let long = format!("Text({:?})", "x".repeat(200));
            let expect = ["Text(\"one\")", "Ping([112, 105, 110, 103])", "Text(\"two\")", &long, "Pong", "Close"];
            prop_assert_eq!(seen, expect);
            prop_assert!(decoder.partial.capacity() == 0 && decoder.message.capacity() == 0);
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            for chunk in bytes.chunks(7) {
                if decode(&mut decoder, chunk.to_vec()).is_err() {
                    break;
                }
                prop_assert!(decoder.partial.len() + decoder.message.len() <= 1014);
            }
        }
    }
}
