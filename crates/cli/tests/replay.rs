//! Bundles and `lazaret replay`: the same again, or what differs.

mod support;

use std::{fs, path::PathBuf};

use support::programs::{self, ADD, Folder, fed, object, text};

fn bundles(folder: &Folder) -> Vec<PathBuf> {
    support::entries(&folder.path().join("bundles"))
}

fn path(folder: &Folder, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

#[test]
fn a_recorded_run_ends_the_same_again() {
    let folder = Folder::new();
    let put = |name: &str, wat: &str| folder.put(name, wat).display().to_string();
    let (add, echo) = (put("add.wat", ADD), put("echo.wat", &programs::echo()));
    let (draws, given) = (
        put("draws.wat", &programs::draws()),
        put("given.wat", &programs::tells_what_it_is_given()),
    );
    let exits = put("exits.wat", &programs::command("(call $exit (i32.const 3))"));
    let endless = put("endless.wat", &programs::endless());
    let bundle = path(&folder, "bundle");
    for arguments in [
        vec!["--invoke", "add", &add, "2", "40"],
        vec!["--invoke", "div", &add, "1", "0"],
        vec!["--meter", &echo],
        vec!["--random", "real", &draws],
        vec!["--env", "A=b", &given, "x"],
        vec![&exits],
        vec!["--fuel", "5000", &endless],
        vec!["--json", &echo],
    ] {
        let recorded =
            folder.run_with(b"input", &[&["--bundle", &bundle], &arguments[..]].concat());
        let replayed = folder.replay(&[&bundle]);
        let told = text(&replayed.stdout);
        assert!(told.starts_with("agrees: "), "{arguments:?}: {told} {}", text(&recorded.stderr));
        assert_eq!(replayed.status.code(), Some(0));
        let object = object(&folder.replay(&["--json", &bundle]));
        assert_eq!(object["agree"], true, "{object}");
        assert_eq!(object["machines"], serde_json::json!([]), "{object}");
    }
}

#[test]
fn what_ends_otherwise_is_said() {
    let folder = Folder::new();
    let draws = folder.put("draws.wat", programs::draws()).display().to_string();
    let bundle = path(&folder, "bundle");
    folder.run(&["--clock", "real", "--bundle", &bundle, &draws]);
    let replayed = folder.replay(&[&bundle]);
    let told = text(&replayed.stdout);
    assert!(told.starts_with("differs: ") && told.contains("stdout"), "{told}");
    assert!(told.contains("it sees the real clock"), "{told}");
    assert_eq!(replayed.status.code(), Some(1));
}

#[test]
fn what_does_not_return_is_kept_in_a_folder() {
    let folder = Folder::new();
    let endless = folder.put("endless.wat", programs::endless()).display().to_string();
    let hello = folder.put("hello.wat", programs::hello()).display().to_string();
    let kept = path(&folder, "bundles");
    folder.run(&["--bundles", &kept, &hello]);
    assert!(!folder.path().join("bundles").exists(), "what returned is not kept");
    folder.run(&["--bundles", &kept, "--fuel", "10", &endless]);
    folder.run(&["--bundles", &kept, "--fuel", "10", &endless, "--each", &hello, &endless]);
    let bundles = bundles(&folder);
    assert_eq!(bundles.len(), 3, "{bundles:?}");
    for bundle in bundles {
        assert!(bundle.display().to_string().contains("out-of-fuel"), "{bundle:?}");
        let replayed = folder.replay(&[&bundle.display().to_string()]);
        assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed.stdout));
    }
}

