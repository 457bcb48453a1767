//! How busy this machine is, for whoever has to explain a job that did not get its turn.

use std::{fmt, fs};

/// What the kernel says of the machine's load (`proc_pressure`, kernel documentation
/// "accounting/psi"; `proc_loadavg(5)`). What it does not say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MachineLoad {
    /// Percent of the last 10 s in which some task waited for a processor.
    pub cpu_pressure: Option<f32>,
    /// The same for memory.
    pub memory_pressure: Option<f32>,
    /// The same for input and output.
    pub io_pressure: Option<f32>,
    /// Runnable and uninterruptible tasks, averaged over a minute.
    pub load: Option<f32>,
    /// Processors that this process may use.
    pub processors: Option<usize>,
}

impl MachineLoad {
    /// As it is now.
    pub(crate) fn now() -> Self {
        let pressure = |of: &str| {
            let text = fs::read_to_string(format!("/proc/pressure/{of}")).ok()?;
            number_after(&text, "some avg10=")
        };
        let load = fs::read_to_string("/proc/loadavg").ok();
        Self {
            cpu_pressure: pressure("cpu"),
            memory_pressure: pressure("memory"),
            io_pressure: pressure("io"),
            load: load.and_then(|text| number_after(&text, "")),
            processors: std::thread::available_parallelism().ok().map(usize::from),
        }
    }
}

impl fmt::Display for MachineLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known =
            |value: Option<f32>| value.map_or("unknown".to_owned(), |value| value.to_string());
        write!(
            f,
            "load {} on {} processors; waiting in the last 10 s: {} % for a processor, {} % for memory, \
             {} % for input and output",
            known(self.load),
            known(self.processors.map(|count| count as f32)),
            known(self.cpu_pressure),
            known(self.memory_pressure),
            known(self.io_pressure),
        )
    }
}

fn number_after(text: &str, word: &str) -> Option<f32> {
    text.strip_prefix(word)?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let pressure = "some avg10=1.25 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00\n";
        assert_eq!(number_after(pressure, "some avg10="), Some(1.25));
        assert_eq!(number_after("0.52 0.58 0.59 1/467 1234\n", ""), Some(0.52));
        assert_eq!(number_after("", "some avg10="), None);
        assert!(MachineLoad::now().to_string().starts_with("load "));
    }
}
