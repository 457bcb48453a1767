// AssemblyScript. Gives its input back in the other order. See README.md for the convention and how to
// build it.

/** Room for the input. It is never freed. */
export function alloc(length: i32): usize {
  return heap.alloc(length);
}

export function reverse(pointer: usize, length: i32): u64 {
  for (let low = 0, high = length - 1; low < high; low++, high--) {
    const byte = load<u8>(pointer + low);
    store<u8>(pointer + low, load<u8>(pointer + high));
    store<u8>(pointer + high, byte);
  }
  return ((pointer as u64) << 32) | (length as u64);
}
