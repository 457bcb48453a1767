//! Metrics as a scraper gets them: over a real socket, from a host and from the program, beside
//! clients that are slow, too many, or up to something else.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream as Blocking},
    process::{Command, Stdio},
};

use lazaret::{Host, pvf::Settings};
use support::{PROGRAM, block, host, returned, trivial};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n";
/// As many as are heard at once.
const CONNECTIONS_MAX: usize = 16;

struct Served {
    host: Host,
    at: SocketAddr,
    serving: JoinHandle<()>,
    _cache: tempfile::TempDir,
}

async fn served() -> Served {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serving = tokio::spawn(host.serve_metrics(listener));
    Served { host, at, serving, _cache: cache }
}

/// What comes back for these bytes, to the end of the connection. A server that has heard enough may
/// hang up before all is said.
async fn asked(at: SocketAddr, words: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let _ = stream.write_all(words.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// Head and body.
fn parts(answer: &str) -> (&str, &str) {
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer of HTTP: {answer:?}"))
}

/// The lines of a family come in no particular order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_over_http_says_what_the_host_says() {
    let served = served().await;
    returned(&served.host.validate(&trivial(1), block(), &Settings::default()).await.unwrap());
    let answer = asked(served.at, SCRAPE).await;
    let (head, body) = parts(&answer);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.contains(kind), "{head}");
    assert_eq!(sorted(body), sorted(&served.host.metrics_text()));
    assert!(body.ends_with("# EOF\n"), "{body}");
    let one =
        "lazaret_concluded_total{request=\"execute\",conclusion=\"returned\",reason=\"\"} 1\n";
    assert!(body.contains(one), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_answered() {
    let served = served().await;
    let long = "x".repeat(64 * 1024);
    for (words, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 "),
        ("GET /metrics/ HTTP/1.1\r\n\r\n", "404 "),
        ("GET /../metrics HTTP/1.1\r\n\r\n", "404 "),
        ("POST /metrics HTTP/1.1\r\ncontent-length: 4\r\n\r\nword", "405 "),
        ("HEAD /metrics HTTP/1.1\r\n\r\n", "405 "),
        ("this is no HTTP\r\n\r\n", "400 "),
        (&format!("GET /{long} HTTP/1.1\r\n\r\n"), "4"),
        (&format!("GET /metrics HTTP/1.1\r\nlong: {long}\r\n\r\n"), "431 "),
    ] {
        let answer = asked(served.at, words).await;
        let shown: String = words.chars().take(40).collect();
        // A head that is too long may be cut off before its answer is read (tcp(7): a reset).
        let cut = answer.is_empty() && words.len() > long.len();
        let is_right = answer.starts_with(&format!("HTTP/1.1 {status}"));
        assert!(is_right || cut, "{shown:?}: {answer:?}");
        assert!(!answer.contains("lazaret_"), "{shown:?}: {answer:?}");
    }
    let answer = asked(served.at, "PUT /metrics HTTP/1.1\r\n\r\n").await;
    assert!(parts(&answer).0.contains("allow: GET"), "{answer}");
    let twice = asked(served.at, &SCRAPE.repeat(2)).await;
    assert_eq!(twice.matches("HTTP/1.1 200").count(), 1, "one request for each connection");
}

/// A client that says nothing, or half of it, has its connection for a while and no longer; while all
/// are taken the next one waits, and then it is served.
#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_hold_their_connections_for_a_while_only() {
    let served = served().await;
    let mut slow = Vec::new();
    for number in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(served.at).await.unwrap();
        stream.write_all(&SCRAPE.as_bytes()[..number]).await.unwrap();
        slow.push(stream);
    }
    let answer = asked(served.at, SCRAPE).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // They came first, and none of them was done: one had to go.
    let is_over = |stream: &TcpStream| matches!(stream.try_read(&mut [0; 1]), Ok(0));
    assert!(slow.iter().any(is_over), "more at once than there may be");
    for mut stream in slow {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "half a request was answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_its_host() {
    let Served { host, at, serving, _cache } = served().await;
    let other = host.clone();
    drop(host);
    assert!(asked(at, SCRAPE).await.starts_with("HTTP/1.1 200"), "a clone is left");
    drop(other);
    serving.await.expect("an end and no panic");
}

/// The second file is a pipe, so that the program waits until the test has scraped.
#[test]
fn the_program_serves_its_metrics_while_it_prepares() {
    let folder = tempfile::tempdir().unwrap();
    let wat = "(module (memory (export \"memory\") 1) (global (export \"__heap_base\") i32 (i32.const 9)) \
               (func (export \"validate_block\") (param i32 i32) (result i64) (i64.const 0)))";
    let (file, pipe) = (folder.path().join("code.wat"), folder.path().join("pipe.wat"));
    fs::write(&file, wat).unwrap();
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    let mut program = Command::new(PROGRAM)
        .args(["prepare", "--json", "--accept-weaker-jail", "--metrics", "127.0.0.1:0", "--cache"])
        .args([&folder.path().join("cache"), &file, &pipe])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(program.stderr.take().unwrap()).lines();
    let at = said
        .find_map(|line| {
            Some(line.unwrap().split_once("http://")?.1.strip_suffix("/metrics")?.to_owned())
        })
        .expect("where the metrics are");
    let prepared =
        "lazaret_concluded_total{request=\"prepare\",conclusion=\"returned\",reason=\"\"} 1\n";
    loop {
        let mut stream = Blocking::connect(&at).unwrap();
        stream.write_all(SCRAPE.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        if answer.contains(prepared) {
            break;
        }
        assert!(program.try_wait().unwrap().is_none(), "{answer}");
    }
    fs::write(&pipe, wat).unwrap();
    assert!(program.wait().unwrap().success());
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let ended = Command::new(PROGRAM)
        .args(["prepare", "code.wat", "--accept-weaker-jail", "--metrics", &at, "--cache"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).contains(&format!("--metrics is {at}")));
}
