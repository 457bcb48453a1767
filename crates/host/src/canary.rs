//! A call whose answer is known. While it fails, nothing that jobs do here says anything about guests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lazaret_wire::{params::CodeFormat, text::Text, work};
use tokio::sync::Mutex;

use crate::{
    Code, Limits, Params, Retry, Verdict,
    host::{Call, Host, Shared},
    lanes::Lane,
    pipeline,
    pvf::{Validated, read_result},
    request::{Answer, Input},
    verdict::{Doubt, Fault, describe},
};

const CODE: &str = include_str!("canary.wat");
/// Bytes of the block: 0 to 255, four times.
const BLOCK_BYTES: usize = 1024;
/// FNV-1a of them, by another program than this.
const ANSWER: u64 = 0x1e56_98f9_d66e_6f25;
/// While it fails, it is tried again this often.
const PAUSE: Duration = Duration::from_secs(10);

/// Whether the canary of a host lives, as far as it was tried.
#[derive(Default)]
pub(crate) struct Canary {
    failing: AtomicBool,
    last: Mutex<Option<Try>>,
}

/// A try of the canary that has ended.
struct Try {
    found: Result<(), Fault>,
    ended: Instant,
}

/// Says [`Fault::Canary`] while the canary fails, and tries it again when that was long enough ago.
pub(crate) async fn must_live(host: &Arc<Shared>) -> Result<(), Fault> {
    if !host.canary.failing.load(Ordering::Relaxed) {
        return Ok(());
    }
    try_it(host, PAUSE).await
}

/// Tries the canary, unless somebody did a moment ago.
pub(crate) async fn try_now(host: &Arc<Shared>) -> Result<(), Fault> {
    try_it(host, Duration::ZERO).await
}

/// One at a time.
async fn try_it(host: &Arc<Shared>, pause: Duration) -> Result<(), Fault> {
    let asked = Instant::now();
    let mut last = host.canary.last.lock().await;
    if let Some(found) = last.as_ref().and_then(|last| last.tells(asked, pause)) {
        return found;
    }
    let found = match run(host).await {
        Ok(_) => Ok(()),
        Err(Wrong::Dead(why)) => Err(Fault::Canary(Text::from(why))),
        Err(Wrong::Untried(why)) => {
            tracing::warn!(target: "lazaret", why, "the canary could not be tried");
            // What was known before stands.
            last.take().map_or(Ok(()), |last| last.found)
        }
    };
    host.canary.failing.store(found.is_err(), Ordering::Relaxed);
    *last = Some(Try { found: found.clone(), ended: Instant::now() });
    if let Err(fault) = &found {
        tracing::error!(target: "lazaret", %fault, "the canary failed");
    }
    found
}

impl Try {
    /// What one is told who asked at that time, if it need not be tried again: who waited for this try is
    /// told what it found, and a failure stands for a while. Were those who waited each to try again,
    /// as many calls would run one after the other as requests came while it failed.
    fn tells(&self, asked: Instant, pause: Duration) -> Option<Result<(), Fault>> {
        let was_waited_for = self.ended > asked;
        let stands = self.found.is_err() && self.ended + pause > asked;
        (was_waited_for || stands).then(|| self.found.clone())
    }
}

/// Why there is no right answer.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    /// A job came to something else, or died.
    #[error("{0}")]
    Dead(String),
    /// There was no job, or no artifact: a full queue must not look like a machine that miscomputes.
    #[error("{0}")]
    Untried(String),
}

/// Runs it.
async fn run(host: &Arc<Shared>) -> Result<Answer<Validated>, Wrong> {
    let block: Vec<u8> = (0..BLOCK_BYTES).map(|index| index as u8).collect();
    let call = Call {
        request: None,
        code: Code::new(CODE.as_bytes()).map_err(|error| Wrong::Untried(error.to_string()))?,
        params: Params { code_format: CodeFormat::Text, ..Params::default() },
        input: Input { pieces: [block].into(), form: work::Input::PvfEncoded, image: None },
        limits: Limits::default(),
        wall: None,
        streams: None,
        prepare_limits: None,
        retry: Retry::Once,
        deadline: None,
        lane: Lane::DISPUTE,
        group: None,
    };
    // On the heap, so that a call that may have to try it is not as large as two.
    let answer = Box::pin(pipeline::call(host.clone(), call)).await;
    let answer = answer.map_err(|fault| Wrong::Untried(fault.to_string()))?.read(read_result);
    match &answer.verdict {
        Verdict::Returned(validated) if validated.result.head_data == ANSWER.to_le_bytes() => {
            Ok(answer)
        }
        Verdict::Returned(_) => Err(Wrong::Dead("it computed something else".into())),
        Verdict::Refused(refusal) => Err(Wrong::Dead(describe(refusal))),
        Verdict::Inconclusive(doubt @ Doubt::Preparation(_)) => {
            Err(Wrong::Untried(doubt.to_string()))
        }
        Verdict::Inconclusive(doubt) => Err(Wrong::Dead(doubt.to_string())),
    }
}

impl Host {
    /// Calls a small guest whose answer is known, and says what was wrong if another came. It goes the
    /// way of every call: workers, jail, engine.
    pub async fn canary(&self) -> Result<Answer<Validated>, String> {
        run(&self.shared).await.map_err(|wrong| wrong.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_for_a_try_is_told_what_it_found_and_a_failure_stands_for_a_while() {
        let ended = Instant::now();
        let before = ended - Duration::from_millis(1);
        let lived = Try { found: Ok(()), ended };
        assert!(matches!(lived.tells(before, Duration::ZERO), Some(Ok(()))));
        assert!(lived.tells(ended, PAUSE).is_none(), "that it lived once says little of later");
        let failed = Try { found: Err(Fault::WorkerLost), ended };
        for (asked, pause, is_told) in [
            (before, Duration::ZERO, true),
            (ended, Duration::ZERO, false),
            (ended, PAUSE, true),
            (ended + PAUSE, PAUSE, false),
        ] {
            assert_eq!(failed.tells(asked, pause).is_some(), is_told, "{pause:?}");
        }
    }
}
