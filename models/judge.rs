//! What the invariants say of a state of the ensemble.

use crate::cache::{Cache, Word};
use crate::environment::Environment;
use crate::intern::{fingerprint, mix};
use crate::world::{World, Writes};
use keepright::types::ServerId;
use keepright::zab::invariants::{self, Ensemble, Invariant, Record, Scope};
use smallvec::SmallVec;
use stateright::Property;
use std::cell::Cell;
use std::num::NonZeroU32;

/// What a search remembers of the verdicts that it has found.
#[derive(Default)]
pub struct Verdicts {
    /// By servers and record.
    whole: Cache<Verdict>,
    /// By what a predicate must see together: the hash of a [`Part`].
    parts: Cache<Verdict>,
}

impl Verdicts {
    /// The invariants see the servers and the record, not the network and the budgets.
    pub fn key(world: &World) -> u64 {
        let servers = world.ids().map(|id| world.server(id).number().into());
        servers.fold(world.record.number().into(), mix)
    }

    /// Makes room for more.
    pub fn grow(&mut self) {
        self.whole.grow();
        self.parts.grow();
    }

    /// Fetches where [`Environment::news`] will look.
    pub fn touch(&self, key: u64) -> u64 {
        self.whole.touch(key)
    }
}

/// What a predicate sees together, each by its number. That it is one type makes the key say which of the two it is: a
/// hash tells neither how many numbers went in nor how long each was.
#[derive(Clone, Copy, Hash)]
enum Part {
    /// One server, and the record.
    Server(ServerId, u32, u32),
    /// Two servers.
    Pair([(ServerId, u32); 2]),
}

/// Which invariants hold, and which witnesses are found: a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(8))] // A word, for a `Cache`.
pub struct Verdict {
    /// One bit more is always set: so a place in a [`Cache`] needs no other mark that there is a verdict.
    holds: NonZeroU32,
    witnessed: u32,
}

impl Word for Verdict {
    fn word(self) -> u64 {
        u64::from(self.holds.get()) << 32 | u64::from(self.witnessed)
    }
}

impl Verdict {
    const NOTHING_WRONG: Self = Self {
        holds: NonZeroU32::MAX,
        witnessed: 0,
    };
    const MARK: NonZeroU32 = NonZeroU32::new(1 << MOST).expect("a bit is set");

    /// The same, but that an invariant falls.
    fn without(self, invariant: usize) -> Self {
        Self {
            holds: Self::MARK | (self.holds.get() & !(1 << invariant)),
            ..self
        }
    }

    /// What both say: everything must hold in both, and a witness may be found in either.
    fn and(self, other: Self) -> Self {
        Self {
            holds: Self::MARK | (self.holds.get() & other.holds.get()),
            witnessed: self.witnessed | other.witnessed,
        }
    }
}

/// The predicates of each scope.
#[derive(Default)]
pub struct Scopes([Predicates; 4]);

/// Some of the invariants and of the witnesses: a bit for each, as in [`Verdict`].
#[derive(Clone, Copy, Default)]
pub struct Predicates {
    invariants: u32,
    witnesses: u32,
}

impl Predicates {
    const ALL: Self = Self {
        invariants: u32::MAX,
        witnesses: u32::MAX,
    };

    fn and(self, other: Self) -> Self {
        Self {
            invariants: self.invariants & other.invariants,
            witnesses: self.witnesses & other.witnesses,
        }
    }
}

impl Scopes {
    pub fn of(invariants: &[Invariant<Writes>]) -> Self {
        let mut scopes = Self::default();
        for (i, invariant) in invariants.iter().enumerate() {
            scopes.0[invariant.scope as usize].invariants |= 1 << i;
            scopes.0[invariant.witness_scope as usize].witnesses |= 1 << i;
        }
        scopes
    }

    fn get(&self, scope: Scope) -> Predicates {
        self.0[scope as usize]
    }
}

