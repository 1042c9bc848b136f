//! Help with its examples first: between the usage and the flags, for every command alike.

use clap::builder::{Resettable, StyledStr};
use clap::{Command, CommandFactory};

use crate::args::Cli;

/// clap's own order, but for the examples, which stand before everything else there.
const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}

{before-help}{all-args}{after-help}";

/// The paragraph of a command's closing text that goes up.
const EXAMPLES: &str = "Examples:\n";

/// The command line as it is parsed and helped with. Manual pages have an order of their own.
pub(crate) fn command() -> Command {
    examples_first(Cli::command())
}

fn examples_first(mut command: Command) -> Command {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if text.starts_with(EXAMPLES) {
        let (examples, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
        command = command.before_help(examples.to_owned());
        let rest =
            if rest.is_empty() { Resettable::Reset } else { Resettable::Value(StyledStr::from(rest.to_owned())) };
        command = command.after_help(rest);
    }
    command.help_template(TEMPLATE).mut_subcommands(examples_first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_examples_of_itself() {
        fn check(path: &str, command: &Command) {
            let mut subcommands = command.get_subcommands().peekable();
            if subcommands.peek().is_none() && !["evs cheat", "evs version", "evs exit-codes"].contains(&path) {
                let examples = command.get_before_help().map(ToString::to_string).unwrap_or_default();
                let words = path.strip_prefix("evs ").unwrap_or_default();
                assert!(examples.starts_with(EXAMPLES) && examples.contains(words), "{path}: {examples}");
            }
            subcommands.for_each(|sub| check(&format!("{path} {}", sub.get_name()), sub));
        }
        check("evs", &command());
    }
}
