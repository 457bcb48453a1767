//! A guest made of operators: each is applied to every pair of a table of awkward operands, and every
//! bit of what comes out is written down.

use std::fmt::Write as _;

/// Bytes of an operand and of a result; scalars take the first of them.
pub(crate) const SLOT_BYTES: usize = 16;

/// Where operands lie, and where results begin.
const OPERANDS: usize = 1024;
const RESULTS: usize = 65_536;

/// Numbers that are not alike to all instructions: zeros, ones, ends of ranges, ties of rounding,
/// subnormal numbers, infinities, NaNs quiet and signalling with payloads, and two patterns.
const WORDS: [u64; 24] = [
    0,
    1,
    0x8000_0000_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0x8000_0000_7fff_ffff,
    0x0123_4567_89ab_cdef,
    0x807f_01fe_40c0_5aa5,
    0x3ff0_0000_0000_0000, // 1
    0xbfe0_0000_0000_0000, // -0.5
    0x4004_0000_0000_0000, // 2.5
    0x000f_ffff_ffff_ffff, // the largest subnormal
    0x7ff0_0000_0000_0000, // infinity
    0xfff8_0000_0000_0001,
    0x7ff0_0000_dead_beef, // signalling
    0x41df_ffff_ffc0_0000, // 2^31 - 1
    0xc3e0_0000_0000_0000, // -2^63
    0x3f80_0000_bf00_0000, // from here on pairs of 32 bits: 1, -0.5
    0x4020_0000_c060_0000, // 2.5, -3.5
    0x7f80_0000_ff80_0000, // infinities
    0x7fc0_0001_ffa0_beef, // NaNs, the second signalling
    0x0000_0001_807f_ffff, // subnormal
    0x4f00_0000_df00_0000, // 2^31, -2^63
    0x3eaa_aaab_7f7f_ffff, // a third, the largest
];

/// Shapes of vectors and what is defined on them.
const INTEGER_SHAPES: [&str; 4] = ["i8x16", "i16x8", "i32x4", "i64x2"];

/// An operator: its instruction, the type of its operands, of its result, and how many it takes.
struct Operator {
    text: String,
    from: &'static str,
    to: &'static str,
    operands: usize,
}

fn of(from: &'static str, to: &'static str, operands: usize, words: &str) -> Vec<Operator> {
    let operator = |word: &str| Operator { text: word.replace('~', " "), from, to, operands };
    words.split_whitespace().map(operator).collect()
}

/// The same words with a type or shape before them.
fn with(prefix: &str, words: &str) -> String {
    words.split_whitespace().fold(String::new(), |all, word| all + prefix + "." + word + " ")
}

fn scalars() -> Vec<Operator> {
    let mut all = Vec::new();
    for ty in ["i32", "i64"] {
        let unary = "clz ctz popcnt extend8_s extend16_s";
        let binary = "add sub mul and or xor shl shr_s shr_u rotl rotr rem_s";
        let compare = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u";
        all.extend(of(ty, ty, 1, &with(ty, unary)));
        all.extend(of(ty, ty, 2, &with(ty, binary)));
        all.extend(of(ty, "i32", 1, &with(ty, "eqz")));
        all.extend(of(ty, "i32", 2, &with(ty, compare)));
        for float in ["f32", "f64"] {
            let words = format!("convert_{ty}_s convert_{ty}_u");
            all.extend(of(ty, float, 1, &with(float, &words)));
            let words = format!("trunc_sat_{float}_s trunc_sat_{float}_u");
            all.extend(of(float, ty, 1, &with(ty, &words)));
        }
    }
    for ty in ["f32", "f64"] {
        all.extend(of(ty, ty, 1, &with(ty, "abs neg sqrt ceil floor trunc nearest")));
        all.extend(of(ty, ty, 2, &with(ty, "add sub mul div min max copysign")));
        all.extend(of(ty, "i32", 2, &with(ty, "eq ne lt gt le ge")));
    }
    all.extend(of("i64", "i64", 1, "i64.extend32_s"));
    all.extend(of("f64", "f32", 1, "f32.demote_f64"));
    all.extend(of("f32", "f64", 1, "f64.promote_f32"));
    all
}

