//! What can happen to servers and their disks.
//!
//! Spec: `spec/0-assumptions.md`, "Crashes and saves". What it must never do: leave on a disk what no
//! order of the writes of `src/server/storage/` could leave there.

use crate::environment::{Action, Disks, Environment};
use crate::steps::Step;
use crate::world::{Budget, Process, World, Writes};
use keepright::quorum::ServerSet;
use keepright::types::{Epoch, ServerId, Zxid};
use keepright::zab::{History, Memory, Storage, Term, Variant};

/// What a crash leaves of the pending saves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// So many of the oldest turn out to be durable.
    pub kept: u8,
    /// How the next one is found: 0 if not at all, or one of the states of the disk on the way to it.
    pub torn: u8,
}

impl Left {
    /// A number for it.
    pub fn code(self) -> u16 {
        u16::from_le_bytes([self.kept, self.torn])
    }

    /// Whether [`Remains`] has room for it.
    fn has_digits(&self) -> bool {
        self.kept <= 14 && self.torn <= 15
    }

    /// Everything that a crash of a server can leave.
    fn all(process: &Process) -> impl Iterator<Item = Self> + '_ {
        (0..=process.unsaved.len()).flat_map(move |kept| {
            let before = on_disk(process, kept);
            let next = process.unsaved.get(kept);
            let torn = next.map_or(0, |after| halfway(before, after).count());
            let left = move |torn| Self {
                kept: kept as u8,
                torn: torn as u8,
            };
            (0..=torn).map(left)
        })
    }
}

/// What an outage leaves of the pending saves of each server that is up: a byte for each, of two
/// digits in base 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remains(u64);

impl Remains {
    /// The byte of a server that was down.
    const DOWN: u8 = 0xff;
    const ALL_DOWN: Self = Self(u64::MAX);

    fn with(self, server: ServerId, left: Left) -> Self {
        let mut bytes = self.0.to_le_bytes();
        bytes[usize::from(server.0) - 1] = left.kept.min(14) << 4 | left.torn.min(15);
        Self(u64::from_le_bytes(bytes))
    }

    /// Each server that was up, and what is left of its pending saves.
    pub fn of_servers(self) -> impl Iterator<Item = (ServerId, Left)> {
        let bytes = (1..).zip(self.0.to_le_bytes());
        let up = bytes.filter(|(_, byte)| *byte != Self::DOWN);
        up.map(|(id, byte)| {
            let (kept, torn) = (byte >> 4, byte & 15);
            (ServerId(id), Left { kept, torn })
        })
    }

    /// The outage as crashes, one for each server that was up.
    pub fn crashes(self) -> impl Iterator<Item = Action> {
        self.of_servers()
            .map(|(server, left)| Action::Crash { server, left })
    }

    fn all(world: &World) -> Vec<Self> {
        let mut all = vec![Self::ALL_DOWN];
        for server in world.ids() {
            let process = world.server(server);
            if process.state.is_some() {
                all = all
                    .iter()
                    .flat_map(|remains| {
                        Left::all(process.get()).map(|left| remains.with(server, left))
                    })
                    .collect();
            }
        }
        all
    }
}

/// The faults that can happen to a server that is up.
pub fn of_server(
    model: &Environment,
    process: &Process,
    budget: &Budget,
    server: ServerId,
    actions: &mut Vec<Action>,
) {
    if budget.crashes > 0 {
        let crash = |left| Action::Crash { server, left };
        actions.extend(Left::all(process).map(crash));
    }
    if budget.disk_errors > 0
        && let Some(after) = process.unsaved.first()
    {
        let torn = 0..=halfway(&process.disk, after).count();
        actions.extend(torn.map(|torn| Action::DiskError {
            server,
            torn: torn as u8,
        }));
    }
    if budget.wipes > 0 {
        let in_peace = model.setting.disks == Disks::Kept;
        if in_peace && may_forget(model, server) {
            actions.push(Action::Wipe(server));
        }
        if model.setting.disks == Disks::UsedAlone {
            actions.push(Action::Alone(server));
        }
    }
}

/// Whether something may happen to the disk of a server: an observer has promised nothing.
pub fn may_forget(model: &Environment, server: ServerId) -> bool {
    let config = &model.zab.config;
    model.setting.disks != Disks::Kept
        || config.membership.observers.contains(server)
        || config.variant == Variant::VoterForgets
}

