//! How a command ended, as an exit code.

use std::{env, ffi::OsString, process::ExitCode};

use crate::{arguments::Verb, report::Ending};

/// Options that come before a verb and take a value.
const GLOBAL_OPTIONS_WITH_VALUE: [&str; 3] = ["--cache", "--jail", "--cgroup"];
/// The verb whose guest has exit codes of its own.
const VERB_BESIDE_GUESTS: &str = "run";

/// Which exit codes a verb has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codes {
    /// 0 returned, 1 refused, 2 usage, 3 inconclusive, 4 fault.
    Own,
    /// The guest's where it returned; else 124 refused, 125 usage, 126 inconclusive, 127 fault, as
    /// `timeout(1)` and `env(1)` keep theirs apart from those of what they run.
    BesideGuests,
}

impl Codes {
    pub(crate) fn of(verb: &Verb) -> Self {
        match verb {
            Verb::Run(_) => Self::BesideGuests,
            _ => Self::Own,
        }
    }

    pub(crate) fn code(self, ending: Ending) -> ExitCode {
        ExitCode::from(match (self, ending) {
            (_, Ending::Returned) => 0,
            (Self::Own, Ending::Refused) => 1,
            (Self::Own, Ending::Usage) => 2,
            (Self::Own, Ending::Inconclusive) => 3,
            (Self::Own, Ending::Fault) => 4,
            (Self::BesideGuests, Ending::Refused) => 124,
            (Self::BesideGuests, Ending::Usage) => 125,
            (Self::BesideGuests, Ending::Inconclusive) => 126,
            (Self::BesideGuests, Ending::Fault) => 127,
        })
    }
}

/// The exit code of a guest, which may be any number, as that of this process, which is a byte: never 0 in
/// place of another.
pub(crate) fn of_guest(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// What clap has to say (help is no error), under the codes of the verb that was meant.
pub(crate) fn of_parsing(error: &clap::Error) -> ExitCode {
    // There is nobody else to tell.
    let _ = error.print();
    if error.exit_code() == 0 {
        return ExitCode::SUCCESS;
    }
    let verb = first_word(env::args_os().skip(1));
    let is_beside = verb.is_some_and(|verb| verb == VERB_BESIDE_GUESTS);
    let codes = if is_beside { Codes::BesideGuests } else { Codes::Own };
    codes.code(Ending::Usage)
}

/// The first argument that is neither an option nor the value of one.
fn first_word(arguments: impl Iterator<Item = OsString>) -> Option<OsString> {
    let mut is_value = false;
    for argument in arguments {
        if !is_value && !argument.as_encoded_bytes().starts_with(b"-") {
            return Some(argument);
        }
        is_value = GLOBAL_OPTIONS_WITH_VALUE.iter().any(|option| argument == *option);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_is_found_behind_options() {
        let verb = |line: &str| first_word(line.split(' ').map(OsString::from));
        assert_eq!(verb("run x"), Some("run".into()));
        assert_eq!(verb("--json --cache run replay x"), Some("replay".into()));
        assert_eq!(verb("-v --jail=weak pvf run"), Some("pvf".into()));
        assert_eq!(verb("--json"), None);
    }

    #[test]
    fn no_exit_code_of_a_guest_becomes_success_by_being_cut_off() {
        for code in [-1, 256, i32::MAX, i32::MIN] {
            assert_eq!(of_guest(code), ExitCode::from(255));
        }
        assert_eq!(of_guest(0), ExitCode::SUCCESS);
        assert_eq!(of_guest(255), ExitCode::from(255));
    }
}
