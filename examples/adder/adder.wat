;; A parachain whose whole state is one number, and whose blocks add to it.
;;
;; It follows Polkadot's test parachain of the same name, so that the same blocks are valid for both.
;; All numbers are little endian, SCALE-encoded:
;;
;;   head        number: u64, hash of the parent head: [u8; 32], Keccak-256 of the state: [u8; 32]
;;   block data  state: u64 (must have the hash in the parent head), what to add: u64
;;
;; validate_block gets ValidationParams and returns a ValidationResult; both have a fixed size here,
;; because a head has. Anything that is not a valid block traps.
(module
  ;; Chains import their memory; the host gives them one.
  (import "env" "memory" (memory 1))
  ;; (length << 32 | pointer) -> pointer to 32 bytes
  (import "env" "ext_hashing_keccak_256_version_1" (func $keccak_256 (param i64) (result i32)))

  ;; The host allocates from here on: the input, and what its functions return.
  (global (export "__heap_base") i32 (i32.const 1024))

  ;; Below the heap: the new state at 0, the result at 16.

  (func (export "validate_block") (param $params i32) (param $length i32) (result i64)
    (local $hash i32)
    (if (i32.lt_u (local.get $length) (i32.const 127)) (then (unreachable)))
    ;; parent_head: 72 bytes behind their compact length, 0x0121
    (if (i32.ne (i32.load16_u (local.get $params)) (i32.const 0x0121)) (then (unreachable)))
    ;; block_data: 16 bytes behind theirs, 0x40
    (if (i32.ne (i32.load8_u offset=74 (local.get $params)) (i32.const 0x40)) (then (unreachable)))

    ;; The state in the block must be the one that the parent head promises.
    (local.set $hash (call $hash (i32.add (local.get $params) (i32.const 75)) (i32.const 8)))
    (if (i32.eqz (call $same_32 (local.get $hash) (i32.add (local.get $params) (i32.const 42))))
      (then (unreachable)))

    (i64.store (i32.const 0)
      (i64.add (i64.load offset=75 (local.get $params)) (i64.load offset=83 (local.get $params))))

    ;; head_data: 72 bytes: the next number, the hash of the parent head, the hash of the new state
    (i32.store16 (i32.const 16) (i32.const 0x0121))
    (i64.store (i32.const 18) (i64.add (i64.load offset=2 (local.get $params)) (i64.const 1)))
    (call $copy_32 (i32.const 26)
      (call $hash (i32.add (local.get $params) (i32.const 2)) (i32.const 72)))
    (call $copy_32 (i32.const 58) (call $hash (i32.const 0) (i32.const 8)))
    ;; No new code, no messages up or sideways, none processed from above; the watermark is the relay
    ;; chain block that the block is anchored in.
    (i32.store (i32.const 90) (i32.const 0))
    (i32.store (i32.const 93) (i32.const 0))
    (i32.store (i32.const 97) (i32.load offset=91 (local.get $params)))
    (i64.or (i64.shl (i64.const 85) (i64.const 32)) (i64.const 16)))

  (func $hash (param $pointer i32) (param $length i32) (result i32)
    (call $keccak_256
      (i64.or
        (i64.shl (i64.extend_i32_u (local.get $length)) (i64.const 32))
        (i64.extend_i32_u (local.get $pointer)))))

  (func $same_32 (param $a i32) (param $b i32) (result i32)
    (i64.eqz
      (i64.or
        (i64.or
          (i64.xor (i64.load (local.get $a)) (i64.load (local.get $b)))
          (i64.xor (i64.load offset=8 (local.get $a)) (i64.load offset=8 (local.get $b))))
        (i64.or
          (i64.xor (i64.load offset=16 (local.get $a)) (i64.load offset=16 (local.get $b)))
          (i64.xor (i64.load offset=24 (local.get $a)) (i64.load offset=24 (local.get $b)))))))

  (func $copy_32 (param $to i32) (param $from i32)
    (i64.store (local.get $to) (i64.load (local.get $from)))
    (i64.store offset=8 (local.get $to) (i64.load offset=8 (local.get $from)))
    (i64.store offset=16 (local.get $to) (i64.load offset=16 (local.get $from)))
    (i64.store offset=24 (local.get $to) (i64.load offset=24 (local.get $from)))))
