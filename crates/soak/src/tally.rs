//! What happened, counted, and what should not have.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Mutex, MutexGuard},
};

use lazaret::Verdict;

use crate::{
    allowed::Ended,
    bounds::COMPLAINTS_SHOWN,
    guests::{KINDS, Kind},
};

/// Counts of the whole run. Shared by all who ask and do harm.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<Counts>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) of_kind: BTreeMap<Kind, Endings>,
    /// By the word of a doubt or fault.
    pub(crate) troubles: BTreeMap<String, u64>,
    pub(crate) harm: BTreeMap<&'static str, u64>,
    pub(crate) complaints: u64,
}

/// What requests of one kind came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endings {
    pub(crate) begun: u64,
    returned: u64,
    refused: u64,
    inconclusive: u64,
    faults: u64,
    /// Their futures were.
    dropped: u64,
}

impl Endings {
    /// How many have an answer.
    pub(crate) fn answered(&self) -> u64 {
        self.returned + self.refused + self.inconclusive + self.faults
    }

    /// How many have one, or nobody who waits for it.
    pub(crate) fn ended(&self) -> u64 {
        self.answered() + self.dropped
    }

    fn add(&mut self, other: &Self) {
        self.begun += other.begun;
        self.returned += other.returned;
        self.refused += other.refused;
        self.inconclusive += other.inconclusive;
        self.faults += other.faults;
        self.dropped += other.dropped;
    }

    fn row(&self, name: &str) -> String {
        format!(
            "{name:<16} {:>9} {:>9} {:>9} {:>12} {:>9} {:>9}",
            self.begun, self.returned, self.refused, self.inconclusive, self.faults, self.dropped
        )
    }
}

impl Tally {
    pub(crate) fn begun(&self, kind: Kind) {
        self.lock().of_kind.entry(kind).or_default().begun += 1;
    }

    pub(crate) fn dropped(&self, kind: Kind) {
        self.lock().of_kind.entry(kind).or_default().dropped += 1;
    }

    pub(crate) fn answered(&self, kind: Kind, ended: &Ended) {
        let mut counts = self.lock();
        let trouble = match ended {
            Ok(Verdict::Inconclusive(doubt)) => Some(format!("doubt {}", doubt.word())),
            Err(fault) => Some(format!("fault {}", fault.word())),
            Ok(_) => None,
        };
        if let Some(word) = trouble {
            *counts.troubles.entry(word).or_default() += 1;
        }
        let endings = counts.of_kind.entry(kind).or_default();
        *match ended {
            Ok(Verdict::Returned(_)) => &mut endings.returned,
            Ok(Verdict::Refused(_)) => &mut endings.refused,
            Ok(Verdict::Inconclusive(_)) => &mut endings.inconclusive,
            Err(_) => &mut endings.faults,
        } += 1;
    }

    pub(crate) fn harm(&self, what: &'static str) {
        *self.lock().harm.entry(what).or_default() += 1;
    }

    /// Something that should not have been.
    pub(crate) fn complain(&self, what: &str) {
        let mut counts = self.lock();
        counts.complaints += 1;
        if counts.complaints <= COMPLAINTS_SHOWN as u64 {
            eprintln!("WRONG: {what}");
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("no panic while locked")
    }
}

impl Counts {
    /// Of all kinds that are answered: nobody waits for a heads-up.
    pub(crate) fn all(&self) -> Endings {
        let mut all = Endings::default();
        let asked = self.of_kind.iter().filter(|(kind, _)| **kind != Kind::HeadsUp);
        asked.for_each(|(_, endings)| all.add(endings));
        all
    }

    pub(crate) fn table(&self) -> String {
        let mut table = format!(
            "{:<16} {:>9} {:>9} {:>9} {:>12} {:>9} {:>9}\n",
            "", "begun", "returned", "refused", "inconclusive", "fault", "dropped"
        );
        for (kind, _) in KINDS {
            let endings = self.of_kind.get(kind).copied().unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{}", endings.row(&format!("{kind:?}")));
        }
        let _ = writeln!(table, "{}\n", self.all().row("all answered"));
        let harm = self.harm.iter().map(|(word, count)| ((*word).to_owned(), *count));
        for (word, count) in harm.chain(self.troubles.clone()) {
            let _ = writeln!(table, "{word:<36} {count:>9}");
        }
        table
    }
}
