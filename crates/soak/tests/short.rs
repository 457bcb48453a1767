//! A short run of `soak`: everything that it looks at holds for some seconds.

use std::process::Command;

#[test]
fn a_short_soak_holds() {
    let mut soak = Command::new(env!("CARGO_BIN_EXE_soak"));
    let ended = soak.args(["--minutes", "0.06", "--seed", "7"]).output().expect("the program");
    let said = String::from_utf8_lossy(&ended.stdout);
    let wrong = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{:?}\n{said}\n{wrong}", ended.status);
    assert!(said.contains("everything held"), "{said}");
}
