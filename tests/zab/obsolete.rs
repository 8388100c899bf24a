//! Obsolete messages stay so and have no effect (`spec/0-assumptions.md`, "Obsolete messages").
//!
//! The checker drops them from its network, which is sound only if this holds.

use crate::cluster::{Cluster, Envelope, Numbers, config, z};
use crate::sim::{Sim, one_seed, with_seeds};
use crate::walk::Walk;
use keepright::types::{Epoch, Round, ServerId};
use keepright::zab::obsolete::{Hazards, Peer, Sender};
use keepright::zab::{
    Config, Elections, Leader, Mark, Message, Msg, Notification, Out, Role, Stance, State, Storage,
    Variant, Zab,
};
use stateright::actor::{Actor, Command};
use std::borrow::Cow;
use std::collections::HashSet;

fn peer(walk: &Walk, id: ServerId) -> Peer<'_, Numbers> {
    Peer {
        id,
        durable: walk.cluster.mark(id),
        state: walk.cluster.nodes[&id].state.as_ref(),
    }
}

/// Whether a server follows another one.
fn follows(cluster: &Cluster, id: ServerId) -> bool {
    let state = cluster.nodes[&id].state.as_ref();
    state.is_some_and(|state| state.following().is_some())
}

fn is_obsolete(walk: &Walk, envelope: &Envelope) -> bool {
    let Envelope { src, dst, message } = envelope;
    let sender = Sender {
        id: *src,
        durable: walk.cluster.mark(*src),
        follows: follows(&walk.cluster, *src),
    };
    walk.cluster
        .zab
        .is_obsolete(sender, &peer(walk, *dst), message, walk.hazards)
}

/// Whether two states differ in nothing but whom a leader has heard of lately. That decides when it
/// gives up, and how much of its log it keeps, and has no part in safety.
fn alike(a: &State<Numbers>, b: &State<Numbers>) -> bool {
    let roles = match (a.role(), b.role()) {
        (Role::Leading(a), Role::Leading(b)) => {
            *a == Leader {
                active: a.active,
                ..b.clone()
            }
        }
        (a, b) => a == b,
    };
    roles
        && a.storage() == b.storage()
        && (a.committed(), a.durable(), a.pending_saves())
            == (b.committed(), b.durable(), b.pending_saves())
}

/// Delivers a message to a copy of its recipient: what changes, or what it says that is news.
fn effect(walk: &Walk, envelope: &Envelope) -> Option<String> {
    let Envelope { src, dst, message } = envelope;
    let before = walk.cluster.nodes[dst].state.as_ref()?;
    let mut state = Cow::Borrowed(before);
    let mut out: Out<Numbers> = Out::new();
    let msg = Msg::Peer(message.clone());
    walk.cluster
        .zab
        .on_msg((*dst).into(), &mut state, (*src).into(), msg, &mut out);
    if !alike(&state, before) {
        return Some(format!("{before:?}\nbecomes\n{:?}", *state));
    }
    for command in out {
        match command {
            Command::Send(to, Msg::Peer(message)) => {
                let answer = Envelope {
                    src: *dst,
                    dst: ServerId::from_actor(to).expect("a server"),
                    message,
                };
                if !walk.ever_sent.contains(&answer) && !is_obsolete(walk, &answer) {
                    return Some(format!("it answers {answer:?}"));
                }
            }
            // Time runs on; the timers have no part in safety.
            Command::SetTimer(..) | Command::CancelTimer(_) => {}
            Command::Save(_) => return Some("it saves".to_owned()),
            Command::Send(..) | Command::ChooseRandom(..) => return Some(format!("{command:?}")),
        }
    }
    None
}

/// Whether one message has no other effect on their recipient than another one.
fn adds_nothing(walk: &Walk, envelope: &Envelope, other: &Envelope) -> bool {
    let outcome = |envelope: &Envelope| {
        let before = walk.cluster.nodes[&envelope.dst].state.as_ref()?;
        let (mut state, mut out) = (Cow::Borrowed(before), Out::new());
        let (to, from) = (envelope.dst.into(), envelope.src.into());
        let msg = Msg::Peer(envelope.message.clone());
        let zab = &walk.cluster.zab;
        zab.on_msg(to, &mut state, from, msg, &mut out);
        Some((state.into_owned(), format!("{out:?}")))
    };
    effect(walk, envelope).is_none() || outcome(envelope) == outcome(other)
}

