//! Processes of this machine as /proc shows them: who belongs to whom, and what memory they hold.

use std::{fs, process};

/// A process that was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// At most 15 bytes: the kernel keeps no more.
    pub(crate) name: String,
}

/// All processes. Those that end meanwhile are passed over.
fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// `pid (name) state parent ...` (proc_pid_stat(5)); a name may hold parentheses.
fn parse(stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(") ")?;
    let (pid, name) = before.split_once(" (")?;
    let parent = after.split(' ').nth(1)?;
    Some(Process { pid: pid.parse().ok()?, parent: parent.parse().ok()?, name: name.to_owned() })
}

/// The processes that this program started.
pub(crate) fn children() -> Vec<Process> {
    let own = process::id();
    all().into_iter().filter(|process| process.parent == own).collect()
}

/// A process and all that descend from it.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let all = all();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(all.iter().filter(|of| of.parent == parent).map(|of| of.pid));
        next += 1;
    }
    family
}

/// Bytes of memory that are resident, shared ones too.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, String> {
    sum_of(pid, "Rss:")
}

/// The same, with every shared page divided among those who share it.
pub(crate) fn proportional_bytes(pid: u32) -> Result<u64, String> {
    sum_of(pid, "Pss:")
}

fn sum_of(pid: u32, name: &str) -> Result<u64, String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map(|count| count * 1024).ok_or_else(|| format!("{path} has no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses() {
        let process = parse("12 (a) (b) S 7 12 12").unwrap();
        assert_eq!((process.pid, process.parent, process.name.as_str()), (12, 7, "a) (b"));
    }

    #[test]
    fn this_process_has_memory_and_belongs_to_its_own_family() {
        let own = process::id();
        assert!(family(own).contains(&own));
        assert!(resident_bytes(own).unwrap() >= proportional_bytes(own).unwrap());
    }
}
