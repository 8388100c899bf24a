//! The engine on a small model, in which threads can be made to wait.

use super::{End, Expand, Limits, Progress, Successor, fingerprint, search};
use stateright::{Model, Property};
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

/// Numbers, each of which leads to two others; those of a level are looked at slowly, the first most of all.
struct Tree;

const DEPTH: u32 = 10;

impl Model for Tree {
    type State = u32;
    type Action = u32;

    fn init_states(&self) -> Vec<u32> {
        vec![1]
    }

    fn actions(&self, _: &u32, actions: &mut Vec<u32>) {
        actions.extend(0..2);
    }

    fn next_state(&self, state: &u32, action: u32) -> Option<u32> {
        (*state < 1 << DEPTH).then_some(2 * state + action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn is_low(_: &Tree, state: &u32) -> bool {
            if *state == 1 << DEPTH {
                thread::sleep(Duration::from_millis(50));
            }
            *state < 1 << DEPTH
        }
        vec![
            Property::always("low", is_low),
            Property::sometimes("odd", |_, state| *state > 100 && state % 2 == 1),
        ]
    }
}

impl Expand for Tree {
    type Memory = ();

    fn successors(&self, (): &(), states: &[u32], found: &mut Vec<Successor<u32>>) {
        for (parent, state) in states.iter().enumerate() {
            let next = (0..2).filter_map(|action| self.next_state(state, action));
            found.extend(next.map(|state| Successor {
                hash: fingerprint(&state),
                parent,
                state,
            }));
        }
    }
}

#[test]
fn what_is_discovered_first_does_not_depend_on_which_thread_is_first() {
    let discovered = |threads| {
        let limits = Limits {
            threads,
            stop_at_first: true,
            max_states: None,
            max_time: None,
            max_memory: None,
        };
        let outcome = search(&Tree, limits, &Progress::default());
        assert_eq!(outcome.end, End::Violation);
        let found = outcome.discoveries.iter();
        let steps = found.map(|found| {
            let last = outcome.path(&Tree, found).steps.pop();
            (found.property, found.states, last.map(|step| step.state))
        });
        steps.collect::<BTreeSet<_>>()
    };
    let expected = BTreeSet::from([
        ("low", (1 << (DEPTH + 1)) - 1, Some(1 << DEPTH)),
        ("odd", 127, Some(101)),
    ]);
    for threads in [1, 2, 4] {
        assert_eq!(discovered(threads), expected, "{threads} threads");
    }
}
