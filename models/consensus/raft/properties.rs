//! What must hold of `models/consensus/raft.rs`, and what is claimed to go wrong.
//!
//! Spec: `spec/consensus.md`, "Raft". What it must never do: change what the actor does.

use super::split_votes::split_votes;
use super::words::tell;
use super::*;
use crate::consensus::bounds::Bounds;
use crate::consensus::environment::{Ensemble, Envelope, World};
use crate::consensus::protocol::{
    Card, Claim, Invariant, Mutant, Protocol, Term as About, Told, mutant,
};
use stateright::actor::Id;

impl Protocol for Raft {
    type Rule = Rule;
    type Past = Past;

    const ALIKE: bool = true;
    const CARD: Card = Card {
        name: "raft",
        about: "Raft: one leader a term by majority, a log that followers take over from it",
        bounds: &[
            THREE.writes(1).timeouts(2).crashes(1),
            THREE.writes(2).timeouts(1).crashes(1),
            THREE.writes(2).timeouts(2),
        ],
        durable: "every server: its term and vote, and its log, before it answers or sends",
    };

    const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            id: "raft_one_vote",
            term: About::Leadership,
            prose: "In a term a server votes for one candidate at most.",
            broken: |model, world| {
                let mut votes = world.past.votes.iter();
                let (voter, votes) = votes.find(|(_, votes)| votes.candidates.len() > 1)?;
                let name = model.protocol.name_of(*voter);
                let (count, term) = (votes.candidates.len(), votes.term);
                Some(format!("{name} has voted for {count} candidates in {term}"))
            },
            witness_id: "two_candidates_in_a_term",
            witness: |_, world| {
                let standing = |state: &State| {
                    matches!(state.role, Role::Candidate(_)).then_some(state.disk.term)
                };
                let terms: Vec<_> = world
                    .up()
                    .filter_map(|(_, state)| standing(state))
                    .collect();
                terms
                    .iter()
                    .enumerate()
                    .any(|(place, term)| terms[..place].contains(term))
            },
        },
        Invariant {
            id: "raft_election_safety",
            term: About::Leadership,
            prose: "A term has one leader at most.",
            broken: |_, world| {
                let mut leaders = world.past.leaders.iter();
                let (term, leaders) = leaders.find(|(_, leaders)| leaders.len() > 1)?;
                Some(format!("{term} has {} leaders", leaders.len()))
            },
            witness_id: "leaders_of_two_terms",
            witness: |_, world| world.past.leaders.len() > 1,
        },
        Invariant {
            id: "raft_log_matching",
            term: About::Agreement,
            prose: "Two logs with an entry of one term in one place are alike as far as that.",
            broken: |model, world| {
                let (one, other, length) = pairs(world).find(|(one, other, length)| {
                    let log = |id| log(world, id);
                    let Length(length) = *length;
                    log(*one)[length - 1].term == log(*other)[length - 1].term
                        && log(*one)[..length] != log(*other)[..length]
                })?;
                let tell = |id| {
                    format!(
                        "{} has {}",
                        model.protocol.name_of(id),
                        tell(log(world, id))
                    )
                };
                let both = [tell(one), tell(other)].join(", ");
                Some(format!("the terms are the same at {}: {both}", length.0))
            },
            witness_id: "second_entry_in_common",
            witness: |_, world| {
                pairs(world).any(|(one, other, length)| {
                    let term = |id| log(world, id)[length.0 - 1].term;
                    length > Length(1) && term(one) == term(other)
                })
            },
        },
        Invariant {
            id: "raft_leader_completeness",
            term: About::Stability,
            prose: "What was committed in a term is in the log of every leader of a later one.",
            broken: |model, world| {
                let committed = world.past.committed.iter();
                let mut pairs =
                    committed.flat_map(|c| later_leaders(world, *c.1).map(move |l| (c.0, l)));
                let (place, (id, state)) = pairs.find(|(place, (_, state))| {
                    state.disk.log.get(place.length.0 - 1) != Some(&place.entry)
                })?;
                let (name, has) = (model.protocol.name_of(id), tell(&state.disk.log));
                Some(format!(
                    "{place} is committed, and {name} leads {} with {has}",
                    state.disk.term
                ))
            },
            witness_id: "leader_after_commit",
            witness: |_, world| {
                let mut terms = world.past.committed.values();
                terms.any(|term| later_leaders(world, *term).next().is_some())
            },
        },
        Invariant {
            id: "raft_state_machine_safety",
            term: About::Agreement,
            prose: "No two servers commit different entries in one place.",
            broken: |_, world| {
                let all = &world.past.committed;
                let mut twice = all.keys().zip(all.keys().skip(1));
                let (one, other) = twice.find(|(one, other)| one.length == other.length)?;
                Some(format!("committed are {one} and {other}"))
            },
            witness_id: "two_servers_commit",
            witness: |_, world| {
                let commits = |(_, state): &(Id, &State)| state.committed > Length(0);
                world.up().filter(commits).count() > 1
            },
        },
        Invariant {
            id: "raft_validity",
            term: About::Validity,
            prose: "What is in a log was asked for, and is there once.",
            broken: |model, world| {
                let asked = 0..=model.bounds.writes;
                let wrong = |id| {
                    let commands: Vec<_> =
                        log(world, id).iter().map(|entry| entry.command).collect();
                    let mut places = commands.iter().enumerate();
                    let wrong = places.find(|(place, command)| {
                        let again = **command != NO_OP && commands[..*place].contains(command);
                        !asked.contains(&command.0) || again
                    });
                    wrong.map(|_| tell(log(world, id)))
                };
                let log = world.ids().find_map(wrong)?;
                Some(format!("a log has {log}"))
            },
            witness_id: "two_commands_logged",
            witness: |_, world| world.ids().any(|id| log(world, id).len() > 1),
        },
        Invariant {
            id: "raft_majority_goes_on",
            term: About::Progress,
            prose: "With a minority of the servers down, every command can be done.",
            broken: |model, world| {
                // Where all are up, whatever is possible without one of them is possible with it.
                let asked = suffices(world) && world.down() > 0;
                let stuck = asked && !model.leads_to(world, all_done);
                stuck.then(|| "a majority is up, and no step leads on".to_owned())
            },
            witness_id: "server_down",
            witness: |_, world| world.down() == 1,
        },
    ];

    const CLAIMS: &'static [Claim<Self>] = &[
        Claim {
            id: "raft_split_votes",
            term: About::Progress,
            prose: "Candidates that stand at the same time may take the votes from each other for ever",
            bounds: THREE.timeouts(3),
            found: split_votes,
        },
        Claim {
            id: "raft_majority_down",
            term: About::Progress,
            prose: "Without a majority of the servers nothing is done any more",
            bounds: THREE.timeouts(1).crashes(2),
            found: |model, world| {
                let stuck = !suffices(world) && !model.leads_to(world, all_done);
                stuck.then(|| "no step leads to an answer while they are down".to_owned())
            },
        },
    ];

    const MUTANTS: &'static [Mutant<Rule>] = &[
        mutant(
            "raft_votes_twice",
            Rule::VotesOnce,
            IDLE.timeouts(2),
            "raft_one_vote",
        ),
        mutant(
            "raft_forgets_vote",
            Rule::SavesVotes,
            IDLE.timeouts(2).crashes(1),
            "raft_one_vote",
        ),
        mutant(
            "raft_forgets_vote",
            Rule::SavesVotes,
            IDLE.timeouts(2).crashes(1),
            "raft_election_safety",
        ),
        mutant(
            "raft_leads_alone",
            Rule::Majority,
            IDLE.timeouts(2),
            "raft_election_safety",
        ),
        mutant(
            "raft_any_log",
            Rule::ComparesLogs,
            THREE.timeouts(2),
            "raft_leader_completeness",
        ),
        mutant(
            "raft_gap",
            Rule::ChecksBefore,
            THREE.writes(2).timeouts(1),
            "raft_log_matching",
        ),
        mutant(
            "raft_forgets_log",
            Rule::SavesLog,
            THREE.timeouts(2).crashes(1),
            "raft_leader_completeness",
        ),
        mutant(
            "raft_figure_8",
            Rule::CountsOwnTerm,
            THREE.timeouts(4),
            "raft_leader_completeness",
        ),
        mutant(
            "raft_commits_unseen",
            Rule::CommitsInCommon,
            THREE.timeouts(2),
            "raft_state_machine_safety",
        ),
        mutant("raft_twice", Rule::Once, THREE.timeouts(1), "raft_validity"),
        mutant(
            "raft_no_no_op",
            Rule::NoOp,
            THREE.timeouts(1).crashes(1),
            "raft_majority_goes_on",
        ),
    ];

    fn new(bounds: &Bounds, broken: Option<Rule>) -> Self {
        Self {
            servers: (0..bounds.size()).map(Id::from).collect(),
            broken,
        }
    }

    /// The client does not know who leads, and asks everybody.
    fn requests(&self, writes: u8) -> Vec<(Id, Msg)> {
        let requests = (1..=writes).map(|number| Msg::Request(Command(number)));
        requests
            .flat_map(|request| self.servers.iter().map(move |id| (*id, request.clone())))
            .collect()
    }

    fn is_obsolete(&self, receiver: &State, envelope: &Envelope<Msg>) -> bool {
        let State { disk, role, .. } = receiver;
        match &envelope.message {
            // It has voted; a vote that is not on disk may be given again.
            Msg::RequestVote(term, _) if *term == disk.term => {
                disk.vote.is_some()
                    && !matches!(self.broken, Some(Rule::VotesOnce | Rule::SavesVotes))
            }
            Msg::Vote(term) => match role {
                Role::Candidate(votes) => *term < disk.term || votes.contains(&envelope.src),
                Role::Follower | Role::Leader(_) => *term <= disk.term,
            },
            // What is of this term it has from this leader, and has answered for it.
            Msg::Append(term, before, entry) if *term == disk.term => {
                let known = disk.log.get(before.length.0) == Some(entry);
                known && entry.term == *term && self.broken != Some(Rule::SavesLog)
            }
            Msg::Appended(term, length) => match role {
                Role::Leader(copies) => {
                    *term < disk.term || copies.get(&envelope.src) >= Some(length)
                }
                Role::Follower | Role::Candidate(_) => *term <= disk.term,
            },
            // After a crash it learns again what is committed.
            Msg::Committed(term, spot) if *term == disk.term => {
                spot.length == Length(0) && !matches!(role, Role::Candidate(_))
            }
            Msg::RequestVote(term, _) | Msg::Append(term, ..) | Msg::Committed(term, _) => {
                *term < disk.term
            }
            Msg::Request(_) | Msg::Done(_) => false,
        }
    }

    fn note(&self, world: &mut World<Self>) {
        let Past {
            votes,
            leaders,
            committed,
        } = &mut world.past;
        let mut oldest = None;
        for (place, node) in world.nodes.iter().enumerate() {
            let id = Id::from(place);
            let term = node.disk.as_ref().map_or(Term(0), |disk| disk.term);
            oldest = Some(oldest.map_or(term, |oldest| term.min(oldest)));
            let Some(State {
                disk,
                committed: length,
                role,
            }) = &node.state
            else {
                continue;
            };
            if votes.get(&id).is_some_and(|votes| votes.term < disk.term) {
                votes.remove(&id);
            }
            if let Some(candidate) = disk.vote {
                let votes = votes.entry(id).or_default();
                votes.term = disk.term;
                votes.candidates.insert(candidate);
            }
            if matches!(role, Role::Leader(_)) {
                leaders.entry(disk.term).or_default().insert(id);
            }
            for (before, entry) in disk.log.iter().enumerate().take(length.0) {
                let place = Place {
                    length: Length(before + 1),
                    entry: *entry,
                };
                committed.entry(place).or_insert(disk.term);
            }
        }
        // Who is in a later term leads none of the earlier ones any more.
        leaders.retain(|term, _| Some(*term) >= oldest);
    }

    fn done(world: &World<Self>, writes: u8) -> bool {
        world.answers().count() >= usize::from(writes)
    }
}

