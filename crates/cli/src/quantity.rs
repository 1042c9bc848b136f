//! Amounts as people write them: `10k`, `500/s`, `10m`, `2KiB`.

use std::time::Duration;

/// `10m`, `1h30m`, `500ms`, or seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let fail = || format!("{text:?} is not a duration; write for example 500ms, 30s, 10m or 1h30m");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(fail());
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..number_end].parse().map_err(|_| fail())?;
        rest = &rest[number_end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit_end] {
            "ms" => 0.001,
            "s" | "" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(fail()),
        };
        rest = &rest[unit_end..];
        total += Duration::try_from_secs_f64(number * seconds).map_err(|_| fail())?;
    }
    Ok(total)
}

/// `1000`, `10k`, `1.5M`.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let number =
        scaled(text).ok_or_else(|| format!("{text:?} is not a number; write for example 1000, 10k or 1.5M"))?;
    Ok(number.round() as u64)
}

/// Events per second: `1000`, `10k`, `500/s`, `30/m`, `max`.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    let fail = || format!("{text:?} is not a rate; write for example 1000, 10k, 500/s, 30/m or max");
    if text == "max" {
        return Ok(Rate::Max);
    }
    let (number, per_s) = match text.split_once('/') {
        None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
        Some((number, "m" | "min")) => (number, 60.0),
        Some((number, "h")) => (number, 3_600.0),
        Some(_) => return Err(fail()),
    };
    match scaled(number).map(|number| number / per_s) {
        Some(rate) if rate > 0.0 => Ok(Rate::PerSecond(rate)),
        _ => Err(fail()),
    }
}

/// `512`, `2KiB`, `1MB`.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let fail = || format!("{text:?} is not a size; write for example 512, 2KiB or 1MB");
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..number_end].parse().map_err(|_| fail())?;
    let unit = match text[number_end..].to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "kib" => 1024.0,
        "m" | "mb" => 1e6,
        "mib" => 1024.0 * 1024.0,
        _ => return Err(fail()),
    };
    Ok((number * unit) as usize)
}

/// How fast to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    PerSecond(f64),
    /// As fast as the server takes.
    Max,
}

impl Rate {
    /// Events that are due this long after the start: an absolute schedule, so that delays are made up for and the
    /// rate does not drift.
    pub(crate) fn due(self, elapsed: Duration) -> u64 {
        match self {
            // The first event is due at once.
            Self::PerSecond(rate) => (elapsed.as_secs_f64() * rate) as u64 + 1,
            Self::Max => u64::MAX,
        }
    }

    /// When the event with this number, counted from 0, is due.
    pub(crate) fn due_at(self, number: u64) -> Duration {
        match self {
            Self::PerSecond(rate) => Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::MAX),
            Self::Max => Duration::ZERO,
        }
    }
}

fn scaled(text: &str) -> Option<f64> {
    let text = text.trim().replace(['_', ','], "");
    let (number, factor) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 1e3),
        (at, 'm' | 'M') => (&text[..at], 1e6),
        _ => (text.as_str(), 1.0),
    };
    number.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0).map(|number| number * factor)
}

/// `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `90 s` as `1m30s`, `0.25` as `250ms`.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 1.0 {
        return format!("{:.0}ms", seconds.max(0.0) * 1_000.0);
    }
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1}s"),
        60..3_600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h{:02}m", whole / 3_600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_as_people_write_them() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2.5"), Ok(Duration::from_millis(2_500)));
        assert!(duration("").is_err() && duration("soon").is_err() && duration("-1s").is_err());
        assert_eq!(count("10k"), Ok(10_000));
        assert_eq!(count("1_000"), Ok(1_000));
        assert!(count("-1").is_err() && count("").is_err());
        assert_eq!(rate("500/s"), Ok(Rate::PerSecond(500.0)));
        assert_eq!(rate("30/m"), Ok(Rate::PerSecond(0.5)));
        assert_eq!(rate("10k"), Ok(Rate::PerSecond(10_000.0)));
        assert_eq!(rate("max"), Ok(Rate::Max));
        assert!(rate("0").is_err() && rate("5/fortnight").is_err());
        assert_eq!(bytes("2KiB"), Ok(2_048));
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(seconds(5_400.0), "1h30m");
        assert_eq!(seconds(0.25), "250ms");
    }

    #[test]
    fn the_schedule_is_absolute() {
        let rate = Rate::PerSecond(1_000.0);
        assert_eq!(rate.due(Duration::ZERO), 1);
        assert_eq!(rate.due(Duration::from_secs(3_600)), 3_600_001);
        assert_eq!(rate.due_at(500), Duration::from_millis(500));
        assert_eq!(Rate::Max.due(Duration::ZERO), u64::MAX);
    }
}
