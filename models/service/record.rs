//! What an all-knowing observer writes down of the clients' requests, and whether it is linearizable.
//!
//! Spec: `spec/invariants.toml`. No server and no client reads it.

use super::reference::{Ret, Space, Step};
use super::script::{Op, Scenario};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

/// The numbers that the requests of one client can have here; the last two are its session's expiry, and the
/// deletion by the leader of the znode that has the client's number among the mortal ones.
pub const SLOTS: u8 = 8;

/// What happened to the requests so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// By client and number. `None`: not sent, or known to have had no effect.
    requests: Vec<Option<Request>>,
    /// The invariants that were seen to be broken: a bit for each, in the order of the list.
    pub broken: u16,
}

/// A request that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// The requests that had been answered before this one was sent: a bit for each.
    pub after: u32,
    /// `None` while it is under way, and for ever if the connection was lost.
    pub ret: Option<Ret>,
}

/// The place of a client's request.
pub fn slot(client: usize, number: u8) -> usize {
    client * usize::from(SLOTS) + usize::from(number)
}

/// The place of the expiry of a client's session.
pub fn expiry(client: usize) -> usize {
    slot(client, SLOTS - 1)
}

/// The place of the deletion of one of the mortal znodes.
pub fn deletion(index: usize) -> usize {
    slot(index, SLOTS - 2)
}

impl Record {
    pub fn new(clients: usize) -> Self {
        Self {
            requests: vec![None; slot(clients, 0)],
            broken: 0,
        }
    }

    fn answered(&self) -> u32 {
        let slots = self.requests.iter().enumerate();
        let answered =
            slots.filter(|(_, request)| request.as_ref().is_some_and(|r| r.ret.is_some()));
        answered.fold(0, |mask, (slot, _)| mask | 1 << slot)
    }

    /// A request begins.
    pub fn sent(&mut self, slot: usize) {
        let after = self.answered();
        self.requests[slot].get_or_insert(Request { after, ret: None });
    }

    /// A request has its answer.
    pub fn returned(&mut self, slot: usize, ret: Ret) {
        if let Some(request) = &mut self.requests[slot] {
            request.ret = Some(ret);
        }
    }

    /// A request was said to have had no effect.
    pub fn denied(&mut self, slot: usize) {
        self.requests[slot] = None;
    }

    /// The answer to a request.
    pub fn ret(&self, slot: usize) -> Option<&Ret> {
        self.requests[slot].as_ref()?.ret.as_ref()
    }

    /// Whether two requests of different clients were answered of which neither came after the other.
    pub fn overlap(&self) -> bool {
        let answered = |slot: usize| {
            let request = self.requests[slot].as_ref()?;
            request.ret.as_ref().map(|_| request.after)
        };
        let slots = self.requests.len();
        let client = |slot: usize| slot / usize::from(SLOTS);
        (0..slots).any(|one| {
            (0..slots).any(|two| {
                client(one) != client(two)
                    && answered(one)
                        .zip(answered(two))
                        .is_some_and(|(a, b)| a & 1 << two == 0 && b & 1 << one == 0)
            })
        })
    }

    /// The requests that may have had an effect, each with its place.
    pub fn sent_requests(&self) -> impl Iterator<Item = (usize, &Request)> {
        let places = self.requests.iter().enumerate();
        places.filter_map(|(slot, request)| Some((slot, request.as_ref()?)))
    }

    /// Whether one order of all requests explains every answer, and puts no request before one that
    /// had been answered when it was sent.
    ///
    /// Each request is a thread of its own for the tester, because a client may have several under way
    /// and never learn what came of some. What was answered before a request was sent grows with
    /// time, so the sets say in which order requests were sent.
    pub fn is_linearizable(&self, scenario: &Scenario) -> bool {
        let mut sent: Vec<(usize, &Request)> = self.sent_requests().collect();
        sent.sort_by_key(|(slot, request)| (request.after.count_ones(), *slot));
        let mortals = scenario.mortals.iter().map(|(path, _)| *path);
        let znodes: Vec<&str> = scenario.znodes.iter().copied().chain(mortals).collect();
        let mut tester = LinearizabilityTester::new(Space::new(&znodes));
        let mut returned = 0u32;
        let answer =
            |tester: &mut LinearizabilityTester<usize, Space>, mask: u32, done: &mut u32| {
                for (slot, request) in &sent {
                    let bit = 1 << slot;
                    if let Some(ret) = &request.ret
                        && mask & !*done & bit != 0
                    {
                        *done |= bit;
                        let told = tester.on_return(*slot, ret.clone());
                        assert!(told.is_ok(), "a request returns once, after it was sent");
                    }
                }
            };
        for (slot, request) in &sent {
            answer(&mut tester, request.after, &mut returned);
            let told = tester.on_invoke(*slot, step(scenario, *slot));
            assert!(told.is_ok(), "a request is sent once");
        }
        answer(&mut tester, u32::MAX, &mut returned);
        tester.is_consistent()
    }
}

/// What the request at a place is to the sequential specification.
fn step(scenario: &Scenario, slot: usize) -> Step {
    let (client, number) = (slot / usize::from(SLOTS), slot % usize::from(SLOTS));
    if slot == deletion(client) {
        let (path, _) = scenario.mortals[client];
        return Step::Unused { path };
    }
    let ops = scenario.clients[client].ops;
    let (client, data) = (client as u8, data(client, number as u8));
    match (ops.get(number), ops.get(number + 1)) {
        (None, _) => Step::Expired { client },
        (Some(Op::Sync(_)), Some(Op::Get(path, _))) => Step::SyncedGet { path },
        (Some(op), _) => Step::Asked {
            client,
            op: *op,
            data,
        },
    }
}

/// What a request writes: no two write the same.
pub fn data(client: usize, number: u8) -> u8 {
    (slot(client, number) + 1) as u8
}
