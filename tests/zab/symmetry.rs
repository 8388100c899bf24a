//! The names of servers do not matter (`spec/0-assumptions.md`, "Symmetry").
//!
//! The checker takes states that differ only in the names of the voters for one. That is sound only
//! if every step of the renamed state is the renamed step.

use crate::cluster::{Envelope, Numbers};
use crate::sim::{Random, with_seeds};
use crate::walk::{Step, Walk};
use keepright::types::ServerId;
use keepright::zab::{Elections, Message, Msg, Out, State, Storage, Timer, Zab};
use stateright::actor::{Actor, Command};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A permutation of the voters.
fn names(walk: &Walk, random: &mut Random) -> BTreeMap<ServerId, ServerId> {
    let from: Vec<_> = walk.cluster.zab.config.membership.voters.iter().collect();
    let mut to = from.clone();
    for i in (1..to.len()).rev() {
        to.swap(i, random.below(i + 1));
    }
    from.into_iter().zip(to).collect()
}

/// The effects of a step, in an order that does not depend on names: as text.
fn effects(out: Out<Numbers>, names: &impl Fn(ServerId) -> ServerId) -> Vec<String> {
    let mut effects: Vec<_> = out
        .into_iter()
        .map(|command| match command {
            Command::Send(to, Msg::Peer(message)) => {
                let to = ServerId::from_actor(to).expect("a server");
                let message = message.renamed(names);
                format!("{:?} {message:?}", names(to))
            }
            Command::SetTimer(timer, range) => format!("{:?} {range:?}", rename(timer, names)),
            Command::CancelTimer(timer) => format!("no {:?}", rename(timer, names)),
            Command::Save(storage) => format!("{storage:?}"),
            Command::Send(..) | Command::ChooseRandom(..) => unreachable!("{command:?}"),
        })
        .collect();
    effects.sort();
    effects
}

fn rename(timer: Timer, names: &impl Fn(ServerId) -> ServerId) -> Timer {
    match timer {
        Timer::Peer(peer) => Timer::Peer(names(peer)),
        Timer::Heartbeat | Timer::Finalize | Timer::Establish => timer,
    }
}

fn rename_input(msg: &Msg<Numbers>, names: &impl Fn(ServerId) -> ServerId) -> Msg<Numbers> {
    match msg {
        Msg::Peer(message) => Msg::Peer(message.renamed(names)),
        Msg::Elected(leader) => Msg::Elected(names(*leader)),
        Msg::Saved(_) | Msg::Propose(_) | Msg::Snapshot(_) => msg.clone(),
    }
}

/// What `step` does to a server, all of whose names are exchanged before or after.
fn outcome(
    zab: &Zab<Numbers>,
    (before, disk): (&State<Numbers>, &Storage<Numbers>),
    step: &Step,
    first: &impl Fn(ServerId) -> ServerId,
    then: &impl Fn(ServerId) -> ServerId,
) -> Option<(State<Numbers>, Vec<String>)> {
    let renamed = before.renamed(first);
    let mut state = Cow::Borrowed(&renamed);
    let mut out = Out::new();
    match step {
        Step::Deliver(Envelope { src, dst, message }) => zab.on_msg(
            first(*dst).into(),
            &mut state,
            first(*src).into(),
            Msg::Peer(message.renamed(first)),
            &mut out,
        ),
        Step::Input(id, msg) => {
            let id = first(*id).into();
            zab.on_msg(id, &mut state, id, rename_input(msg, first), &mut out);
        }
        Step::Flush(id) => {
            let id = first(*id).into();
            zab.on_msg(id, &mut state, id, Msg::Saved(1), &mut out);
        }
        Step::Fire(id, timer) => {
            let timer = rename(*timer, first);
            zab.on_timeout(first(*id).into(), &mut state, &timer, &mut out);
        }
        Step::Start(id) => {
            let disk = Some(disk.clone());
            state = Cow::Owned(zab.on_start(first(*id).into(), &disk, &mut out));
        }
        Step::Snapshot(_) | Step::Crash(..) => return None,
    }
    Some((state.renamed(then), effects(out, then)))
}

#[test]
fn renaming_there_and_back_changes_nothing() {
    for elections in [Elections::External, Elections::Held] {
        with_seeds("renaming_there", 40, |seed| {
            let mut walk = Walk::new(seed, elections);
            let mut random = Random(seed);
            for _ in 0..300 {
                let step = walk.choose();
                walk.take(&step);
                let there = names(&walk, &mut random);
                let back: BTreeMap<_, _> = there.iter().map(|(a, b)| (*b, *a)).collect();
                let there = |id| there.get(&id).copied().unwrap_or(id);
                let back = |id| back.get(&id).copied().unwrap_or(id);
                if let Some(state) = &walk.cluster.nodes[&step.server()].state {
                    assert_eq!(state.renamed(&there).renamed(&back), *state);
                }
                if let Some(Envelope { message, .. }) = walk.sent.last() {
                    assert_eq!(message.renamed(&there).renamed(&back), *message);
                }
            }
        });
    }
}

#[test]
fn a_message_that_names_a_server_is_renamed_inside() {
    use keepright::types::{Epoch, Round};
    use keepright::zab::{Notification, Stance, Vote};
    let notification = |stance| -> Message<Numbers> {
        Message::Notification(Notification {
            round: Round::first(Epoch(0)),
            stance,
        })
    };
    let vote = |leader| Vote {
        leader,
        current_epoch: Epoch(1),
        last_zxid: crate::cluster::z(1, 1),
        change: crate::cluster::z(0, 0),
        tells_members: false,
    };
    let names = |id: ServerId| ServerId(id.0 + 1);
    let (a, b) = (ServerId(1), ServerId(2));
    for (before, after) in [
        (Stance::Looking(vote(a)), Stance::Looking(vote(b))),
        (Stance::Following(a), Stance::Following(b)),
    ] {
        assert_eq!(notification(before).renamed(&names), notification(after));
    }
}

#[test]
fn renaming_and_then_stepping_is_stepping_and_then_renaming() {
    let same = |id: ServerId| id;
    with_seeds("renaming_and", 150, |seed| {
        let mut walk = Walk::new(seed, Elections::External);
        let mut random = Random(seed);
        for _ in 0..500 {
            let step = walk.choose();
            let names = names(&walk, &mut random);
            let names = |id| names.get(&id).copied().unwrap_or(id);
            let zab = &walk.cluster.zab;
            let node = &walk.cluster.nodes[&step.server()];
            // A server that is down has no state: any will do for its start.
            let any = walk
                .cluster
                .nodes
                .values()
                .find_map(|node| node.state.as_ref());
            if let Some(state) = node.state.as_ref().or(any) {
                let server = (state, &node.disk);
                let one = outcome(zab, server, &step, &names, &same);
                let other = outcome(zab, server, &step, &same, &names);
                assert_eq!(one, other, "{step:?}\n{}", walk.cluster.describe());
            }
            walk.take(&step);
        }
    });
}
