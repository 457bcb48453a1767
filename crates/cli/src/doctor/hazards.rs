//! What makes this machine's timing, memory or secrecy uneven. None of it stops a verdict; all of it
//! moves a job nearer to a limit at one time than at another, or shares what should not be shared.

use std::fs;

use super::facts::word;

/// One property of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hazard {
    /// Its stable name.
    pub(crate) name: &'static str,
    pub(crate) state: HazardState,
    /// As the machine tells it.
    pub(crate) value: String,
    /// What it does to jobs.
    pub(crate) why: &'static str,
    /// What changes it, until the next start of the machine.
    pub(crate) command: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HazardState {
    Absent,
    Present,
    /// The machine does not tell, as virtual ones often do not.
    Unknown,
}

impl HazardState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Present => "present",
            Self::Unknown => "unknown",
        }
    }
}

pub(crate) fn look() -> Vec<Hazard> {
    vec![
        smt(word("/sys/devices/system/cpu/smt/active")),
        governor(&governors()),
        swap(word("/proc/swaps")),
        core_pattern(word("/proc/sys/kernel/core_pattern")),
        huge_pages(word("/sys/kernel/mm/transparent_hugepage/enabled")),
        clock(word("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
    ]
}

fn governors() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu/cpufreq") else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|policy| word(policy.path().join("scaling_governor").to_str()?))
        .collect();
    found.sort();
    found.dedup();
    found
}

fn hazard(
    (name, value): (&'static str, Option<String>),
    is_present: impl FnOnce(&str) -> bool,
    why: &'static str,
    command: &'static str,
) -> Hazard {
    let state = match &value {
        None => HazardState::Unknown,
        Some(value) if is_present(value) => HazardState::Present,
        Some(_) => HazardState::Absent,
    };
    Hazard { name, state, value: value.unwrap_or_default(), why, command }
}

fn smt(active: Option<String>) -> Hazard {
    hazard(
        ("smt", active),
        |active| active == "1",
        "two hardware threads share a core: a job's CPU time depends on its neighbour, and each can \
         watch what the other does to the caches",
        "echo off | sudo tee /sys/devices/system/cpu/smt/control",
    )
}

fn governor(governors: &[String]) -> Hazard {
    let value = (!governors.is_empty()).then(|| governors.join(" "));
    hazard(
        ("cpufreq-governor", value),
        |governors| governors != "performance",
        "the clock rate follows the load, so the same call takes different CPU time",
        "sudo cpupower frequency-set --governor performance",
    )
}

fn swap(swaps: Option<String>) -> Hazard {
    // The first line is the heading (proc_swaps(5)).
    let devices = swaps.map(|swaps| {
        let names = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        names.collect::<Vec<_>>().join(" ")
    });
    hazard(
        ("swap", devices),
        |devices| !devices.is_empty(),
        "a job may wait for its own memory, and what it worked on may reach a disk",
        "sudo swapoff --all",
    )
}

fn core_pattern(pattern: Option<String>) -> Hazard {
    hazard(
        ("core-pattern", pattern),
        |pattern| pattern.starts_with('|'),
        "the kernel starts a program, as root, for each process that crashes; jobs are exempt by \
         two layers (worker-limits, not-dumpable), and without the pipe there is nothing to be \
         exempt from",
        "sudo sysctl -w kernel.core_pattern=core",
    )
}

fn huge_pages(enabled: Option<String>) -> Hazard {
    hazard(
        ("transparent-huge-pages", enabled),
        |enabled| enabled.contains("[always]"),
        "memory comes in steps of 2 MiB when the kernel finds them, so a job's memory and time \
         depend on what ran before",
        "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
    )
}

fn clock(source: Option<String>) -> Hazard {
    const SLOW: &[&str] = &["hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"];
    hazard(
        ("clock-source", source),
        |source| SLOW.contains(&source),
        "reading the time is a system call, some twenty times slower; the kernel found the \
         processor's own counter unsteady",
        "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn each_hazard_is_told_from_what_the_kernel_says() {
        let swaps = "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2";
        for (hazard, state) in [
            (smt(some("1")), HazardState::Present),
            (smt(some("0")), HazardState::Absent),
            (smt(None), HazardState::Unknown),
            (governor(&[]), HazardState::Unknown),
            (governor(&["performance".into()]), HazardState::Absent),
            (governor(&["performance".into(), "powersave".into()]), HazardState::Present),
            (swap(some(swaps)), HazardState::Present),
            (swap(some("Filename Type Size Used Priority")), HazardState::Absent),
            (core_pattern(some("|/usr/share/apport/apport %p")), HazardState::Present),
            (core_pattern(some("core")), HazardState::Absent),
            (huge_pages(some("[always] madvise never")), HazardState::Present),
            (huge_pages(some("always [madvise] never")), HazardState::Absent),
            (clock(some("tsc")), HazardState::Absent),
            (clock(some("kvm-clock")), HazardState::Absent),
            (clock(some("hpet")), HazardState::Present),
        ] {
            assert_eq!(hazard.state, state, "{hazard:?}");
        }
        assert_eq!(swap(some(swaps)).value, "/dev/sda2");
    }
}
