//! Why an invariant does not hold: which servers break it, and by which values.
//!
//! Spec: `spec/invariants.toml`. A function for each predicate, with its name. The checker asks the predicates
//! of every state and these of the one where something fell, so these may take their time. What they
//! must never do: know better than the predicate. They find something if and only if it is false; a
//! test holds them against each other, state by state.

use super::election::{is_supported, leading_round, supporters};
use super::reconfiguration;
use super::synchronization::{Lack, holds, is_prefix, left_behind, term};
use super::{Ensemble, Recorded, agree, delivered, is_durable, whole};
use crate::types::{Epoch, ServerId, Zxid};
use crate::zab::{Entry, Message, Payload, Role, State, Storage};

/// What there is to find a culprit in.
pub struct Inquiry<'a, P: Payload> {
    /// The ensemble as it is.
    pub ensemble: &'a Ensemble<'a, P>,
    /// The step that led there. Some invariants are broken by what a server does, which no state shows.
    pub step: Option<Taken<'a, P>>,
    /// What a transaction is called.
    pub name: fn(&P::Txn) -> String,
}

/// A step that one server has taken.
pub struct Taken<'a, P: Payload> {
    pub server: ServerId,
    /// Its state before; `None` if it was down.
    pub before: Option<&'a State<P>>,
    /// What its disk had before.
    pub disk: &'a Storage<P>,
    /// What it has said, and to whom.
    pub sent: &'a [(ServerId, Message<P>)],
}

impl<'a, P: Recorded> Inquiry<'a, P> {
    fn entry(&self, entry: &Entry<P::Txn>) -> String {
        format!("{}={}", entry.zxid, (self.name)(&entry.txn))
    }

    fn list<'e>(&self, entries: impl IntoIterator<Item = &'e Entry<P::Txn>>) -> String
    where
        P::Txn: 'e,
    {
        let all: Vec<_> = entries.into_iter().map(|entry| self.entry(entry)).collect();
        match all.is_empty() {
            true => "[-]".to_owned(),
            false => format!("[{}]", all.join(" ")),
        }
    }

    /// Every two servers that are up, by ascending id.
    fn pairs(&self) -> impl Iterator<Item = (Up<'a, P>, Up<'a, P>)> {
        let up = || self.ensemble.running();
        up().flat_map(move |a| up().filter(move |b| b.0 > a.0).map(move |b| (a, b)))
    }

    /// What each server has in memory and on disk.
    fn stored(&self) -> impl Iterator<Item = Stored<'a, P>> {
        self.ensemble.servers.iter().flat_map(|s| {
            let memory = s.state.map(|state| (s.id, state.storage(), "in memory"));
            memory.into_iter().chain([(s.id, s.disk, "on its disk")])
        })
    }

    /// The same for those who take part in the epoch that they have taken over.
    fn taken_over(&self) -> impl Iterator<Item = Stored<'a, P>> {
        self.stored().filter(|(_, storage, _)| {
            storage.current_epoch == storage.accepted_epoch && storage.current_epoch > Epoch(0)
        })
    }

    /// What the step says that breaks an invariant which the record knows to be broken.
    fn of_step(
        &self,
        broken: bool,
        culprit: impl FnOnce(&Taken<'a, P>) -> Option<String>,
    ) -> Option<String> {
        let earlier = || "it was broken by an earlier step".to_owned();
        broken.then(|| self.step.as_ref().and_then(culprit).unwrap_or_else(earlier))
    }
}

/// A server that is up.
type Up<'a, P> = (ServerId, &'a State<P>);

/// What a server has, and where.
type Stored<'a, P> = (ServerId, &'a Storage<P>, &'static str);

fn servers(ids: impl IntoIterator<Item = ServerId>) -> String {
    let all: Vec<_> = ids.into_iter().map(|id| format!("server {id}")).collect();
    match all.split_last() {
        None => "no server".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

fn epochs<P: Payload>(storage: &Storage<P>) -> String {
    let (current, accepted) = (storage.current_epoch, storage.accepted_epoch);
    format!("epochs {current}/{accepted}")
}

pub(super) fn leadership1<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let leaders = || q.ensemble.established();
    leaders().find_map(|(i, epoch, _)| {
        let other = leaders().find(|(j, other, _)| *j != i && *other == epoch)?;
        let both = servers([i, other.0]);
        Some(format!("{both} are established leaders of epoch {epoch}"))
    })
}

pub(super) fn leadership2<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let mut leaders = q.ensemble.record.leaders.iter();
    let (epoch, all) = leaders.find(|(_, leaders)| leaders.len() > 1)?;
    let all = servers(all.iter());
    Some(format!("epoch {epoch} has been led by {all}"))
}

