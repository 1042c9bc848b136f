//! Numbers, times and text as an operator reads them.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// `12,345`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `950`, `12.3k`, `4.56M`: at most five characters for anything below a million million.
#[must_use]
pub fn short(n: f64) -> String {
    if !n.is_finite() {
        return "?".into();
    }
    let size = n.abs();
    match size {
        s if s >= 999_500_000.0 => format!("{:.1}G", n / 1e9),
        s if s >= 99_950_000.0 => format!("{:.0}M", n / 1e6),
        s if s >= 999_500.0 => format!("{:.1}M", n / 1e6),
        s if s >= 99_950.0 => format!("{:.0}k", n / 1e3),
        s if s >= 1000.0 => format!("{:.1}k", n / 1e3),
        s if s >= 10.0 || s == 0.0 => format!("{n:.0}"),
        s if s >= 0.05 => format!("{n:.1}"),
        _ => "<0.1".into(),
    }
}

/// A whole number, shortened from a thousand on.
#[must_use]
pub fn short_count(n: u64) -> String {
    if n < 1000 { n.to_string() } else { short(n as f64) }
}

/// A rate in the unit the operator chose.
#[must_use]
pub fn rate(per_s: f64, per_minute: bool) -> String {
    if per_minute { format!("{}/m", short(per_s * 60.0)) } else { format!("{}/s", short(per_s)) }
}

#[must_use]
pub fn bytes(n: u64) -> String {
    let n = n as f64;
    if n >= 1_073_741_824.0 {
        format!("{:.1} GiB", n / 1_073_741_824.0)
    } else if n >= 1_048_576.0 {
        format!("{:.1} MiB", n / 1_048_576.0)
    } else if n >= 1024.0 {
        format!("{:.0} KiB", n / 1024.0)
    } else {
        format!("{n:.0} B")
    }
}

/// `0.4s`, `12s`, `3m04s`, `2h10m`, `5d02h`.
#[must_use]
pub fn seconds(s: f64) -> String {
    if !s.is_finite() || s < 0.0 {
        return "0s".into();
    }
    if s < 9.95 {
        return format!("{s:.1}s");
    }
    let s = s.round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A span that is a round number of minutes or hours loses the rest: `2m`, `1h`.
#[must_use]
pub fn span(s: f64) -> String {
    let text = seconds(s);
    let text = text.strip_suffix("00s").filter(|t| t.ends_with('m')).unwrap_or(&text);
    text.strip_suffix("00m").filter(|t| t.ends_with('h')).unwrap_or(text).to_owned()
}

#[must_use]
pub fn millis(ms: f64) -> String {
    if ms >= 1000.0 {
        seconds(ms / 1000.0)
    } else if ms >= 100.0 {
        format!("{ms:.0}ms")
    } else {
        format!("{ms:.1}ms")
    }
}

/// Ascending numbers, neighbours together: `0-3,7`.
#[must_use]
pub fn runs(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|left, right| left + 1 == *right).map(|run| match run {
        [only] => only.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    runs.collect::<Vec<_>>().join(",")
}

/// Time since `then_ms`, never negative: two machines' clocks differ.
#[must_use]
pub fn age_ms(now_ms: i64, then_ms: i64) -> f64 {
    let age = now_ms.saturating_sub(then_ms).max(0) as f64;
    age / 1000.0
}

/// `14:03:22.120` in UTC, or `3.1s ago`.
#[must_use]
pub fn time(now_ms: i64, then_ms: i64, relative: bool) -> String {
    if relative {
        return format!("{} ago", seconds(age_ms(now_ms, then_ms)));
    }
    let in_day = then_ms.rem_euclid(86_400_000);
    let (s, ms) = (in_day / 1000, in_day % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
}

/// At most `width` columns, with `ellipsis` where something was cut. Control characters become spaces, so that data
/// cannot move the terminal's cursor.
#[must_use]
pub fn cut(text: &str, width: usize, ellipsis: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if text.width() <= width {
        return text.chars().map(clean).collect();
    }
    let room = width.saturating_sub(ellipsis.width());
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars().map(clean) {
        let w = c.width().unwrap_or(0);
        if used + w > room {
            break;
        }
        used += w;
        out.push(c);
    }
    if width >= ellipsis.width() {
        out.push_str(ellipsis);
    }
    out
}

#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// For a shell: single quotes where they are needed.
#[must_use]
pub fn shell_quote(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 0.3, 12.4, 999.0, 1234.0, 99_949.0, 123_456.0, 1_234_567.0].map(short),
            ["0", "0.3", "12", "999", "1.2k", "99.9k", "123k", "1.2M"]
        );
        assert_eq!([0.42, 12.0, 184.0, 7800.0, 439_200.0].map(seconds), ["0.4s", "12s", "3m04s", "2h10m", "5d02h"]);
        assert_eq!([30.0, 120.0, 3600.0, 90.0].map(span), ["30s", "2m", "1h", "1m30s"]);
        assert_eq!([&[][..], &[3], &[0, 1, 2, 3, 7, 9, 10]].map(runs), ["", "3", "0-3,7,9-10"]);
        assert_eq!(time(0, 50_602_120, false), "14:03:22.120");
        assert_eq!(time(10_000, 6_900, true), "3.1s ago");
    }

    #[test]
    fn text_is_cut_by_columns_and_cleaned() {
        assert_eq!(cut("abcdef", 6, "…"), "abcdef");
        assert_eq!(cut("abcdefg", 6, "…"), "abcde…");
        assert_eq!(cut("日本語", 5, "…"), "日本…");
        assert_eq!(cut("a\x1b[2Jb", 9, "…"), "a [2Jb");
        assert_eq!(cut("abc", 0, "…"), "");
        assert_eq!(shell_quote("it's"), r"'it'\''s'");
    }
}
