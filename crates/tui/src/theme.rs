//! Colours as roles: views ask for a meaning, a theme answers with a style.

use std::str::FromStr;

use ratatui::style::{Color, Modifier, Style};
use serde::{Deserialize, Serialize};

/// What a piece of the screen means. Every role also differs by glyph, text or modifier, so colour is never the only
/// signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Text,
    /// Secondary text: units, hints, separators.
    Muted,
    Title,
    Border,
    BorderFocused,
    /// The row under the cursor.
    Selected,
    /// A key in the footer or help.
    Key,
    /// The name of the server or context.
    Context,
    Good,
    Warn,
    Bad,
    /// Data that is older than it should be.
    Stale,
    Tab,
    TabActive,
    SeriesIn,
    SeriesMatched,
    SeriesDelivered,
    JsonKey,
    JsonString,
    JsonNumber,
    JsonLiteral,
    /// Text that a filter or search found.
    Found,
    /// A badge that must be seen: paused, alert.
    Badge,
    /// Text being typed.
    Input,
    /// The part of typed text that is wrong.
    InputError,
    /// A row the operator marked.
    Marked,
}

/// Every role, for tests and `--print-config`.
pub const ROLES: [Role; 26] = [
    Role::Text,
    Role::Muted,
    Role::Title,
    Role::Border,
    Role::BorderFocused,
    Role::Selected,
    Role::Key,
    Role::Context,
    Role::Good,
    Role::Warn,
    Role::Bad,
    Role::Stale,
    Role::Tab,
    Role::TabActive,
    Role::SeriesIn,
    Role::SeriesMatched,
    Role::SeriesDelivered,
    Role::JsonKey,
    Role::JsonString,
    Role::JsonNumber,
    Role::JsonLiteral,
    Role::Found,
    Role::Badge,
    Role::Input,
    Role::InputError,
    Role::Marked,
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Theme {
    /// The terminal's own colours, readable on dark and light.
    #[default]
    Auto,
    Dark,
    Light,
    HighContrast,
    /// No colour: bold, dim, underline and reverse only.
    Mono,
}

pub const THEMES: [Theme; 5] = [Theme::Auto, Theme::Dark, Theme::Light, Theme::HighContrast, Theme::Mono];

impl Theme {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Dark => "dark",
            Self::Light => "light",
            Self::HighContrast => "high-contrast",
            Self::Mono => "mono",
        }
    }

    #[must_use]
    pub fn next(self) -> Self {
        let at = THEMES.iter().position(|t| *t == self).unwrap_or(0);
        THEMES[(at + 1) % THEMES.len()]
    }

    /// The style of a role. Only the sixteen ANSI colours are used, so the terminal's own palette decides the shade
    /// and nothing breaks on a terminal without more.
    #[must_use]
    pub fn style(self, role: Role) -> Style {
        match self {
            Self::Auto => auto(role),
            Self::Dark => dark(role),
            Self::Light => light(role),
            Self::HighContrast => high_contrast(role),
            Self::Mono => mono(role),
        }
    }
}

impl FromStr for Theme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        THEMES.into_iter().find(|t| t.name() == text).ok_or_else(|| {
            let names: Vec<_> = THEMES.iter().map(|t| t.name()).collect();
            format!("no theme {text:?}; there are {}", names.join(", "))
        })
    }
}

