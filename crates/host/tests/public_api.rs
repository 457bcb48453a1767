//! The public API of this package is what `public-api.txt` lists, and a released one changes by the rules
//! of semantic versioning.
//!
//! The listing is made of what rustdoc says of the whole workspace (which is how CI compiles it, with the
//! features of all united), and has the types that are re-exported from `lazaret-wire` too. Its second
//! line says of which version it is and whether that was released, which somebody writes there at a
//! release. With `LAZARET_BLESS=1` it is written anew, unless that breaks a promise.

use std::{
    collections::BTreeSet,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use public_api::Builder;

const TITLE: &str =
    "# The public API. Written by `LAZARET_BLESS=1 cargo test -p lazaret --test public_api`.";
/// Traits that a type has by itself and that nobody relies on here. `Send` and `Sync` are relied on.
const UNTOLD: [&str; 5] = ["Freeze", "RefUnwindSafe", "UnsafeUnpin", "UnwindSafe", "Unpin"];

type Version = (u64, u64, u64);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Listing {
    version: Version,
    is_released: bool,
    /// In an order that people can read.
    items: Vec<String>,
}

impl Listing {
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once('\n')?;
        let (head, items) = rest.split_once('\n')?;
        let (numbers, state) = head.strip_prefix("# ")?.split_once(", ")?;
        Some(Self {
            version: version(numbers)?,
            is_released: state == "released",
            items: items.lines().map(str::to_owned).collect(),
        })
    }

    fn text(&self) -> String {
        let (major, minor, patch) = self.version;
        let state = if self.is_released { "released" } else { "not released" };
        format!("{TITLE}\n# {major}.{minor}.{patch}, {state}\n{}\n", self.items.join("\n"))
    }

    /// What this one has and the other has not.
    fn beyond<'a>(&'a self, other: &Self) -> Vec<&'a str> {
        let others: BTreeSet<_> = other.items.iter().collect();
        self.items.iter().filter(|item| !others.contains(item)).map(String::as_str).collect()
    }

    /// The lines that are gone, if that breaks the promise of a released version.
    fn broken_by(&self, now: &Self) -> Option<Vec<&str>> {
        let gone = self.beyond(now);
        let may = !self.is_released || now.version >= next_breaking(self.version);
        (!may && !gone.is_empty()).then_some(gone)
    }
}

fn version(text: &str) -> Option<Version> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// The least version that may break what this one promised (semver.org, 4 and 8, as cargo reads them).
fn next_breaking(version: Version) -> Version {
    match version {
        (0, 0, patch) => (0, 0, patch + 1),
        (0, minor, _) => (0, minor + 1, 0),
        (major, ..) => (major + 1, 0, 0),
    }
}

fn package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The target directory, of which cargo gives tests a part.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("..")
}

/// Says what is not tested here, past the capture of test output.
fn skipped(what: &str) {
    let line = format!("SKIPPED (1): the public API: {what}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}

fn rustdoc() -> PathBuf {
    package("tests/rustdoc-json")
}

/// Whether there are a cargo, a directory that it may write, and a rustdoc that writes JSON of a form that
/// is understood here; if not, why.
fn is_possible() -> Result<(), String> {
    let cargo = Command::new(env!("CARGO")).arg("--version").output();
    cargo.map_err(|error| format!("no cargo: {error}"))?;
    let no_room = |error| format!("no directory to work in: {error}");
    tempfile::tempfile_in(target()).map_err(no_room)?;
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("any.rs");
    fs::write(&source, "pub fn any() {}").expect("a file");
    let made = Command::new(rustdoc())
        .args(["-Zunstable-options", "--output-format=json", "--crate-name=any", "-o"])
        .args([folder.path(), &source])
        .output()
        .map_err(|error| format!("no rustdoc: {error}"))?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned());
    }
    lines(&folder.path().join("any.json")).map(drop)
}

fn lines(json: &Path) -> Result<Vec<String>, String> {
    let api = Builder::from_rustdoc_json(json).omit_blanket_impls(true).build();
    let api = api.map_err(|error| format!("{}: {error}", json.display()))?;
    let is_told =
        |line: &String| !UNTOLD.iter().any(|name| line.contains(&format!("::{name} for ")));
    Ok(api.items().map(ToString::to_string).filter(is_told).collect())
}

