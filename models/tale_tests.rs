//! What a user sees when an invariant falls, for every mutant and every bug: that it is explained, that it
//! survives in a file, and that it can be read.

use crate::bounds::Bounds;
use crate::bugs;
use crate::catalogue;
use crate::checked::{Checked, Exploration, Tried};
use crate::engine::{self, Limits, Progress};
use crate::environment::Environment;
use crate::paint::{COLUMNS, Paint};
use crate::plan::plan;
use crate::report::Witnesses;
use crate::run::{Peaceful, Run};
use crate::tale::{Tale, Told};
use crate::world::World;
use crate::{consensus, json, mutants, replay, report, service, trace};
use serde_json::{Value, json};
use stateright::Model as _;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

const LIMITS: Limits = Limits {
    threads: 2,
    stop_at_first: true,
    max_states: None,
    max_time: None,
    max_memory: None,
};

fn trials() -> impl Iterator<Item = (&'static str, Box<dyn Tried>)> {
    let bugs = bugs::found().map(|(name, trial)| (name, Box::new(*trial) as Box<dyn Tried>));
    let claims = consensus::ALL.iter().flat_map(|kind| kind.claims(None));
    let claims = claims.map(|claimed| (claimed.property.id, claimed.trial));
    mutants::everywhere().chain(bugs).chain(claims)
}

/// The counterexample of every mutant and every bug.
fn all_told() -> &'static [(&'static str, Told)] {
    static ALL: OnceLock<Vec<(&'static str, Told)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let tell = |(name, trial): (&'static str, Box<dyn Tried>)| {
            let (_, told) = trial.exploration().try_out(name, LIMITS, true);
            let told = told.unwrap_or_else(|| panic!("{name} survives {}", trial.invariant()));
            (name, told)
        };
        trials().map(tell).collect()
    })
}

fn tale_of(name: &str) -> Tale {
    let mut all = trials();
    let (_, trial) = all.find(|(known, _)| *known == name).expect("it is there");
    let (_, told) = trial.exploration().try_out(name, LIMITS, true);
    told.expect("it falls").tale
}

#[test]
fn every_counterexample_says_which_values_break_its_invariant() {
    for (name, told) in all_told() {
        let tale = &told.tale;
        let why = tale.explanation.as_deref().unwrap_or_default();
        assert!(!why.is_empty(), "{name}: {:?}", tale.invariant);
        let vague = "it was broken by an earlier step";
        assert_ne!(why, vague, "{name}: {:?}", tale.invariant);
        if consensus::ALL
            .iter()
            .any(|kind| kind.card().name == tale.model)
        {
            continue; // Their words for who takes part are their own.
        }
        let names_one = ["server", "client", "epoch", "ensemble"].iter();
        let names_one = names_one.into_iter().any(|word| why.contains(word));
        assert!(
            names_one && why.contains(|c: char| c.is_ascii_digit()),
            "{name}: {why}"
        );
    }
}

#[test]
fn what_is_explained_is_what_the_predicates_say_in_every_state_of_the_protocol() {
    let broken: Mutex<BTreeSet<&str>> = Mutex::default();
    for (_, trial) in mutants::ALL
        .iter()
        .map(|m| (m.name, &m.trial))
        .chain(bugs::found())
    {
        let spec = catalogue::find(trial.model).expect("a trial names a model");
        let (setting, ids) = (spec.setting, spec.invariants());
        let model = Environment::new(setting, trial.bounds, trial.variant, &ids, false);
        let look = |world: &World, _| {
            for invariant in &model.invariants {
                let holds = model.observe(world, |ensemble| (invariant.holds)(ensemble));
                let why = model.explain_invariant(invariant, None, world);
                assert_eq!(why.is_none(), holds, "{}: {why:?} {world:?}", invariant.id);
                if !holds {
                    broken.lock().expect("no panic").insert(invariant.id);
                }
            }
        };
        let limits = Limits {
            stop_at_first: false,
            max_states: Some(4_000),
            ..LIMITS
        };
        engine::search_and_look(&model, limits, &Progress::default(), &look);
    }
    let broken = broken.into_inner().expect("no panic");
    assert!(
        broken.len() >= 12,
        "too few fall to say something: {broken:?}"
    );
}

