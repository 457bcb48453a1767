//! What the kernel says about memory in a group: its `memory.events`.

use crate::judge::OomKill;

/// The two counters that tell whose want of memory ended a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Events {
    /// How often an allocation failed at the group's own limit.
    oom: u64,
    /// How many processes of the group any out-of-memory killer has killed.
    oom_kill: u64,
}

impl Events {
    pub(super) fn parse(text: &str) -> Self {
        let count = |name| {
            let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
            text.lines().find_map(of).unwrap_or(0)
        };
        Self { oom: count("oom"), oom_kill: count("oom_kill") }
    }

    /// What happened between two looks. A kill without the group's own limit being met was ordered by
    /// the machine, or by a group above, and is not the job's doing.
    pub(super) fn since(self, before: Self) -> OomKill {
        match (self.oom_kill > before.oom_kill, self.oom > before.oom) {
            (false, _) => OomKill::None,
            (true, true) => OomKill::OwnLimit,
            (true, false) => OomKill::Elsewhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_groups_own_limit_is_held_against_a_job() {
        let before = Events::parse("low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 1\n");
        let since = |text| Events::parse(text).since(before);
        assert_eq!(since("max 9\noom 2\noom_kill 2\noom_group_kill 2\n"), OomKill::OwnLimit);
        assert_eq!(since("max 7\noom 1\noom_kill 2\n"), OomKill::Elsewhere);
        assert_eq!(since("max 9\noom 2\noom_kill 1\n"), OomKill::None);
        assert_eq!(since("nonsense"), OomKill::None);
    }
}
