//! Which handlers of the actor a run has exercised: what came in, where the server stood, and whether anything came of it.
//!
//! A step of a server is computed once for each of its states and each input, and looked up from then on; so what
//! is counted here are distinct steps, and counting costs nothing beside exploring. (Two threads that come upon a step at
//! the same moment count it twice.) What it must never do: change what a handler does.

use crate::report::{align_right, table_of};
use crate::world::Writes;
use comfy_table::Table;
use keepright::zab::{
    Difference, Follower, Leader, Message, Msg, Out, Role, Stage, State, Storage,
};
use keepright::zab::{Timer, Zab};
use stateright::actor::{Actor, Command, Id};
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Declares an enum and the words for its values, in order.
macro_rules! named {
    ($(#[$meta:meta])* pub enum $name:ident { $($value:ident => $words:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($value,)* }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$value,)*];

            pub fn words(self) -> &'static str {
                match self { $(Self::$value => $words,)* }
            }
        }
    };
}

named! {
    /// What a server may be told, and what may become of it.
    pub enum Input {
        Start => "start",
        Notification => "Notification",
        FollowerInfo => "FollowerInfo",
        NewEpoch => "NewEpoch",
        AckEpoch => "AckEpoch",
        Diff => "Diff",
        Trunc => "Trunc",
        Snap => "Snap",
        NewLeader => "NewLeader",
        Propose => "Propose",
        Ack => "Ack",
        Commit => "Commit",
        Inform => "Inform",
        Refuse => "Refuse",
        Saved => "saved",
        Write => "client's write",
        Snapshot => "snapshot",
        Elected => "elected",
        Heartbeat => "heartbeat",
        Finalize => "finalize",
        Establish => "establish",
        Silence => "peer silent",
        Crash => "crash",
        DiskError => "disk error",
        Wipe => "disk wiped",
        Alone => "ran alone",
    }
}

named! {
    /// How far a server has come.
    pub enum Standing {
        Down => "down",
        Looking => "looking",
        FollowsUnknown => "discov.",
        FollowsEpoch => "synchr.",
        FollowsServing => "serving",
        LeadsDiscovery => "discov.",
        LeadsNewEpoch => "epoch",
        LeadsSynchronization => "synchr.",
        LeadsEstablished => "establ.",
    }
}

impl Input {
    fn of(msg: &Msg<Writes>) -> Self {
        match msg {
            Msg::Peer(message) => match message {
                Message::Notification(_) => Self::Notification,
                Message::FollowerInfo { .. } => Self::FollowerInfo,
                Message::NewEpoch { .. } => Self::NewEpoch,
                Message::AckEpoch { .. } => Self::AckEpoch,
                Message::Sync { step, .. } => match step {
                    Difference::Diff { .. } => Self::Diff,
                    Difference::Trunc { .. } => Self::Trunc,
                    Difference::Snap { .. } => Self::Snap,
                },
                Message::NewLeader { .. } => Self::NewLeader,
                Message::Propose { .. } => Self::Propose,
                Message::Ack { .. } => Self::Ack,
                Message::Commit { .. } => Self::Commit,
                Message::Inform { .. } => Self::Inform,
                Message::Refuse { .. } => Self::Refuse,
            },
            Msg::Saved(_) => Self::Saved,
            Msg::Propose(_) => Self::Write,
            Msg::Snapshot(_) => Self::Snapshot,
            Msg::Elected(_) => Self::Elected,
        }
    }

    fn of_timer(timer: &Timer) -> Self {
        match timer {
            Timer::Heartbeat => Self::Heartbeat,
            Timer::Finalize => Self::Finalize,
            Timer::Establish => Self::Establish,
            Timer::Peer(_) => Self::Silence,
        }
    }
}

impl Standing {
    fn of(state: Option<&State<Writes>>) -> Self {
        let Some(state) = state else {
            return Self::Down;
        };
        match state.role() {
            Role::Looking(_) => Self::Looking,
            Role::Following(Follower { serving: true, .. }) => Self::FollowsServing,
            Role::Following(Follower { epoch: Some(_), .. }) => Self::FollowsEpoch,
            Role::Following(_) => Self::FollowsUnknown,
            Role::Leading(Leader { stage, .. }) => match stage {
                Stage::Discovery { .. } => Self::LeadsDiscovery,
                Stage::NewEpoch { .. } => Self::LeadsNewEpoch,
                Stage::Broadcast {
                    established: false, ..
                } => Self::LeadsSynchronization,
                Stage::Broadcast {
                    established: true, ..
                } => Self::LeadsEstablished,
            },
        }
    }
}

