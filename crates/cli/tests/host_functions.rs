//! Every host function of a PVF, called from inside a real job: what it computes is tested in the
//! engine; here it must do so behind the final filter, without clock, CPUID or a second descriptor.

mod support;

use std::fs;

use lazaret::{Host, Refusal, TrapKind, pvf::Settings};
use support::{EMPTY_RESULT, block, code, data, host, refusal, returned, skipped};

/// Name, parameters and result: `p` a pointer to 128 zeros, `b` one zero byte by fat pointer, `l` a
/// long run of bytes by fat pointer, `n` the number 0, `i` and `j` a result of 32 or 64 bits.
const WORKING: &[(&str, &str, &str)] = &[
    ("ext_allocator_malloc_version_1", "n", "i"),
    ("ext_crypto_ecdsa_batch_verify_version_1", "pbp", "i"),
    ("ext_crypto_ecdsa_verify_prehashed_version_1", "ppp", "i"),
    ("ext_crypto_ecdsa_verify_version_1", "plp", "i"),
    ("ext_crypto_ecdsa_verify_version_2", "plp", "i"),
    ("ext_crypto_ed25519_batch_verify_version_1", "pbp", "i"),
    ("ext_crypto_ed25519_verify_version_1", "plp", "i"),
    ("ext_crypto_secp256k1_ecdsa_recover_compressed_version_1", "pp", "j"),
    ("ext_crypto_secp256k1_ecdsa_recover_compressed_version_2", "pp", "j"),
    ("ext_crypto_secp256k1_ecdsa_recover_version_1", "pp", "j"),
    ("ext_crypto_secp256k1_ecdsa_recover_version_2", "pp", "j"),
    ("ext_crypto_sr25519_batch_verify_version_1", "pbp", "i"),
    ("ext_crypto_sr25519_verify_version_1", "plp", "i"),
    ("ext_crypto_sr25519_verify_version_2", "plp", "i"),
    ("ext_crypto_start_batch_verify_version_1", "", ""),
    ("ext_hashing_blake2_128_version_1", "l", "i"),
    ("ext_hashing_blake2_256_version_1", "l", "i"),
    ("ext_hashing_keccak_256_version_1", "l", "i"),
    ("ext_hashing_keccak_512_version_1", "l", "i"),
    ("ext_hashing_sha2_256_version_1", "l", "i"),
    ("ext_hashing_twox_128_version_1", "l", "i"),
    ("ext_hashing_twox_256_version_1", "l", "i"),
    ("ext_hashing_twox_64_version_1", "l", "i"),
    ("ext_logging_log_version_1", "nbl", ""),
    ("ext_logging_max_level_version_1", "", "i"),
    ("ext_misc_print_hex_version_1", "l", ""),
    ("ext_misc_print_num_version_1", "b", ""),
    ("ext_misc_print_utf8_version_1", "l", ""),
    ("ext_misc_runtime_version_version_1", "l", "j"),
    ("ext_trie_blake2_256_ordered_root_version_1", "b", "i"),
    ("ext_trie_blake2_256_ordered_root_version_2", "bn", "i"),
    ("ext_trie_blake2_256_root_version_1", "b", "i"),
    ("ext_trie_blake2_256_root_version_2", "bn", "i"),
    ("ext_trie_blake2_256_verify_proof_version_1", "pbbb", "i"),
    ("ext_trie_blake2_256_verify_proof_version_2", "pbbbn", "i"),
    ("ext_trie_keccak_256_ordered_root_version_1", "b", "i"),
    ("ext_trie_keccak_256_ordered_root_version_2", "bn", "i"),
    ("ext_trie_keccak_256_root_version_1", "b", "i"),
    ("ext_trie_keccak_256_root_version_2", "bn", "i"),
    ("ext_trie_keccak_256_verify_proof_version_1", "pbbb", "i"),
    ("ext_trie_keccak_256_verify_proof_version_2", "pbbbn", "i"),
];

/// Two that only make sense after another.
const AFTER_ANOTHER: [&str; 2] =
    ["ext_allocator_free_version_1", "ext_crypto_finish_batch_verify_version_1"];

