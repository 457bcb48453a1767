//! Every host function through a guest that imports it, against known answers.

mod shared;

use lazaret_engine::pvf::Reply;
use lazaret_engine::{ExecuteError, TrapKind};
use parity_scale_codec::{Decode, Encode};
use sp_core::{Blake2Hasher, ByteArray, KeccakHasher, Pair, ecdsa, ed25519, sr25519};
use sp_trie::{LayoutV0, LayoutV1, TrieConfiguration};

/// An argument of a host function.
enum Arg<'a> {
    /// A pointer to these bytes.
    At(&'a [u8]),
    /// Pointer and length of these bytes.
    Fat(&'a [u8]),
    I32(u32),
    I64(u64),
}

/// How the result becomes output.
#[derive(Clone, Copy)]
enum Returns {
    Nothing,
    Number,
    /// A pointer to this many bytes.
    At(u32),
    Fat,
}

/// Text of a guest that calls one host function, and the input that holds its arguments.
fn guest(name: &str, args: &[Arg<'_>], returns: Returns) -> (String, Vec<u8>) {
    let (mut input, mut types, mut values) = (Vec::new(), String::new(), String::new());
    for arg in args {
        let at = format!("(i32.add (local.get $ptr) (i32.const {}))", input.len());
        let (ty, value) = match arg {
            Arg::At(bytes) => {
                input.extend_from_slice(bytes);
                ("i32", at)
            }
            Arg::Fat(bytes) => {
                input.extend_from_slice(bytes);
                ("i64", format!("(call $give {at} (i32.const {}))", bytes.len()))
            }
            Arg::I32(number) => ("i32", format!("(i32.const {number})")),
            Arg::I64(number) => ("i64", format!("(i64.const {number})")),
        };
        types.push_str(&format!("(param {ty})"));
        values.push_str(&value);
    }
    let call = format!("(call $f {values})");
    let (result, body) = match returns {
        Returns::Nothing => ("", format!("{call} (i64.const 0)")),
        Returns::Number => (
            "(result i32)",
            format!("(i32.store (i32.const 64) {call}) (call $give (i32.const 64) (i32.const 4))"),
        ),
        Returns::At(length) => {
            ("(result i32)", format!("(call $give {call} (i32.const {length}))"))
        }
        Returns::Fat => ("(result i64)", call),
    };
    let import = format!(r#"(import "env" "{name}" (func $f {types} {result}))"#);
    (shared::runtime(&import, &body), input)
}

fn call(name: &str, args: &[Arg<'_>], returns: Returns) -> Result<Reply, ExecuteError> {
    let (text, input) = guest(name, args, returns);
    shared::run(&text, &input)
}

fn output(name: &str, args: &[Arg<'_>], returns: Returns) -> Vec<u8> {
    call(name, args, returns).unwrap_or_else(|error| panic!("{name}: {error}")).output().to_vec()
}

fn is_true(name: &str, args: &[Arg<'_>]) -> bool {
    u32::decode(&mut &output(name, args, Returns::Number)[..]).unwrap() == 1
}

fn trap_text(reply: Result<Reply, ExecuteError>) -> String {
    match reply {
        Err(ExecuteError::Trap { kind: TrapKind::HostCall, text }) => text,
        other => panic!("expected a trap by a host function, got {other:?}"),
    }
}

#[test]
fn hashes_are_the_published_ones() {
    let cases = [
        ("blake2_128", "cf4ab791c62b8d2b2109c90275287816"),
        ("blake2_256", "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"),
        ("keccak_256", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
        ("sha2_256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("twox_64", "990977adf52cbc44"),
    ];
    for (name, expected) in cases {
        let name = format!("ext_hashing_{name}_version_1");
        let length = expected.len() as u32 / 2;
        let digest = output(&name, &[Arg::Fat(b"abc")], Returns::At(length));
        assert_eq!(hex::encode(digest), expected, "{name}");
    }
    let message = b"longer than one block ".repeat(20);
    let fat = || [Arg::Fat(&message)];
    let keccak = output("ext_hashing_keccak_512_version_1", &fat(), Returns::At(64));
    assert_eq!(keccak, sp_crypto_hashing::keccak_512(&message));
    let twox = output("ext_hashing_twox_128_version_1", &fat(), Returns::At(16));
    assert_eq!(twox, sp_crypto_hashing::twox_128(&message));
    let twox = output("ext_hashing_twox_256_version_1", &fat(), Returns::At(32));
    assert_eq!(twox, sp_crypto_hashing::twox_256(&message));
}

/// A good signature verifies, and not for another message.
fn check_verification(names: &[&str], sig: &[u8], key: &[u8]) {
    for name in names {
        let name = format!("ext_crypto_{name}");
        let verify = |message| is_true(&name, &[Arg::At(sig), Arg::Fat(message), Arg::At(key)]);
        assert!(verify(b"message"), "{name}");
        assert!(!verify(b"massage"), "{name}");
    }
}

#[test]
fn good_signatures_verify_and_bad_ones_do_not() {
    let pair = ed25519::Pair::from_seed(&[1; 32]);
    let (sig, key) = (pair.sign(b"message"), pair.public());
    let names = ["ed25519_verify_version_1", "ed25519_batch_verify_version_1"];
    check_verification(&names, sig.as_ref(), key.as_ref());

    let pair = sr25519::Pair::from_seed(&[1; 32]);
    let (sig, key) = (pair.sign(b"message"), pair.public());
    let names =
        ["sr25519_verify_version_1", "sr25519_verify_version_2", "sr25519_batch_verify_version_1"];
    check_verification(&names, sig.as_ref(), key.as_ref());

    let pair = ecdsa::Pair::from_seed(&[1; 32]);
    let (sig, key) = (pair.sign(b"message"), pair.public());
    let names =
        ["ecdsa_verify_version_1", "ecdsa_verify_version_2", "ecdsa_batch_verify_version_1"];
    check_verification(&names, sig.as_ref(), key.as_ref());
}

#[test]
fn sr25519_version_1_accepts_signatures_from_before_the_audit_and_version_2_does_not() {
    // From sp-core's own tests: a signature polkadot-js made over "SUBSTRATE".
    let sig = hex::decode("28a854d54903e056f89581c691c1f7d2ff39f8f896c9e9c22475e60902cc2b3547199e0e91fa32902028f2ca2355e8cdd16cfe19ba5e8b658c94aa80f3b81a00").unwrap();
    let key = sr25519::Pair::from_string("//Alice", None).unwrap().public();
    let args = || [Arg::At(&sig), Arg::Fat(b"SUBSTRATE"), Arg::At(key.as_ref())];
    let accepted = [1, 2]
        .map(|version| is_true(&format!("ext_crypto_sr25519_verify_version_{version}"), &args()));
    let deprecated = sr25519::Pair::verify_deprecated(
        &<[u8; 64]>::try_from(&sig[..]).unwrap().into(),
        b"SUBSTRATE",
        &key,
    );
    assert_eq!(accepted, [deprecated, false]);
}

#[test]
fn ecdsa_over_a_digest_verifies() {
    let pair = ecdsa::Pair::from_seed(&[1; 32]);
    let (sig, key) = (pair.sign_prehashed(&[5; 32]), pair.public());
    let name = "ext_crypto_ecdsa_verify_prehashed_version_1";
    let verify = |digest: [u8; 32]| {
        is_true(name, &[Arg::At(sig.as_ref()), Arg::At(&digest), Arg::At(key.as_ref())])
    };
    assert!(verify([5; 32]) && !verify([6; 32]));
}

#[test]
fn keys_are_recovered_with_the_error_encoding_of_the_network() {
    let pair = ecdsa::Pair::from_seed(&[1; 32]);
    let mut sig: [u8; 65] = pair.sign_prehashed(&[5; 32]).into();
    let recover = |name: &str, sig: &[u8]| {
        output(
            &format!("ext_crypto_secp256k1_ecdsa_{name}"),
            &[Arg::At(sig), Arg::At(&[5; 32])],
            Returns::Fat,
        )
    };
    let compressed = [&[0][..], pair.public().as_slice()].concat();
    for add in [0, 27] {
        sig[64] += add;
        for version in [1, 2] {
            assert_eq!(recover(&format!("recover_compressed_version_{version}"), &sig), compressed);
            let full = recover(&format!("recover_version_{version}"), &sig);
            // The x coordinate is what a compressed key holds behind its first byte.
            assert_eq!((full.len(), &full[1..33]), (65, &compressed[2..]));
        }
    }
    for version in [1, 2] {
        let name = format!("recover_version_{version}");
        let mut bad = sig;
        bad[64] = 4;
        assert_eq!(recover(&name, &bad), [1, 1], "bad V");
        let zero = [0; 65];
        assert_eq!(recover(&name, &zero)[0], 1, "a signature of zeros");
    }
    let mut overflowing = sig;
    overflowing[..32].fill(0xff);
    assert_eq!(recover("recover_version_2", &overflowing), [1, 0], "bad R");
    assert_ne!(recover("recover_version_1", &overflowing), [1, 0], "version 1 reduces");
}

#[test]
fn a_batch_answers_whether_all_signatures_were_good() {
    let pair = ed25519::Pair::from_seed(&[1; 32]);
    let input = [&pair.sign(b"m")[..], &pair.public()[..], b"m"].concat();
    let imports = r#"
        (import "env" "ext_crypto_start_batch_verify_version_1" (func $start))
        (import "env" "ext_crypto_finish_batch_verify_version_1" (func $finish (result i32)))
        (import "env" "ext_crypto_ed25519_batch_verify_version_1"
            (func $verify (param i32 i64 i32) (result i32)))"#;
    let verify = |message_at: u32| {
        format!(
            "(drop (call $verify (local.get $ptr)
                (call $give (i32.add (local.get $ptr) (i32.const {message_at})) (i32.const 1))
                (i32.add (local.get $ptr) (i32.const 64))))"
        )
    };
    let answer =
        "(i32.store (i32.const 64) (call $finish)) (call $give (i32.const 64) (i32.const 1))";
    let run = |body: String| shared::run(&shared::runtime(imports, &body), &input);
    let good = run(format!("(call $start) {} {answer}", verify(96)));
    assert_eq!(good.unwrap().output(), [1]);
    let bad = run(format!("(call $start) {} {} {answer}", verify(0), verify(96)));
    assert_eq!(bad.unwrap().output(), [0]);
    assert!(trap_text(run(answer.to_owned())).contains("no batch"));
    assert!(trap_text(run(format!("(call $start) (call $start) {answer}"))).contains("already"));
}

#[test]
fn trie_roots_are_those_of_sp_trie() {
    let pairs = vec![(b"key".to_vec(), b"value".to_vec()), (b"k".to_vec(), vec![7; 50])];
    let values = vec![b"one".to_vec(), vec![2; 40]];
    let (pairs_scale, values_scale) = (pairs.encode(), values.encode());
    let root = |name: &str, input: &[u8], version: Option<u32>| {
        let name = format!("ext_trie_{name}_version_{}", 1 + u32::from(version.is_some()));
        let mut args = vec![Arg::Fat(input)];
        args.extend(version.map(Arg::I32));
        output(&name, &args, Returns::At(32))
    };
    macro_rules! check {
        ($name:literal, $hasher:ty) => {
            let v0 = LayoutV0::<$hasher>::trie_root(pairs.clone()).0;
            let v1 = LayoutV1::<$hasher>::trie_root(pairs.clone()).0;
            let name = concat!($name, "_root");
            assert_eq!(root(name, &pairs_scale, None), v0);
            assert_eq!(root(name, &pairs_scale, Some(0)), v0);
            assert_eq!(root(name, &pairs_scale, Some(1)), v1);
            let v0 = LayoutV0::<$hasher>::ordered_trie_root(values.clone()).0;
            let v1 = LayoutV1::<$hasher>::ordered_trie_root(values.clone()).0;
            let name = concat!($name, "_ordered_root");
            assert_eq!(root(name, &values_scale, None), v0);
            assert_eq!(root(name, &values_scale, Some(0)), v0);
            assert_eq!(root(name, &values_scale, Some(1)), v1);
        };
    }
    check!("blake2_256", Blake2Hasher);
    check!("keccak_256", KeccakHasher);
}

#[test]
fn trie_functions_trap_on_unknown_versions_and_undecodable_input() {
    let name = "ext_trie_blake2_256_ordered_root_version_2";
    let unknown = call(name, &[Arg::Fat(&[0]), Arg::I32(2)], Returns::At(32));
    assert!(trap_text(unknown).contains("state version"));
    let name = "ext_trie_blake2_256_root_version_1";
    let clipped = call(name, &[Arg::Fat(&[4, 4])], Returns::At(32));
    assert!(trap_text(clipped).contains("decode"));
}

#[test]
fn trie_proofs_verify() {
    // A trie of one small leaf: the proof is that leaf without its value, which is passed in.
    let root = LayoutV1::<Blake2Hasher>::trie_root([(b"k".to_vec(), b"value".to_vec())]);
    let leaf_without_value = vec![vec![0x42, b'k', 0]];
    let proof = leaf_without_value.encode();
    for (name, version) in [("version_1", None), ("version_2", Some(0)), ("version_2", Some(1))] {
        let verify = |value: &[u8]| {
            let mut args =
                vec![Arg::At(&root.0), Arg::Fat(&proof), Arg::Fat(b"k"), Arg::Fat(value)];
            args.extend(version.map(Arg::I32));
            is_true(&format!("ext_trie_blake2_256_verify_proof_{name}"), &args)
        };
        assert!(verify(b"value") && !verify(b"other"));
        let mut args =
            vec![Arg::At(&[9; 32]), Arg::Fat(&proof), Arg::Fat(b"k"), Arg::Fat(b"value")];
        args.extend(version.map(Arg::I32));
        assert!(!is_true(&format!("ext_trie_keccak_256_verify_proof_{name}"), &args));
    }
}

#[test]
fn lines_reach_the_sink_as_they_are() {
    let logged = |name: &str, args: &[Arg<'_>]| {
        let (text, input) = guest(name, args, Returns::Nothing);
        let (reply, lines) = shared::run_logged(&text, &input);
        (reply.is_ok(), lines)
    };
    let log = "ext_logging_log_version_1";
    let args = [Arg::I32(0x102), Arg::Fat(b"pallet"), Arg::Fat("grüße".as_bytes())];
    assert_eq!(logged(log, &args), (true, vec!["Info pallet: grüße".into()]));
    assert_eq!(logged(log, &[Arg::I32(0), Arg::Fat(b"t"), Arg::Fat(b"\xff")]), (true, vec![]));
    assert_eq!(logged(log, &[Arg::I32(0), Arg::Fat(b"\xff"), Arg::Fat(b"")]), (false, vec![]));
    assert_eq!(logged(log, &[Arg::I32(5), Arg::Fat(b"t"), Arg::Fat(b"")]), (false, vec![]));
    let number = logged("ext_misc_print_num_version_1", &[Arg::I64(u64::MAX)]);
    assert_eq!(number.1, ["Debug runtime: 18446744073709551615"]);
    assert_eq!(
        logged("ext_misc_print_utf8_version_1", &[Arg::Fat(b"hi")]).1,
        ["Debug runtime: hi"]
    );
    assert_eq!(logged("ext_misc_print_utf8_version_1", &[Arg::Fat(b"\xff")]), (true, vec![]));
    assert_eq!(
        logged("ext_misc_print_hex_version_1", &[Arg::Fat(&[0, 255])]).1,
        ["Debug runtime: 00ff"]
    );
    assert_eq!(output("ext_logging_max_level_version_1", &[], Returns::Number), 3u32.encode());
}

#[test]
fn the_version_of_a_blob_is_read_from_its_sections_and_nothing_else() {
    let name = "ext_misc_runtime_version_version_1";
    let fixed = ("spec", "impl", 1u32, 2u32, 3u32, Vec::<u8>::new()).encode();
    let mut blob = b"\0asm\x01\0\0\0".to_vec();
    let section = [&[15][..], b"runtime_version", &fixed].concat();
    blob.extend([&[0, section.len() as u8][..], &section].concat());
    let expected = Some([&fixed[..], &1u32.encode(), &[0]].concat()).encode();
    assert_eq!(output(name, &[Arg::Fat(&blob)], Returns::Fat), expected);
    blob.push(1); // A second section that is cut off: the network's parser refuses the whole blob.
    assert_eq!(output(name, &[Arg::Fat(&blob)], Returns::Fat), [0]);
    assert_eq!(output(name, &[Arg::Fat(b"")], Returns::Fat), [0]);
}

#[test]
fn pointers_outside_the_memory_trap_and_say_so() {
    let hash = "ext_hashing_blake2_256_version_1";
    for fat in [u64::MAX, 1 << 63, 0xffff_ffff, 2 << 16 | 1 << 32] {
        let text = trap_text(call(hash, &[Arg::I64(fat)], Returns::At(32)));
        assert!(text.contains(hash) && text.contains("outside the memory"), "{text}");
    }
    let verify = "ext_crypto_ed25519_verify_version_1";
    let args = [Arg::I32(u32::MAX), Arg::Fat(b""), Arg::I32(0)];
    assert!(trap_text(call(verify, &args, Returns::Number)).contains("outside the memory"));
}

#[test]
fn functions_without_a_keystore_and_missing_functions_trap_and_name_themselves() {
    let name = "ext_crypto_sr25519_generate_version_1";
    let text = trap_text(call(name, &[Arg::I32(0), Arg::I64(0)], Returns::At(32)));
    assert!(text.contains(name) && text.contains("keystore"), "{text}");
    let name = "ext_panic_handler_abort_on_panic_version_1";
    let text = trap_text(call(name, &[Arg::I64(0)], Returns::Nothing));
    assert_eq!(text, format!("call to a missing function env:{name}"));
}
