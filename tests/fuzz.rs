//! The fuzzer's targets on a stable compiler: seeds, mutations of them, random bytes, and every case kept.
//!
//! `scripts/fuzz` runs the same functions under a real fuzzer. What that finds is kept as a file in
//! `fuzz/corpus_cases/TARGET/` and read here ever after. Runs are alike, so that a failure is the code's:
//! `PROPTEST_RNG_SEED` takes other ways, `PROPTEST_CASES` goes further on them.

use std::{fs, path::Path};

use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{RngSeed, TestError, TestRunner},
};

#[path = "../fuzz/src/lib.rs"]
mod targets;

use targets::{TARGETS, Target};

/// Something done to an input.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// Bytes from one place stand at another too.
    Copy(Index, Index, usize),
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    let telling =
        prop_oneof![Just(0u8), Just(1), Just(0x7f), Just(0x80), Just(0xff), Just(b'"'), any::<u8>()];
    prop_oneof![
        4 => (place(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        4 => (place(), telling).prop_map(|(at, byte)| Change::Set(at, byte)),
        2 => (place(), vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (place(), 1..40usize).prop_map(|(at, len)| Change::Remove(at, len)),
        2 => (place(), place(), 1..80usize).prop_map(|(from, to, len)| Change::Copy(from, to, len)),
        1 => place().prop_map(Change::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let len = bytes.len();
    let upto = |from: usize, count: usize| (from + count).min(len);
    match change {
        Change::Insert(at, new) => drop(bytes.splice(at.index(len + 1)..at.index(len + 1), new.clone())),
        _ if len == 0 => {}
        Change::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
        Change::Set(at, byte) => bytes[at.index(len)] = *byte,
        Change::Remove(at, count) => drop(bytes.drain(at.index(len)..upto(at.index(len), *count))),
        Change::Copy(from, to, count) => {
            let copy = bytes[from.index(len)..upto(from.index(len), *count)].to_vec();
            bytes.splice(to.index(len)..to.index(len), copy);
        }
        Change::Cut(at) => bytes.truncate(at.index(len)),
    }
}

/// Runs a target on its seeds, on the cases kept, on mutations of both, and on random bytes.
fn hold(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    let mut known = (target.seeds)();
    known.extend(kept(target));
    known.iter().for_each(|input| (target.run)(input));

    let mutated = (any::<Index>(), vec(change(), 1..8)).prop_map(move |(which, changes)| {
        let mut bytes = which.get(&known).clone();
        changes.iter().for_each(|change| apply(&mut bytes, change));
        bytes
    });
    let input = prop_oneof![4 => mutated, 1 => vec(any::<u8>(), 0..300)];
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1);
    }
    let seed = config.rng_seed;
    let ran = TestRunner::new(config).run(&input, |bytes| {
        (target.run)(&bytes);
        Ok(())
    });
    match ran {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("{name}, {seed:?}: {reason}"),
        Err(TestError::Fail(reason, bytes)) => {
            let case = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
            fs::write(&case, &bytes).expect("written");
            panic!(
                "{reason}\nof {seed:?}, on the {} bytes b\"{}\"\nmend it, and keep {} in fuzz/corpus_cases/{name}/",
                bytes.len(),
                bytes.escape_ascii(),
                case.display()
            );
        }
    }
}

fn kept(target: &Target) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus_cases").join(target.name);
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a case")).collect()
}

#[test]
fn asciicast() {
    hold("asciicast");
}

#[test]
fn config() {
    hold("config");
}

#[test]
fn guest_protocol() {
    hold("guest_protocol");
}

#[test]
fn journal_frames() {
    hold("journal_frames");
}

#[test]
fn otlp_body() {
    hold("otlp_body");
}

#[test]
fn websocket() {
    hold("websocket");
}

#[test]
fn the_fuzzer_finds_each_target_and_its_seeds() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).expect("read");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let binaries: Vec<&str> =
        manifest["bin"].as_array().expect("a list").iter().filter_map(|b| b["name"].as_str()).collect();
    let corpus = tempfile::tempdir().expect("a folder");
    for target in &TARGETS {
        assert!(binaries.contains(&target.name), "{} has no binary", target.name);
        targets::plant(target.name, corpus.path());
        let planted = fs::read_dir(corpus.path()).expect("a folder").count();
        assert!(planted >= (target.seeds)().len());
    }
    assert_eq!(binaries.len(), TARGETS.len());
}