/// Which theme to draw with, given what the environment says. `NO_COLOR` is decided here and not by crossterm, whose
/// release 0.29 answers it with a full reset that also loses bold and reverse.
#[must_use]
pub fn resolve(asked: Theme, color: ColorChoice, no_color: bool, dumb: bool, colorfgbg: Option<&str>) -> Theme {
    let colored = match color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => !no_color && !dumb,
    };
    if !colored {
        return Theme::Mono;
    }
    if asked != Theme::Auto {
        return asked;
    }
    // `COLORFGBG=15;0` is how rxvt, konsole and others tell their background.
    match colorfgbg.and_then(|v| v.rsplit(';').next()).and_then(|v| v.parse::<u8>().ok()) {
        Some(7 | 15) => Theme::Light,
        Some(_) => Theme::Dark,
        None => Theme::Auto,
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

fn fg(color: Color) -> Style {
    Style::new().fg(color)
}

/// Default foreground and background; only colours that read on both. Blue and yellow are left out: one vanishes on
/// dark terminals, the other on light ones.
fn auto(role: Role) -> Style {
    match role {
        Role::Text | Role::Tab => Style::new(),
        Role::Muted | Role::Border | Role::Stale => Style::new().add_modifier(Modifier::DIM),
        Role::Title | Role::Key | Role::JsonKey => Style::new().add_modifier(Modifier::BOLD),
        Role::BorderFocused => fg(Color::Cyan),
        Role::Selected | Role::TabActive => Style::new().add_modifier(Modifier::REVERSED),
        Role::Context => fg(Color::Cyan).add_modifier(Modifier::BOLD),
        Role::Good | Role::SeriesDelivered | Role::JsonString => fg(Color::Green),
        Role::Warn | Role::SeriesMatched | Role::JsonLiteral => fg(Color::Magenta),
        Role::Bad => fg(Color::Red).add_modifier(Modifier::BOLD),
        Role::SeriesIn | Role::JsonNumber => fg(Color::Cyan),
        Role::Found => Style::new().add_modifier(Modifier::BOLD.union(Modifier::UNDERLINED)),
        Role::Badge => fg(Color::Magenta).add_modifier(Modifier::REVERSED.union(Modifier::BOLD)),
        Role::Input => Style::new().add_modifier(Modifier::UNDERLINED),
        Role::InputError => fg(Color::Red).add_modifier(Modifier::UNDERLINED),
        Role::Marked => fg(Color::Magenta).add_modifier(Modifier::BOLD),
    }
}

fn dark(role: Role) -> Style {
    match role {
        Role::Text => fg(Color::Gray),
        Role::Muted | Role::Border => fg(Color::DarkGray),
        Role::Stale => fg(Color::DarkGray).add_modifier(Modifier::ITALIC),
        Role::Title => fg(Color::White).add_modifier(Modifier::BOLD),
        Role::BorderFocused | Role::Key => fg(Color::LightCyan),
        Role::Selected => Style::new().fg(Color::White).bg(Color::DarkGray).add_modifier(Modifier::BOLD),
        Role::Context => fg(Color::LightCyan).add_modifier(Modifier::BOLD),
        Role::Good | Role::SeriesDelivered | Role::JsonString => fg(Color::LightGreen),
        Role::Warn | Role::SeriesMatched => fg(Color::LightYellow),
        Role::Bad => fg(Color::LightRed).add_modifier(Modifier::BOLD),
        Role::Tab => fg(Color::Gray),
        Role::TabActive => Style::new().fg(Color::Black).bg(Color::LightCyan).add_modifier(Modifier::BOLD),
        Role::SeriesIn | Role::JsonKey => fg(Color::LightBlue),
        Role::JsonNumber => fg(Color::LightYellow),
        Role::JsonLiteral => fg(Color::LightMagenta),
        Role::Found => fg(Color::LightYellow).add_modifier(Modifier::BOLD.union(Modifier::UNDERLINED)),
        Role::Badge => Style::new().fg(Color::Black).bg(Color::LightYellow).add_modifier(Modifier::BOLD),
        Role::Input => fg(Color::White).add_modifier(Modifier::UNDERLINED),
        Role::InputError => fg(Color::LightRed).add_modifier(Modifier::UNDERLINED),
        Role::Marked => fg(Color::LightMagenta).add_modifier(Modifier::BOLD),
    }
}

fn light(role: Role) -> Style {
    match role {
        Role::Text | Role::Tab => fg(Color::Black),
        Role::Muted | Role::Border => fg(Color::DarkGray),
        Role::Stale => fg(Color::DarkGray).add_modifier(Modifier::ITALIC),
        Role::Title => fg(Color::Black).add_modifier(Modifier::BOLD),
        Role::BorderFocused | Role::Key | Role::SeriesIn | Role::JsonKey => fg(Color::Blue),
        Role::Selected => Style::new().fg(Color::White).bg(Color::Blue).add_modifier(Modifier::BOLD),
        Role::Context => fg(Color::Blue).add_modifier(Modifier::BOLD),
        Role::Good | Role::SeriesDelivered | Role::JsonString => fg(Color::Green),
        Role::Warn | Role::SeriesMatched | Role::JsonLiteral | Role::JsonNumber => fg(Color::Magenta),
        Role::Bad => fg(Color::Red).add_modifier(Modifier::BOLD),
        Role::TabActive => Style::new().fg(Color::White).bg(Color::Blue).add_modifier(Modifier::BOLD),
        Role::Found => fg(Color::Magenta).add_modifier(Modifier::BOLD.union(Modifier::UNDERLINED)),
        Role::Badge => Style::new().fg(Color::White).bg(Color::Magenta).add_modifier(Modifier::BOLD),
        Role::Input => fg(Color::Black).add_modifier(Modifier::UNDERLINED),
        Role::InputError => fg(Color::Red).add_modifier(Modifier::UNDERLINED),
        Role::Marked => fg(Color::Magenta).add_modifier(Modifier::BOLD),
    }
}

/// Own background, because a guess at the terminal's would lose the contrast this theme is for.
fn high_contrast(role: Role) -> Style {
    let on_black = |color: Color| Style::new().fg(color).bg(Color::Black);
    match role {
        Role::Text | Role::Muted | Role::Tab => on_black(Color::White),
        Role::Title => on_black(Color::White).add_modifier(Modifier::BOLD),
        Role::Border => on_black(Color::White),
        Role::BorderFocused => on_black(Color::LightYellow).add_modifier(Modifier::BOLD),
        Role::Selected | Role::TabActive => Style::new().fg(Color::Black).bg(Color::White).add_modifier(Modifier::BOLD),
        Role::Key | Role::Context | Role::JsonKey => on_black(Color::LightCyan).add_modifier(Modifier::BOLD),
        Role::Good | Role::SeriesDelivered | Role::JsonString => on_black(Color::LightGreen),
        Role::Warn | Role::SeriesMatched | Role::JsonNumber => on_black(Color::LightYellow),
        Role::Bad => Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD),
        Role::Stale => on_black(Color::White).add_modifier(Modifier::ITALIC),
        Role::SeriesIn => on_black(Color::LightCyan),
        Role::JsonLiteral => on_black(Color::LightMagenta),
        Role::Found => Style::new().fg(Color::Black).bg(Color::LightYellow),
        Role::Badge => Style::new().fg(Color::Black).bg(Color::LightYellow).add_modifier(Modifier::BOLD),
        Role::Input => on_black(Color::White).add_modifier(Modifier::UNDERLINED),
        Role::InputError => Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::UNDERLINED),
        Role::Marked => on_black(Color::LightMagenta).add_modifier(Modifier::BOLD),
    }
}

