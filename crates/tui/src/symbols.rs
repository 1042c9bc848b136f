//! The glyphs of the screen, in UTF-8 and in plain ASCII.

use ratatui::symbols::{Marker, bar, border};

#[derive(Clone, Debug)]
pub struct Symbols {
    pub border: border::Set<'static>,
    pub marker: Marker,
    pub spark: bar::Set<'static>,
    pub good: &'static str,
    pub slow: &'static str,
    pub away: &'static str,
    pub new: &'static str,
    pub bad: &'static str,
    pub mark: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub ellipsis: &'static str,
    pub crumb: &'static str,
    pub dot: &'static str,
    pub cursor: &'static str,
    pub none: &'static str,
    pub bar: &'static str,
    pub bar_empty: &'static str,
}

pub const UTF8: Symbols = Symbols {
    border: border::ROUNDED,
    marker: Marker::Braille,
    spark: bar::NINE_LEVELS,
    good: "●",
    slow: "◐",
    away: "○",
    new: "◌",
    bad: "✗",
    mark: "◆",
    up: "▲",
    down: "▼",
    ellipsis: "…",
    crumb: " › ",
    dot: " · ",
    cursor: "▏",
    none: "–",
    bar: "█",
    bar_empty: "░",
};

pub const ASCII: Symbols = Symbols {
    border: border::Set {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        vertical_left: "|",
        vertical_right: "|",
        horizontal_top: "-",
        horizontal_bottom: "-",
    },
    marker: Marker::Custom('*'),
    spark: bar::Set {
        full: "@",
        seven_eighths: "#",
        three_quarters: "*",
        five_eighths: "+",
        half: "=",
        three_eighths: "-",
        one_quarter: ":",
        one_eighth: ".",
        empty: " ",
    },
    good: "*",
    slow: "!",
    away: "o",
    new: "?",
    bad: "X",
    mark: "#",
    up: "^",
    down: "v",
    ellipsis: "~",
    crumb: " > ",
    dot: " | ",
    cursor: "_",
    none: "-",
    bar: "#",
    bar_empty: ".",
};

#[must_use]
pub fn symbols(ascii: bool) -> &'static Symbols {
    if ascii { &ASCII } else { &UTF8 }
}
