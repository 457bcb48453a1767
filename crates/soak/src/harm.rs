//! What is done to a host under load: its workers and jobs are killed, jobs stopped, its artifacts
//! damaged, groups of requests withdrawn.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{
    bounds::{DAMAGE_PAUSE_MS_MAX, GROUPS, KILL_PAUSE_MS_MAX, STOPS_ONE_IN, WITHDRAW_PAUSE_MS_MAX},
    choices::Choices,
    held::{Process, process, processes},
    load::{Soak, group},
};

async fn pause(choices: &mut Choices, ms_max: u64) {
    tokio::time::sleep(Duration::from_millis(choices.below(ms_max))).await;
}

/// Kills workers and jobs, and stops jobs, until the time is over; then ends what it stopped.
pub(crate) async fn kill(soak: &Soak, mut choices: Choices, until: Instant) {
    let mut stopped = Vec::new();
    while Instant::now() < until {
        pause(&mut choices, KILL_PAUSE_MS_MAX).await;
        let wants_worker = choices.one_in(2);
        let found: Vec<_> =
            processes().into_iter().filter(|one| one.is_worker() == wants_worker).collect();
        let stops = !wants_worker && choices.one_in(STOPS_ONE_IN);
        let Some(end) = choices.among(&found).and_then(handle) else { continue };
        let (signal, what) = match (stops, wants_worker) {
            (true, _) => (Signal::STOP, "jobs stopped"),
            (false, true) => (Signal::KILL, "workers killed"),
            (false, false) => (Signal::KILL, "jobs killed"),
        };
        // It may have ended by itself meanwhile.
        if pidfd_send_signal(&end, signal).is_ok() {
            soak.tally.harm(what);
        }
        if stops {
            stopped.push(end);
        }
    }
    for end in stopped {
        // Most have been killed at their wall-clock limit.
        let _ = pidfd_send_signal(end, Signal::KILL);
    }
}

/// A handle on exactly this process: what has its number by now may be somebody else's.
fn handle(found: &Process) -> Option<OwnedFd> {
    let end = pidfd_open(Pid::from_raw(found.pid)?, PidfdFlags::empty()).ok()?;
    (process(found.pid)? == *found).then_some(end)
}

/// Damages artifacts in the cache directory until the time is over.
pub(crate) async fn damage(soak: &Soak, mut choices: Choices, until: Instant) {
    while Instant::now() < until {
        pause(&mut choices, DAMAGE_PAUSE_MS_MAX).await;
        let found: Vec<_> = fs::read_dir(&soak.cache)
            .into_iter()
            .flatten()
            .flatten()
            .map(|one| one.path())
            .collect();
        if let Some(path) = choices.among(&found)
            && damage_one(path, &mut choices).is_ok()
        {
            soak.tally.harm("artifacts damaged");
        }
    }
}

fn damage_one(path: &Path, choices: &mut Choices) -> std::io::Result<()> {
    let bytes = fs::metadata(path)?.len().max(1);
    let open = || fs::File::options().read(true).write(true).open(path);
    match choices.below(6) {
        0 => open()?.set_len(choices.below(bytes)),
        1 => open()?.set_len(bytes + 1 + choices.below(100)),
        2 => fs::remove_file(path),
        3 => fs::remove_file(path).and_then(|()| fs::create_dir(path)),
        _ => {
            let (file, at, mut byte) = (open()?, choices.below(bytes), [0]);
            file.read_exact_at(&mut byte, at)?;
            byte[0] ^= 1 << choices.below(8);
            file.write_all_at(&byte, at)
        }
    }
}

/// Withdraws groups of requests until the time is over.
pub(crate) async fn withdraw(soak: &Soak, mut choices: Choices, until: Instant) {
    while Instant::now() < until {
        pause(&mut choices, WITHDRAW_PAUSE_MS_MAX).await;
        let number = choices.below(GROUPS);
        soak.host.withdraw(&[group(number)]);
        soak.tally.harm("groups withdrawn");
    }
}
