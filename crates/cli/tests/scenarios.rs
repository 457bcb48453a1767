//! What a validator's host must get right about codes, blocks and artifacts, end to end: real hosts,
//! real workers, real jobs. What becomes of processes is in `processes.rs`.

mod support;

use std::{fs, path::Path, process::Command, time::Duration};

use lazaret::{
    Code, CodeStep, Fault, Origin, Params, PrepareLimits, Refusal, Retry, Vote,
    pvf::{
        self, BLOCK_DATA_BYTES_MAX, Block, Settings, ValidationParams, ValidationParamsExtension,
    },
};
use parity_scale_codec::Encode;
use support::{
    EMPTY_RESULT, block, builder, code, endless, guest, host, refusal, returned, settings, started,
    trivial,
};

fn the_artifact_file(cache: &Path) -> std::path::PathBuf {
    let files = support::entries(cache);
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_validated() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let answer = host.validate(&trivial(0), block(), &Settings::default()).await;
    assert_eq!(pvf::vote(&answer), Vote::For);
    let answer = answer.unwrap();
    assert_eq!(returned(&answer).encoded, EMPTY_RESULT);
    assert_eq!(answer.attempts, 1);
    assert!(answer.usage.resident_bytes_peak.is_some_and(|peak| peak > 0));
    assert_eq!(answer.security.as_deref(), Some(host.security()), "the jail that it was found in");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_concurrent_executions_of_one_code_prepare_once() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let code = trivial(1);
    let validations: Vec<_> = (0..32)
        .map(|_| {
            let (host, code) = (host.clone(), code.clone());
            tokio::spawn(async move { host.validate(&code, block(), &Settings::default()).await })
        })
        .collect();
    let mut facts = Vec::new();
    for validation in validations {
        let answer = validation.await.unwrap().unwrap();
        assert_eq!(returned(&answer).encoded, EMPTY_RESULT);
        facts.push(answer.artifact.unwrap().facts);
    }
    // What a preparation took is measured to the microsecond: two would differ.
    assert!(facts.iter().all(|other| *other == facts[0]), "prepared more than once: {facts:?}");
    the_artifact_file(cache.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_is_refused_at_its_cpu_limit() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let limit = Duration::from_millis(300);
    let answer = host.validate(&endless(), block(), &settings(limit, Retry::Once)).await;
    assert_eq!(pvf::vote(&answer), Vote::Against);
    let answer = answer.unwrap();
    assert_eq!(refusal(&answer), &Refusal::CpuLimit { limit_micros: 300_000 });
    assert_eq!(answer.attempts, 1, "a refusal is not tried again");
    assert!(answer.usage.cpu >= limit, "stopped after {:?}", answer.usage.cpu);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_deleted_between_runs_is_prepared_again() {
    let cache = tempfile::tempdir().unwrap();
    let code = trivial(5);
    for expected in [Origin::Prepared, Origin::Disk] {
        let host = host(cache.path()).await;
        let answer = host.validate(&code, block(), &Settings::default()).await.unwrap();
        assert_eq!(answer.artifact.unwrap().origin, expected);
    }
    fs::remove_file(the_artifact_file(cache.path())).unwrap();
    let host = host(cache.path()).await;
    let answer = host.validate(&code, block(), &Settings::default()).await.unwrap();
    assert_eq!(answer.artifact.unwrap().origin, Origin::Prepared);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_corrupted_between_runs_is_prepared_again() {
    let cache = tempfile::tempdir().unwrap();
    let code = trivial(6);
    let first = host(cache.path()).await;
    returned(&first.validate(&code, block(), &Settings::default()).await.unwrap());
    drop(first);
    let path = the_artifact_file(cache.path());
    let good = fs::read(&path).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for bad in [
        Vec::new(),
        good[..100].to_vec(),
        good[..good.len() - 1].to_vec(),
        [&good[..], b"x"].concat(),
        flipped(20),
        flipped(good.len() / 2),
        flipped(good.len() - 1),
    ] {
        fs::write(&path, bad).unwrap();
        let host = host(cache.path()).await;
        let answer = host.validate(&code, block(), &Settings::default()).await.unwrap();
        assert_eq!(returned(&answer).encoded, EMPTY_RESULT);
        assert_eq!(answer.artifact.unwrap().origin, Origin::Prepared);
    }
    assert_eq!(fs::read(&path).unwrap()[..48], good[..48], "the same file stands there again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_in_an_artifacts_place_is_replaced() {
    let cache = tempfile::tempdir().unwrap();
    let code = trivial(7);
    let first = host(cache.path()).await;
    returned(&first.validate(&code, block(), &Settings::default()).await.unwrap());
    drop(first);
    let path = the_artifact_file(cache.path());
    let elsewhere = cache.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    let places: [&dyn Fn(); 3] = [
        &|| std::os::unix::fs::symlink(&elsewhere, &path).unwrap(),
        &|| fs::create_dir(&path).unwrap(),
        &|| assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
    ];
    for place in places {
        place();
        let host = host(cache.path()).await;
        let answer = host.validate(&code, block(), &Settings::default()).await.unwrap();
        assert_eq!(answer.artifact.unwrap().origin, Origin::Prepared);
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_function_that_traps_never_reaches_execution() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let code = code(
        r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64) (i64.const 0))
            (func $start unreachable)
            (start $start))"#,
    );
    let precheck = host.precheck(&code, &Default::default()).await;
    assert_eq!(pvf::precheck_vote(&precheck), Vote::Against);
    let step = |refusal: &Refusal| match refusal {
        Refusal::Code { step, .. } => *step,
        other => panic!("refused for another reason: {other:?}"),
    };
    assert_eq!(step(refusal(&precheck.unwrap())), CodeStep::Instantiate);
    for _ in 0..3 {
        let answer = host.validate(&code, block(), &Settings::default()).await;
        assert_eq!(pvf::vote(&answer), Vote::Abstain, "the code is at fault, not the block");
        let answer = answer.unwrap();
        assert_eq!(step(refusal(&answer)), CodeStep::Instantiate);
        assert_eq!(answer.attempts, 0, "no job called it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_without_its_exports_fails_precheck_with_a_reason() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    for (wat, named) in [
        (r#"(module (memory (export "memory") 1))"#, "validate_block"),
        (
            r#"(module (func (export "validate_block") (param i32 i32) (result i64) i64.const 0))"#,
            "memory",
        ),
        (
            r#"(module (memory (export "memory") 1)
                (func (export "validate_block") (param i32) (result i64) i64.const 0))"#,
            "validate_block",
        ),
    ] {
        let answer = host.precheck(&code(wat), &Default::default()).await.unwrap();
        match refusal(&answer) {
            Refusal::Code { reason, .. } => assert!(reason.as_str().contains(named), "{reason}"),
            other => panic!("refused for another reason: {other:?}"),
        }
    }
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    let prefix = [0x52, 0xbc, 0x53, 0x76, 0x46, 0xdb, 0x8e, 0x05];
    [prefix.to_vec(), zstd::encode_all(plain, 1).unwrap()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decompression_bomb_in_code_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let bomb = lazaret::Code::new(&compressed(&vec![0; 200 << 20])).unwrap();
    let answer = host.precheck(&bomb, &Default::default()).await.unwrap();
    assert!(matches!(refusal(&answer), Refusal::Code { step: CodeStep::Decode, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn code_of_exactly_the_limit_is_decompressed_and_one_byte_more_is_not() {
    const MAX_CODE_SIZE: u32 = 1000;
    let cache = tempfile::tempdir().unwrap();
    let code_bytes_max = pvf::code_decompressed_bytes_max(MAX_CODE_SIZE);
    let limits = PrepareLimits { code_bytes_max, ..PrepareLimits::default() };
    let host = started(builder(cache.path()).prepare_limits(limits)).await;
    for (bytes, vote) in [(code_bytes_max, Vote::For), (code_bytes_max + 1, Vote::Against)] {
        let code = compressed(&module_of(bytes as usize));
        assert!(code.len() < MAX_CODE_SIZE as usize);
        let answer = host.precheck(&Code::new(&code).unwrap(), &Params::default()).await;
        assert_eq!(pvf::precheck_vote(&answer), vote, "{bytes} bytes: {answer:?}");
    }
}

/// A module of so many bytes, most of them in a custom section.
fn module_of(bytes: usize) -> Vec<u8> {
    let module = wat::parse_str(
        r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64) unreachable))"#,
    );
    let mut module = module.unwrap();
    // Section 0, its length in two bytes of LEB128, a name of no bytes.
    let length = bytes - module.len() - 3;
    assert!((0x80..0x4000).contains(&length), "two bytes of LEB128");
    module.extend([0, length as u8 | 0x80, (length >> 7) as u8, 0]);
    module.resize(bytes, 0);
    module
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decompression_bomb_in_a_block_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let parts = |block_data: Vec<u8>| {
        Block::parts(ValidationParams {
            parent_head: vec![1; 72],
            block_data,
            relay_parent_number: 1,
            relay_parent_storage_root: [2; 32],
            extension: None,
        })
    };
    let code = trivial(8);
    let bomb = parts(compressed(&vec![0; 200 << 20]));
    let answer = host.validate(&code, bomb, &Settings::default()).await;
    assert_eq!(pvf::vote(&answer), Vote::Against);
    assert!(matches!(refusal(&answer.unwrap()), Refusal::BadInput(_)));
    let honest = parts(compressed(&vec![0; 1 << 20]));
    returned(&host.validate(&code, honest, &Settings::default()).await.unwrap());
}

/// A guest whose new head is the last 65 bytes of its input: as long as an extension of version 3.
fn last_bytes_of_the_input() -> lazaret::Code {
    guest(
        "(local $at i32)
        (i32.store16 (i32.const 512) (i32.const 0x0105))
        (loop $copy
          (i32.store8 (i32.add (i32.const 514) (local.get $at))
            (i32.load8_u (i32.add (local.get $at)
              (i32.sub (i32.add (local.get 0) (local.get 1)) (i32.const 65)))))
          (br_if $copy (i32.lt_u
            (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 65))))
        (i64.const 0x0000_004e_0000_0200)",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_extension_of_descriptor_version_3_ends_what_the_guest_is_given() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let code = last_bytes_of_the_input();
    let plain = ValidationParams {
        parent_head: vec![1; 72],
        block_data: vec![4; 100],
        relay_parent_number: 5,
        relay_parent_storage_root: [2; 32],
        extension: None,
    };
    let (relay_parent, scheduling_parent) = ([8; 32], [9; 32]);
    let extension = ValidationParamsExtension::V3 { relay_parent, scheduling_parent };
    let extended = ValidationParams { extension: Some(extension), ..plain.clone() };
    for params in [plain, extended] {
        let encoded = params.encode();
        for block in [Block::encoded(encoded.clone()), Block::parts(params)] {
            let answer = host.validate(&code, block, &Settings::default()).await.unwrap();
            assert_eq!(returned(&answer).result.head_data, encoded[encoded.len() - 65..]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn block_data_of_exactly_the_limit_is_decompressed_and_one_byte_more_is_not() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let params = |bytes: u64| ValidationParams {
        parent_head: Vec::new(),
        block_data: compressed(&vec![0; bytes as usize]),
        relay_parent_number: 1,
        relay_parent_storage_root: [2; 32],
        extension: None,
    };
    for (bytes, expected) in [
        // So much is decompressed, and then does not fit the guest's heap, as on the network.
        (BLOCK_DATA_BYTES_MAX, "input-too-large"),
        (BLOCK_DATA_BYTES_MAX + 1, "bad-input"),
    ] {
        let block = Block::parts(params(bytes));
        let answer = host.validate(&trivial(8), block, &Settings::default()).await.unwrap();
        let found = match refusal(&answer) {
            Refusal::InputTooLarge { .. } => "input-too-large",
            Refusal::BadInput(_) => "bad-input",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "{bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guest_returns_must_be_a_result_within_its_memory() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    for body in ["(i64.const 0)", "(i64.const -1)", "(i64.const 0x0000_0001_0001_0000)"] {
        let answer = host.validate(&guest(body), block(), &Settings::default()).await.unwrap();
        assert!(matches!(refusal(&answer), Refusal::BadOutput(_)), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_program_that_is_none_is_a_fault_within_a_bounded_time() {
    for program in ["/bin/true", "/bin/cat"] {
        let started = lazaret::Host::builder().worker_program(program).start().await;
        assert!(matches!(started, Err(Fault::NoGreeting(_))), "{program}: {started:?}");
    }
    let missing = lazaret::Host::builder().worker_program("/nowhere").start().await;
    assert!(matches!(missing, Err(Fault::Spawn(_))), "{missing:?}");
}
