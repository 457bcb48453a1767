//! Each segment of a program lies in large pages of its own, so that the text of its workers can
//! (docs/performance.md).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-Wl,-z,max-page-size=2097152");
    println!("cargo::rustc-link-arg=-Wl,-z,separate-code");
}
