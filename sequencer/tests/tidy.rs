//! The rules of the house that no compiler or lint holds: how long files are, what they are called,
//! who depends on whom, and where each engine may be named. A rule reads what git tracks, so a file
//! counts from the moment it is added.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failed step fails the test"
)]

#[path = "support/skip.rs"]
mod skip;

use skip::skip;
use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

/// Lines of one source file. What is longer holds more than one noun.
const MAX_LINES: usize = 600;

/// Every crate of the workspace and the members it may depend on, tests included.
const LAYERS: [(&str, &[&str]); 4] = [
    ("contracts", &[]),
    ("executor", &[]),
    ("batcher", &["contracts", "executor"]),
    ("sequencer", &["contracts", "executor", "batcher"]),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["utils", "common", "manager", "helpers", "types"];

/// Crates that would give the rules of the chain a runtime, a store or a wire format.
const IMPURE: [&str; 6] = ["axum", "reqwest", "serde_json", "signet-libmdbx", "sqlx", "tokio"];

/// A tracked text file.
struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is(&self, extensions: &[&str]) -> bool {
        let extension = Path::new(&self.path).extension().and_then(|e| e.to_str());
        extension.is_some_and(|extension| extensions.contains(&extension))
    }

    /// The path below the crate's `src`, for a file that has one.
    fn below_src(&self) -> Option<&str> {
        self.path.split_once("/src/").map(|(_, below)| below)
    }

    /// Numbered lines, without those that are only a `//` comment.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// A dependency as a manifest declares it.
#[derive(Debug, PartialEq, Eq)]
struct Dependency {
    /// The name of the crate, also where the manifest renames it.
    name: String,
    for_tests: bool,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every tracked text file; `None` where git or the repository is absent.
fn tracked() -> Option<Vec<Source>> {
    // CI may run as another user than the owner of the files: that is no reason to refuse a read.
    let listing = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(root())
        .output()
        .ok()
        .filter(|output| output.status.success());
    let Some(listing) = listing else {
        skip("git or the repository absent");
        return None;
    };
    let paths = String::from_utf8(listing.stdout).unwrap();
    let sources: Vec<_> = paths.split_terminator('\0').filter_map(read).collect();
    assert!(!sources.is_empty(), "git tracks nothing in {}", root().display());
    Some(sources)
}

/// `None` for a file that is not text, and for one deleted but not yet committed.
fn read(path: &str) -> Option<Source> {
    match fs::read(root().join(path)) {
        Ok(bytes) => String::from_utf8(bytes).ok().map(|text| Source { path: path.into(), text }),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => None,
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Fails with every breach at once.
fn hold(rule: &str, breaches: impl IntoIterator<Item = String>) {
    let breaches: Vec<_> = breaches.into_iter().collect();
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

/// Whether `text` has `word`, and not as a piece of a longer one. A word that ends in `!` or `::` may
/// be followed by anything.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let follows = text[at + word.len()..].starts_with(part);
        !(text[..at].ends_with(part) || word.ends_with(part) && follows)
    })
}

/// Whether `line` has `folder` as the start of an absolute path, so not inside a URL or `../`.
fn has_absolute(line: &str, folder: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || "._-~*/{})]".contains(c);
    line.match_indices(folder).any(|(at, _)| !line[..at].ends_with(joins))
}

/// The name in `[package]` and the dependencies of a Cargo manifest in the layout we write: one
/// `name = value` per line, or a table per dependency.
fn manifest(text: &str) -> (Option<String>, Vec<Dependency>) {
    let (mut package, mut dependencies) = (None, Vec::<Dependency>::new());
    let mut table = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            table = header.split('.').map(str::to_owned).collect();
            if let Some(name) = dependency_table(&table).and_then(|(_, name)| name) {
                dependencies.push(dependency(name, &table));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, quoted) = (key.trim(), value.split('"').nth(1));
        match dependency_table(&table) {
            Some((_, None)) if key.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                let renamed =
                    value.split_once("package = \"").and_then(|(_, r)| r.split('"').next());
                let name = renamed.unwrap_or_else(|| key.split('.').next().unwrap());
                dependencies.push(dependency(name, &table));
            }
            Some((_, Some(_))) if key == "package" => {
                dependencies.last_mut().unwrap().name = quoted.unwrap().into();
            }
            None if key == "name" && table == ["package"] => package = quoted.map(str::to_owned),
            _ => {}
        }
    }
    (package, dependencies)
}

