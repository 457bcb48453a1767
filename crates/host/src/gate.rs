//! Who is inside: every request by its group, so that a group can be turned away at once, and a door
//! that shutdown closes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use crate::verdict::Fault;

/// Requests that stand and fall together: to a validator, those of one relay chain block, by its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub [u8; 32]);

/// One per host.
#[derive(Default)]
pub(crate) struct Gate {
    inside: Mutex<Inside>,
    is_empty: Notify,
}

#[derive(Default)]
struct Inside {
    closed: bool,
    next: u64,
    members: BTreeMap<u64, Member>,
}

struct Member {
    group: Option<Group>,
    turn_away: oneshot::Sender<Fault>,
}

/// A request's right to be inside, given back when dropped.
pub(crate) struct Pass {
    gate: Arc<Gate>,
    number: u64,
    turned_away: oneshot::Receiver<Fault>,
}

impl Gate {
    pub(crate) fn enter(self: &Arc<Self>, group: Option<Group>) -> Result<Pass, Fault> {
        let mut inside = self.lock();
        if inside.closed {
            return Err(Fault::ShuttingDown);
        }
        let number = inside.next;
        inside.next += 1;
        let (turn_away, turned_away) = oneshot::channel();
        inside.members.insert(number, Member { group, turn_away });
        Ok(Pass { gate: self.clone(), number, turned_away })
    }

    /// Turns away every request whose group is one that `unwanted` says; how many those are.
    pub(crate) fn withdraw(&self, unwanted: impl Fn(&Group) -> bool) -> usize {
        self.turn_away(|member| member.group.as_ref().is_some_and(&unwanted), &Fault::Withdrawn)
    }

    /// Lets nobody in from now on, and waits until all have left. Who has not after `patience` is
    /// turned away.
    pub(crate) async fn close(&self, patience: Duration) {
        self.lock().closed = true;
        if timeout(patience, self.empty()).await.is_err() {
            self.turn_away(|_| true, &Fault::ShuttingDown);
            // They have only their own futures left to drop.
            let _ = timeout(patience, self.empty()).await;
        }
    }

    async fn empty(&self) {
        loop {
            // Made before the look, so that whoever leaves between the two is not missed.
            let left = self.is_empty.notified();
            if self.lock().members.is_empty() {
                return;
            }
            left.await;
        }
    }

    fn turn_away(&self, who: impl Fn(&Member) -> bool, fault: &Fault) -> usize {
        let mut inside = self.lock();
        let numbers: Vec<_> =
            inside.members.iter().filter(|(_, member)| who(member)).map(|(n, _)| *n).collect();
        for number in &numbers {
            if let Some(member) = inside.members.remove(number) {
                // Who has left already needs no telling.
                let _ = member.turn_away.send(fault.clone());
            }
        }
        numbers.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("no panic while locked")
    }
}

impl Pass {
    /// Does what is to be done inside, unless turned away first.
    pub(crate) async fn while_inside<T>(
        mut self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        tokio::select! {
            done = work => done,
            fault = &mut self.turned_away => Err(fault.unwrap_or(Fault::ShuttingDown)),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // Whoever waits for that is the one who leaves, and would wake itself.
        self.turned_away.close();
        let mut inside = self.gate.lock();
        inside.members.remove(&self.number);
        if inside.members.is_empty() {
            self.gate.is_empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn, ready},
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll, Wake},
    };

    use super::*;

    const A: Group = Group([1; 32]);
    const B: Group = Group([2; 32]);

    #[tokio::test]
    async fn a_withdrawn_group_is_turned_away_and_others_are_not() {
        let gate = Arc::new(Gate::default());
        let (a, b, none) = (gate.enter(Some(A)), gate.enter(Some(B)), gate.enter(None));
        assert_eq!(gate.withdraw(|group| *group != B), 1);
        let a = a.unwrap().while_inside(pending::<Result<(), _>>()).await;
        assert!(matches!(a, Err(Fault::Withdrawn)));
        assert!(b.unwrap().while_inside(ready(Ok(()))).await.is_ok());
        assert!(none.unwrap().while_inside(ready(Ok(()))).await.is_ok());
        assert!(gate.lock().members.is_empty());
    }

    #[test]
    fn who_leaves_is_not_woken() {
        #[derive(Default)]
        struct Woken(AtomicUsize);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        let mut context = Context::from_waker(&waker);
        let gate = Arc::new(Gate::default());
        let mut looks = 0;
        let work = poll_fn(|_| {
            looks += 1;
            if looks < 2 { Poll::Pending } else { Poll::Ready(Ok(())) }
        });
        let mut inside = pin!(gate.enter(None).unwrap().while_inside(work));
        assert!(inside.as_mut().poll(&mut context).is_pending());
        assert!(inside.as_mut().poll(&mut context).is_ready());
        assert!(gate.lock().members.is_empty());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_closed_gate_waits_for_those_inside_and_then_turns_them_away() {
        let gate = Arc::new(Gate::default());
        let quick = gate.enter(None).unwrap();
        let slow = gate.enter(None).unwrap();
        let slow = tokio::spawn(slow.while_inside(pending::<Result<(), _>>()));
        let quick = tokio::spawn(quick.while_inside(ready(Ok(()))));
        gate.close(Duration::from_millis(20)).await;
        assert!(quick.await.unwrap().is_ok());
        assert!(matches!(slow.await.unwrap(), Err(Fault::ShuttingDown)));
        assert!(matches!(gate.enter(None), Err(Fault::ShuttingDown)));
    }
}
