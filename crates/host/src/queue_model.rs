//! The queue against a model: a plain list that is searched from end to end.

use proptest::prelude::*;

use super::*;

const LANES: [LaneTerms; 4] = [
    LaneTerms { share: 70, critical: true },
    LaneTerms { share: 80, critical: true },
    LaneTerms { share: 100, critical: false },
    LaneTerms { share: 100, critical: false },
];

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(usize),
    Pop,
    Remove(usize),
    Finish(usize),
    Raise(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..5usize).prop_map(Step::Push),
        4 => Just(Step::Pop),
        1 => (0..40usize).prop_map(Step::Remove),
        3 => (0..40usize).prop_map(Step::Finish),
        2 => (0..40usize, 0..5usize).prop_map(|(which, to)| Step::Raise(which, to)),
    ];
    prop::collection::vec(step, 0..200)
}

fn room() -> impl Strategy<Value = Room> {
    (1..4usize, 0..3usize, 0..6usize).prop_map(|(soft, more, waiting_max)| Room {
        soft,
        hard: soft + more,
        waiting_max,
    })
}

/// Requests by the number of their ticket, each with its lane.
struct Model {
    room: Room,
    waiting: Vec<(u64, usize)>,
    running: Vec<(u64, usize)>,
    begun: Vec<usize>,
    passed_over: [u32; LANES.len()],
    next: u64,
}

impl Model {
    fn push(&mut self, lane: usize) -> Result<u64, usize> {
        let lane = lane.min(LANES.len() - 1);
        let waiting = self.waiting.iter().filter(|(_, other)| *other == lane).count();
        if waiting >= self.room.waiting_max && (waiting > 0 || !self.has_room(lane)) {
            return Err(waiting);
        }
        self.waiting.push((self.next, lane));
        self.next += 1;
        Ok(self.next - 1)
    }

    fn pop(&mut self) -> Option<u64> {
        let able: Vec<_> = (0..LANES.len())
            .filter(|lane| self.waiting.iter().any(|(_, other)| other == lane))
            .filter(|&lane| self.has_room(lane))
            .collect();
        let due = |lane: usize| {
            let own = self.begun.iter().filter(|other| **other == lane).count();
            let all = self.begun.iter().filter(|other| **other >= lane).count();
            all == 0 || own * 100 < LANES[lane].share as usize * all
        };
        let lane = able
            .iter()
            .copied()
            .find(|&lane| self.passed_over[lane] >= WINDOW)
            .or(able.iter().copied().find(|&lane| due(lane)))
            .or(able.first().copied())?;
        let place = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, (_, other))| *other == lane)
            .min_by_key(|(_, (ticket, _))| *ticket)?
            .0;
        if self.begun.len() == WINDOW as usize {
            self.begun.clear();
        }
        self.begun.push(lane);
        let request = self.waiting.remove(place);
        for other in 0..LANES.len() {
            let waits = self.waiting.iter().any(|(_, lane)| *lane == other);
            self.passed_over[other] += u32::from(waits);
        }
        self.passed_over[lane] = 0;
        self.running.push(request);
        Some(request.0)
    }

    fn has_room(&self, lane: usize) -> bool {
        let ordinary = self.running.iter().filter(|(_, lane)| !LANES[*lane].critical).count();
        let soft = LANES[lane].critical || ordinary < self.room.soft;
        soft && self.running.len() < self.room.hard
    }

    fn raise(&mut self, ticket: u64, to: usize) {
        for (other, lane) in self.waiting.iter_mut().chain(&mut self.running) {
            if *other == ticket {
                *lane = (*lane).min(to);
            }
        }
    }
}