#[test]
fn code_may_be_left_out_and_must_then_be_that_code() {
    let folder = Folder::new();
    let add = folder.put("add.wat", ADD).display().to_string();
    let other = folder.put("other.wat", programs::hello()).display().to_string();
    let bundle = path(&folder, "bundle");
    let arguments =
        ["--bundle", &bundle, "--bundle-without-code", "--invoke", "add", &add, "1", "2"];
    folder.run(&arguments);
    let without = folder.replay(&[&bundle]);
    assert_eq!(without.status.code(), Some(2));
    assert!(text(&without.stderr).contains("its code was left out"), "{}", text(&without.stderr));
    assert_eq!(folder.replay(&[&bundle, "--code", &add]).status.code(), Some(0));
    let wrong = folder.replay(&[&bundle, "--code", &other]);
    assert!(text(&wrong.stderr).contains("other code"), "{}", text(&wrong.stderr));
}

#[test]
fn a_block_is_recorded_and_replayed() {
    let folder = Folder::new();
    let example = |name: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/adder");
        folder.join(name).display().to_string()
    };
    let bundle = path(&folder, "bundle");
    let (code, params) = (example("adder.wat"), example("block-1.scale"));
    let arguments = ["validate", "--code", &code, "--params", &params, "--bundle", &bundle];
    let validated = fed(folder.command("pvf").args(arguments), b"");
    assert!(validated.status.success(), "{}", text(&validated.stderr));
    let replayed = folder.replay(&[&bundle]);
    assert!(text(&replayed.stdout).starts_with("agrees: returned"), "{}", text(&replayed.stdout));

    let kept = path(&folder, "bundles");
    let wrong = folder.put("wrong.scale", b"no params").display().to_string();
    let arguments = ["validate", "--code", &code, "--params", &wrong, "--bundles", &kept];
    let refused = fed(folder.command("pvf").args(arguments), b"");
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    let replayed = folder.replay(&[&bundles(&folder)[0].display().to_string()]);
    assert!(text(&replayed.stdout).starts_with("agrees: refused"), "{}", text(&replayed.stdout));
}

/// Whoever sends a bundle may have written anything into it.
#[test]
fn what_is_no_bundle_is_usage_and_nothing_worse() {
    let folder = Folder::new();
    let add = folder.put("add.wat", ADD).display().to_string();
    let bundle = path(&folder, "bundle");
    folder.run(&["--bundle", &bundle, "--invoke", "add", &add, "1", "2"]);
    let whole = fs::read(&bundle).expect("a bundle");
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("other", b"\0asm\x01\0\0\0".to_vec()),
        ("cut", whole[..whole.len() - 1].to_vec()),
        ("longer", [&whole[..], b"x"].concat()),
        ("long-header", [b"LZRTBNDL", &u32::MAX.to_le_bytes()[..], b"{"].concat()),
        ("changed", {
            let mut changed = whole.clone();
            *changed.last_mut().expect("bytes") ^= 1;
            changed
        }),
    ] {
        let wrong = folder.put(name, bytes).display().to_string();
        let replayed = folder.replay(&[&wrong]);
        assert_eq!(replayed.status.code(), Some(2), "{name}: {}", text(&replayed.stderr));
        assert!(text(&replayed.stderr).contains("cannot be replayed"), "{name}");
    }
    // Limits and params of a stranger's are limits and params of any run: the jail is the same.
    let text_of = String::from_utf8_lossy(&whole).into_owned();
    for (from, to) in [
        ("\"memory_pages_max\":16384", "\"memory_pages_max\":99999"),
        ("\"stack_native_bytes_max\":268435456", "\"stack_native_bytes_max\":4294967"),
        ("\"cpu_micros\":60000000", "\"cpu_micros\":00000001"),
        ("\"output_bytes_max\":67108864", "\"output_bytes_max\":00000000"),
    ] {
        let mut changed = text_of.replace(from, to).into_bytes();
        let grown = changed.len() as i64 - whole.len() as i64;
        let length = u32::from_le_bytes(whole[8..12].try_into().expect("four bytes"));
        changed[8..12].copy_from_slice(&((i64::from(length) + grown) as u32).to_le_bytes());
        let changed = folder.put("changed-limits", changed).display().to_string();
        let code = folder.replay(&[&changed]).status.code();
        assert!(matches!(code, Some(0..=3)), "{to}: {code:?}");
    }
}
