mod bounds;
mod engine;
mod environment;
mod explain;
mod intern;
mod memo;
mod svg;
mod symmetry;
mod world;
use bounds::Bounds;
use environment::*;
use keepright::zab::*;
fn main() {
    let a: Vec<u8> = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse().ok())
        .collect();
    let mut b = Bounds::new(a[0], a[1], a[2], a[3]);
    b.pending_saves = std::env::args().any(|a| a == "fine");
    b.observers = a.get(4).copied().unwrap_or(0);
    b.snapshots = a.get(5).copied().unwrap_or(0);
    let held = std::env::args().any(|a| a == "held");
    let s = Setting {
        name: "zab",
        elections: if held {
            Elections::Held
        } else {
            Elections::External
        },
        start_down: std::env::args().any(|a| a == "down"),
        election_alone: std::env::args().any(|a| a == "alone"),
        heartbeats: std::env::args().any(|a| a == "hb"),
        symmetry: !std::env::args().any(|a| a == "nosym"),
    };
    let ids: Vec<&str> = if std::env::args().any(|a| a == "noinv") {
        vec![]
    } else {
        invariants::all::<world::Writes>()
            .iter()
            .map(|i| i.id)
            .collect()
    };
    let env = Environment::new(s, b, Variant::Faithful, &ids, true);
    let p = engine::Progress::default();
    let threads = if std::env::args().any(|a| a == "t2") {
        2
    } else {
        1
    };
    let o = engine::with_reports(
        || {
            engine::search(
                &env,
                engine::Limits {
                    threads,
                    stop_at_first: true,
                    max_states: Some(30_000_000),
                    max_time: None,
                },
                &p,
            )
        },
        || {},
    );
    println!(
        "{b}: distinct {} generated {} depth {} {:?} {:.0}/s {:?}",
        o.distinct,
        o.generated,
        o.depth,
        o.elapsed,
        o.distinct as f64 / o.elapsed.as_secs_f64(),
        o.end
    );
    for d in &o.discoveries {
        println!("  {} depth {} states {}", d.property, d.depth, d.states);
    }

    use stateright::Model;
    for d in o
        .discoveries
        .iter()
        .filter(|d| env.invariants.iter().any(|i| i.id == d.property))
    {
        let t = o.path(&env, d);
        println!("{} {}", d.property, t.address());
        let mut last = t.init.clone();
        for (i, s) in t.steps.iter().enumerate() {
            println!(
                "{}. {}\n{}",
                i + 1,
                env.format_action(&s.action),
                explain::outcome(&env, &last, &s.state)
            );
            last = s.state.clone();
        }
    }
}