/// Which notifications to a server are superseded by which others.
fn superseded(walk: &Walk, server: ServerId) -> Vec<(Envelope, Envelope)> {
    let to_it = |envelope: &&Envelope| {
        envelope.dst == server && matches!(envelope.message, Message::Notification(_))
    };
    let to_it: Vec<&Envelope> = walk.sent.iter().filter(to_it).collect();
    let (to, zab) = (peer(walk, server), &walk.cluster.zab);
    let mut all = Vec::new();
    for one in &to_it {
        let others = to_it.iter().filter(|other| other.src == one.src);
        let by = others
            .filter(|other| zab.is_superseded(&to, &one.message, &other.message, walk.hazards));
        all.extend(by.map(|other| ((*one).clone(), (*other).clone())));
    }
    all
}

fn hold(elections: Elections, seeds: u64) -> (usize, usize) {
    let (mut obsolete_seen, mut sent) = (0, 0);
    with_seeds("obsolete", seeds, |seed| {
        let mut walk = Walk::new(seed, elections);
        let mut obsolete: HashSet<Envelope> = HashSet::new();
        let last_failure = [0, 100, 400, 800][walk.random.below(4)];
        let last_timeout = [0, 100, 400, 800][walk.random.below(4)];
        for number in 0..800 {
            walk.hazards.compacts &= number < 400;
            walk.hazards.fails &= number < last_failure;
            walk.hazards.gives_up &= number < last_timeout;
            let step = walk.choose();
            walk.take(&step);
            // Only what concerns a message's ends can change what it is.
            let server = step.server();
            for envelope in walk.sent.clone() {
                if envelope.src != server && envelope.dst != server {
                    continue;
                }
                if is_obsolete(&walk, &envelope) {
                    let effect = effect(&walk, &envelope);
                    assert_eq!(
                        effect,
                        None,
                        "{envelope:?} is obsolete after {step:?}, but\n{}",
                        walk.cluster.describe()
                    );
                    obsolete.insert(envelope);
                } else {
                    assert!(
                        !obsolete.contains(&envelope),
                        "{envelope:?} is obsolete no more after {step:?}\n{}",
                        walk.cluster.describe()
                    );
                }
            }
        }
        obsolete_seen += obsolete.len();
        sent += walk.sent.len();
    });
    (obsolete_seen, sent)
}

#[test]
fn a_superseded_message_stays_so_and_has_no_other_effect_than_the_one_that_supersedes_it() {
    let mut seen = 0;
    with_seeds("superseded", 150, |seed| {
        let mut walk = Walk::new(seed, Elections::Held);
        let last_failure = [0, 100, 400][walk.random.below(3)];
        let last_timeout = [0, 100, 400][walk.random.below(3)];
        let mut known: HashSet<(Envelope, Envelope)> = HashSet::new();
        for number in 0..600 {
            walk.hazards.fails &= number < last_failure;
            walk.hazards.gives_up &= number < last_timeout;
            let step = walk.choose();
            walk.take(&step);
            let server = step.server();
            let now: HashSet<_> = superseded(&walk, server).into_iter().collect();
            for (one, other) in &now {
                assert!(
                    adds_nothing(&walk, one, other),
                    "{one:?} is superseded by {other:?} after {step:?}, but adds something\n{}",
                    walk.cluster.describe()
                );
            }
            let mut of_server = known.iter().filter(|(one, _)| one.dst == server);
            assert!(
                of_server.all(|pair| now.contains(pair)),
                "something is superseded no more after {step:?}\n{}",
                walk.cluster.describe()
            );
            known.extend(now);
        }
        let superseded: HashSet<_> = known.into_iter().map(|(one, _)| one).collect();
        seen += superseded.len();
    });
    println!("{seen} messages were superseded");
    assert!(one_seed() || seen > 1_000, "the rule is worth something");
}

#[test]
fn an_obsolete_message_stays_obsolete_and_has_no_effect_whatever_is_elected() {
    let (obsolete, sent) = hold(Elections::External, 150);
    println!("{obsolete} of {sent} messages became obsolete");
    assert!(
        one_seed() || 4 * obsolete > sent,
        "the rule is worth something"
    );
}

#[test]
fn an_obsolete_message_stays_obsolete_and_has_no_effect_in_an_ensemble_with_elections() {
    let (obsolete, sent) = hold(Elections::Held, 150);
    println!("{obsolete} of {sent} messages became obsolete");
}

