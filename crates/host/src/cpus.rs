//! Which processors workers may run on.

use std::{
    collections::BTreeSet,
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

/// Sets of processors, and the workers on each.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Mutex<Vec<Place>>>);

#[derive(Debug, Default)]
struct Place {
    /// All that this program may use, if none are named.
    set: Option<Cpus>,
    /// The seats of its workers.
    taken: BTreeSet<u16>,
}

/// A worker's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    places: Places,
    place: usize,
    number: u16,
}

impl Places {
    /// No sets: workers run anywhere.
    pub(crate) fn new(sets: &[Cpus]) -> Self {
        let place = |set: &Cpus| Place { set: Some(set.clone()), ..Place::default() };
        let mut places: Vec<_> = sets.iter().map(place).collect();
        if places.is_empty() {
            places.push(Place::default());
        }
        Self(Arc::new(Mutex::new(places)))
    }

    /// Puts a worker that has just been started on the set with the fewest.
    pub(crate) fn seat(&self, worker: u32) -> io::Result<Seat> {
        let mut places = self.places();
        // There is always one.
        let emptiest = (0..places.len()).min_by_key(|place| places[*place].taken.len());
        let place = emptiest.unwrap_or_default();
        let Place { set, taken } = &mut places[place];
        if let Some(set) = set {
            let mut cpus = CpuSet::new();
            set.numbers.iter().for_each(|number| cpus.set(*number));
            let refused = |error: rustix::io::Errno| {
                io::Error::other(format!("it cannot run on processors {set}: {error}"))
            };
            sched_setaffinity(Pid::from_raw(worker as i32), &cpus).map_err(refused)?;
        }
        let number = (0..=u16::MAX).find(|number| !taken.contains(number)).unwrap_or(u16::MAX);
        taken.insert(number);
        Ok(Seat { places: self.clone(), place, number })
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.0.lock().expect("no panic while locked")
    }
}

impl Seat {
    /// Which of the workers of its set this is, from 0 and without gaps as long as none ends.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.places()[self.place].taken.remove(&self.number);
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

    #[test]
    fn who_comes_takes_the_seat_of_who_has_gone() {
        let places = Places::new(&[]);
        let mut seats: Vec<_> = (0..3).map(|_| places.seat(0).unwrap()).collect();
        assert_eq!(seats.iter().map(Seat::number).collect::<Vec<_>>(), [0, 1, 2]);
        drop(seats.remove(1));
        assert_eq!(places.seat(0).unwrap().number(), 1);
    }
}
