//! The Zab actor, held to the statements of `spec/1-election.md` to `spec/4-broadcast.md`, of
//! `spec/9-reconfiguration.md` and of `spec/10-lineage.md`.
//!
//! The actors run in memory and in virtual time. What it must never do: depend on a real clock, or
//! fail without saying how to repeat the failure.

#![allow(clippy::disallowed_types)] // Whether something is in a set is asked, never in which order.

mod broadcast;
mod cluster;
mod codec;
mod election;
mod history;
mod invariants;
mod lineage;
mod obsolete;
mod random;
mod reconfiguration;
mod sim;
mod symmetry;
mod synchronization;
mod walk;