pub(super) fn prefix_consistency<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    q.pairs().find_map(|((i, a), (j, b))| {
        let (a, b) = (delivered(a), delivered(b));
        let differ = a.iter().zip(&b).any(|(x, y)| x != y);
        differ.then(|| {
            let (a, b) = (q.list(a), q.list(b));
            format!(
                "server {i} has delivered {a}, server {j} {b}; neither is a prefix of the other"
            )
        })
    })
}

pub(super) fn integrity<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let proposed = &q.ensemble.record.proposed;
    q.ensemble.running().find_map(|(id, state)| {
        let delivered = delivered(state);
        let entry = delivered.iter().find(|entry| !proposed.contains(entry))?;
        let (entry, proposed) = (q.entry(entry), q.list(proposed));
        Some(format!(
            "server {id} has delivered {entry}, which no leader has proposed; proposed were {proposed}"
        ))
    })
}

pub(super) fn agreement<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    q.pairs().find_map(|((i, a), (j, b))| {
        let (a, b) = (delivered(a), delivered(b));
        let t = a.iter().find(|t| !b.contains(t))?;
        let u = b.iter().find(|u| !a.contains(u))?;
        let (t, u) = (q.entry(t), q.entry(u));
        Some(format!(
            "server {i} has delivered {t}, and server {j} has not; \
             server {j} has delivered {u}, and server {i} has not"
        ))
    })
}

pub(super) fn total_order<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let out_of_order = |(i, a): Up<'_, P>, (j, b): Up<'_, P>| {
        let (a, b) = (delivered(a), delivered(b));
        a.iter().enumerate().find_map(|(place, u)| {
            let before = &b[..b.iter().position(|entry| entry == u)?];
            let t = a[..place].iter().find(|t| !before.contains(t))?;
            let (t, u) = (q.entry(t), q.entry(u));
            Some(format!(
                "server {i} has delivered {t} before {u}; server {j} has delivered {u}, \
                 and not {t} before it"
            ))
        })
    };
    q.pairs()
        .find_map(|(a, b)| out_of_order(a, b).or_else(|| out_of_order(b, a)))
}

pub(super) fn local_primary_order<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let proposed = &q.ensemble.record.proposed;
    q.ensemble.running().find_map(|(id, state)| {
        let delivered = delivered(state);
        delivered.iter().enumerate().find_map(|(place, u)| {
            let mut earlier = proposed
                .iter()
                .filter(|t| t.zxid.epoch() == u.zxid.epoch() && t.zxid < u.zxid);
            let t = earlier.find(|t| !delivered[..place].contains(t))?;
            let (t, u, all) = (q.entry(t), q.entry(u), q.list(delivered.iter().copied()));
            Some(format!(
                "server {id} has delivered {u}, and not before it {t}, which its leader had proposed \
                 before; in all it has delivered {all}"
            ))
        })
    })
}

pub(super) fn global_primary_order<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    q.ensemble.running().find_map(|(id, state)| {
        let delivered = delivered(state);
        let mut pairs = delivered.windows(2);
        let pair = pairs.find(|pair| pair[0].zxid.epoch() > pair[1].zxid.epoch())?;
        let (first, second) = (q.entry(pair[0]), q.entry(pair[1]));
        Some(format!(
            "server {id} has delivered {first} before {second}, which is of an earlier epoch"
        ))
    })
}

pub(super) fn primary_integrity<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let mut leaders = q.ensemble.established();
    leaders.find_map(|(id, epoch, state)| {
        let history = &state.storage().history;
        let own = history.entries().iter().filter(|t| t.zxid.epoch() == epoch);
        if history.last_zxid().epoch() != epoch {
            return None;
        }
        let delivered = delivered(state);
        let mut older = q.ensemble.record.delivered.iter();
        let t = older.find(|t| t.zxid.epoch() < epoch && !delivered.contains(t))?;
        let (own, t, delivered) = (q.list(own), q.entry(t), q.list(delivered));
        Some(format!(
            "server {id}, the leader of epoch {epoch}, has proposed {own}; it has delivered \
             {delivered}, and not {t}, which somebody had delivered before"
        ))
    })
}