#[test]
fn what_every_follower_has_made_durable_is_obsolete() {
    let mut sim = Sim::established(config(3, 0), 1);
    assert!(sim.write(1) && sim.write(2));
    sim.until("all is delivered", Sim::converged);
    sim.run_ms(500);
    let cluster = &sim.cluster;
    let peer = |id: ServerId| Peer {
        id,
        durable: cluster.mark(id),
        state: cluster.nodes[&id].state.as_ref(),
    };
    let mut proposals = 0;
    for (_, Envelope { src, dst, message }) in &sim.sent {
        if let Message::Propose { .. } | Message::NewLeader { .. } | Message::Ack { .. } = message {
            proposals += 1;
            let sender = Sender {
                id: *src,
                durable: cluster.mark(*src),
                follows: follows(cluster, *src),
            };
            let obsolete =
                cluster
                    .zab
                    .is_obsolete(sender, &peer(*dst), message, Hazards::default());
            assert!(obsolete, "{message:?}");
        }
    }
    assert!(proposals >= 8);
}

/// Otherwise the checker looks through all messages again after every step that changes nothing here.
#[test]
fn a_server_is_alike_to_itself_and_not_to_itself_without_a_role() {
    let sim = Sim::established(config(3, 0), 1);
    let cluster = &sim.cluster;
    for (id, node) in &cluster.nodes {
        let peer = |state| Peer {
            id: *id,
            durable: cluster.mark(*id),
            state,
        };
        let state = node.state.as_ref();
        assert!(cluster.zab.is_alike(&peer(state), &peer(state)), "{id:?}");
        assert!(!cluster.zab.is_alike(&peer(state), &peer(None)), "{id:?}");
    }
}

#[test]
fn what_a_leader_says_later_supersedes_what_it_has_said_where_it_leads_to_the_same_round() {
    let first = Round::first(Epoch(0));
    let round = |later: u32| Round {
        count: first.count + later,
        ..first
    };
    let says = |round, established| {
        Message::<Numbers>::Notification(Notification {
            round,
            stance: Stance::Leading { established },
        })
    };
    let superseded = |variant, message, other| {
        let zab = Zab::<Numbers>::new(Config {
            variant,
            ..config(3, 0)
        });
        let down = Peer {
            id: ServerId(1),
            durable: Mark::from(&Storage::<Numbers>::default()),
            state: None,
        };
        zab.is_superseded(&down, &message, &other, Hazards::default())
    };
    let established = |later| says(round(later), true);
    for (message, other, expected) in [
        (says(round(2), false), established(2), true),
        (established(2), says(round(2), false), false),
        // Who follows it by the earlier word is in the earlier round.
        (established(1), established(2), false),
        // Nobody is in either of these any more.
        (established(0), established(0), false),
        (says(round(0), false), established(0), true),
    ] {
        let found = superseded(Variant::Faithful, message.clone(), other.clone());
        assert_eq!(found, expected, "{message:?} {other:?}");
        let found = superseded(Variant::JoinInsistsOnRound, message, other);
        assert!(
            !found,
            "nothing is certain where rounds mean something else"
        );
    }
}

#[test]
fn an_old_acknowledgement_is_not_obsolete_while_it_is_answered_with_a_snapshot_that_helps() {
    let mut sim = Sim::established(
        Config {
            retain: 0,
            ..config(3, 0)
        },
        1,
    );
    assert!(sim.write(1) && sim.write(2) && sim.write(3));
    sim.until("all is delivered", Sim::converged);
    sim.run_ms(500);
    let leader = sim.leader().expect("it leads");
    sim.snapshot(leader);
    let history = &sim.cluster.state(leader).storage().history;
    assert_eq!(history.start(), z(1, 3), "nothing before it is kept");
    for (acknowledged, durable, obsolete) in [
        (z(1, 1), z(1, 1), false),
        (z(1, 1), z(1, 3), true),
        (z(1, 3), z(1, 3), true),
        // A disk that was lost: what it acknowledged is where the kept entries begin, and these it gets.
        (z(1, 3), z(1, 1), true),
    ] {
        let peer = |id: ServerId| Peer {
            id,
            durable: sim.cluster.mark(id),
            state: sim.cluster.nodes[&id].state.as_ref(),
        };
        let mut learner = Sender {
            id: ServerId(1),
            durable: sim.cluster.mark(ServerId(1)),
            follows: true,
        };
        learner.durable.last_zxid = durable;
        let ack = Message::Ack {
            epoch: Epoch(1),
            zxid: acknowledged,
        };
        let zab = &sim.cluster.zab;
        let found = zab.is_obsolete(learner, &peer(leader), &ack, Hazards::default());
        assert_eq!(found, obsolete, "{acknowledged} {durable}");
    }
}
