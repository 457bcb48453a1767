//! Gives its input back in the other order. See README.md for the convention and how to build it.

/// Room for the input. It is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn alloc(length: usize) -> *mut u8 {
    Box::leak(vec![0; length].into_boxed_slice()).as_mut_ptr()
}

/// # Safety
///
/// The pointer came from `alloc` of that length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reverse(pointer: *mut u8, length: usize) -> u64 {
    // SAFETY: as this function asks; nobody else has the bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(pointer, length) };
    bytes.reverse();
    (bytes.as_ptr() as u64) << 32 | length as u64
}