impl Environment {
    /// A server as the invariants see it.
    fn observed(world: &World, id: ServerId) -> invariants::Server<'static, Writes> {
        let process = world.server(id).get();
        invariants::Server {
            id,
            disk: &process.disk,
            state: process.state.as_ref(),
        }
    }

    /// The ensemble as the invariants see it.
    pub fn observe<R>(&self, world: &World, f: impl FnOnce(&Ensemble<'_, Writes>) -> R) -> R {
        let servers: SmallVec<[_; 3]> = world.ids().map(|id| Self::observed(world, id)).collect();
        f(&Ensemble {
            zab: &self.zab,
            servers: &servers,
            record: world.record.get(),
        })
    }

    /// What the invariants say of a world, each asked of the whole. A world is asked for one after the
    /// other.
    fn verdict(&self, world: &World) -> Verdict {
        LAST_VERDICT.with(|last| match last.get() {
            Some((id, hash, verdict)) if (id, hash) == (self.id, world.fingerprint) => verdict,
            _ => {
                let verdict = self.observe(world, |all| self.judge(Predicates::ALL, all));
                last.set(Some((self.id, world.fingerprint, verdict)));
                verdict
            }
        })
    }

    fn judge(&self, asked: Predicates, ensemble: &Ensemble<'_, Writes>) -> Verdict {
        let mut verdict = Verdict::NOTHING_WRONG;
        for (i, invariant) in self.invariants.iter().enumerate() {
            if asked.invariants >> i & 1 == 1 && !(invariant.holds)(ensemble) {
                verdict = verdict.without(i);
            }
            if asked.witnesses >> i & 1 == 1 && (invariant.witness)(ensemble) {
                verdict.witnessed |= 1 << i;
            }
        }
        verdict
    }

    /// The same as [`Self::verdict`] as far as it is asked for, by parts: each predicate is asked of as few
    /// servers as it must see together ([`Scope`]), and of these only once. From one call to the next, what is
    /// asked for may become less, but not more.
    fn verdict_by_parts(&self, memory: &Verdicts, world: &World, asked: Predicates) -> Verdict {
        if world.nodes.len() == 1 {
            return self.verdict(world); // There are no two servers.
        }
        let empty = Record::default();
        let ask = |scope, servers: &[ServerId], record: &Record<u8>| {
            let servers: SmallVec<[_; 3]> = servers
                .iter()
                .map(|id| Self::observed(world, *id))
                .collect();
            let part = Ensemble {
                zab: &self.zab,
                servers: &servers,
                record,
            };
            self.judge(self.scopes.get(scope).and(asked), &part)
        };
        let number = |id| world.server(id).number();
        let (record, all) = (
            world.record.get(),
            world.ids().collect::<SmallVec<[_; 3]>>(),
        );
        let mut verdict = ask(Scope::Record, &[], record).and(ask(Scope::Ensemble, &all, record));
        for (place, a) in all.iter().enumerate() {
            let key = fingerprint(&Part::Server(*a, number(*a), world.record.number()));
            verdict = verdict.and(memory.parts.get(key, || ask(Scope::Server, &[*a], record)));
            for b in &all[place + 1..] {
                let key = fingerprint(&Part::Pair([(*a, number(*a)), (*b, number(*b))]));
                verdict = verdict.and(
                    memory
                        .parts
                        .get(key, || ask(Scope::Pair, &[*a, *b], &empty)),
                );
            }
        }
        verdict
    }

    /// What has to be asked while these properties are open, a bit for each.
    pub fn still_asked(&self, open: u64) -> Predicates {
        let of_witness = open >> self.invariants.len();
        let places = self.witnesses.iter().enumerate();
        let witnesses = places.filter(|(place, _)| of_witness >> place & 1 == 1);
        Predicates {
            invariants: open as u32,
            witnesses: witnesses.fold(0, |all, (_, invariant)| all | 1 << invariant),
        }
    }

    /// A bit for each property: set for invariants that do not hold and for witnesses that do, among those
    /// that are asked for. The key is [`Verdicts::key`].
    pub fn news(&self, memory: &Verdicts, world: &World, key: u64, asked: Predicates) -> u64 {
        let verdict = match memory.whole.find(key) {
            Some(verdict) => verdict,
            None => {
                let verdict = self.verdict_by_parts(memory, world, asked);
                memory.whole.insert(key, verdict);
                verdict
            }
        };
        let all = (1 << self.invariants.len()) - 1;
        let mut news = u64::from(!verdict.holds.get() & all);
        for (place, invariant) in self.witnesses.iter().enumerate() {
            let found = verdict.witnessed >> invariant & 1;
            news |= u64::from(found) << (self.invariants.len() + place);
        }
        news
    }

    /// The ids of the invariants that do not hold in a world.
    pub fn broken(&self, world: &World) -> impl Iterator<Item = &'static str> + use<'_> {
        let verdict = self.verdict(world);
        let broken = move |i: usize| verdict.holds.get() & (1 << i) == 0;
        self.invariants
            .iter()
            .enumerate()
            .filter(move |(i, _)| broken(*i))
            .map(|(_, inv)| inv.id)
    }
}

