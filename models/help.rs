//! The examples that `check --help` and `check COMMAND --help` end with. A test parses each of them.

pub const CHECK: &str = "\
Examples:
  check                                       every model within its default bounds
  check --coverage                            the same, and which handlers that exercised
  check run zab --writes 2 --timeouts 2       one model, other bounds
  check mutants                               break the protocol; every break must be noticed
  check bugs                                  the bugs of the past, found again
  check bugs zk962 --save it.json --svg it.svg   a counterexample, as files
  check replay it.json                        its steps again, in the code of today
  check run zab --json                        the report for a program
  check compare                               the protocols before Zab and beside it, side by side
  check spawn raft                            one of them over UDP on this machine
  check simulate                              random walks, with more faults and writes
  check explore zab                           walk through the states in a browser
More: check COMMAND --help

Exit code: 0 if everything was explored and holds; 1 if something falls, if default bounds do not put
every invariant to the test, or if the run ended early (--max-states, --max-time, Control-C); 2 if the
command line asks for what cannot be.";

pub const RUN: &str = "\
Examples:
  check run                                     every model within its default bounds
  check run zab                                 one model within its default bounds
  check run zab --writes 2 --timeouts 2         within other bounds
  check run zab --crashes 1 --pending-saves     saves that a crash may lose
  check run zab --crashes 1 --coverage          and which handlers of the actor that exercised
  check run ensemble --writes 1 --max-time 60   a minute at most; exit code 1 if that ends it
  check run service --scenario locks --expirations 1
  check run paxos                               another protocol, and what the notes claim of it
  check run paxos --proposers 2 --acceptors 3 --crashes 1
  check run two_phase --claim coordinator_blocks --svg it.svg
Bounds that are not given have the defaults above, whatever the model.";

pub const MUTANTS: &str = "\
Examples:
  check mutants                               all of them
  check mutants keep_own_history              one, with its counterexample step by step
  check mutants no_trunc --smallest           and that no smaller bounds would do
Their names: check list";

pub const COMPARE: &str = "\
Examples:
  check compare                               every protocol, and Zab
  check compare --json                        the same for a program
One of them: check run NAME; their names and claims: check list";

pub const SPAWN: &str = "\
Examples:
  check spawn paxos                           proposers and acceptors; what the client is told
  check spawn raft                            three servers, after an election
Their names: check list. Zab runs as a server: keepright cluster --help";

pub const EXACT: &str = "\
Examples:
  check exact --max-states 1000000            every default model that is not larger
  check exact service --scenario locks --expirations 1
Exit code: 1 if a number differs: then two states have one hash, and what follows from one is missed.";

pub const BUGS: &str = "\
Examples:
  check bugs                                  all of them
  check bugs zk4643                           one, with its counterexample step by step
Their names: check list";

pub const REPLAY: &str = "\
Examples:
  check replay it.json                        a counterexample that --save has written
  check replay it.json --explore              the same, and its last state in a browser
  check replay j1 j2 j3                       what three servers had as --journal
  check replay j1 j2 j3 --svg run.svg --from 100 --to 160     a part of that as a diagram
Exit code: 1 if an invariant is broken.";

pub const SIMULATE: &str = "\
Examples:
  check simulate                              every model, about a minute in all
  check simulate zab --seed 100000            other runs
  check simulate zab --runs 50000 --shard 2/8     the second eighth of them, on one of eight machines
  check simulate zab --mutant zk4643 --invariant committed_survives
Exit code: 1 if something falls, or if what should happen now and then never did.";

pub const CONVERGE: &str = "\
Examples:
  check converge                              every model within its default bounds
  check converge ensemble --worst             and the way to the state that takes longest
  check converge zab --writes 1 --crashes 1   within other bounds";

pub const EXPLORE: &str = "\
Examples:
  check simulate                              random walks, with more faults and writes
  check explore zab                           then open http://localhost:3000
  check explore ensemble --writes 1 --port 3001
  check simulate                              random walks, with more faults and writes
  check explore zab --mutant no_trunc         a broken variant, with a counterexample to find
  check explore service --scenario watches
  check explore paxos --claim paxos_duel      a counterexample of the notes to find";
