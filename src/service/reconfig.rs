//! Other members for the ensemble: how a request for them is judged, and what a history says of them.
//!
//! Spec: `spec/9-reconfiguration.md`, "The request"; the checks and their order are ZooKeeper's. What it must
//! never do: let a list through by which it cannot be said what a quorum is, or for which there is no quorum
//! that is up to date.
//!
//! Departs from ZooKeeper: D45 in `spec/deviations.toml`.

use super::prepare::{self, Asker};
use super::replica::ZooKeeper;
use crate::members::{Members, MembersError, PeerAddress};
use crate::proto::Reconfiguration;
use crate::quorum::ServerSet;
use crate::types::{ServerId, Zxid};
use crate::zab::{Change, History};
use crate::znode::{CONFIG, ErrorCode, Perms, Tree, TxnBody};
use std::collections::BTreeMap;

/// What the leader's Zab knows of the ensemble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ensemble {
    /// Whether members are being replaced.
    pub is_changing: bool,
    /// The leader and the servers that it has brought up to date.
    pub synchronized: ServerSet,
}

/// Why members are not replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    /// What is wrong with the request, for the log, if the code does not say it all.
    pub problem: Option<MembersError>,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        let problem = None;
        Self { code, problem }
    }
}

impl From<MembersError> for Refusal {
    fn from(problem: MembersError) -> Self {
        Self {
            code: ErrorCode::BadArguments,
            problem: Some(problem),
        }
    }
}

/// The transaction, at `zxid`, that proposes the members that are asked for. `tree` is what all earlier proposals
/// will have made.
pub fn prepare(
    tree: &Tree,
    zxid: Zxid,
    asker: Asker,
    ensemble: Ensemble,
    asked: &Reconfiguration,
) -> Result<TxnBody, Refusal> {
    if !asker.config.reconfig {
        return Err(ErrorCode::ReconfigDisabled.into());
    }
    let Some(configured) = &asker.config.members else {
        return Err(ErrorCode::Unimplemented.into()); // This server stands alone.
    };
    if ensemble.is_changing {
        return Err(ErrorCode::ReconfigInProgress.into());
    }
    let now = agreed(tree).unwrap_or_else(|| configured.clone());
    let version = now.version().map_or(0, |zxid| zxid.0 as i64);
    if asked.version != -1 && asked.version != version {
        return Err(ErrorCode::BadVersion.into());
    }
    let node = tree.node(CONFIG).ok_or(ErrorCode::NoNode)?;
    let next = match asked.members.is_empty() {
        true => now.change(&list(&asked.leaving), &list(&asked.joining)),
        false => Members::parse(&asked.members),
    };
    if next.as_ref().is_err_and(|error| error.is_bound) {
        prepare::permit(node, Perms::WRITE, asker)?; // ZooKeeper would have found nothing wrong so far.
    }
    let next = next?;
    let voters = next.membership().voters;
    if asker.config.standalone && voters.len() < 2 {
        let problem = "fewer than two servers would vote".to_owned();
        let remedy = "keep two participants, or set standaloneEnabled=false";
        return Err(MembersError::new(problem, remedy).into());
    }
    if !next.membership().is_quorum(&ensemble.synchronized) {
        return Err(ErrorCode::NewConfigNoQuorum.into());
    }
    prepare::permit(node, Perms::WRITE, asker)?;
    let data = next.proposed_at(zxid).to_string().into_bytes().into();
    Ok(TxnBody::Reconfigure { data })
}

/// The members that an ensemble has agreed on, in a tree; `None` if they are still those of the configuration.
pub fn agreed(tree: &Tree) -> Option<Members> {
    read(&tree.node(CONFIG)?.data)
}

/// What a transaction does to the membership.
pub fn change(body: &TxnBody) -> Option<Change> {
    match body {
        TxnBody::InForce => Some(Change::InForce),
        _ => Some(Change::Proposed(listed(body)?.membership().clone())),
    }
}

/// The members with their addresses, as a history tells: those that decide, and those that are to replace them.
pub fn servers(
    configured: Option<&Members>,
    history: &History<ZooKeeper>,
) -> BTreeMap<ServerId, PeerAddress> {
    let mut now = agreed(&history.snapshot().state).or_else(|| configured.cloned());
    let mut next = None;
    for (zxid, change) in history.changes() {
        match change {
            Change::Proposed(_) => {
                let entry = history.after(Zxid(zxid.0.saturating_sub(1))).next();
                next = entry.and_then(|entry| listed(&entry.txn.body));
            }
            Change::InForce => now = next.take().or(now),
        }
    }
    let both = [now, next].into_iter().flatten();
    both.flat_map(|members| members.servers().clone()).collect()
}

/// The members that a transaction proposes.
fn listed(body: &TxnBody) -> Option<Members> {
    match body {
        TxnBody::Reconfigure { data } => read(data),
        TxnBody::Create { .. }
        | TxnBody::Delete { .. }
        | TxnBody::SetData { .. }
        | TxnBody::InForce
        | TxnBody::SetAcl { .. }
        | TxnBody::Check { .. }
        | TxnBody::CreateSession { .. }
        | TxnBody::CloseSession { .. }
        | TxnBody::Error(_)
        | TxnBody::Multi(_)
        | TxnBody::FailedMulti(_) => None,
    }
}

/// A list that was agreed on. What ZooKeeper has written is none: there a configuration file decides.
fn read(data: &[u8]) -> Option<Members> {
    let members = Members::parse(std::str::from_utf8(data).ok()?).ok()?;
    members.version().is_some().then_some(members)
}

fn list(text: &str) -> Vec<&str> {
    let items = text.split(',').map(str::trim);
    items.filter(|item| !item.is_empty()).collect()
}