pub(super) fn decided_alone_stays<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let e = q.ensemble;
    e.record.alone.iter().find_map(|(sid, entry)| {
        let server = e.servers.iter().find(|s| s.id == *sid)?;
        let mut storages = server
            .state
            .map(State::storage)
            .into_iter()
            .chain([server.disk]);
        let storage = storages.find(|storage| !whole(storage).any(|t| t == entry))?;
        let (entry, has) = (q.entry(entry), q.list(whole(storage)));
        Some(format!(
            "server {sid} has decided {entry} alone, and has {has} now"
        ))
    })
}

pub(super) fn committed_survives<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let e = q.ensemble;
    let all = &e.record.delivered;
    let last = all.last()?;
    let holders = reconfiguration::holders(e, last);
    if let Some(membership) = reconfiguration::lacking(e, &holders) {
        let (last, holders, voters) = (
            q.entry(last),
            servers(holders.iter()),
            membership.voters.len(),
        );
        return Some(format!(
            "{last} has been delivered, and is on the disk of {holders}: no quorum of {voters} voters"
        ));
    }
    let latest = e.record.leaders.last().map(|(epoch, _)| *epoch);
    let mut leaders = e
        .established()
        .filter(|(_, epoch, _)| Some(*epoch) == latest);
    leaders.find_map(|(id, epoch, state)| {
        let prefix: Vec<_> = whole(state.storage())
            .take_while(|t| t.zxid <= last.zxid)
            .collect();
        let same = prefix.iter().copied().eq(all);
        (!same).then(|| {
            let (all, has) = (q.list(all), q.list(whole(state.storage())));
            format!("{all} has been delivered; server {id}, the leader of epoch {epoch}, has {has}")
        })
    })
}

pub(super) fn history_identified<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    q.stored().enumerate().find_map(|(place, (i, a, here))| {
        q.stored().skip(place).find_map(|(j, b, there)| {
            (!agree(a, b)).then(|| {
                let (a, b) = (q.list(whole(a)), q.list(whole(b)));
                format!(
                    "server {i} has {a} {here}, server {j} {b} {there}: they hold the same zxid, \
                     and differ before it or in it"
                )
            })
        })
    })
}

pub(super) fn initial_history<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    q.stored().find_map(|(id, storage, place)| {
        let current = storage.current_epoch;
        let initial = &q.ensemble.record.initial;
        let mut initial = initial
            .iter()
            .filter(|(epoch, _)| *epoch == current && *epoch == storage.accepted_epoch);
        let (_, zxid) = initial.find(|(_, zxid)| !holds(storage, *zxid))?;
        let has = q.list(whole(storage));
        Some(format!(
            "server {id} has taken over epoch {current} {place}, with {has}; \
             the epoch began with everything up to {zxid}"
        ))
    })
}

pub(super) fn epochs_ordered<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let mut stored = q.stored();
    let (id, storage, place) =
        stored.find(|(_, storage, _)| storage.current_epoch > storage.accepted_epoch)?;
    let (current, accepted) = (storage.current_epoch, storage.accepted_epoch);
    Some(format!(
        "server {id} has current epoch {current} {place}, above its accepted epoch {accepted}"
    ))
}

pub(super) fn durable_before_said<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    q.of_step(q.ensemble.record.said_too_early, |step| {
        let now = q.ensemble.servers.iter().find(|s| s.id == step.server)?;
        let said_on = |disk| step.sent.iter().find(|(_, said)| !is_durable(disk, said));
        let (disk, (to, said)) = said_on(now.disk)
            .map(|said| (now.disk, said))
            .or_else(|| said_on(step.disk).map(|said| (step.disk, said)))?;
        let said = match said {
            Message::Ack { epoch, zxid } => format!("that it has epoch {epoch} up to {zxid}"),
            Message::AckEpoch {
                epoch, last_zxid, ..
            } => format!("that it has promised epoch {epoch} and holds all up to {last_zxid}"),
            Message::NewEpoch { epoch, .. } => format!("that it proposes epoch {epoch}"),
            Message::Notification(_)
            | Message::FollowerInfo { .. }
            | Message::Refuse { .. }
            | Message::Sync { .. }
            | Message::NewLeader { .. }
            | Message::Propose { .. }
            | Message::Commit { .. }
            | Message::Inform { .. } => "something".to_owned(),
        };
        let (server, epochs, has) = (step.server, epochs(disk), q.list(whole(disk)));
        Some(format!(
            "server {server} has told server {to} {said}; its disk has {epochs} and {has}"
        ))
    })
}