/// For each input in each standing, the steps of which something came, and the others.
#[derive(Default)]
pub struct Tally([[Place; STANDINGS]; INPUTS]);

/// Steps of which something came, and the others.
type Place = [AtomicU64; 2];

const INPUTS: usize = Input::ALL.len();
const STANDINGS: usize = Standing::ALL.len();

impl Tally {
    /// Something has become of a server that was in this state.
    pub fn note(&self, input: Input, before: Option<&State<Writes>>, has_effect: bool) {
        self.add(input, Standing::of(before), has_effect, 1);
    }

    fn add(&self, input: Input, standing: Standing, has_effect: bool, steps: u64) {
        self.place(input, standing)[usize::from(!has_effect)].fetch_add(steps, Relaxed);
    }

    /// Adds what another run has exercised.
    pub fn merge(&self, other: &Self) {
        for input in Input::ALL {
            for standing in Standing::ALL {
                for has_effect in [true, false] {
                    let steps = other.steps(*input, *standing, has_effect);
                    self.add(*input, *standing, has_effect, steps);
                }
            }
        }
    }

    fn place(&self, input: Input, standing: Standing) -> &Place {
        &self.0[input as usize][standing as usize]
    }

    fn steps(&self, input: Input, standing: Standing, has_effect: bool) -> u64 {
        self.place(input, standing)[usize::from(!has_effect)].load(Relaxed)
    }

    /// The inputs of which nothing ever came.
    pub fn missing(&self) -> Vec<Input> {
        let idle = |input: &Input| {
            let mut all = Standing::ALL.iter();
            all.all(|standing| self.steps(*input, *standing, true) == 0)
        };
        Input::ALL.iter().copied().filter(idle).collect()
    }

    /// A row for each input, a column for each standing of the server before.
    pub fn table(&self) -> String {
        let words = Standing::ALL.iter().map(|standing| standing.words());
        let header: Vec<_> = std::iter::once("").chain(words).collect();
        let mut table: Table = table_of(&header);
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
        }
        for input in Input::ALL {
            let cells = Standing::ALL.iter().map(|standing| {
                let steps = |has_effect| self.steps(*input, *standing, has_effect);
                match (steps(true), steps(false)) {
                    (0, 0) => ".".to_owned(),
                    (some, none) => format!("{}/{}", short(some), short(none)),
                }
            });
            table.add_row(std::iter::once(input.words().to_owned()).chain(cells));
        }
        align_right(&mut table, 1..1 + STANDINGS);
        let table = table.trim_fmt();
        // The columns of followers come before those of leaders.
        let first_line = table.lines().next().unwrap_or_default();
        let above = |words: &str| first_line.find(words).unwrap_or_default();
        let (follows, leads) = (
            above("discov."),
            first_line.rfind("discov.").unwrap_or_default(),
        );
        let groups = format!(
            "{:follows$}{:<width$}leads",
            "",
            "follows",
            width = leads - follows
        );
        format!(
            "\n{groups}\n{table}\n\nDistinct steps of a server, by what it was told and how far it had come: with an effect / \
             without.\nA dot: never happened. k: thousands, M: millions.\n"
        )
    }

    /// The last word: whether something came of every input.
    pub fn conclusion(&self) -> String {
        let missing: Vec<_> = self.missing().iter().map(|input| input.words()).collect();
        match missing.is_empty() {
            true => format!("COVERED: each of {INPUTS} kinds of input had an effect"),
            false => format!("NOT COVERED: nothing ever came of: {}", missing.join(", ")),
        }
    }
}

/// 12345 as 12k: at most four characters.
fn short(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{}k", number / 1_000),
        _ => format!("{}M", number / 1_000_000),
    }
}

