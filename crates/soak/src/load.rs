//! Clients: each asks for one thing after the other, and judges what it is told.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use lazaret::{Group, Host, Lane, Params, Retry, Verdict, pvf::Settings};
use tokio::time::timeout;

use crate::{
    allowed::{Circumstances, Ended, is_allowed},
    bounds::{
        ANSWER_MAX, DEADLINE_ONE_IN, DROPPED_ONE_IN, GROUPED_ONE_IN, GROUPS, RETRY_PAUSE,
        SHORT_MS_MAX,
    },
    choices::Choices,
    guests::{Asked, Guests, Verb},
    tally::Tally,
};

/// What everybody in a run shares.
#[derive(Debug)]
pub(crate) struct Soak {
    pub(crate) host: Host,
    pub(crate) guests: Guests,
    pub(crate) tally: Tally,
    pub(crate) cache: PathBuf,
    pub(crate) seed: u64,
    /// Requests that may still begin in this round.
    pub(crate) left: AtomicU64,
}

/// How a client behaves about one request.
#[derive(Debug)]
pub(crate) struct Manner {
    lane: Lane,
    retry: Retry,
    deadline: Option<Instant>,
    group: Option<Group>,
    dropped_after: Option<Duration>,
    harm: bool,
}

impl Manner {
    /// It waits for its answer, and nothing is done to it.
    pub(crate) fn calm() -> Self {
        Self {
            lane: Lane::default(),
            retry: Retry::Once,
            deadline: None,
            group: None,
            dropped_after: None,
            harm: false,
        }
    }

    fn draw(choices: &mut Choices) -> Self {
        let lanes = [Lane::DISPUTE, Lane::APPROVAL, Lane::BACKING_SYSTEM, Lane::BACKING];
        let retries = [Retry::Never, Retry::OnceAfter(RETRY_PAUSE)];
        let short = Duration::from_millis(choices.below(SHORT_MS_MAX));
        let number = choices.below(GROUPS);
        Self {
            lane: choices.among(&lanes).copied().unwrap_or_default(),
            retry: choices.among(&retries).copied().unwrap_or_default(),
            deadline: choices.one_in(DEADLINE_ONE_IN).then(|| Instant::now() + short),
            group: choices.one_in(GROUPED_ONE_IN).then(|| group(number)),
            dropped_after: choices.one_in(DROPPED_ONE_IN).then_some(short),
            harm: true,
        }
    }
}

/// The group of this number.
pub(crate) fn group(number: u64) -> Group {
    Group([number as u8; 32])
}

/// Asks until the time is over or enough was asked.
pub(crate) async fn client(soak: &Soak, mut choices: Choices, until: Instant) {
    while Instant::now() < until {
        let taken = soak
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if taken.is_err() {
            return;
        }
        let asked = soak.guests.draw(&mut choices);
        let manner = Manner::draw(&mut choices);
        if let Err(wrong) = ask(soak, asked, &manner).await {
            soak.tally.complain(&wrong);
        }
    }
}

/// Asks once, counts the answer, and says whether it was a right one.
pub(crate) async fn ask(soak: &Soak, asked: Asked, manner: &Manner) -> Result<(), String> {
    let (kind, expected) = (asked.kind, asked.expected);
    soak.tally.begun(kind);
    if asked.verb == Verb::HeadsUp {
        soak.host.heads_up(&asked.code, &Params::default());
        return Ok(());
    }
    let is_call = asked.verb == Verb::Validate;
    let around = Circumstances {
        harm: manner.harm,
        deadline: is_call && manner.deadline.is_some(),
        grouped: is_call && manner.group.is_some(),
    };
    let patience = manner.dropped_after.unwrap_or(ANSWER_MAX);
    let Ok(ended) = timeout(patience, send(&soak.host, asked, manner)).await else {
        soak.tally.dropped(kind);
        return match manner.dropped_after {
            Some(_) => Ok(()),
            None => Err(format!("{kind:?}: no answer within {ANSWER_MAX:?}")),
        };
    };
    soak.tally.answered(kind, &ended);
    match is_allowed(expected, around, &ended) {
        true => Ok(()),
        false => Err(format!("{kind:?}, {around:?}: expected {expected:?}, was told {ended:?}")),
    }
}

async fn send(host: &Host, asked: Asked, manner: &Manner) -> Ended {
    let params = Params::default();
    match asked.verb {
        Verb::Validate => {
            let mut settings = Settings::default();
            settings.limits.cpu = asked.cpu;
            settings.retry = manner.retry;
            settings.lane = manner.lane;
            settings.deadline = manner.deadline;
            settings.group = manner.group;
            let answer = host.validate(&asked.code, asked.block, &settings).await?;
            Ok(with(answer.verdict, |validated| Some(validated.result.head_data)))
        }
        Verb::Precheck => {
            let answer = host.precheck(&asked.code, &params).await?;
            Ok(with(answer.verdict, |_| None))
        }
        Verb::Inspect | Verb::HeadsUp => {
            let answer = host.inspect(&asked.code, &params).await?;
            Ok(with(answer.verdict, |_| None))
        }
    }
}

fn with<T, U>(verdict: Verdict<T>, returned: impl FnOnce(T) -> U) -> Verdict<U> {
    match verdict {
        Verdict::Returned(value) => Verdict::Returned(returned(value)),
        Verdict::Refused(refusal) => Verdict::Refused(refusal),
        Verdict::Inconclusive(doubt) => Verdict::Inconclusive(doubt),
    }
}