pub(super) fn one_leader_a_round<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let e = q.ensemble;
    q.pairs().find_map(|((i, a), (j, b))| {
        let round = leading_round(a).filter(|round| leading_round(b) == Some(*round))?;
        let both = is_supported(e, i, a, round)
            && is_supported(e, j, b, round)
            && e.zab.in_force(a).shares_with(e.zab.in_force(b));
        both.then(|| {
            let by = |id| servers(supporters(e, id, round).iter());
            let (by_i, by_j) = (by(i), by(j));
            format!(
                "in round {round} server {i} leads with the support of {by_i}, and server {j} with that \
                 of {by_j}"
            )
        })
    })
}

pub(super) fn strongest_elected<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    q.of_step(q.ensemble.record.weak_leader, |step| {
        let Role::Looking(election) = step.before?.role() else {
            return None;
        };
        let state = |id| q.ensemble.running().find(|(sid, _)| *sid == id);
        let (winner, won) = state(step.server)?;
        let others = |id| Some(state(id)?.1);
        let (id, other) = state(super::stronger(winner, won, election, others)?)?;
        let has = |state: &State<P>| {
            let recency = state.recency();
            format!("{}/{}", recency.current_epoch, recency.last_zxid)
        };
        let (round, won, other) = (election.round, has(won), has(other));
        Some(format!(
            "server {winner}, which has {won}, has won round {round} with the vote of server {id}, \
             which has {other}"
        ))
    })
}

pub(super) fn initial_history_integrity<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    q.ensemble.established().find_map(|(id, later, state)| {
        let mut earlier = q
            .ensemble
            .initial_histories()
            .filter(|(epoch, _)| *epoch < later);
        let (epoch, zxid) = earlier.find(|(_, zxid)| !holds(state.storage(), *zxid))?;
        let has = q.list(whole(state.storage()));
        Some(format!(
            "epoch {epoch} began with everything up to {zxid}; server {id}, the leader of epoch \
             {later}, has {has}"
        ))
    })
}

pub(super) fn history_consistency<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let fork = q.taken_over().find_map(|(i, a, here)| {
        q.taken_over()
            .filter(|(j, b, _)| i < *j && a.current_epoch == b.current_epoch)
            .find(|(_, b, _)| !is_prefix(a, b) && !is_prefix(b, a))
            .map(|(j, b, there)| {
                let (epoch, a, b) = (a.current_epoch, q.list(whole(a)), q.list(whole(b)));
                format!(
                    "in epoch {epoch} server {i} has {a} {here}, server {j} {b} {there}; \
                     neither is a prefix of the other"
                )
            })
    });
    fork.or_else(|| {
        q.ensemble.terms().find_map(|(id, leader, term)| {
            q.taken_over()
                .filter(|(_, storage, _)| storage.current_epoch == term.epoch)
                .find(|(_, storage, _)| !is_prefix(storage, leader.storage()))
                .map(|(i, storage, place)| {
                    let (has, epoch) = (q.list(whole(storage)), term.epoch);
                    let leads = q.list(whole(leader.storage()));
                    format!(
                        "in epoch {epoch} server {i} has {has} {place}, which is no prefix of \
                         {leads}, the history of its leader, server {id}"
                    )
                })
        })
    })
}

