//! Resource limits (`setrlimit(2)`): soft and hard always equal, so that none can be raised.
//!
//! RLIMIT_AS is never set: it would break Wasm's reservations of 4 GiB. RLIMIT_DATA counts
//! private writable memory only; shared mappings are denied by the job's filter.

use std::time::Duration;

use rustix::process::Resource;

use crate::layer::{During, Step, check};
use crate::sys::{self, Way};

/// Far more than the seven hundred that a worker has: its two, the signal descriptor, an artifact, and for
/// each job that waits a pidfd and a channel. The limit also bounds descriptors that are
/// on their way between processes (unix(7), ETOOMANYREFS), and those of all workers of a user together.
const WORKER_DESCRIPTORS: u64 = 1024;
/// Not 0: a core pattern that names a pipe ignores 0, and only 1 keeps the kernel from starting
/// that program. No core file is as small as that either (`core(5)`).
const NO_CORE: u64 = 1;
/// How much longer than twice its CPU limit a job may run if its worker does not look.
const CPU_BACKSTOP: Duration = Duration::from_secs(1);

/// The worker's limits; `file_bytes_max` bounds the memfds it and its jobs write.
pub(crate) fn limit_worker(file_bytes_max: u64) -> Step {
    for (resource, most) in [
        (Resource::Core, NO_CORE),
        (Resource::Fsize, file_bytes_max),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Locks, 0),
        (Resource::Nice, 0),
        (Resource::Rtprio, 0),
        (Resource::Nofile, WORKER_DESCRIPTORS),
        (Resource::Sigpending, 0),
    ] {
        limit(resource, most)?;
    }
    Ok(())
}

/// A job's limits.
pub(crate) fn limit_job(limits: &crate::job::JobLimits) -> Step {
    for (resource, most) in [
        (Resource::Data, limits.memory_bytes),
        // Soft is hard: at the soft limit comes SIGXCPU, which a process may ignore.
        (Resource::Cpu, cpu_seconds(limits)),
        (Resource::Stack, limits.stack_bytes),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Nofile, u64::from(limits.descriptors) + 1),
        // Of all but a template no process and no thread; counted in the user namespace since Linux 5.14.
        (Resource::Nproc, limits.processes.into()),
        (Resource::Sigpending, 0),
    ] {
        limit(resource, most)?;
    }
    Ok(())
}

/// From now on no descriptor can be made; those that are open stay usable.
pub(crate) fn refuse_descriptors(way: Way) -> Step {
    limit_by(way, Resource::Nofile, 0)
}

/// From now on nothing can be written to a file.
pub(crate) fn refuse_files() -> Step {
    limit(Resource::Fsize, 0)
}

/// From now on no process can be made.
pub(crate) fn refuse_processes(way: Way) -> Step {
    limit_by(way, Resource::Nproc, 0)
}

/// Takes again what one call may have stricter than those it was loaded for.
pub(crate) fn limit_call(way: Way, limits: &crate::job::JobLimits) -> Step {
    limit_by(way, Resource::Data, limits.memory_bytes)?;
    limit_by(way, Resource::Cpu, cpu_seconds(limits))
}

/// The net below the worker's looks, which are exact. Twice as far and in whole seconds, because most
/// kernels count for this limit by ticks (CONFIG_TICK_CPU_ACCOUNTING): whoever runs when the clock ticks
/// is charged all of it, which on a busy machine came to a second more in fifteen. Who is caught here
/// dies by a signal, which is a doubt and not the refusal that it should be.
fn cpu_seconds(limits: &crate::job::JobLimits) -> u64 {
    (limits.cpu.saturating_mul(2) + CPU_BACKSTOP).as_millis().div_ceil(1000) as u64
}

fn limit(resource: Resource, most: u64) -> Step {
    limit_by(Way::Open, resource, most)
}

fn limit_by(way: Way, resource: Resource, most: u64) -> Step {
    let exchange = |most| sys::exchange_limit(way, resource as u32, most);
    let mut wanted = most;
    let mut done = exchange(Some(wanted));
    if done.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)) {
        // A hard limit that is already lower stays: raising it would need a privilege.
        (_, wanted) = exchange(None).during(call_name(resource))?;
        done = exchange(Some(wanted));
    }
    done.during(call_name(resource))?;
    if matches!(way, Way::Pass(_)) {
        // A copy: that the kernel sets what it says it does, its template has seen.
        return Ok(());
    }
    let present = exchange(None).during(call_name(resource))?;
    check(present == (wanted, wanted), call_name(resource))
}

fn call_name(resource: Resource) -> &'static str {
    match resource {
        Resource::Core => "setrlimit RLIMIT_CORE",
        Resource::Fsize => "setrlimit RLIMIT_FSIZE",
        Resource::Memlock => "setrlimit RLIMIT_MEMLOCK",
        Resource::Msgqueue => "setrlimit RLIMIT_MSGQUEUE",
        Resource::Locks => "setrlimit RLIMIT_LOCKS",
        Resource::Nice => "setrlimit RLIMIT_NICE",
        Resource::Rtprio => "setrlimit RLIMIT_RTPRIO",
        Resource::Nofile => "setrlimit RLIMIT_NOFILE",
        Resource::Sigpending => "setrlimit RLIMIT_SIGPENDING",
        Resource::Data => "setrlimit RLIMIT_DATA",
        Resource::Cpu => "setrlimit RLIMIT_CPU",
        Resource::Stack => "setrlimit RLIMIT_STACK",
        Resource::Nproc => "setrlimit RLIMIT_NPROC",
        _ => "setrlimit",
    }
}
