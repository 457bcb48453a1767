//! The artifact's file is replaced, overwritten or removed by another artifact while a host reads it.
//! What the host verifies is what the job maps: no step is between the two at which a file matters.

use std::fs;

use crate::{
    staged::{
        Did::{Opened, Read, Sealed},
        RETURNED, Stage, Step, is_answered, is_possible, step,
    },
    support::entries,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Swap {
    /// Another file gets the name.
    Replaced,
    /// The file itself gets other bytes behind its good header.
    Overwritten,
    Removed,
}

const STEPS: [Step; 5] = [
    step("the file is open", Opened, 1),
    step("its header is read", Read, 1),
    step("the artifact is read", Read, 2),
    step("the file is read to its end", Read, 3),
    step("the copy is sealed", Sealed, 1),
];

/// The bytes of an artifact's file, made by a host on an empty cache.
fn artifact_of(stage: &Stage, code: &str) -> Vec<u8> {
    let _ = fs::remove_dir_all(stage.file("cache"));
    let ended = stage.command_for(code).output().expect("a host");
    assert_eq!(ended.status.code(), Some(RETURNED), "{ended:?}");
    fs::read(&entries(&stage.file("cache"))[0]).expect("an artifact")
}

fn swap(stage: &Stage, swap: Swap, good: &[u8], other: &[u8]) {
    const HEADER_BYTES: usize = 224;
    let path = entries(&stage.file("cache")).remove(0);
    match swap {
        Swap::Replaced => {
            let aside = stage.file("aside");
            fs::write(&aside, other).expect("a file");
            fs::rename(aside, path).expect("a file to replace");
        }
        Swap::Overwritten => {
            let bytes = [&good[..HEADER_BYTES], &other[HEADER_BYTES..]].concat();
            fs::write(path, bytes).expect("a file to overwrite");
        }
        Swap::Removed => fs::remove_file(path).expect("a file to remove"),
    }
}

#[tokio::test]
async fn an_artifact_swapped_while_it_is_read_is_never_called() {
    if !is_possible(3 * STEPS.len()) {
        return;
    }
    let stage = Stage::set();
    let other = artifact_of(&stage, "other.wat");
    let good = artifact_of(&stage, "quick.wat");
    assert_ne!(good, other);
    let kept = entries(&stage.file("cache")).remove(0);
    for step in STEPS {
        for how in [Swap::Replaced, Swap::Overwritten, Swap::Removed] {
            fs::write(&kept, &good).expect("the good artifact in its place");
            let host = stage.host_at(&step).await;
            swap(&stage, how, &good, &other);
            let (status, words) = host.program.finish().expect("a host that ends");
            is_answered(&step, status, &words);
            // What was open or read before the swap is good; what is read after it is noticed.
            let is_noticed = how == Swap::Overwritten && matches!(step.at, (Opened, _) | (Read, 1));
            let origin = if is_noticed { "prepared" } else { "disk" };
            assert!(
                words.contains(&format!(r#""origin":"{origin}""#)),
                "{how:?}, {step:?}: {words}"
            );
            let next = stage.command(&step).output().expect("the next host");
            is_answered(&step, next.status, &String::from_utf8_lossy(&next.stdout));
        }
    }
}