pub(super) fn reconfigured_by_both<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    reconfiguration::changes(q.ensemble).iter().find_map(|change| {
        let next = change.next.as_ref()?;
        let holders = reconfiguration::holders(q.ensemble, change.entry);
        let lacks = [(&change.before, "the voters before it"), (next, "its own voters")]
            .into_iter()
            .find(|(membership, _)| !membership.is_quorum(&holders))?;
        let (entry, holders) = (q.entry(change.entry), servers(holders.iter()));
        let (voters, whose) = (servers(lacks.0.voters.iter()), lacks.1);
        Some(format!(
            "{entry} has been delivered, and is on the disk of {holders}: no quorum of {whose}, {voters}"
        ))
    })
}

pub(super) fn in_force_once_committed<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let e = q.ensemble;
    let delivered = e.record.delivered.last().map_or(Zxid::ZERO, |t| t.zxid);
    let mut early = reconfiguration::put_in_force(e).filter(|(_, proposed)| *proposed > delivered);
    early.next().map(|(id, proposed)| {
        format!(
            "server {id} takes the membership of {proposed} for the one in force; delivered is what goes up to {delivered}"
        )
    })
}

pub(super) fn leader_completeness<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    q.ensemble.established().find_map(|(id, epoch, state)| {
        let mut older = q.ensemble.record.delivered.iter();
        let t = older
            .find(|t| t.zxid.epoch() < epoch && !whole(state.storage()).any(|entry| entry == *t))?;
        let (t, has) = (q.entry(t), q.list(whole(state.storage())));
        Some(format!(
            "{t} has been delivered; server {id}, the leader of epoch {epoch}, has {has}"
        ))
    })
}

pub(super) fn acknowledged_is_held<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let e = q.ensemble;
    e.terms().find_map(|(id, state, term)| {
        let votes = |peer| e.zab.in_force(state).votes(peer);
        let mut acked = term.acked.iter().filter(|(peer, _)| votes(**peer));
        acked.find_map(|(peer, zxid)| {
            let disk = e.servers.iter().find(|s| s.id == *peer)?.disk;
            let moved_on = disk.accepted_epoch > term.epoch;
            let holds = disk.history.covers(*zxid) || moved_on;
            let held = disk.current_epoch >= term.epoch && holds;
            (!held).then(|| {
                let (epoch, epochs, has) = (term.epoch, epochs(disk), q.list(whole(disk)));
                format!(
                    "server {id}, the leader of epoch {epoch}, counts everything up to {zxid} as \
                     acknowledged by server {peer}, whose disk has {epochs} and {has}"
                )
            })
        })
    })
}

pub(super) fn commit_held<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    let mut up = q.ensemble.running();
    let (id, state) = up.find(|(_, state)| !state.storage().history.covers(state.committed()))?;
    let (committed, has) = (state.committed(), q.list(whole(state.storage())));
    Some(format!(
        "server {id} takes everything up to {committed} for committed, and has {has}"
    ))
}

pub(super) fn up_to_date<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    q.of_step(q.ensemble.record.served_too_early, |step| {
        let mut up = q.ensemble.running();
        let (id, state) = up.find(|(id, _)| *id == step.server)?;
        let mut initial = q.ensemble.record.initial.iter();
        let late = |(epoch, zxid): &&(Epoch, Zxid)| {
            Some(*epoch) == state.epoch() && *zxid > state.committed()
        };
        let (epoch, zxid) = initial.find(late)?;
        let delivered = q.list(delivered(state));
        Some(format!(
            "server {id} begins to serve in epoch {epoch}, which began with everything up to {zxid}; \
             it has delivered {delivered}"
        ))
    })
}

pub(super) fn newcomer_told_everything<P: Recorded>(q: &Inquiry<'_, P>) -> Option<String> {
    q.of_step(q.ensemble.record.left_behind, |step| {
        let mut up = q.ensemble.running();
        let (id, after) = up.find(|(id, _)| *id == step.server)?;
        let sent: Vec<_> = step.sent.iter().map(|(to, said)| (*to, said)).collect();
        let (peer, lack) = left_behind(q.ensemble.zab, step.before?, after, &sent)?;
        let has = term(after)?.acked.get(&peer).copied().unwrap_or_default();
        let lack = match lack {
            Lack::Proposal(zxid) => format!("has not sent it {zxid}"),
            Lack::Commit(zxid) => format!("has not told it that all up to {zxid} is committed"),
        };
        Some(format!(
            "leader {id} counts server {peer} as synchronized up to {has}, and {lack}"
        ))
    })
}
