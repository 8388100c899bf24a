//! What the invariants say of a state of the ensemble.

use crate::environment::Environment;
use crate::intern::fingerprint;
use crate::memo::Key;
use crate::successors::Memory;
use crate::world::{World, Writes};
use keepright::zab::invariants::{self, Ensemble, Invariant};
use smallvec::SmallVec;
use stateright::Property;
use std::cell::Cell;

/// Which invariants hold, and which witnesses are found: a bit for each.
#[derive(Clone, Copy)]
pub struct Verdict {
    holds: u32,
    witnessed: u32,
}

impl Environment {
    /// The ensemble as the invariants see it.
    pub fn observe<R>(&self, world: &World, f: impl FnOnce(&Ensemble<'_, Writes>) -> R) -> R {
        let servers: SmallVec<[invariants::Server<'_, Writes>; 3]> = world
            .ids()
            .map(|id| {
                let process = world.server(id).get();
                invariants::Server {
                    id,
                    disk: &process.disk,
                    state: process.state.as_ref(),
                }
            })
            .collect();
        f(&Ensemble {
            zab: &self.zab,
            servers: &servers,
            record: world.record.get(),
        })
    }

    /// What the invariants say of a world. They see the servers and the record, not the network and
    /// the budgets, so many worlds share a verdict; and a world is asked for one after the other.
    fn verdict(&self, world: &World) -> Verdict {
        let servers: SmallVec<[u32; 4]> = world.ids().map(|id| world.server(id).number()).collect();
        let servers = fingerprint(&servers);
        let key = (
            servers,
            world.record.fingerprint() ^ self.id.rotate_right(8),
        );
        LAST_VERDICT.with(|last| match last.get() {
            Some((known, verdict)) if known == key => verdict,
            _ => {
                let verdict = self.verdicts.get(key, || self.judge(world));
                last.set(Some((key, verdict)));
                verdict
            }
        })
    }

    fn judge(&self, world: &World) -> Verdict {
        self.observe(world, |ensemble| {
            let mut verdict = Verdict {
                holds: 0,
                witnessed: 0,
            };
            for (i, invariant) in self.invariants.iter().enumerate() {
                verdict.holds |= u32::from((invariant.holds)(ensemble)) << i;
                verdict.witnessed |= u32::from((invariant.witness)(ensemble)) << i;
            }
            verdict
        })
    }

    /// A bit for each property: set for invariants that do not hold and for witnesses that do.
    pub fn news(&self, memory: &mut Memory, world: &World) -> u64 {
        let processes: SmallVec<[u32; 4]> =
            world.ids().map(|id| world.server(id).number()).collect();
        let key = fingerprint(&(processes, world.record.number()));
        let verdict = memory.verdicts.get(key, || self.judge(world));
        let all = (1 << self.invariants.len()) - 1;
        let mut news = u64::from(!verdict.holds & all);
        for (place, invariant) in self.witnesses.iter().enumerate() {
            let found = verdict.witnessed >> invariant & 1;
            news |= u64::from(found) << (self.invariants.len() + place);
        }
        news
    }

    /// The ids of the invariants that do not hold in a world.
    pub fn broken(&self, world: &World) -> impl Iterator<Item = &'static str> + use<'_> {
        let verdict = self.verdict(world);
        let broken = move |i: usize| verdict.holds & (1 << i) == 0;
        self.invariants
            .iter()
            .enumerate()
            .filter(move |(i, _)| broken(*i))
            .map(|(_, inv)| inv.id)
    }
}

thread_local! {
    /// The verdict that this thread asked for last.
    static LAST_VERDICT: Cell<Option<(Key, Verdict)>> = const { Cell::new(None) };
}

/// The most invariants that one model can have: a property's condition is a plain function, so the
/// number of the invariant is part of its type.
const MOST: usize = 32;

/// The invariants as properties, then their witnesses; and for each of these the place of an invariant
/// that it belongs to.
pub fn properties(
    invariants: &[Invariant<Writes>],
    witnesses: bool,
) -> (Vec<Property<Environment>>, Vec<usize>) {
    fn holds<const I: usize>(model: &Environment, world: &World) -> bool {
        model.verdict(world).holds & (1 << I) != 0
    }
    fn witness<const I: usize>(model: &Environment, world: &World) -> bool {
        model.verdict(world).witnessed & (1 << I) != 0
    }
    macro_rules! conditions {
        ($f:ident: $($i:literal)*) => { [$($f::<$i>),*] };
    }
    let holds: [fn(&Environment, &World) -> bool; MOST] = conditions!(holds: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27
            28 29 30 31);
    let witness: [fn(&Environment, &World) -> bool; MOST] = conditions!(witness: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27
            28 29 30 31);
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