/// The disks that may be replaced by empty ones: one at a time, while all others remember what they have promised.
pub fn replacements(model: &Environment, world: &World, actions: &mut Vec<Action>) {
    if world.budget.wipes == 0 || model.setting.disks != Disks::Replaced {
        return;
    }
    let remembers = |id: &ServerId| {
        let disk = &world.server(*id).get().process.disk;
        disk.memory == Memory::Kept && disk.current_epoch > Epoch(0)
    };
    for server in model.zab.config.membership.voters.iter() {
        let mut others = world.ids().filter(|id| *id != server);
        if world.server(server).state.is_some() && others.all(|id| remembers(&id)) {
            actions.push(Action::Wipe(server));
        }
    }
}

/// What stands for the write that a server acknowledges to a client while it runs alone.
pub const ALONE: u8 = 100;

/// The disk of a server that has run alone: it has begun an epoch by itself, and acknowledged a write in it.
pub fn used_alone(disk: &Storage<Writes>, server: ServerId) -> Storage<Writes> {
    let mut disk = disk.clone();
    let Some(epoch) = disk.accepted_epoch.next() else {
        return disk;
    };
    disk.draw += 1;
    let term = Term {
        epoch,
        name: disk.epoch_name(server),
        after: disk.history.last_zxid(),
        voters: ServerSet::of(server),
    };
    disk.lineage = disk.lineage.begin(term);
    disk.memory = Memory::Kept;
    disk.accepted_epoch = epoch;
    disk.current_epoch = epoch;
    disk.history.append(Zxid::new(epoch, 1), ALONE);
    disk
}

/// An empty disk in the place of another one.
pub fn replaced(model: &Environment, disk: &Storage<Writes>) -> Storage<Writes> {
    let new = model.setting.disks.new_disk();
    match model.setting.disks {
        Disks::Kept => new,
        Disks::Replaced | Disks::UsedAlone => Storage {
            draw: disk.draw + 1,
            ..new
        },
    }
}

/// The faults that can happen to all servers at once.
pub fn of_everybody(world: &World, actions: &mut Vec<Action>) {
    if world.budget.outages > 0 && world.ids().any(|id| world.server(id).state.is_some()) {
        actions.extend(Remains::all(world).into_iter().map(Action::Outage));
    }
}

/// One of the outages that can happen in a state, each with any of what it can leave; `pick` chooses a
/// number below the one that it is given.
pub fn an_outage(world: &World, mut pick: impl FnMut(usize) -> usize) -> Option<Remains> {
    let mut remains = Remains::ALL_DOWN;
    if world.budget.outages == 0 {
        return None;
    }
    for server in world.ids() {
        let process = world.server(server);
        if process.state.is_some() {
            let all: Vec<_> = Left::all(process.get()).filter(Left::has_digits).collect();
            remains = remains.with(server, all[pick(all.len())]);
        }
    }
    (remains != Remains::ALL_DOWN).then_some(remains)
}