fn vectors() -> Vec<Operator> {
    let mut all = Vec::new();
    let mut add = |to, operands, words: &str| all.extend(of("v128", to, operands, words));
    for shape in INTEGER_SHAPES {
        add("v128", 1, &with(shape, "abs neg"));
        add("v128", 2, &with(shape, "add sub eq ne lt_s gt_s le_s ge_s"));
        add("i32", 1, &with(shape, "all_true bitmask"));
    }
    for shape in ["i8x16", "i16x8"] {
        let words = "add_sat_s add_sat_u sub_sat_s sub_sat_u avgr_u";
        add("v128", 2, &with(shape, words));
    }
    for shape in ["i8x16", "i16x8", "i32x4"] {
        let words = "lt_u gt_u le_u ge_u min_s min_u max_s max_u";
        add("v128", 2, &with(shape, words));
    }
    for (narrow, wide) in [("i8x16", "i16x8"), ("i16x8", "i32x4"), ("i32x4", "i64x2")] {
        let halves = |name: &str| {
            let ends = ["low", "high"].map(|end| format!("{name}_{end}_{narrow}"));
            ends.iter().map(|end| format!("{end}_s {end}_u ")).collect::<String>()
        };
        add("v128", 1, &with(wide, &halves("extend")));
        add("v128", 2, &with(wide, &halves("extmul")));
        add("v128", 2, &with(wide, "mul"));
    }
    add("v128", 1, "i16x8.extadd_pairwise_i8x16_s i16x8.extadd_pairwise_i8x16_u");
    add("v128", 1, "i32x4.extadd_pairwise_i16x8_s i32x4.extadd_pairwise_i16x8_u");
    add("v128", 2, "i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u i8x16.swizzle");
    add("v128", 2, "i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u");
    add("v128", 2, "i16x8.q15mulr_sat_s i32x4.dot_i16x8_s");
    add("v128", 2, "i8x16.shuffle~0~17~2~19~31~21~6~6~8~25~10~27~12~29~14~1");
    add("v128", 1, "i8x16.popcnt v128.not");
    add("v128", 2, "v128.and v128.andnot v128.or v128.xor");
    add("v128", 3, "v128.bitselect");
    add("i32", 1, "v128.any_true");
    add("i32", 1, "i8x16.extract_lane_s~5 i16x8.extract_lane_u~3 i32x4.extract_lane~2");
    for shape in ["f32x4", "f64x2"] {
        add("v128", 1, &with(shape, "abs neg sqrt ceil floor trunc nearest"));
        let words = "add sub mul div min max pmin pmax eq ne lt gt le ge";
        add("v128", 2, &with(shape, words));
    }
    add("v128", 1, "f32x4.convert_i32x4_s f32x4.convert_i32x4_u f32x4.demote_f64x2_zero");
    add("v128", 1, "f64x2.convert_low_i32x4_s f64x2.convert_low_i32x4_u f64x2.promote_low_f32x4");
    add("v128", 1, "i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u");
    add("v128", 1, "i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero");
    all
}

/// The guest, and the names of its operators in the order in which it applies them.
pub(crate) fn guest() -> (String, Vec<String>) {
    let operators: Vec<_> = scalars().into_iter().chain(vectors()).chain(shifts()).collect();
    let pages = 1 + (operators.len() * results_bytes()).div_ceil(65_536);
    let mut text = format!(
        r#"(module (memory (export "memory") {pages}) (data (i32.const {OPERANDS}) "{}")
            (func (export "alloc") (param i32) (result i32) (i32.const 16))"#,
        operands(),
    );
    let mut calls = String::new();
    for (number, operator) in operators.iter().enumerate() {
        let _ = write!(text, "(func $f{number} {})", body(operator));
        let at = RESULTS + number * results_bytes();
        let _ = write!(calls, "(call $f{number} (i32.const {at}))");
    }
    let output = ((RESULTS as u64) << 32) | (operators.len() * results_bytes()) as u64;
    let _ = write!(
        text,
        r#"(func (export "all") (param i32 i32) (result i64) {calls} (i64.const {output})))"#
    );
    (text, operators.into_iter().map(|operator| operator.text).collect())
}

/// Bytes that one operator writes.
pub(crate) const fn results_bytes() -> usize {
    WORDS.len() * WORDS.len() * SLOT_BYTES
}

/// Shifts of vectors take a number, which here comes out of the second operand.
fn shifts() -> Vec<Operator> {
    let words = INTEGER_SHAPES.map(|shape| with(shape, "shl shr_s shr_u")).concat();
    of("v128", "v128", 0, &words)
}

/// Each operand is a word and, above it, another one, so that vectors have unlike halves.
fn operands() -> String {
    let mut text = String::new();
    for number in 0..WORDS.len() {
        for word in [WORDS[number], WORDS[(number * 7 + 5) % WORDS.len()]] {
            for byte in word.to_le_bytes() {
                let _ = write!(text, "\\{byte:02x}");
            }
        }
    }
    text
}

/// Two loops around one operator.
fn body(operator: &Operator) -> String {
    let Operator { text, from, to, operands } = operator;
    let load = |local: &str| format!("({from}.load (local.get {local}))");
    let (a, b) = (load("$a"), load("$b"));
    let value = match operands {
        0 => format!("({text} {a} (i32.load (local.get $b)))"),
        1 => format!("({text} {a})"),
        2 if text.contains(".rem") => format!("({text} {a} ({from}.or {b} ({from}.const 1)))"),
        2 => format!("({text} {a} {b})"),
        _ => format!("({text} {a} {b} (v128.load offset=16 (local.get $b)))"),
    };
    let end = OPERANDS + WORDS.len() * SLOT_BYTES;
    format!(
        "(param $to i32) (local $a i32) (local $b i32)
        (local.set $a (i32.const {OPERANDS}))
        (loop $left
            (local.set $b (i32.const {OPERANDS}))
            (loop $right
                ({to}.store (local.get $to) {value})
                (local.set $to (i32.add (local.get $to) (i32.const {SLOT_BYTES})))
                (local.set $b (i32.add (local.get $b) (i32.const {SLOT_BYTES})))
                (br_if $right (i32.lt_u (local.get $b) (i32.const {end}))))
            (local.set $a (i32.add (local.get $a) (i32.const {SLOT_BYTES})))
            (br_if $left (i32.lt_u (local.get $a) (i32.const {end}))))"
    )
}