/// The listing of the sources as they are.
fn listing_now() -> Listing {
    let target = target();
    let made = Command::new(env!("CARGO"))
        .args(["doc", "--workspace", "--no-deps", "--lib", "--locked", "--offline", "--target-dir"])
        .arg(&target)
        .current_dir(package("../.."))
        .env("RUSTDOC", rustdoc())
        .env("RUSTDOCFLAGS", "-Zunstable-options --output-format=json")
        .output()
        .expect("cargo");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let json = |name: &str| target.join("doc").join(name);
    let mut items = lines(&json("lazaret.json")).expect("what rustdoc says of the library");
    let exported: BTreeSet<_> =
        items.iter().filter_map(|line| line.strip_prefix("pub use lazaret::")).collect();
    let wire = lines(&json("lazaret_wire.json")).expect("what rustdoc says of the wire");
    let of_wire: Vec<_> = wire.into_iter().filter(|line| is_about(line, &exported)).collect();
    items.extend(of_wire);
    let version = version(env!("CARGO_PKG_VERSION")).expect("three numbers");
    Listing { version, is_released: false, items }
}

/// Whether a line is about one of these types: `lazaret_wire`, a module, the name.
fn is_about(line: &str, names: &BTreeSet<&str>) -> bool {
    let Some(at) = line.find("lazaret_wire::") else { return false };
    let path = line[at..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').next();
    path.and_then(|path| path.split("::").nth(2)).is_some_and(|name| names.contains(name))
}

#[test]
fn the_public_api_is_what_is_listed() {
    if let Err(why) = is_possible() {
        return skipped(&why);
    }
    let file = package("public-api.txt");
    let text = fs::read_to_string(&file).expect("the listing");
    let recorded = Listing::parse(&text).expect("a listing that says its version");
    let mut now = listing_now();
    now.is_released = recorded.is_released && recorded.version == now.version;
    let gone: Vec<_> = recorded.beyond(&now).iter().map(|line| format!("- {line}")).collect();
    let new: Vec<_> = now.beyond(&recorded).iter().map(|line| format!("+ {line}")).collect();
    let difference = [gone, new].concat().join("\n");
    let (major, minor, patch) = next_breaking(recorded.version);
    assert!(
        recorded.broken_by(&now).is_none(),
        "\nwhat was released is broken, which takes version {major}.{minor}.{patch}:\n{difference}\n"
    );
    if env::var_os("LAZARET_BLESS").is_some() {
        fs::write(&file, now.text()).expect("the listing");
    } else {
        assert!(
            recorded == now,
            "\nthe public API is not what is listed:\n{difference}\n{TITLE}\n"
        );
    }
}

#[test]
fn a_released_line_goes_only_with_a_version_that_may_break() {
    let listing = |version, is_released, items: &[&str]| {
        let items = items.iter().map(|item| (*item).to_owned()).collect();
        Listing { version, is_released, items }
    };
    let released = listing((0, 3, 7), true, &["a", "b"]);
    assert_eq!(Listing::parse(&released.text()), Some(released.clone()));
    let breaks = |version, items: &[&str]| {
        released.broken_by(&listing(version, false, items)).map(|gone| gone.join(" "))
    };
    assert_eq!(breaks((0, 3, 7), &["a", "b"]), None);
    assert_eq!(breaks((0, 3, 7), &["b", "c", "a"]), None, "what is new breaks nothing");
    assert_eq!(breaks((0, 3, 8), &["a", "b2"]), Some("b".into()));
    assert_eq!(breaks((0, 4, 0), &["b2"]), None);
    assert_eq!(breaks((1, 0, 0), &[]), None);
    let unreleased = listing((0, 3, 7), false, &["a"]);
    assert_eq!(unreleased.broken_by(&listing((0, 3, 7), false, &[])), None);
    assert_eq!(next_breaking((1, 2, 3)), (2, 0, 0));
    assert_eq!(next_breaking((0, 0, 3)), (0, 0, 4));
    assert_eq!(Listing::parse("no listing"), None);
}