proptest! {
    #[test]
    fn it_does_what_a_plain_list_does(room in room(), steps in steps()) {
        let mut queue = Queue::new(&LANES, room);
        let mut model =
            Model { room, waiting: vec![], running: vec![], begun: vec![], passed_over: [0; 4], next: 0 };
        for step in steps {
            match step {
                Step::Push(lane) => {
                    let pushed = queue.push(lane, model.next);
                    let pushed = pushed.map(|ticket| ticket.0).map_err(|full| full.waiting);
                    prop_assert_eq!(pushed, model.push(lane));
                }
                Step::Pop => {
                    let popped = queue.pop().map(|(ticket, number)| {
                        assert_eq!(ticket.0, number);
                        number
                    });
                    prop_assert_eq!(popped, model.pop());
                }
                Step::Remove(which) => {
                    let removed = queue.remove(Ticket(which as u64));
                    let place = model.waiting.iter().position(|(other, _)| *other == which as u64);
                    prop_assert_eq!(removed, place.map(|place| model.waiting.remove(place).0));
                }
                Step::Finish(which) => {
                    queue.finish(Ticket(which as u64));
                    model.running.retain(|(other, _)| *other != which as u64);
                }
                Step::Raise(which, to) => {
                    queue.raise(Ticket(which as u64), to);
                    model.raise(which as u64, to);
                }
            }
            prop_assert_eq!(queue.running(), model.running.len());
            for lane in 0..LANES.len() {
                let waiting = model.waiting.iter().filter(|(_, other)| *other == lane).count();
                prop_assert_eq!(queue.waiting(lane), waiting);
            }
        }
    }

    /// Whatever waits where, a lane in which somebody always waits soon begins something.
    #[test]
    fn no_lane_starves(backlog in prop::collection::vec(any::<bool>(), 4)) {
        let room = Room { soft: 1, hard: 1, waiting_max: 1000 };
        let mut queue = Queue::new(&LANES, room);
        for lane in (0..LANES.len()).filter(|&lane| backlog[lane]) {
            (0..400).for_each(|_| _ = queue.push(lane, lane).unwrap());
        }
        for _ in 0..10 {
            let mut begun = [false; 4];
            for _ in 0..WINDOW + LANES.len() as u32 {
                let Some((ticket, lane)) = queue.pop() else { continue };
                queue.finish(ticket);
                begun[lane] = true;
            }
            prop_assert_eq!(&begun[..], &backlog[..]);
        }
    }
}

fn queue(soft: usize, hard: usize) -> Queue<&'static str> {
    Queue::new(&LANES, Room { soft, hard, waiting_max: 8 })
}

fn next(queue: &mut Queue<&'static str>) -> Option<&'static str> {
    queue.pop().map(|(_, name)| name)
}

#[test]
fn the_first_full_window_is_shared_as_polkadots_host_shares_it() {
    let room = Room { soft: 1, hard: 1, waiting_max: 100 };
    let mut queue = Queue::new(&LANES, room);
    for lane in 0..LANES.len() {
        (0..WINDOW).for_each(|_| _ = queue.push(lane, lane).unwrap());
    }
    let mut begun = [0; 4];
    for _ in 0..WINDOW {
        let (ticket, lane) = queue.pop().unwrap();
        queue.finish(ticket);
        begun[lane] += 1;
    }
    // 70 % disputes, 80 % of the rest approvals; backing that was passed over comes next.
    assert_eq!(begun, [8, 3, 1, 0]);
    assert_eq!(queue.pop().map(|(_, lane)| lane), Some(3));
}

#[test]
fn a_critical_request_finds_a_worker_beyond_the_soft_limit_and_an_ordinary_one_does_not() {
    let mut queue = queue(1, 2);
    queue.push(3, "ordinary").unwrap();
    queue.push(3, "another").unwrap();
    queue.push(0, "critical").unwrap();
    assert_eq!(next(&mut queue), Some("critical"));
    let (ordinary, _) = queue.pop().unwrap();
    assert_eq!(next(&mut queue), None);
    queue.finish(ordinary);
    assert_eq!(next(&mut queue), Some("another"));
}

#[test]
fn a_raised_request_goes_before_those_that_came_to_its_new_lane_later() {
    let mut queue = queue(1, 1);
    let early = queue.push(3, "early").unwrap();
    queue.push(1, "late").unwrap();
    queue.raise(early, 1);
    queue.raise(early, 2);
    assert_eq!((queue.waiting(1), queue.waiting(2), queue.waiting(3)), (2, 0, 0));
    assert_eq!(next(&mut queue), Some("early"));
}

#[test]
fn a_running_request_that_is_raised_makes_room_for_an_ordinary_one() {
    let mut queue = queue(1, 2);
    queue.push(3, "background").unwrap();
    queue.push(3, "next").unwrap();
    let (background, _) = queue.pop().unwrap();
    assert_eq!(next(&mut queue), None);
    queue.raise(background, 0);
    assert_eq!(next(&mut queue), Some("next"));
}

#[test]
fn a_flood_in_one_lane_leaves_room_in_the_others() {
    let mut queue = queue(1, 1);
    while queue.push(3, "flood").is_ok() {}
    assert_eq!(queue.push(3, "one more"), Err(Full { waiting: 8 }));
    assert!(queue.push(0, "urgent").is_ok());
}