/// The actor, with a note of each step that it takes.
pub struct Watched<'a> {
    pub zab: &'a Zab<Writes>,
    pub tally: &'a Tally,
}

impl Watched<'_> {
    pub fn on_start(&self, id: Id, disk: &Storage<Writes>, out: &mut Out<Writes>) -> State<Writes> {
        self.tally.note(Input::Start, None, true);
        self.zab.on_start(id, &Some(disk.clone()), out)
    }

    pub fn on_msg(
        &self,
        id: Id,
        state: &mut Cow<'_, State<Writes>>,
        src: Id,
        msg: Msg<Writes>,
        out: &mut Out<Writes>,
    ) {
        self.watch(Input::of(&msg), state, out, |state, out| {
            self.zab.on_msg(id, state, src, msg, out);
        });
    }

    pub fn on_timeout(
        &self,
        id: Id,
        state: &mut Cow<'_, State<Writes>>,
        timer: &Timer,
        out: &mut Out<Writes>,
    ) {
        self.watch(Input::of_timer(timer), state, out, |state, out| {
            self.zab.on_timeout(id, state, timer, out);
        });
    }

    fn watch(
        &self,
        input: Input,
        state: &mut Cow<'_, State<Writes>>,
        out: &mut Out<Writes>,
        handler: impl FnOnce(&mut Cow<'_, State<Writes>>, &mut Out<Writes>),
    ) {
        let said_before = out.len();
        let mut after = Cow::Borrowed(&**state);
        handler(&mut after, out);
        let changed = match after {
            Cow::Owned(changed) => Some(changed),
            Cow::Borrowed(_) => None,
        };
        let has_effect = changed.is_some() || out.iter().skip(said_before).any(is_effect);
        self.tally.note(input, Some(state), has_effect);
        if let Some(changed) = changed {
            *state = Cow::Owned(changed);
        }
    }
}

/// Whether a command is more than a timer: something said or saved.
pub fn is_effect(command: &Command<Msg<Writes>, Timer, (), Storage<Writes>>) -> bool {
    matches!(command, Command::Send(..) | Command::Save(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Bounds;
    use crate::catalogue;
    use crate::engine::{self, Limits, Progress};

    fn tally_of(model: &str, bounds: Bounds) -> Tally {
        let spec = catalogue::find(model).expect("a model of the catalogue");
        let environment = spec.faithful(bounds);
        let limits = Limits {
            threads: 1,
            stop_at_first: true,
            max_states: None,
            max_time: None,
            max_memory: None,
        };
        engine::search(&environment, limits, &Progress::default());
        environment.tally
    }

    #[test]
    fn what_a_model_leaves_out_is_missing_and_what_it_does_is_not() {
        let missing = tally_of("zab", Bounds::new(3, 1, 0, 0)).missing();
        for left_out in [
            Input::Notification,
            Input::Crash,
            Input::Trunc,
            Input::Inform,
        ] {
            assert!(missing.contains(&left_out), "{left_out:?}");
        }
        for done in [Input::Start, Input::Elected, Input::Propose, Input::Saved] {
            assert!(!missing.contains(&done), "{done:?}");
        }
    }

    #[test]
    fn steps_are_counted_where_the_server_stood_before() {
        let tally = tally_of("zab", Bounds::new(3, 1, 0, 1));
        assert!(tally.steps(Input::Write, Standing::LeadsEstablished, true) > 0);
        assert_eq!(tally.steps(Input::Write, Standing::FollowsServing, true), 0);
        assert!(tally.steps(Input::Crash, Standing::LeadsNewEpoch, true) > 0);
        assert!(tally.steps(Input::Start, Standing::Down, true) > 0);
        assert!(tally.steps(Input::Elected, Standing::Looking, true) > 0);
    }

    #[test]
    fn a_table_of_large_numbers_fits_100_columns() {
        let tally = Tally::default();
        for input in Input::ALL {
            for standing in &Standing::ALL[1..] {
                tally.add(*input, *standing, true, 987_654);
                tally.add(*input, *standing, false, 987_654);
            }
        }
        let table = tally.table();
        assert!(
            table.lines().all(|line| line.chars().count() <= 100),
            "{table}"
        );
        assert!(tally.missing().is_empty());
    }
}
