//! `check compare`: the protocols side by side.
//!
//! Spec: `spec/consensus.md`, "Side by side". What it must never do: print what was not found or counted in this run.

use super::claims::{self, Found};
use super::cost::Cost;
use super::protocol::Term;
use super::zab;
use crate::engine::{End, Limits};
use crate::output::Output;
use crate::paint::wrapped;
use crate::report;
use crate::run::{Run, interrupted};
use serde_json::{Value, json};

/// What a table has of a protocol.
struct Row {
    name: &'static str,
    bounds: String,
    /// In the order of [`TERMS`].
    verdicts: Vec<Verdict>,
    /// What goes wrong with it, by the ids of the claims.
    wrong: Vec<String>,
    first: Cost,
    next: Option<Cost>,
    durable: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It holds, and nothing is claimed against it.
    Holds,
    /// It holds in the sense of the invariant, and the notes show where that ends.
    InPart,
    /// The question does not arise.
    Nothing,
    /// It does not hold, or what the notes claim was not found, or not everything was explored.
    Falls,
}

const TERMS: [(Term, &str); 5] = [
    (Term::Agreement, "agreement"),
    (Term::Validity, "validity"),
    (Term::Stability, "stability"),
    (Term::Leadership, "one leader"),
    (Term::Progress, "progress"),
];

/// Asks every protocol, and prints the tables. `Ok(false)` if something is not as the notes claim.
pub fn run(limits: Limits, output: &Output) -> Result<bool, String> {
    let mut rows = Vec::new();
    for kind in super::ALL {
        let card = kind.card();
        let bounds = card.bounds[0];
        eprintln!("{} {bounds}", card.name);
        let exploration = kind.runs(Some(bounds)).swap_remove(0);
        let run = exploration.run(limits);
        let claimed = kind.claims(None);
        let found = claims::try_all(&claimed, limits);
        let invariants = kind.invariants();
        let of = |term| {
            invariants
                .iter()
                .filter(move |i| i.term == term)
                .map(|i| i.id)
        };
        let (first, next) = kind.cost();
        let verdict = |(term, _): &(Term, _)| {
            let ids: Vec<_> = of(*term).collect();
            verdict(
                &ids,
                &run,
                found.iter().filter(|f| f.claimed.property.term == *term),
            )
        };
        rows.push(Row {
            name: card.name,
            bounds: bounds.to_string(),
            verdicts: TERMS.iter().map(verdict).collect(),
            wrong: found
                .iter()
                .map(|found| found.claimed.property.id.to_owned())
                .collect(),
            first,
            next,
            durable: card.durable,
        });
        if interrupted() {
            return Ok(false);
        }
    }
    rows.push(of_zab(limits));
    let passed = rows
        .iter()
        .all(|row| !row.verdicts.contains(&Verdict::Falls));
    match output.json {
        true => println!("{:#}", json(&rows, passed)),
        false => print(&rows, passed),
    }
    Ok(passed)
}

fn verdict<'a>(
    ids: &[&'static str],
    run: &Run,
    mut claims: impl Iterator<Item = &'a Found<'a>> + Clone,
) -> Verdict {
    let claimed = claims.clone().count() > 0;
    let complete = run.outcome.end == End::Complete;
    let broken = ids.iter().any(|id| run.found(id));
    if !complete || broken || !claims.all(Found::as_claimed) {
        Verdict::Falls
    } else if claimed {
        Verdict::InPart
    } else if ids.is_empty() {
        Verdict::Nothing
    } else {
        Verdict::Holds
    }
}

fn of_zab(limits: Limits) -> Row {
    eprintln!("{}", zab::NAME);
    let run = zab::exploration().run(limits);
    let (first, next) = zab::measure();
    let goes_on = zab::goes_on_without(1);
    let blocks = !zab::goes_on_without(2);
    let verdict = |(term, _): &(Term, _)| match zab::TERMS.iter().find(|(known, _)| known == term) {
        Some((_, ids)) => verdict(ids, &run, std::iter::empty()),
        None if goes_on && blocks => Verdict::InPart,
        None => Verdict::Falls,
    };
    Row {
        name: zab::NAME,
        bounds: run.bounds.clone(),
        verdicts: TERMS.iter().map(verdict).collect(),
        wrong: blocks
            .then(|| "majority_down".to_owned())
            .into_iter()
            .collect(),
        first,
        next,
        durable: zab::DURABLE,
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::InPart => "in part",
            Self::Nothing => "-",
            Self::Falls => "FALLS",
        }
    }
}

fn print(rows: &[Row], passed: bool) {
    let header: Vec<_> = ["protocol"]
        .into_iter()
        .chain(TERMS.map(|(_, word)| word))
        .collect();
    let mut holds = report::table_of(&header);
    let mut wrong = report::table_of(&["protocol", "what goes wrong"]);
    let mut costs = report::table_of(&[
        "protocol", "messages", "delays", "saves", "next:", "messages", "delays", "saves",
    ]);
    for row in rows {
        let words = row.verdicts.iter().map(|verdict| verdict.word());
        holds.add_row([row.name].into_iter().chain(words));
        wrong.add_row([row.name, &row.wrong.join(", ")]);
        let mut cells = vec![row.name.to_owned()];
        for cost in [Some(row.first), row.next] {
            let figures = cost.map(|cost| [cost.messages, cost.delays, cost.saves]);
            cells.extend(
                figures
                    .into_iter()
                    .flatten()
                    .map(|figure| figure.to_string()),
            );
            cells.push(String::new());
        }
        cells.truncate(8);
        costs.add_row(cells);
    }
    report::align_right(&mut costs, 1..8);
    println!(
        "\n{}\n\nin part: as far as its invariant says; what goes wrong beyond that:\n",
        holds.trim_fmt()
    );
    println!("{}\n", wrong.trim_fmt());
    println!(
        "What these mean: check list. The first command, and the next one under the same leader, without faults:\n"
    );
    println!("{}\n", costs.trim_fmt());
    println!(
        "messages: between servers, until all is quiet; delays: messages one after the other until the answer;\n\
         saves: how often a server waits for its disk. What must be on disk, and when:\n"
    );
    for row in rows {
        println!("{}", wrapped(&format!("{}: ", row.name), 4, row.durable));
    }
    println!();
    report::conclude(match passed {
        true => "AS CLAIMED: everything holds where it should, and fails where the notes say so",
        false => "FAILED: something is not as the notes claim, or was not explored to its end",
    });
}

fn json(rows: &[Row], passed: bool) -> Value {
    let cost = |cost: Cost| json!({ "messages": cost.messages, "delays": cost.delays, "saves": cost.saves });
    let rows = rows.iter().map(|row| {
        let verdicts = TERMS.iter().zip(&row.verdicts);
        let verdicts: serde_json::Map<_, _> = verdicts
            .map(|((_, name), verdict)| ((*name).to_owned(), json!(verdict.word())))
            .collect();
        json!({
            "name": row.name,
            "bounds": row.bounds,
            "verdicts": verdicts,
            "wrong": row.wrong,
            "first": cost(row.first),
            "next": row.next.map(cost),
            "durable": row.durable,
        })
    });
    json!({
        "report": "compare",
        "version": crate::json::VERSION,
        "passed": passed,
        "protocols": rows.collect::<Vec<_>>(),
    })
}