fn mono(role: Role) -> Style {
    let with = |modifier: Modifier| Style::new().add_modifier(modifier);
    match role {
        Role::Text
        | Role::Good
        | Role::Tab
        | Role::SeriesIn
        | Role::JsonString
        | Role::JsonNumber
        | Role::JsonLiteral => Style::new(),
        Role::Muted | Role::Border | Role::SeriesDelivered => with(Modifier::DIM),
        Role::Title | Role::Key | Role::BorderFocused | Role::JsonKey | Role::Context | Role::SeriesMatched => {
            with(Modifier::BOLD)
        }
        Role::Selected | Role::TabActive => with(Modifier::REVERSED),
        Role::Warn | Role::Marked => with(Modifier::BOLD),
        Role::Bad => with(Modifier::BOLD.union(Modifier::UNDERLINED)),
        Role::Stale => with(Modifier::DIM.union(Modifier::ITALIC)),
        Role::Found | Role::Input => with(Modifier::UNDERLINED),
        Role::Badge => with(Modifier::REVERSED.union(Modifier::BOLD)),
        Role::InputError => with(Modifier::REVERSED.union(Modifier::UNDERLINED)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mono_never_names_a_color() {
        for role in ROLES {
            let style = Theme::Mono.style(role);
            assert_eq!((style.fg, style.bg), (None, None), "{role:?}");
        }
    }

    #[test]
    fn what_must_be_seen_differs_from_plain_text_in_every_theme() {
        for theme in THEMES {
            for role in [Role::Bad, Role::Warn, Role::Selected, Role::Badge, Role::TabActive, Role::InputError] {
                assert_ne!(theme.style(role), theme.style(Role::Text), "{theme:?} {role:?}");
            }
        }
    }

    #[test]
    fn no_color_wins_over_a_theme_and_always_wins_over_no_color() {
        use ColorChoice::{Always, Auto, Never};
        assert_eq!(resolve(Theme::Dark, Auto, true, false, None), Theme::Mono);
        assert_eq!(resolve(Theme::Dark, Always, true, false, None), Theme::Dark);
        assert_eq!(resolve(Theme::Dark, Never, false, false, None), Theme::Mono);
        assert_eq!(resolve(Theme::Dark, Auto, false, true, None), Theme::Mono);
        assert_eq!(resolve(Theme::Auto, Auto, false, false, Some("0;15")), Theme::Light);
        assert_eq!(resolve(Theme::Auto, Auto, false, false, Some("15;0")), Theme::Dark);
        assert_eq!(resolve(Theme::Auto, Auto, false, false, None), Theme::Auto);
    }
}
