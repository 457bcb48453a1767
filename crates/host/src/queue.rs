//! Who is next: requests in lanes with shares, as plain data. No clock, no lock, no I/O.
//!
//! The rule is the one by which Polkadot's host shares its workers. Lanes are in order of urgency.
//! Of what was begun in the present *window*, a lane is due a share of what it and the lanes below it
//! began; a lane that has had its share lets the next one go first, if somebody waits there. With four
//! busy lanes that alone would starve the last, so a lane that others passed over for a whole window
//! is next.
//!
//! How many may run at once has two limits: the soft one for ordinary lanes, the hard one for
//! critical lanes, so that a critical request finds a worker although ordinary ones are busy.

use std::collections::BTreeMap;

/// Begun requests after which shares are counted anew.
pub(crate) const WINDOW: u32 = 12;

/// What a queue knows of a lane beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneTerms {
    /// Percent of what this lane and the lanes below it begin in a window.
    pub(crate) share: u32,
    /// Whether it may take workers up to the hard limit.
    pub(crate) critical: bool,
}

/// How many may wait and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Requests of ordinary lanes that may run at once.
    pub(crate) soft: usize,
    /// Requests that may run at once.
    pub(crate) hard: usize,
    /// Requests that may wait in one lane.
    pub(crate) waiting_max: usize,
}

/// One request in a queue, from when it comes until its end. Earlier ones are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// As many wait in the lane as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) waiting: usize,
}

/// Requests of type `T` that wait, and how many run. Every operation costs the logarithm of what
/// waits.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    lanes: Vec<Lane<T>>,
    room: Room,
    /// Of those that run: which lane they count for.
    running: BTreeMap<Ticket, usize>,
    next: u64,
}

#[derive(Debug)]
struct Lane<T> {
    terms: LaneTerms,
    waiting: BTreeMap<Ticket, T>,
    begun_in_window: u32,
    /// How many of other lanes began since this one last did, while somebody waited here.
    passed_over: u32,
}

impl<T> Queue<T> {
    /// An empty queue with these lanes, the most urgent first.
    pub(crate) fn new(lanes: &[LaneTerms], room: Room) -> Self {
        let lane =
            |&terms| Lane { terms, waiting: BTreeMap::new(), begun_in_window: 0, passed_over: 0 };
        let lanes = lanes.iter().map(lane).collect();
        Self { lanes, room, running: BTreeMap::new(), next: 0 }
    }

    /// Adds a request at the end of a lane; a number beyond the last lane means the last. One that can
    /// begin at once does not count as waiting.
    pub(crate) fn push(&mut self, lane: usize, request: T) -> Result<Ticket, Full> {
        let lane = self.known(lane);
        let waiting = self.lanes[lane].waiting.len();
        let begins_at_once = waiting == 0 && self.has_room(lane);
        if waiting >= self.room.waiting_max && !begins_at_once {
            return Err(Full { waiting });
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.lanes[lane].waiting.insert(ticket, request);
        Ok(ticket)
    }

    /// Begins the next request, if one waits that may run. It runs until [`finish`](Self::finish).
    pub(crate) fn pop(&mut self) -> Option<(Ticket, T)> {
        let may_begin = |&lane: &usize| self.may_begin(lane);
        let able = || (0..self.lanes.len()).filter(may_begin);
        let lane = able()
            .find(|&lane| self.lanes[lane].passed_over >= WINDOW)
            .or_else(|| able().find(|&lane| !self.had_its_share(lane)))
            .or_else(|| able().next())?;
        let (ticket, request) = self.lanes[lane].waiting.pop_first()?;
        self.count_begun(lane);
        self.running.insert(ticket, lane);
        Some((ticket, request))
    }

    /// Takes a waiting request out.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.lanes.iter_mut().find_map(|lane| lane.waiting.remove(&ticket))
    }

    /// Says that a request has ended.
    pub(crate) fn finish(&mut self, ticket: Ticket) {
        self.running.remove(&ticket);
    }

    /// Moves a request to a more urgent lane, where it stands by the time that it came. One that runs
    /// counts for that lane from now on. Never moves one down.
    pub(crate) fn raise(&mut self, ticket: Ticket, to: usize) {
        let to = self.known(to);
        if let Some(lane) = self.running.get_mut(&ticket) {
            *lane = to.min(*lane);
        }
        let from =
            (to + 1..self.lanes.len()).find(|&lane| self.lanes[lane].waiting.contains_key(&ticket));
        let request = from.and_then(|from| self.lanes[from].waiting.remove(&ticket));
        if let Some(request) = request {
            self.lanes[to].waiting.insert(ticket, request);
        }
    }

    /// How many wait in a lane.
    pub(crate) fn waiting(&self, lane: usize) -> usize {
        self.lanes[self.known(lane)].waiting.len()
    }

    /// How many run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    fn known(&self, lane: usize) -> usize {
        lane.min(self.lanes.len() - 1)
    }

    fn may_begin(&self, lane: usize) -> bool {
        !self.lanes[lane].waiting.is_empty() && self.has_room(lane)
    }

    fn has_room(&self, lane: usize) -> bool {
        let is_critical = |lane: usize| self.lanes[lane].terms.critical;
        let ordinary = || self.running.values().filter(|&&lane| !is_critical(lane)).count();
        self.running.len() < self.room.hard && (is_critical(lane) || ordinary() < self.room.soft)
    }

    fn had_its_share(&self, lane: usize) -> bool {
        let own = self.lanes[lane].begun_in_window;
        let with_those_below: u32 =
            self.lanes[lane..].iter().map(|lane| lane.begun_in_window).sum();
        with_those_below > 0 && own * 100 >= self.lanes[lane].terms.share * with_those_below
    }

    fn count_begun(&mut self, lane: usize) {
        let begun: u32 = self.lanes.iter().map(|lane| lane.begun_in_window).sum();
        if begun >= WINDOW {
            self.lanes.iter_mut().for_each(|lane| lane.begun_in_window = 0);
        }
        for other in self.lanes.iter_mut().filter(|other| !other.waiting.is_empty()) {
            other.passed_over += 1;
        }
        self.lanes[lane].begun_in_window += 1;
        self.lanes[lane].passed_over = 0;
    }
}

#[cfg(test)]
#[path = "queue_model.rs"]
mod model;
