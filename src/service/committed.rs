//! What happens when a transaction is committed: the tree changes, watches fire, and whoever waits for
//! it is answered, in this order.
//!
//! Spec: `spec/5-service.md`, "Commit". What it must never do: answer before the watches have fired, or
//! take the transaction of another connection for an answer.

use super::connection::{Pending, Stage, Waiting};
use super::variant::Variant;
use super::watch::WatchKind;
use super::write::AnswerForm;
use super::{ClientOutput, Env, Rank, Service, answer, session};
use crate::proto::Reply;
use crate::types::Zxid;
use crate::znode::{Applied, ErrorCode, Outcome, Perms, TreeEvent, Txn, TxnBody, acl};
use stateright::actor::Id;

impl Service {
    /// Applies the next committed transaction.
    ///
    /// # Panics
    /// If it is not after [`Self::applied`]: Zab delivers every transaction once.
    pub fn apply(&mut self, env: &mut Env, zxid: Zxid, txn: &Txn) {
        assert!(
            zxid > self.applied,
            "{zxid} delivered after {}",
            self.applied
        );
        let Applied { outcome, events } = self.tree.apply(zxid, txn);
        self.applied = zxid;
        self.clock.on_applied(zxid, txn, &self.tree);
        if env.config.digests {
            self.digests.compare(zxid, txn, self.tree.digest());
        }
        if env.config.variant == Variant::AnswerBeforeEvents {
            self.answer(env, zxid, txn, outcome);
            return self.fire(env, zxid, &events);
        }
        self.fire(env, zxid, &events);
        self.follow_session(env, txn);
        self.answer(env, zxid, txn, outcome);
    }

    /// Tells those who watch for these changes.
    fn fire(&mut self, env: &mut Env, zxid: Zxid, events: &[TreeEvent]) {
        let kept = (env.config.variant == Variant::WatchKept).then(|| self.watches.clone());
        for change in events {
            for (id, event) in self.watches.on_event(change, zxid) {
                // A watch that waits for a znode does not tell of what its owner may not read.
                let connection = self.connections.get(&id);
                let may_know = connection.is_some_and(|connection| {
                    acl::permits(&change.acl, Perms::READ, &connection.auth)
                });
                if env.config.variant == Variant::PersistentFiresOnce {
                    self.watches.remove(WatchKind::Persistent, &change.path, id);
                }
                if may_know {
                    env.tell_client(id, ClientOutput::Event(event));
                }
            }
        }
        if let Some(watches) = kept {
            self.watches = watches;
        }
    }

    /// The leader watches over the time of every session.
    fn follow_session(&mut self, env: &Env, txn: &Txn) {
        let Some(Rank::Leader(leading)) = self.period.as_mut().map(|period| &mut period.rank)
        else {
            return;
        };
        match &txn.body {
            TxnBody::CreateSession { timeout_ms } => {
                let ticks = session::timeout_ticks(env.config.session_tick, *timeout_ms);
                leading.expiry.insert(txn.session, ticks);
            }
            TxnBody::CloseSession { .. } => leading.forget(txn.session),
            TxnBody::Create { .. }
            | TxnBody::Delete { .. }
            | TxnBody::SetData { .. }
            | TxnBody::Reconfigure { .. }
            | TxnBody::InForce
            | TxnBody::SetAcl { .. }
            | TxnBody::Check { .. }
            | TxnBody::Error(_)
            | TxnBody::Multi(_)
            | TxnBody::FailedMulti(_) => {}
        }
    }

    fn answer(
        &mut self,
        env: &mut Env,
        zxid: Zxid,
        txn: &Txn,
        outcome: Result<Outcome, ErrorCode>,
    ) {
        if let Some(opening) = self.opening_of(txn) {
            return self.on_opened(env, opening, outcome.map(|_| ()));
        }
        if matches!(txn.body, TxnBody::CreateSession { .. })
            && self.local.forget_upgraded(txn.session)
        {
            return; // It was local until now: nobody waits for this.
        }
        let Some(id) = self.sessions.get(&txn.session).copied() else {
            return; // The client is somewhere else, or gone.
        };
        if self.answer_first(env, id, zxid, txn.cxid, outcome) {
            return;
        }
        if self.local.timeout_ms(txn.session).is_some() {
            return; // The ensemble does not know this session: it was asked for elsewhere, and refused there.
        }
        // The leader takes no more writes of a connection once its session is closed or resumed
        // elsewhere. So a transaction of the session that this connection has not asked for says that
        // the connection has lost it, and that nothing it waits for has happened.
        let ended = matches!(txn.body, TxnBody::CloseSession { .. });
        let error = match ended {
            true => ErrorCode::SessionExpired,
            false => ErrorCode::SessionMoved,
        };
        self.dismiss(env, id, error);
    }

    /// The connection whose session this transaction opens or resumes.
    fn opening_of(&self, txn: &Txn) -> Option<Id> {
        let id = *self.openings.get(&txn.cxid)?;
        let connection = self.connections.get(&id)?;
        let is_opening = connection.stage != Stage::Open;
        (is_opening && connection.session == txn.session).then_some(id)
    }

    /// If the first request that waits is that of the transaction, answers it and the reads behind it.
    pub(super) fn answer_first(
        &mut self,
        env: &mut Env,
        id: Id,
        zxid: Zxid,
        cxid: i32,
        outcome: Result<Outcome, ErrorCode>,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        let (form, auth) = match connection.pending.front() {
            Some(Pending {
                xid,
                auth,
                request: Waiting::ForTransaction(form),
            }) if *xid == cxid => (form.clone(), auth.clone()),
            _ => return false,
        };
        let closed = connection.is_closing() && connection.pending.len() == 1;
        connection.pending.pop_front();
        let session = connection.session;
        if let AnswerForm::Read(read) = form {
            self.answer_read(env, id, cxid, &auth, read);
        } else {
            let reply = Reply {
                xid: cxid,
                zxid,
                result: answer::written(form, outcome),
            };
            env.tell_client(id, ClientOutput::Reply { session, reply });
        }
        if closed {
            self.close(env, id);
        } else {
            self.answer_reads(env, id);
        }
        true
    }
}
