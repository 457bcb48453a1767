//! Each line of the log says which request it belongs to: those of guests, and those about jobs.

mod support;

use std::{
    io,
    sync::{Arc, Mutex},
};

use lazaret::{Code, Params, PreparationState, pvf::Settings};
use support::{block, builder, code, returned, started, starting, trivial, until};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> Self {
        let log = Self::default();
        let kept = log.clone();
        let to_log = tracing_subscriber::fmt().with_ansi(false).with_env_filter("lazaret=debug");
        to_log.with_writer(move || kept.clone()).init();
        log
    }

    /// The lines with these words.
    fn lines(&self, words: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }
}

/// The number after a word.
fn number(line: &str, word: &str) -> u64 {
    let (_, after) = line.split_once(word).unwrap_or_else(|| panic!("no {word} in {line}"));
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..end].parse().unwrap_or_else(|_| panic!("no number after {word} in {line}"))
}

/// A guest that logs one line and returns nothing that is a result.
fn talking(line: &str) -> Code {
    let length = line.len();
    code(&format!(
        r#"(module
            (import "env" "ext_logging_log_version_1" (func $log (param i32 i64 i64)))
            (import "env" "memory" (memory 1))
            (global (export "__heap_base") i32 (i32.const 1024))
            (data (i32.const 512) "{line}")
            (func (export "validate_block") (param i32 i32) (result i64)
                (call $log (i32.const 2) (i64.const 0x100000200)
                    (i64.or (i64.shl (i64.const {length}) (i64.const 32)) (i64.const 512)))
                (i64.const 0)))"#
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_says_whose_it_is() {
    let log = Log::begin();
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).prepare_workers(1)).await;

    // The first request begins a preparation that the second one shares.
    let slow = starting(
        "(local i32) (local.set 0 (i32.const 1000000000))
        (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))",
    );
    let first = tokio::spawn({
        let (host, slow) = (host.clone(), slow.clone());
        async move { host.prepare(&slow, &Params::default()).await }
    });
    let is_running = || {
        let state = host.preparation(&slow, &Params::default());
        matches!(state, PreparationState::Compiling { .. }).then_some(())
    };
    until("code that is compiled", is_running).await;
    let second = host.validate(&slow, block(), &Settings::default()).await.unwrap();
    assert_eq!(second.attempts, 1);
    first.await.unwrap().unwrap();
    let sent = log.lines("work sent");
    let whose: Vec<_> = sent.iter().map(|line| number(line, " request=")).collect();
    assert_eq!(whose, [1, 2], "one preparation, of the first, and one call: {sent:#?}");

    // Two that talk at the same time.
    let talkers = ["one word", "another word"].map(|line| {
        let host = host.clone();
        let guest = talking(line);
        tokio::spawn(async move { host.validate(&guest, block(), &Settings::default()).await })
    });
    for talker in talkers {
        talker.await.unwrap().unwrap();
    }
    let whose = ["one word", "another word"].map(|words| {
        let lines = log.lines(words);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("lazaret::guest"), "{lines:#?}");
        let request = number(&lines[0], " request=");
        assert_eq!(request, number(&lines[0], "request{id="), "within the span of that request");
        request
    });
    assert!(whose == [3, 4] || whose == [4, 3], "{whose:?}");

    returned(&host.validate(&trivial(1), block(), &Settings::default()).await.unwrap());
    let answered = log.lines("answered");
    assert_eq!(number(answered.last().unwrap(), " request="), 5, "{answered:#?}");
}
