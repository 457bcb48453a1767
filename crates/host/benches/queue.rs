//! What one request costs in the queue, however many wait: pushed, begun and finished, taken out,
//! raised. `cargo bench -p lazaret --bench queue`.

use divan::{Bencher, black_box};

#[allow(dead_code, reason = "the host uses the rest")]
#[path = "../src/queue.rs"]
mod queue;

use queue::{LaneTerms, Queue, Room, Ticket};

const LANES: [LaneTerms; 4] = [
    LaneTerms { share: 70, critical: true },
    LaneTerms { share: 80, critical: true },
    LaneTerms { share: 100, critical: false },
    LaneTerms { share: 100, critical: false },
];
const WAITING: [usize; 3] = [100, 10_000, 100_000];

fn main() {
    divan::main();
}

/// A queue in whose lanes so many wait.
fn full(waiting: usize) -> (Queue<usize>, Vec<Ticket>) {
    let room = Room { soft: 4, hard: 4, waiting_max: usize::MAX };
    let mut queue = Queue::new(&LANES, room);
    let push = |n: usize| queue.push(n % LANES.len(), n).expect("room for everybody");
    let tickets = (0..waiting).map(push).collect();
    (queue, tickets)
}

#[divan::bench(args = WAITING)]
fn push_begin_finish(bencher: Bencher<'_, '_>, waiting: usize) {
    let (mut queue, _) = full(waiting);
    let mut lane = 0;
    bencher.bench_local(|| {
        lane += 1;
        queue.push(lane % LANES.len(), lane).expect("room for everybody");
        let (ticket, request) = queue.pop().expect("somebody waits");
        queue.finish(ticket);
        black_box(request)
    });
}

#[divan::bench(args = WAITING)]
fn push_and_cancel(bencher: Bencher<'_, '_>, waiting: usize) {
    let (mut queue, _) = full(waiting);
    bencher.bench_local(|| {
        let ticket = queue.push(3, 0).expect("room for everybody");
        black_box(queue.remove(ticket))
    });
}

#[divan::bench(args = WAITING)]
fn raise(bencher: Bencher<'_, '_>, waiting: usize) {
    bencher.with_inputs(|| full(waiting)).bench_local_values(|(mut queue, tickets)| {
        queue.raise(tickets[tickets.len() - 1], 0);
        queue
    });
}
