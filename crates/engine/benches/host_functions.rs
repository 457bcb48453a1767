//! Host functions as a guest calls them, beside the crates that do the work: what is between the two
//! is the crossing, the checks of pointers, and the allocation of the result.
//! `cargo bench -p lazaret-engine --bench host_functions`.

use divan::{Bencher, black_box, counter::ItemsCount};
use guests::{Guest, TURNS};
use sp_core::{Pair, ed25519, sr25519};

mod guests;

const LENGTHS: [usize; 3] = [32, 1_024, 65_536];
const MESSAGE: &[u8; 32] = &[7; 32];

fn main() {
    divan::main();
}

fn hash_through_the_import(bencher: Bencher<'_, '_>, name: &str, length: usize) {
    let guest = Guest::that_repeats(
        &format!(
            r#"(import "env" "{name}" (func $hash (param i64) (result i32)))
               (import "env" "ext_allocator_free_version_1" (func $free (param i32)))"#
        ),
        "(call $free (call $hash (call $give (local.get $ptr) (local.get $len))))",
    );
    guest.bench(bencher, &vec![7; length]);
}

fn hash_by_itself<R>(bencher: Bencher<'_, '_>, length: usize, hash: impl Fn(&[u8]) -> R) {
    let bytes = vec![7; length];
    bencher.counter(ItemsCount::new(TURNS)).bench_local(|| {
        for _ in 0..TURNS {
            black_box(hash(black_box(&bytes)));
        }
    });
}

/// The least that any crossing costs: no argument, a constant for an answer.
#[divan::bench]
fn nothing_through_the_import(bencher: Bencher<'_, '_>) {
    let name = "ext_logging_max_level_version_1";
    let import = format!(r#"(import "env" "{name}" (func $level (result i32)))"#);
    Guest::that_repeats(&import, "(drop (call $level))").bench(bencher, &[]);
}

#[divan::bench(args = LENGTHS, sample_count = 20)]
fn blake2_256_through_the_import(bencher: Bencher<'_, '_>, length: usize) {
    hash_through_the_import(bencher, "ext_hashing_blake2_256_version_1", length);
}

#[divan::bench(args = LENGTHS, sample_count = 20)]
fn blake2_256_by_itself(bencher: Bencher<'_, '_>, length: usize) {
    hash_by_itself(bencher, length, sp_crypto_hashing::blake2_256);
}

#[divan::bench(args = LENGTHS, sample_count = 20)]
fn keccak_256_through_the_import(bencher: Bencher<'_, '_>, length: usize) {
    hash_through_the_import(bencher, "ext_hashing_keccak_256_version_1", length);
}

#[divan::bench(args = LENGTHS, sample_count = 20)]
fn keccak_256_by_itself(bencher: Bencher<'_, '_>, length: usize) {
    hash_by_itself(bencher, length, sp_crypto_hashing::keccak_256);
}

#[divan::bench(args = LENGTHS, sample_count = 20)]
fn twox_128_through_the_import(bencher: Bencher<'_, '_>, length: usize) {
    hash_through_the_import(bencher, "ext_hashing_twox_128_version_1", length);
}

#[divan::bench(args = LENGTHS, sample_count = 20)]
fn twox_128_by_itself(bencher: Bencher<'_, '_>, length: usize) {
    hash_by_itself(bencher, length, sp_crypto_hashing::twox_128);
}

/// The input is signature, key and message in a row.
fn verify_through_the_import(bencher: Bencher<'_, '_>, name: &str, signature: &[u8], key: &[u8]) {
    let [at_key, at_message] = [signature.len(), signature.len() + key.len()]
        .map(|offset| format!("(i32.add (local.get $ptr) (i32.const {offset}))"));
    let length = MESSAGE.len();
    let guest = Guest::that_repeats(
        &format!(r#"(import "env" "{name}" (func $verify (param i32 i64 i32) (result i32)))"#),
        &format!(
            "(if (i32.eqz (call $verify (local.get $ptr)
                (call $give {at_message} (i32.const {length})) {at_key})) (then (unreachable)))"
        ),
    );
    guest.bench(bencher, &[signature, key, MESSAGE].concat());
}

fn verify_by_itself<P: Pair>(bencher: Bencher<'_, '_>, pair: &P) {
    let (signature, key) = (pair.sign(MESSAGE), pair.public());
    bencher.counter(ItemsCount::new(TURNS)).bench_local(|| {
        for _ in 0..TURNS {
            assert!(P::verify(black_box(&signature), MESSAGE, black_box(&key)));
        }
    });
}

#[divan::bench(sample_count = 5)]
fn ed25519_verify_through_the_import(bencher: Bencher<'_, '_>) {
    let pair = ed25519::Pair::from_seed(&[1; 32]);
    let (signature, key) = (pair.sign(MESSAGE), pair.public());
    let name = "ext_crypto_ed25519_verify_version_1";
    verify_through_the_import(bencher, name, signature.as_ref(), key.as_ref());
}

#[divan::bench(sample_count = 5)]
fn ed25519_verify_by_itself(bencher: Bencher<'_, '_>) {
    verify_by_itself(bencher, &ed25519::Pair::from_seed(&[1; 32]));
}

#[divan::bench(sample_count = 5)]
fn sr25519_verify_through_the_import(bencher: Bencher<'_, '_>) {
    let pair = sr25519::Pair::from_seed(&[1; 32]);
    let (signature, key) = (pair.sign(MESSAGE), pair.public());
    let name = "ext_crypto_sr25519_verify_version_2";
    verify_through_the_import(bencher, name, signature.as_ref(), key.as_ref());
}

#[divan::bench(sample_count = 5)]
fn sr25519_verify_by_itself(bencher: Bencher<'_, '_>) {
    verify_by_itself(bencher, &sr25519::Pair::from_seed(&[1; 32]));
}
