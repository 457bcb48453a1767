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
    verdict::{Fault, describe},
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
    last: Mutex<Option<(Fault, Instant)>>,
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

/// One at a time; who waited is told what the one before found.
async fn try_it(host: &Arc<Shared>, pause: Duration) -> Result<(), Fault> {
    let asked = Instant::now();
    let mut last = host.canary.last.lock().await;
    if let Some((fault, when)) = &*last
        && *when + pause > asked
    {
        return Err(fault.clone());
    }
    let failed = run(host).await.err().map(|why| Fault::Canary(Text::from(why)));
    host.canary.failing.store(failed.is_some(), Ordering::Relaxed);
    *last = failed.clone().map(|fault| (fault, Instant::now()));
    match failed {
        Some(fault) => {
            tracing::error!(target: "lazaret", %fault, "the canary failed");
            Err(fault)
        }
        None => Ok(()),
    }
}

/// Runs it; what was wrong if it did not come to the known answer.
async fn run(host: &Arc<Shared>) -> Result<Answer<Validated>, String> {
    let block: Vec<u8> = (0..BLOCK_BYTES).map(|index| index as u8).collect();
    let call = Call {
        code: Code::new(CODE.as_bytes()).map_err(|error| error.to_string())?,
        params: Params { code_format: CodeFormat::Text, ..Params::default() },
        input: Input { pieces: [block].into(), form: work::Input::PvfEncoded },
        limits: Limits::default(),
        prepare_limits: None,
        retry: Retry::Once,
        deadline: None,
        lane: Lane::default(),
        group: None,
    };
    let answer = pipeline::call(host.clone(), call).await.map_err(|fault| fault.to_string())?;
    let answer = answer.read(read_result);
    match &answer.verdict {
        Verdict::Returned(validated) if validated.result.head_data == ANSWER.to_le_bytes() => {
            Ok(answer)
        }
        Verdict::Returned(_) => Err("it computed something else than what is right".into()),
        Verdict::Refused(refusal) => Err(describe(refusal)),
        Verdict::Inconclusive(doubt) => Err(doubt.to_string()),
    }
}

impl Host {
    /// Calls a small guest whose answer is known, and says what was wrong if another came. It goes the
    /// way of every call: workers, jail, engine.
    pub async fn canary(&self) -> Result<Answer<Validated>, String> {
        run(&self.shared).await
    }
}