/// Whether an outage that leaves this can happen in a state.
pub fn may_leave(world: &World, remains: Remains) -> bool {
    let left: Vec<_> = remains.of_servers().collect();
    let of_server = |id| left.iter().find(|(server, _)| *server == id);
    let fits = |id| {
        let process = world.server(id);
        match (of_server(id), &process.state) {
            (Some((_, left)), Some(_)) => Left::all(process.get()).any(|other| other == *left),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    };
    world.budget.outages > 0 && !left.is_empty() && world.ids().all(fits)
}

/// What is on the disk of a server after a crash.
pub fn disk_after(process: &Process, left: Left) -> Storage<Writes> {
    let kept = usize::from(left.kept);
    let before = on_disk(process, kept);
    match left.torn {
        0 => before.clone(),
        torn => halfway(before, &process.unsaved[kept])
            .nth(usize::from(torn) - 1)
            .expect("as many as were counted"),
    }
}

/// The step of a server that stops, with this on its disk.
pub fn down(disk: Storage<Writes>) -> Step {
    Step::of(Process {
        disk,
        unsaved: Vec::new(),
        state: None,
    })
}

/// The disk when `kept` of the pending saves are durable.
fn on_disk(process: &Process, kept: usize) -> &Storage<Writes> {
    match kept {
        0 => &process.disk,
        kept => &process.unsaved[kept - 1],
    }
}

/// What may be on a disk while `before` becomes `after`, but for these two: transactions are removed
/// from the last one backwards, then appended in order; and a snapshot takes the place of everything in
/// one moment. The epochs change before or after the history, each in a save of its own.
fn halfway<'a>(
    before: &'a Storage<Writes>,
    after: &'a Storage<Writes>,
) -> impl Iterator<Item = Storage<Writes>> + 'a {
    let (old, new) = (&before.history, &after.history);
    let common = common_end(old, new);
    let ends = |history: &'a History<Writes>| {
        let last = history.last_zxid();
        let between = history.after(common.unwrap_or(last)).map(|e| e.zxid);
        between.filter(move |zxid| *zxid != last && *zxid > history.snapshot().zxid)
    };
    let removed = common.filter(|common| {
        let between = *common != old.last_zxid() && *common != new.last_zxid();
        between && *common >= old.snapshot().zxid
    });
    let removals = ends(old).chain(removed).map(move |end| (before, end));
    let additions = ends(new).map(move |end| (after, end));
    removals.chain(additions).map(move |(save, end)| {
        let mut history = save.history.clone();
        history.truncate(end);
        // The lineage is written between the removals and the additions.
        Storage {
            accepted_epoch: before.accepted_epoch,
            current_epoch: before.current_epoch,
            history,
            ..save.clone()
        }
    })
}

/// Where two histories part, if one can become the other by removals and additions.
fn common_end(old: &History<Writes>, new: &History<Writes>) -> Option<Zxid> {
    if old.start() != new.start() || old.snapshot() != new.snapshot() {
        return None;
    }
    let both = old.entries().iter().zip(new.entries());
    let same = both.take_while(|(a, b)| a == b).last();
    Some(same.map_or(old.start(), |(entry, _)| entry.zxid))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A storage whose history has these counters of epoch 1.
    fn storage(counters: &[u8]) -> Storage<Writes> {
        let mut storage = Storage::default();
        for counter in counters {
            let zxid = Zxid::new(Epoch(1), u32::from(*counter));
            storage.history.append(zxid, *counter);
        }
        storage
    }

    fn found(before: &[u8], after: &[u8]) -> Vec<Vec<u8>> {
        let (before, after) = (storage(before), storage(after));
        let txns = |s: Storage<Writes>| s.history.entries().iter().map(|e| e.txn).collect();
        halfway(&before, &after).map(txns).collect()
    }

    #[test]
    fn a_torn_save_leaves_a_prefix_of_the_old_history_or_of_the_new_one() {
        assert_eq!(found(&[1], &[1]), Vec::<Vec<u8>>::new());
        assert_eq!(found(&[1], &[1, 2]), Vec::<Vec<u8>>::new());
        assert_eq!(found(&[1], &[1, 2, 3]), [vec![1, 2]]);
        assert_eq!(found(&[1, 2, 3], &[1]), [vec![1, 2]]);
        assert_eq!(found(&[1, 2], &[1, 3]), [vec![1]]);
        assert_eq!(
            found(&[1, 2, 4], &[1, 3, 5]),
            [vec![1, 2], vec![1], vec![1, 3]]
        );
    }

    #[test]
    fn a_crash_leaves_some_of_the_pending_saves_and_perhaps_a_part_of_the_next() {
        let process = Process {
            disk: storage(&[1]),
            unsaved: vec![storage(&[1, 2]), storage(&[1, 2, 3, 4])],
            state: None,
        };
        let all: Vec<_> = Left::all(&process)
            .map(|left| disk_after(&process, left))
            .collect();
        let expected = [
            storage(&[1]),
            storage(&[1, 2]),
            storage(&[1, 2, 3]),
            storage(&[1, 2, 3, 4]),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn an_outage_says_of_each_server_what_is_left() {
        let (first, third) = (Left { kept: 0, torn: 0 }, Left { kept: 2, torn: 1 });
        let remains = Remains::ALL_DOWN
            .with(ServerId(1), first)
            .with(ServerId(3), third);
        let said: Vec<_> = remains.of_servers().collect();
        assert_eq!(said, [(ServerId(1), first), (ServerId(3), third)]);
    }
}