/// Known functions that trap, whose types are checked all the same.
const KEYSTORE: &[(&str, &str, &str)] = &[
    ("ext_crypto_sr25519_generate_version_1", "nb", "i"),
    ("ext_crypto_sr25519_public_keys_version_1", "n", "j"),
    ("ext_crypto_sr25519_sign_version_1", "npb", "j"),
];

fn types(letters: &str) -> String {
    let ty = |letter| if "pni".contains(letter) { "i32 " } else { "i64 " };
    letters.chars().map(ty).collect()
}

fn import(name: &str, parameters: &str, result: &str) -> String {
    let (parameters, result) = (types(parameters), types(result));
    format!(r#"(import "env" "{name}" (func ${name} (param {parameters}) (result {result})))"#)
}

fn call(name: &str, parameters: &str, result: &str) -> String {
    let argument = |letter| match letter {
        'p' => "(i32.const 4096)",
        'n' => "(i32.const 0)",
        'b' => "(i64.const 0x0000_0001_0000_1000)",
        _ => "(i64.const 0x0000_a000_0000_1000)",
    };
    let call = format!("(call ${name} {})", parameters.chars().map(argument).collect::<String>());
    if result.is_empty() { call } else { format!("(drop {call})") }
}

fn guest(imports: &str, body: &str) -> lazaret::Code {
    code(&format!(
        r#"(module {imports}
            (memory (export "memory") 2)
            (global (export "__heap_base") i32 (i32.const 65536))
            (func (export "validate_block") (param i32 i32) (result i64)
                {body} (i64.const 0x0000_000c_0000_0200)))"#
    ))
}

async fn expect_return(host: &Host, name: &str, imports: &str, body: &str) {
    let answer = host.validate(&guest(imports, body), block(), &Settings::default()).await;
    let answer = answer.unwrap_or_else(|fault| panic!("{name}: {fault}"));
    assert_eq!(answer.attempts, 1, "{name}: {:?}", answer.verdict);
    assert_eq!(returned(&answer).encoded, EMPTY_RESULT, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_host_function_works_inside_the_jail() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    for (name, parameters, result) in WORKING {
        let body = call(name, parameters, result);
        expect_return(&host, name, &import(name, parameters, result), &body).await;
    }
    let imports = [
        import("ext_allocator_malloc_version_1", "n", "i"),
        import("ext_allocator_free_version_1", "n", ""),
        import("ext_crypto_start_batch_verify_version_1", "", ""),
        import("ext_crypto_finish_batch_verify_version_1", "", "i"),
    ];
    let body = "(call $ext_allocator_free_version_1
            (call $ext_allocator_malloc_version_1 (i32.const 8)))
        (call $ext_crypto_start_batch_verify_version_1)
        (drop (call $ext_crypto_finish_batch_verify_version_1))";
    expect_return(&host, "free and finish", &imports.concat(), body).await;
    // So much that the job has its pages found at once, behind its last doors.
    let body =
        "(i32.store (call $ext_allocator_malloc_version_1 (i32.const 200000)) (i32.const 1))";
    expect_return(&host, "a large allocation", &imports.concat(), body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_import_of_real_runtimes_links_and_traps_naming_itself() {
    let Some(pvf) = data("pvf") else {
        return skipped(60, "imports of real runtimes: there is no ../shared/data/pvf");
    };
    let listed = fs::read_to_string(pvf.join("imports.txt")).unwrap();
    let names = listed
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().nth(2))
        .filter(|name| name.starts_with("ext_") && !AFTER_ANOTHER.contains(name))
        .filter(|name| WORKING.iter().all(|(working, ..)| working != name));
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let mut tried = 0;
    for name in names {
        let known = KEYSTORE.iter().find(|(known, ..)| *known == name);
        let (_, parameters, result) = known.copied().unwrap_or((name, "nb", "j"));
        let code = guest(&import(name, parameters, result), &call(name, parameters, result));
        let answer = host.validate(&code, block(), &Settings::default()).await.unwrap();
        match refusal(&answer) {
            Refusal::Trap { kind: TrapKind::HostFunction, message } => {
                assert!(message.as_str().contains(name), "{name}: {message}");
            }
            other => panic!("{name}: {other:?}"),
        }
        tried += 1;
    }
    assert!(tried >= 55, "{tried} imports");
}
