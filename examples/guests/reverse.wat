;; Gives its input back in the other order. The input has a fixed place, and so has the output.
(module
    (memory (export "memory") 40)
    (func (export "alloc") (param $length i32) (result i32)
        ;; Room for a MiB, from the first page on; 0 where that is not enough.
        (select (i32.const 65536) (i32.const 0) (i32.le_u (local.get $length) (i32.const 1048576))))
    (func (export "reverse") (param $pointer i32) (param $length i32) (result i64)
        (local $done i32)
        (block $end (loop $again
            (br_if $end (i32.ge_u (local.get $done) (local.get $length)))
            (i32.store8
                (i32.add (i32.const 1310720) (local.get $done))
                (i32.load8_u (i32.sub
                    (i32.add (local.get $pointer) (local.get $length))
                    (i32.add (local.get $done) (i32.const 1)))))
            (local.set $done (i32.add (local.get $done) (i32.const 1)))
            (br $again)))
        (i64.or
            (i64.shl (i64.const 1310720) (i64.const 32))
            (i64.extend_i32_u (local.get $length)))))