#[test]
fn what_is_explained_is_what_the_predicates_say_in_every_state_of_the_service() {
    let ids: Vec<_> = service::invariants::ALL.iter().map(|i| i.id).collect();
    for mutant in service::mutants::ALL {
        let trial = mutant.trial();
        let model = service::Model::new(trial.bounds, trial.variant, &ids, false);
        let limits = Limits {
            stop_at_first: false,
            max_states: Some(4_000),
            ..LIMITS
        };
        let look = |world: &_, _| {
            for invariant in service::invariants::ALL {
                let holds = (invariant.holds)(&model, world);
                let why = (invariant.explain)(&model, world);
                assert_eq!(why.is_none(), holds, "{}: {why:?}", invariant.id);
            }
            for id in &ids {
                let why = model.explain(id, None, world);
                assert_eq!(
                    why.is_some(),
                    model.fallen(world).contains(id),
                    "{id}: {why:?}"
                );
            }
        };
        engine::search_and_look(&model, limits, &Progress::default(), &look);
    }
}

#[test]
fn a_counterexample_that_is_saved_is_replayed_to_the_same_tale() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, told) in all_told() {
        let file = folder.path().join(name);
        trace::save(&file, &told.tale).expect("it can be written");
        let (_, again) = replay::file(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(again.tale, told.tale, "{name}");
        assert_eq!(again.address, told.address, "{name}");
        assert_eq!(again.diagram, told.diagram, "{name}");
    }
}

