//! Which processors workers may run on.

use std::{
    fmt, io,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard},
};

use rustix::{
    process::Pid,
    thread::{CpuSet, sched_setaffinity},
};

/// A set of processors, written as the kernel writes one: `0-3,8` (cpuset(7), "List format"). A worker and
/// all its jobs stay on it. On a machine with several NUMA nodes, one node's processors keep them to its
/// memory (`/sys/devices/system/node/node*/cpulist`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    list: String,
    numbers: Vec<usize>,
}

/// Why a list of processors cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{list:?} is no list of processors: it is like 0-3,8, and {} is the highest", CpuSet::MAX_CPU - 1)]
pub struct CpusError {
    list: String,
}

impl FromStr for Cpus {
    type Err = CpusError;

    fn from_str(list: &str) -> Result<Self, CpusError> {
        let ranges: Option<Vec<_>> = list.split(',').map(range).collect();
        match ranges {
            Some(ranges) => {
                Ok(Self { list: list.to_owned(), numbers: ranges.into_iter().flatten().collect() })
            }
            None => Err(CpusError { list: list.to_owned() }),
        }
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.list)
    }
}

/// One number, or two with a hyphen between.
fn range(text: &str) -> Option<std::ops::RangeInclusive<usize>> {
    let number = |text: &str| text.parse().ok().filter(|number| *number < CpuSet::MAX_CPU);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

/// Sets of processors, and how many workers are on each. No sets: workers run anywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<Mutex<Vec<(Cpus, usize)>>>);

/// A worker's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    places: Places,
    number: usize,
}

impl Places {
    pub(crate) fn new(sets: &[Cpus]) -> Self {
        Self(Arc::new(Mutex::new(sets.iter().map(|set| (set.clone(), 0)).collect())))
    }

    /// Puts a worker that has just been started on the set with the fewest.
    pub(crate) fn seat(&self, worker: u32) -> io::Result<Option<Seat>> {
        let mut sets = self.sets();
        let Some((number, (set, count))) =
            sets.iter_mut().enumerate().min_by_key(|(_, (_, count))| *count)
        else {
            return Ok(None);
        };
        let mut cpus = CpuSet::new();
        set.numbers.iter().for_each(|number| cpus.set(*number));
        let refused = |error: rustix::io::Errno| {
            io::Error::other(format!("it cannot run on processors {set}: {error}"))
        };
        sched_setaffinity(Pid::from_raw(worker as i32), &cpus).map_err(refused)?;
        *count += 1;
        Ok(Some(Seat { places: self.clone(), number }))
    }

    fn sets(&self) -> MutexGuard<'_, Vec<(Cpus, usize)>> {
        self.0.lock().expect("no panic while locked")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.sets()[self.number].1 -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        let read = |list: &str| list.parse::<Cpus>().map(|cpus| cpus.numbers);
        assert_eq!(read("0-3,8"), Ok(vec![0, 1, 2, 3, 8]));
        assert_eq!(read("5"), Ok(vec![5]));
        for wrong in ["", "a", "3-1", "0,", "-1", "1024", "0-99999999999999999999", "0 1"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("1023"), "{error}");
        }
    }
}
