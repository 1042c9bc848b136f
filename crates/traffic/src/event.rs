//! Writes one event, the fields that filters usually name first: a lazy reader can stop early.

use std::io::Write;

use fake::Fake;
use fake::faker::company::en::CompanyName;
use fake::rand::SeedableRng;
use fake::rand::rngs::StdRng;
use time::OffsetDateTime;

use crate::dice::Dice;
use crate::people::Person;

pub(crate) fn write(out: &mut Vec<u8>, dice: &mut Dice, user: u64, event_type: &str, now_ms: i64, size_bytes: usize) {
    let start = out.len();
    let person = Person::of(user);
    let (high, low) = (dice.next_u64(), dice.next_u64());
    // A seed of its own, so that what the library draws for a name leaves our dice where they are.
    let merchant: String = CompanyName().fake_with_rng(&mut StdRng::seed_from_u64(low));
    let amount = dice.log_normal(50.0, 1.0).min(99_999.0);
    // A session lasts half an hour, from a moment that is the user's own.
    let session = (user.wrapping_mul(0x9e37_79b9) ^ (now_ms / 1_800_000).unsigned_abs()) & 0xff_ffff;
    // A `Vec` takes everything that is written to it.
    let written = write!(
        out,
        r#"{{"event_id":"{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}","user_id":"user_{user}","event_type":"{}","user_tier":"{}","amount":{amount:.2},"timestamp":"{}","country":"{}","city":"{}","user_name":"{} {}","merchant":"{}","device":{{"os":"{}","app":"{}"}},"session":{{"id":"s{session:06x}","events":{}}}"#,
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff,
        Escaped(event_type),
        person.tier,
        Rfc3339(now_ms),
        person.country,
        Escaped(&person.city),
        Escaped(&person.first_name),
        Escaped(&person.last_name),
        Escaped(&merchant),
        person.os,
        person.app,
        1 + dice.below(40),
    );
    debug_assert!(written.is_ok());
    const FIELD: &[u8] = br#","padding":""#;
    let bare = out.len() - start + 1;
    if let Some(padding) = size_bytes.checked_sub(bare + FIELD.len() + 1) {
        out.extend_from_slice(FIELD);
        out.resize(out.len() + padding, b'x');
        out.push(b'"');
    }
    out.push(b'}');
}

/// JSON's escapes, for event types that a user names.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
                c => std::fmt::Write::write_char(f, c)?,
            }
        }
        Ok(())
    }
}

/// UTC with milliseconds; a time that no calendar has is written as the epoch.
struct Rfc3339(i64);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            time.year(),
            u8::from(time.month()),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
            self.0.rem_euclid(1_000)
        )
    }
}