thread_local! {
    /// The model, the state and the verdict that this thread asked for last.
    static LAST_VERDICT: Cell<Option<(u64, u64, Verdict)>> = const { Cell::new(None) };
}

/// The most invariants that one model can have: a property's condition is a plain function, so the
/// number of the invariant is part of its type.
const MOST: usize = 31;

/// The invariants as properties, then their witnesses; and for each of these the place of an invariant
/// that it belongs to.
pub fn properties(
    invariants: &[Invariant<Writes>],
    witnesses: bool,
) -> (Vec<Property<Environment>>, Vec<usize>) {
    fn holds<const I: usize>(model: &Environment, world: &World) -> bool {
        model.verdict(world).holds.get() & (1 << I) != 0
    }
    fn witness<const I: usize>(model: &Environment, world: &World) -> bool {
        model.verdict(world).witnessed & (1 << I) != 0
    }
    macro_rules! conditions {
        ($f:ident: $($i:literal)*) => { [$($f::<$i>),*] };
    }
    let holds: [fn(&Environment, &World) -> bool; MOST] = conditions!(holds: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27
            28 29 30);
    let witness: [fn(&Environment, &World) -> bool; MOST] = conditions!(witness: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27
            28 29 30);
    let always = invariants
        .iter()
        .enumerate()
        .map(|(i, inv)| Property::always(inv.id, holds[i]));
    let mut properties: Vec<_> = always.collect();
    let mut places = Vec::new();
    if witnesses {
        for (i, inv) in invariants.iter().enumerate() {
            if properties.iter().all(|known| known.name != inv.witness_id) {
                properties.push(Property::sometimes(inv.witness_id, witness[i]));
                places.push(i);
            }
        }
    }
    (properties, places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Bounds;
    use crate::engine::{self, Limits, Progress};
    use crate::{bugs, catalogue, mutants};

    const LIMITS: Limits = Limits {
        threads: 2,
        stop_at_first: true,
        max_states: Some(20_000),
        max_time: None,
        max_memory: None,
    };

    /// Asks both ways in every state, and by parts for one invariant and one witness alone.
    fn compare(environment: &Environment) {
        let (of_all, of_few) = (Verdicts::default(), Verdicts::default());
        let (invariant, witness) = (1, 1 << (environment.invariants.len() / 2));
        let few = Predicates {
            invariants: invariant,
            witnesses: witness,
        };
        let look = |world: &World, _| {
            let all = environment.verdict_by_parts(&of_all, world, Predicates::ALL);
            assert_eq!(all, environment.verdict(world), "{world:?}");
            if world.nodes.len() > 1 {
                let one = environment.verdict_by_parts(&of_few, world, few);
                let holds = |verdict: Verdict| verdict.holds.get() & invariant;
                assert_eq!(holds(one), holds(all), "{world:?}");
                assert_eq!(one.witnessed, all.witnessed & witness, "{world:?}");
            }
        };
        engine::search_and_look(environment, LIMITS, &Progress::default(), &look);
    }

    /// As bare tuples, (1, 258, 0) for a server and (1, 2, 1, 0) for a pair were the same bytes.
    #[test]
    fn the_key_of_a_server_is_never_that_of_a_pair() {
        let mut keys = std::collections::BTreeSet::new();
        let ids = (1..=3).map(ServerId);
        for a in ids.clone() {
            for number in 0..1024 {
                assert!(keys.insert(fingerprint(&Part::Server(a, number, 0))));
            }
            for b in ids.clone() {
                for number in 0..1024 {
                    assert!(keys.insert(fingerprint(&Part::Pair([(a, number), (b, 0)]))));
                }
            }
        }
    }

    #[test]
    fn a_verdict_by_parts_is_the_verdict_on_the_whole() {
        for spec in catalogue::ALL {
            compare(&spec.faithful(Bounds::new(3, 2, 1, 1)));
            compare(&spec.faithful(Bounds::new(1, 1, 1, 1)));
        }
        let mutants = mutants::ALL.iter().map(|mutant| &mutant.trial);
        for trial in mutants.chain(bugs::found().map(|(_, trial)| trial)) {
            compare(&trial.environment());
        }
    }
}