const THREE: Bounds = Bounds::servers(3);

/// Elections alone.
const IDLE: Bounds = THREE.writes(0);

/// The log on a server's disk.
fn log(world: &World<Raft>, id: Id) -> &[Entry] {
    world.node(id).disk.as_ref().map_or(&[], |disk| &disk.log)
}

/// Every two servers, with every length that both of their logs have.
fn pairs(world: &World<Raft>) -> impl Iterator<Item = (Id, Id, Length)> {
    let others = |one: Id| {
        world
            .ids()
            .filter(move |other| *other > one)
            .map(move |other| (one, other))
    };
    world.ids().flat_map(others).flat_map(|(one, other)| {
        let both = log(world, one).len().min(log(world, other).len());
        (1..=both).map(move |length| (one, other, Length(length)))
    })
}

fn later_leaders(world: &World<Raft>, term: Term) -> impl Iterator<Item = (Id, &State)> {
    world
        .up()
        .filter(move |(_, state)| matches!(state.role, Role::Leader(_)) && state.disk.term > term)
}

fn suffices(world: &World<Raft>) -> bool {
    is_majority(world.up().count(), world.nodes.len())
}

fn all_done(model: &Ensemble<Raft>, world: &World<Raft>) -> bool {
    Raft::done(world, model.bounds.writes)
}
