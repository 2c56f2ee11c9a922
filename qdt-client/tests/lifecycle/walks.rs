//! Random event sequences against a model of the packet worker: no attempt is forgotten, none is
//! used after its end, and the host changes only as specified.

use std::collections::BTreeSet;

use crate::script::*;
use proptest::prelude::*;
use qdt_client::{Action, Event, Outcome, Stage};
use qdt_transport::{AttemptId, ClientEvent, DialError, PacketSize};

/// One event; numbers choose among the live attempts.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Establish(usize, bool),
    Refuse(usize, u16),
    Fail(usize),
    Close(usize),
    Suspect,
    Recover,
    PathTooSmall,
    Resolved(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4000u64).prop_map(Step::Wait),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(n, ours)| Step::Establish(n, ours)),
        1 => (any::<usize>(), prop_oneof![Just(429), Just(503)]).prop_map(|(n, s)| Step::Refuse(n, s)),
        2 => any::<usize>().prop_map(Step::Fail),
        2 => any::<usize>().prop_map(Step::Close),
        2 => Just(Step::Suspect),
        1 => Just(Step::Recover),
        1 => Just(Step::PathTooSmall),
        1 => (0..5usize).prop_map(Step::Resolved),
    ]
}

/// The state of the packet worker.
#[derive(Default)]
struct Worker {
    dialling: Vec<(AttemptId, PacketSize)>,
    established: BTreeSet<AttemptId>,
    carrier: Option<AttemptId>,
    named: BTreeSet<AttemptId>,
    has_device: bool,
}

impl Worker {
    fn execute(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Dial(dial) => {
                    assert!(
                        self.named.insert(dial.attempt),
                        "{:?} is used twice",
                        dial.attempt
                    );
                    self.dialling.push((dial.attempt, dial.size));
                }
                Action::Close(attempt) => self.forget(*attempt),
                Action::SetTun(_) => self.has_device = true,
                Action::Adopt(attempt) => {
                    assert!(self.has_device, "a connection was adopted without a device");
                    assert!(
                        self.established.contains(attempt),
                        "{attempt:?} has no session"
                    );
                    if let Some(before) = self.carrier.replace(*attempt) {
                        self.established.remove(&before);
                    }
                }
                Action::SetRoutes(_) | Action::SetDns(_) => assert!(self.has_device),
                Action::Exit(outcome) => panic!("unexpected exit: {outcome:?}"),
                _ => {}
            }
        }
        assert!(
            self.dialling.len() <= 33,
            "{} attempts at once",
            self.dialling.len()
        );
    }

    fn forget(&mut self, attempt: AttemptId) {
        self.dialling.retain(|(id, _)| *id != attempt);
        self.established.remove(&attempt);
        self.carrier = self.carrier.filter(|carrier| *carrier != attempt);
    }

    fn pick(&self, number: usize) -> Option<(AttemptId, PacketSize)> {
        let place = number.checked_rem(self.dialling.len())?;
        Some(self.dialling[place])
    }
}

fn happen(script: &mut Script, worker: &mut Worker, step: &Step) {
    let actions = match *step {
        Step::Wait(time) => script.wait(ms(time)),
        Step::Establish(number, ours) => {
            let Some((attempt, size)) = worker.pick(number) else {
                return;
            };
            worker.forget(attempt);
            worker.established.insert(attempt);
            script.establish(attempt, if ours { our_answer() } else { go_answer() }, size)
        }
        Step::Refuse(number, status) => {
            let Some((attempt, _)) = worker.pick(number) else {
                return;
            };
            worker.forget(attempt);
            script.refuse(attempt, status, "server busy\n")
        }
        Step::Fail(number) => {
            let Some((attempt, _)) = worker.pick(number) else {
                return;
            };
            worker.forget(attempt);
            script.fail(attempt, DialError::Io("no route to host".to_owned()))
        }
        Step::Close(number) => {
            let alive: Vec<AttemptId> = worker.established.iter().copied().collect();
            let Some(place) = number.checked_rem(alive.len()) else {
                return;
            };
            worker.forget(alive[place]);
            script.close(alive[place])
        }
        Step::Suspect => {
            let Some(attempt) = worker.carrier else {
                return;
            };
            script.worker_event(ClientEvent::Suspect { attempt })
        }
        Step::Recover => {
            let Some(attempt) = worker.carrier else {
                return;
            };
            script.worker_event(ClientEvent::Recovered { attempt })
        }
        Step::PathTooSmall => {
            let Some(attempt) = worker.carrier else {
                return;
            };
            script.worker_event(ClientEvent::PathTooSmall { attempt })
        }
        Step::Resolved(number) => {
            let names = [V4, V6, "192.0.2.2:443", "192.0.2.3:443"];
            script.event(resolved(&names[..number.min(names.len())]))
        }
    };
    worker.execute(&actions);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_attempt_is_ever_forgotten(steps in prop::collection::vec(step(), 0..80)) {
        let (mut script, actions) = Script::started(settings(), &[V4, V6]);
        let mut worker = Worker::default();
        worker.execute(&actions);
        for step in &steps {
            happen(&mut script, &mut worker, step);
        }

        // Finally the connection is lost once more, and the server answers at every size.
        if worker.carrier.is_some() {
            let place = worker.established.iter().position(|id| Some(*id) == worker.carrier);
            happen(&mut script, &mut worker, &Step::Close(place.expect("it is alive")));
        }
        let mut turns = 0;
        while worker.carrier.is_none() {
            turns += 1;
            prop_assert!(turns < 200, "no attempt in {:?}", script.tunnel.stage());
            if script.tunnel.stage() == Stage::Connecting {
                worker.execute(&script.event(resolved(&[V4])));
            }
            match worker.dialling.iter().position(|(_, size)| *size > PacketSize::Base) {
                Some(place) => happen(&mut script, &mut worker, &Step::Establish(place, true)),
                None => happen(&mut script, &mut worker, &Step::Wait(500)),
            }
        }
        // A connection to a former Go server may have less than full size at first.
        for _ in 0..3 {
            happen(&mut script, &mut worker, &Step::Wait(15_000));
            if let Some((attempt, _)) = worker.pick(0) {
                happen(&mut script, &mut worker, &Step::Establish(0, true));
                prop_assert_eq!(worker.carrier, Some(attempt), "no race waited for it");
            }
        }
        happen(&mut script, &mut worker, &Step::Wait(20_000));
        prop_assert_eq!(worker.dialling.len(), 0, "attempts that no race waits for");
        prop_assert_eq!(worker.established.len(), 1, "unused connections");
        prop_assert!(worker.carrier.is_some());

        let actions = script.event(Event::Signal);
        prop_assert_eq!(actions.last(), Some(&Action::Exit(Outcome::Signal)));
        prop_assert!(actions.contains(&Action::RemoveRoutes));
    }
}