/// The text of a file with the counterexample of `gap_accepted`, after a change: why it is refused.
fn refusal(change: impl FnOnce(&mut Value)) -> String {
    static SAVED: OnceLock<Tale> = OnceLock::new();
    let tale = SAVED.get_or_init(|| tale_of("gap_accepted"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trace.json");
    trace::save(&file, tale).expect("it can be written");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let mut value: Value = serde_json::from_str(&text).expect("it is JSON");
    change(&mut value);
    std::fs::write(&file, value.to_string()).expect("it can be written");
    match replay::file(&file) {
        Ok(_) => "nothing is refused".to_owned(),
        Err(error) => {
            let named = file.display().to_string();
            assert!(error.starts_with(&named), "{error} names the file");
            error[named.len()..].to_owned()
        }
    }
}

#[test]
fn a_step_that_was_tampered_with_is_refused_with_its_number() {
    let refused = refusal(|file| file["steps"][4]["action"]["deliver"]["from"] = json!(3));
    assert!(
        refused.starts_with(": step 5: this is not possible there"),
        "{refused}"
    );
    let refused = refusal(|file| file["steps"][4]["lines"][0]["text"] = json!("s1 down"));
    assert!(refused.starts_with(": step 5 leads elsewhere"), "{refused}");
    assert!(refused.contains("the file says s1 down"), "{refused}");
    let refused = refusal(|file| file["steps"][4]["sentence"] = json!("all is well"));
    assert!(refused.starts_with(": step 5 leads elsewhere"), "{refused}");
    let refused = refusal(|file| file["steps"][4]["sent"] = json!(["s1 to s2: nothing"]));
    assert!(refused.starts_with(": step 5 leads elsewhere"), "{refused}");
    let refused = refusal(|file| file["start"]["lines"][0]["text"] = json!("s1 down"));
    assert!(
        refused.starts_with(": at first leads elsewhere"),
        "{refused}"
    );
    let refused = refusal(|file| file["start"]["number"] = json!(7));
    assert!(refused.contains("no initial state 7"), "{refused}");
    let refused = refusal(|file| file["explanation"] = json!("bad luck"));
    assert!(refused.starts_with(": after the last step"), "{refused}");
}

#[test]
fn a_file_whose_last_step_is_gone_breaks_nothing_and_is_refused() {
    let refused = refusal(|file| {
        file["steps"].as_array_mut().expect("steps").pop();
    });
    assert!(refused.contains("holds after the last step"), "{refused}");
}

#[test]
fn a_file_of_the_protocol_as_it_should_be_does_not_fit_the_steps_of_a_mutant() {
    let refused = refusal(|file| file["variant"] = json!("Faithful"));
    assert!(refused.contains("step 10"), "{refused}");
}

#[test]
fn a_file_that_names_what_this_check_does_not_know_is_refused() {
    for (field, value) in [
        ("model", "raft"),
        ("variant", "NoSuchVariant"),
        ("invariant", "no_such_invariant"),
        ("bounds", "--servers many"),
        ("bounds", "--no-such-bound 1"),
        ("format", "a shopping list"),
    ] {
        let refused = refusal(|file| file[field] = json!(value));
        let unknown = value.split_whitespace().next().unwrap_or_default();
        assert!(refused.contains(unknown), "{field} {value}: {refused}");
    }
    let refused = refusal(|file| file["bounds"] = json!(""));
    assert!(refused.contains("no bounds"), "{refused}");
    let refused = refusal(|file| file["version"] = json!(2));
    assert!(refused.contains("version 2"), "{refused}");
    let refused = refusal(|file| file["steps"][0]["surprise"] = json!(1));
    assert!(
        refused.contains("damaged") && refused.contains("surprise"),
        "{refused}"
    );
    let refused = refusal(|file| {
        file.as_object_mut().expect("an object").remove("steps");
    });
    assert!(
        refused.contains("damaged") && refused.contains("steps"),
        "{refused}"
    );
}

#[test]
fn a_file_that_is_not_there_or_no_trace_is_refused_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |path: PathBuf| match replay::file(&path) {
        Ok(_) => panic!("{} was taken", path.display()),
        Err(error) => {
            assert!(error.contains(&path.display().to_string()), "{error}");
            error
        }
    };
    refused(folder.path().join("not there"));
    let file = folder.path().join("half");
    std::fs::write(&file, r#"{ "format": "keepright trace", "ver"#).expect("a file");
    assert!(refused(file).contains("line 1 column"));
    let file = folder.path().join("list");
    std::fs::write(&file, "[1, 2]").expect("a file");
    assert!(refused(file).contains("no counterexample"));
    let output = crate::output::Output::default();
    let refused = replay::run(&[folder.path().to_owned()], None, &output);
    assert!(refused.expect_err("a directory").contains("directory"));
}

fn assert_narrow(text: &str) {
    for line in text.lines() {
        // An address cannot be broken into lines.
        let is_address = line.trim_start().starts_with("http://");
        let width = line.chars().count();
        assert!(width <= COLUMNS || is_address, "{width} columns: {line}");
    }
}

#[test]
fn no_line_of_a_counterexample_is_wider_than_a_terminal() {
    let mut broken = 0;
    let mut lines = 0;
    for (_, told) in all_told() {
        assert_narrow(&told.text(Paint::PLAIN));
        for step in &told.tale.steps {
            lines += step.lines.len();
            let wide = |line: &&crate::tale::Line| line.text.chars().count() + 4 > COLUMNS;
            broken += step.lines.iter().filter(wide).count();
        }
    }
    assert!(
        broken * 50 < lines,
        "{broken} of {lines} servers take more than a line"
    );
}

#[test]
fn a_counterexample_has_no_colours_where_nobody_looks() {
    let tale = tale_of("gap_accepted");
    let text = tale.text(&tale.title(), Paint::PLAIN);
    assert!(!text.contains('\x1b'));
    assert!(
        text.contains("  > s1 LEADING, discovery"),
        "what has changed is marked: {text}"
    );
    assert!(
        text.contains("    s2 LOOKING;"),
        "and what has not is not: {text}"
    );
}

/// Runs that end early, whose numbers are small.
fn short() -> Limits {
    Limits {
        max_states: Some(300),
        ..LIMITS
    }
}

#[test]
fn no_line_of_a_report_is_wider_than_a_terminal() {
    let of_protocol = catalogue::ALL.iter().flat_map(|spec| {
        let run = |bounds: &_| spec.faithful(*bounds).run(short());
        spec.bounds.iter().map(run)
    });
    let of_service = service::BOUNDS.iter();
    let of_service = of_service.map(|bounds| service::faithful(*bounds).run(short()));
    let others = consensus::ALL.iter().flat_map(|kind| kind.runs(None));
    let others = others.map(|run| run.run(short()));
    let runs: Vec<Run> = of_protocol.chain(of_service).chain(others).collect();
    assert_narrow(&report::table(&runs));
    assert_narrow(&report::verdicts(&runs));
    assert_narrow(&report::list());
    let claims: Vec<_> = consensus::ALL
        .iter()
        .flat_map(|kind| kind.claims(None))
        .collect();
    assert_narrow(&consensus::claims::table(&consensus::claims::try_all(
        &claims,
        short(),
    )));
    let rows: Vec<_> = mutants::everywhere()
        .map(|(name, trial)| {
            let (outcome, _) = trial.exploration().try_out(name, short(), false);
            (name, trial, outcome)
        })
        .collect();
    assert_narrow(&report::mutants(&rows));
    let tried = bugs::ALL.iter().map(|bug| {
        let trial = bug.trial();
        let outcome = trial.map(|trial| trial.exploration().try_out(bug.name, short(), false).0);
        (bug, outcome)
    });
    let rows: Vec<_> = tried.collect();
    assert_narrow(&report::bugs(&rows));
}

#[test]
fn bounds_that_somebody_chose_may_leave_an_invariant_vacuous_and_default_bounds_may_not() {
    let spec = catalogue::find("zab").expect("it is there");
    let runs = vec![spec.faithful(Bounds::new(3, 1, 0, 0)).run(LIMITS)];
    let vacuous = report::judged(&runs).into_iter().filter(|judged| {
        let vacuous = matches!(judged.verdict, report::Verdict::Vacuous);
        assert_eq!(vacuous, judged.found_in.is_empty(), "{}", judged.id);
        vacuous
    });
    assert!(vacuous.count() > 0);
    let told = |witnesses| report::conclusion(&runs, 1, witnesses);
    assert!(report::passed(&runs, Witnesses::AsFound));
    assert!(told(Witnesses::AsFound).starts_with("PASSED: nothing falls"));
    assert!(!report::passed(&runs, Witnesses::Demanded));
    assert!(told(Witnesses::Demanded).starts_with("FAILED: no state witnesses"));
    let asked = |bounds| {
        plan(Some("zab"), bounds, None, None)
            .ok()
            .map(|plan| plan.witnesses)
    };
    assert_eq!(
        asked(Some(Bounds::new(3, 1, 0, 0))),
        Some(Witnesses::AsFound)
    );
    assert_eq!(asked(None), Some(Witnesses::Demanded));
}

#[test]
fn the_json_of_a_run_has_everything_that_the_tables_have() {
    let spec = catalogue::find("election").expect("it is there");
    let bounds = Bounds::new(3, 0, 0, 0);
    let runs = vec![spec.faithful(bounds).run(LIMITS)];
    let report = parsed(&json::runs(&runs, 1, true, Witnesses::Demanded));
    assert_eq!(report["report"], "run");
    assert_eq!(report["version"], json::VERSION);
    assert_eq!(report["passed"], true);
    let run = &report["runs"][0];
    assert_eq!(run["model"], "election");
    assert_eq!(run["bounds"], bounds.to_string());
    assert_eq!(run["distinct"], runs[0].outcome.distinct);
    assert_eq!(run["generated"], runs[0].outcome.generated);
    assert_eq!(run["depth"], runs[0].outcome.depth);
    assert_eq!(run["end"], "complete");
    assert_eq!(run["counterexample"], Value::Null);
    let invariant = &report["invariants"][0];
    assert_eq!(invariant["id"], "one_leader_a_round");
    assert_eq!(invariant["verdict"], "holds");
    assert_eq!(invariant["witness"], "leader_supported");
    assert_eq!(invariant["witness_found_in"], json!(["election"]));
}

#[test]
fn the_json_of_mutants_and_bugs_has_everything_that_the_tables_have() {
    let (name, trial) = mutants::all().next().expect("there are mutants");
    let (outcome, told) = trial.exploration().try_out(name, LIMITS, true);
    let (invariant, steps) = (trial.invariant(), outcome.depth - 1);
    let told: Vec<_> = told.into_iter().collect();
    let report = parsed(&json::mutants(&[(name, trial, outcome)], &told, None, true));
    let row = &report["mutants"][0];
    assert_eq!(
        (&row["name"], &row["invariant"]),
        (&json!(name), &json!(invariant))
    );
    assert_eq!(
        (&row["caught"], &row["steps"]),
        (&json!(true), &json!(steps))
    );
    let tale = &report["counterexamples"][0]["tale"];
    let tale: Tale = serde_json::from_value(tale.clone()).expect("a tale");
    assert_eq!(tale, told[0].tale);

    let peaceful = Peaceful {
        places: 0,
        passed: 0,
        failed: Vec::new(),
    };
    let rows: Vec<_> = bugs::ALL.iter().map(|bug| (bug, None)).collect();
    let report = parsed(&json::bugs(&rows, &[], &peaceful, None, true));
    let all = report["bugs"].as_array().expect("a list");
    for (row, bug) in all.iter().zip(bugs::ALL) {
        assert_eq!(row["name"], bug.name);
        assert_eq!(row["title"], bug.title);
        assert_eq!(row["cannot_happen"].is_null(), bug.trial().is_some());
        let published = bug.published.as_ref().map(|figures| figures.states);
        assert_eq!(
            row["published"]["states"].as_u64(),
            published.map(|s| s as u64)
        );
    }
    assert_eq!(all.len(), bugs::ALL.len());
}

#[test]
fn the_json_of_the_list_names_every_model_mutant_and_bug() {
    let report = parsed(&json::list());
    let names = |list: &str| -> Vec<String> {
        let rows = report[list].as_array().expect("a list");
        let name = |row: &Value| row["name"].as_str().expect("a name").to_owned();
        rows.iter().map(name).collect()
    };
    let others = consensus::ALL.iter().map(|kind| kind.card().name);
    let models = [
        "election", "zab", "ensemble", "replaced", "alone", "service",
    ]
    .into_iter();
    assert_eq!(names("models"), models.chain(others).collect::<Vec<_>>());
    assert_eq!(
        names("mutants"),
        mutants::everywhere()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
    );
    assert_eq!(
        names("bugs"),
        bugs::ALL.iter().map(|bug| bug.name).collect::<Vec<_>>()
    );
}

/// A report as a program would read it.
fn parsed(report: &Value) -> Value {
    serde_json::from_str(&format!("{report:#}")).expect("a report is JSON")
}

/// A state near the beginning, and a place among its actions whose action changes nothing.
fn idle_step<M: Checked>(model: &M) -> (M::State, usize) {
    let mut states = model.init_states();
    for _ in 0..6 {
        let mut next = Vec::new();
        for state in &states {
            let mut actions = Vec::new();
            model.actions(state, &mut actions);
            for (place, action) in actions.into_iter().enumerate() {
                match model.next_state(state, action) {
                    None => return (state.clone(), place),
                    Some(after) => next.push(after),
                }
            }
        }
        states = next;
    }
    panic!("every step changes something");
}

fn assert_shows_idle_steps<M: Checked>(mut model: M) {
    let (state, place) = idle_step(&model);
    model.keep_idle_steps();
    let action = || {
        let mut actions = Vec::new();
        model.actions(&state, &mut actions);
        actions.swap_remove(place)
    };
    assert!(model.next_state(&state, action()) == Some(state.clone()));
    let shown = model.format_step(&state, action()).expect("it is shown");
    assert!(shown.contains("Nothing changes."), "{shown}");
    for line in model.lines(None, &state) {
        assert!(shown.contains(&format!("  {}\n", line.text)), "{shown}");
    }
}

#[test]
fn the_explorer_shows_the_state_after_a_step_that_changes_nothing() {
    let zab = catalogue::find("zab").expect("it is there");
    assert_shows_idle_steps(zab.faithful(zab.bounds[0]));
    assert_shows_idle_steps(service::faithful(service::BOUNDS[0]));
}

#[test]
fn the_explorer_shows_what_a_step_has_changed_before_and_after() {
    let zab = catalogue::find("zab").expect("it is there");
    let model = zab.faithful(zab.bounds[0]);
    let start = model.init_states().remove(0);
    let mut actions = Vec::new();
    model.actions(&start, &mut actions);
    let told_to_lead = |action: &_| model.format_action(action) == "server 1 is told to lead";
    let action = actions.into_iter().find(told_to_lead);
    let action = action.expect("the election may say so");
    let shown = model.format_step(&start, action).expect("it is a step");
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "- s1 LOOKING; epochs 0/0; [-]",
            "+ s1 LEADING, discovery; epochs 0/0; [-]",
            "  s2 LOOKING; epochs 0/0; [-]",
            "  s3 LOOKING; epochs 0/0; [-]",
        ],
        "{shown}"
    );
}
