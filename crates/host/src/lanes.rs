//! Lanes: classes of requests that share the workers.

use crate::queue::LaneTerms;

/// A class of requests, by its place among the [`Lanes`] of a host: 0 is the most urgent. A place
/// beyond the last lane means the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(u8);

impl Lane {
    /// Of [`Lanes::pvf`]: a dispute about a block, whose outcome costs somebody their stake.
    pub const DISPUTE: Self = Self(0);
    /// Of [`Lanes::pvf`]: a block that waits for this validator's approval.
    pub const APPROVAL: Self = Self(1);
    /// Of [`Lanes::pvf`]: a new block of a system chain.
    pub const BACKING_SYSTEM: Self = Self(2);
    /// Of [`Lanes::pvf`]: a new block of another chain.
    pub const BACKING: Self = Self(3);
    /// Of [`Lanes::generic`]: somebody waits at a screen.
    pub const URGENT: Self = Self(0);
    /// Of [`Lanes::generic`]: somebody waits.
    pub const NORMAL: Self = Self(1);
    /// Of [`Lanes::generic`]: nobody waits.
    pub const BACKGROUND: Self = Self(2);

    pub(crate) fn place(self) -> usize {
        self.0.into()
    }
}

impl Default for Lane {
    /// [`Lane::APPROVAL`], which is also [`Lane::NORMAL`].
    fn default() -> Self {
        Self::APPROVAL
    }
}

/// The lanes of a host's calls, the most urgent first.
///
/// In any dozen of calls that begin, a lane is due a share of what it and the lanes below it begin. A
/// lane in which somebody waits is never passed over by more than a dozen others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lanes {
    pub(crate) lanes: Vec<(&'static str, LaneTerms)>,
}

impl Lanes {
    /// Polkadot's: dispute 70 %, approval 80 % of the rest, backing of system chains, backing. The
    /// first two may use the workers for critical calls.
    pub fn pvf() -> Self {
        Self::of(&[
            ("dispute", 70, true),
            ("approval", 80, true),
            ("backing-system", 100, false),
            ("backing", 100, false),
        ])
    }

    /// Urgent 70 %, normal 80 % of the rest, background. The first may use the workers for critical
    /// calls.
    pub fn generic() -> Self {
        Self::of(&[("urgent", 70, true), ("normal", 80, false), ("background", 100, false)])
    }

    /// Those of preparations: what a call waits for, what somebody asked for, what may be needed soon.
    pub(crate) fn of_preparation() -> Self {
        Self::of(&[("critical", 70, true), ("asked", 80, false), ("heads-up", 100, false)])
    }

    fn of(lanes: &[(&'static str, u32, bool)]) -> Self {
        let lane = |&(name, share, critical)| (name, LaneTerms { share, critical });
        Self { lanes: lanes.iter().map(lane).collect() }
    }

    pub(crate) fn terms(&self) -> Vec<LaneTerms> {
        self.lanes.iter().map(|(_, terms)| *terms).collect()
    }

    /// The name of a lane, as metrics have it.
    pub fn name(&self, lane: Lane) -> &'static str {
        self.lanes[lane.place().min(self.lanes.len() - 1)].0
    }
}

/// Of [`Lanes::of_preparation`].
pub(crate) mod preparation {
    use super::Lane;

    pub(crate) const CRITICAL: Lane = Lane(0);
    pub(crate) const ASKED: Lane = Lane(1);
    pub(crate) const HEADS_UP: Lane = Lane(2);
}