/// The kind of a table of dependencies, and the crate if the table is about one alone.
fn dependency_table(table: &[String]) -> Option<(&str, Option<&str>)> {
    let at = table.iter().position(|part| part.ends_with("dependencies"))?;
    Some((&table[at], table.get(at + 1).map(String::as_str)))
}

fn dependency(name: &str, table: &[String]) -> Dependency {
    let for_tests = dependency_table(table).is_some_and(|(kind, _)| kind == "dev-dependencies");
    Dependency { name: name.into(), for_tests }
}

/// Every crate of the workspace with its dependencies.
fn members(sources: &[Source]) -> Vec<(String, Vec<Dependency>)> {
    let manifests = sources.iter().filter(|source| source.path.ends_with("/Cargo.toml"));
    let members = manifests.filter_map(|source| {
        let (package, dependencies) = manifest(&source.text);
        package.map(|package| (package, dependencies))
    });
    members.collect()
}

/// Code lines of a crate's `src` that name `word`, except in files that `allowed` accepts.
fn named_outside(sources: &[Source], word: &str, allowed: fn(&str) -> bool) -> Vec<String> {
    let elsewhere = sources
        .iter()
        .filter(|source| source.is(&["rs"]) && source.below_src().is_some())
        .filter(|source| !allowed(&source.path));
    elsewhere
        .flat_map(|source| {
            let lines = source.code().filter(|(_, line)| has_word(line, word));
            lines.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
        })
        .collect()
}

#[test]
fn files_are_short_enough_to_read() {
    let Some(sources) = tracked() else { return };
    let lengths = sources
        .iter()
        .filter(|source| source.is(&["rs", "sol", "ts", "mjs"]))
        .map(|source| (&source.path, source.text.lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > MAX_LINES);
    hold(
        &format!("a file has at most {MAX_LINES} lines"),
        long.map(|(path, lines)| format!("{path}: {lines}")),
    );
}

#[test]
fn dependencies_point_one_way() {
    let Some(sources) = tracked() else { return };
    let members = members(&sources);
    let names: BTreeSet<_> = members.iter().map(|(name, _)| name.as_str()).collect();
    let layers: BTreeSet<_> = LAYERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, layers, "LAYERS names every crate of the workspace");
    let upward = members.iter().flat_map(|(name, dependencies)| {
        let (_, below) = LAYERS.iter().find(|(layer, _)| layer == name).unwrap();
        let used = dependencies.iter().map(|dependency| dependency.name.as_str());
        let wrong = used.filter(|used| layers.contains(used) && !below.contains(used));
        wrong.map(move |used| format!("{name} depends on {used}"))
    });
    hold("a crate depends only on those below it", upward);
}

#[test]
fn the_executor_has_no_runtime_store_or_wire_format() {
    let Some(sources) = tracked() else { return };
    let members = members(&sources);
    let (_, dependencies) = members.iter().find(|(name, _)| name == "executor").unwrap();
    let declared = dependencies
        .iter()
        .filter(|dependency| !dependency.for_tests && IMPURE.contains(&dependency.name.as_str()))
        .map(|dependency| format!("executor/Cargo.toml: {}", dependency.name));
    let named = named_outside(&sources, "serde_json", |path| !path.starts_with("executor/"));
    hold("the executor is pure", declared.chain(named));
}

#[test]
fn ethers_is_for_tests_only() {
    let Some(sources) = tracked() else { return };
    let members = members(&sources);
    let used = members.iter().flat_map(|(name, dependencies)| {
        let ethers = dependencies.iter().filter(|d| d.name == "ethers-core" && !d.for_tests);
        ethers.map(move |_| format!("{name} depends on ethers-core outside its tests"))
    });
    hold("ethers-core is only a second opinion in tests", used);
}

#[test]
fn no_crate_named_reth_db_is_locked() {
    let Some(sources) = tracked() else { return };
    let lock = sources.iter().find(|source| source.path == "Cargo.lock").unwrap();
    let locked = lock.lines().filter(|(_, line)| line.trim() == "name = \"reth-db\"");
    hold(
        "the store is our own",
        locked.map(|(number, line)| format!("Cargo.lock:{number}: {line}")),
    );
}

#[test]
fn source_files_open_with_what_they_are() {
    let Some(sources) = tracked() else { return };
    let bare = sources
        .iter()
        .filter(|source| source.below_src().is_some() && source.is(&["rs", "sol"]))
        .filter(|source| {
            let header = if source.is(&["rs"]) { &["//! "][..] } else { &["/// ", "/**"][..] };
            let first = first_line(&source.text);
            !header.iter().any(|mark| first.starts_with(mark))
        });
    hold("a file says first what it holds", bare.map(|source| source.path.clone()));
}

/// The first line of a file that is not about the compiler: what Solidity must put before the
/// header (licence, pragma, imports) is passed over.
fn first_line(text: &str) -> &str {
    let mut importing = false;
    let mut lines = text.lines().filter(|line| {
        importing |= line.starts_with("import ");
        let preamble = importing
            || line.is_empty()
            || line.starts_with("// SPDX-License-Identifier:")
            || line.starts_with("pragma ");
        importing &= !line.ends_with(';');
        !preamble
    });
    lines.next().unwrap_or_default()
}

#[test]
fn no_module_has_an_empty_name() {
    let Some(sources) = tracked() else { return };
    let empty = sources.iter().filter(|source| {
        let mut parts = source.below_src().into_iter().flat_map(|below| below.split('/'));
        parts.any(|part| EMPTY_NAMES.contains(&part.split('.').next().unwrap()))
    });
    hold("a name says what is inside", empty.map(|source| source.path.clone()));
}

#[test]
fn nothing_is_left_for_later() {
    let Some(sources) = tracked() else { return };
    // In two pieces each, so that this file passes its own test.
    let markers = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("to", "do!"),
        concat!("unim", "plemented!"),
    ];
    let written = sources
        .iter()
        .filter(|source| !source.is(&["json", "lock", "md"]) && !source.path.contains("LICENSE"));
    let left = written.flat_map(|source| {
        let lines = source.lines().filter(|(_, line)| markers.iter().any(|m| has_word(line, m)));
        lines.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
    });
    hold("what is not done is not hinted at", left);
}

#[test]
fn sql_is_spoken_in_the_store_only() {
    let Some(sources) = tracked() else { return };
    let named = named_outside(&sources, "sqlx::", |path| path.starts_with("sequencer/src/store/"));
    hold("SQL stays in sequencer/src/store", named);
}

#[test]
fn the_key_value_engine_is_named_in_one_place() {
    let Some(sources) = tracked() else { return };
    let named = named_outside(&sources, "signet_libmdbx", |path| {
        path == "sequencer/src/store/kv.rs" || path.starts_with("sequencer/src/store/kv/")
    });
    hold("MDBX stays in sequencer/src/store/kv.rs", named);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let Some(sources) = tracked() else { return };
    let folders = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let named = sources.iter().flat_map(|source| {
        let lines =
            source.lines().filter(|(_, line)| folders.iter().any(|f| has_absolute(line, f)));
        lines.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
    });
    hold("a path holds on every machine", named);
}

#[test]
fn the_rules_read_manifests_and_words_right() {
    let (package, dependencies) = manifest(concat!(
        "[package]\nname = \"a\"\n[features]\nstd = [\"b/std\"]\n",
        "[dependencies]\nb = { workspace = true, features = [\n  \"x\",\n] }\n# c = \"1\"\n",
        "d.workspace = true\ne = { package = \"f\", version = \"1\" }\n",
        "[target.'cfg(unix)'.dependencies]\ng = \"1\"\n[dependencies.h]\npackage = \"i\"\n",
        "[dev-dependencies]\nj = \"1\"\n[lints]\nworkspace = true\n",
    ));
    assert_eq!(package.as_deref(), Some("a"));
    let found: Vec<_> = dependencies.iter().map(|d| (d.name.as_str(), d.for_tests)).collect();
    let expected =
        [("b", false), ("d", false), ("f", false), ("g", false), ("i", false), ("j", true)];
    assert_eq!(found, expected);

    assert!(has_word("use sqlx::Any;", "sqlx::") && !has_word("my_sqlx::Any sqlx", "sqlx::"));
    assert!(has_word("a sqlx b", "sqlx") && !has_word("sqlxy", "sqlx"));
    assert!(has_absolute("cd /srv/x", "/srv/") && has_absolute("\"/srv/x\"", "/srv/"));
    assert!(!has_absolute("https://example.org/srv/x ../srv/x", "/srv/"));
    assert_eq!(first_line("pragma a;\nimport {\n    B\n} from \"b\";\n\n/// C\n"), "/// C");
}
