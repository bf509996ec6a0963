;; slugify: a JSON string on standard input, its slug as a JSON string on standard output.
;;
;; The input is read as a stream, so any length fits in one page of memory:
;;
;;      0  iovec: where and how much the next fd_read or fd_write transfers
;;      8  how much it transferred
;;     64  the error message
;;   1024  input buffer, 4096 bytes
;;   8192  output buffer, 4096 bytes
(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param $fd i32) (param $iovecs i32) (param $count i32) (param $done i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param $fd i32) (param $iovecs i32) (param $count i32) (param $done i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param $status i32)))

  (memory (export "memory") 1)
  (data (i32.const 64) "slugify: the input is not a JSON string\n")

  (global $in i32 (i32.const 1024))
  (global $in_at (mut i32) (i32.const 0))  ;; bytes taken from the input buffer
  (global $in_end (mut i32) (i32.const 0)) ;; bytes in it

  (global $out i32 (i32.const 8192))
  (global $out_size i32 (i32.const 4096))
  (global $out_end (mut i32) (i32.const 0))

  ;; Sets the iovec.
  (func $transfer (param $at i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $length)))

  ;; Ends the tool with the message and status 1.
  (func $fail
    (call $transfer (i32.const 64) (i32.const 40))
    (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $proc_exit (i32.const 1))
    unreachable)

  ;; The next byte of the input, or -1 at its end.
  (func $get (result i32)
    (if (i32.eq (global.get $in_at) (global.get $in_end))
      (then
        (call $transfer (global.get $in) (i32.const 4096))
        (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
          (then (call $fail)))
        (global.set $in_at (i32.const 0))
        (global.set $in_end (i32.load (i32.const 8)))
        (if (i32.eqz (global.get $in_end))
          (then (return (i32.const -1))))))
    (i32.load8_u (i32.add (global.get $in) (global.get $in_at)))
    (global.set $in_at (i32.add (global.get $in_at) (i32.const 1))))

  ;; Writes the output buffer out; a write may take a part only.
  (func $flush (local $at i32)
    (block $done
      (loop $more
        (br_if $done (i32.ge_u (local.get $at) (global.get $out_end)))
        (call $transfer
          (i32.add (global.get $out) (local.get $at))
          (i32.sub (global.get $out_end) (local.get $at)))
        (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
          (then (call $proc_exit (i32.const 1))))
        (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
        (br $more)))
    (global.set $out_end (i32.const 0)))

  (func $put (param $byte i32)
    (if (i32.eq (global.get $out_end) (global.get $out_size))
      (then (call $flush)))
    (i32.store8 (i32.add (global.get $out) (global.get $out_end)) (local.get $byte))
    (global.set $out_end (i32.add (global.get $out_end) (i32.const 1))))

  ;; Whether $low <= $byte <= $high.
  (func $in_range (param $byte i32) (param $low i32) (param $high i32) (result i32)
    (i32.le_u
      (i32.sub (local.get $byte) (local.get $low))
      (i32.sub (local.get $high) (local.get $low))))

  ;; Four hexadecimal digits: what follows \u.
  (func $hex4 (result i32) (local $left i32) (local $byte i32) (local $value i32)
    (local.set $left (i32.const 4))
    (loop $digit
      (local.set $byte (call $get))
      (if (call $in_range (local.get $byte) (i32.const 0x30) (i32.const 0x39)) ;; 0-9
        (then (local.set $byte (i32.sub (local.get $byte) (i32.const 0x30))))
        (else
          (local.set $byte (i32.or (local.get $byte) (i32.const 0x20))) ;; -1 stays -1
          (if (i32.eqz (call $in_range (local.get $byte) (i32.const 0x61) (i32.const 0x66))) ;; a-f
            (then (call $fail)))
          (local.set $byte (i32.sub (local.get $byte) (i32.const 0x57)))))
      (local.set $value (i32.or (i32.shl (local.get $value) (i32.const 4)) (local.get $byte)))
      (br_if $digit (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (local.get $value))

  ;; What follows a backslash. The escapes other than \u stand for no letter or digit: a space does
  ;; for them all.
  (func $escape (result i32) (local $byte i32)
    (local.set $byte (call $get))
    (if (i32.eq (local.get $byte) (i32.const 0x75)) ;; u
      (then (return (call $hex4))))
    (block $known
      (br_if $known (i32.eq (local.get $byte) (i32.const 0x22))) ;; "
      (br_if $known (i32.eq (local.get $byte) (i32.const 0x5c))) ;; \
      (br_if $known (i32.eq (local.get $byte) (i32.const 0x2f))) ;; /
      (br_if $known (i32.eq (local.get $byte) (i32.const 0x62))) ;; b
      (br_if $known (i32.eq (local.get $byte) (i32.const 0x66))) ;; f
      (br_if $known (i32.eq (local.get $byte) (i32.const 0x6e))) ;; n
      (br_if $known (i32.eq (local.get $byte) (i32.const 0x72))) ;; r
      (br_if $known (i32.eq (local.get $byte) (i32.const 0x74))) ;; t
      (call $fail))
    (i32.const 0x20))

  ;; The next character of the string, or -1 after its closing quote. A byte of a character outside
  ;; ASCII comes as it is.
  (func $character (result i32) (local $byte i32)
    (local.set $byte (call $get))
    (if (i32.eq (local.get $byte) (i32.const 0x22)) ;; "
      (then (return (i32.const -1))))
    (if (i32.eq (local.get $byte) (i32.const 0x5c)) ;; \
      (then (return (call $escape))))
    (if (i32.lt_s (local.get $byte) (i32.const 0x20)) ;; a control character, or the end
      (then (call $fail)))
    (local.get $byte))

  ;; The first byte after white space, or -1.
  (func $skip_space (result i32) (local $byte i32)
    (loop $again
      (local.set $byte (call $get))
      (br_if $again (i32.eq (local.get $byte) (i32.const 0x20)))
      (br_if $again (call $in_range (local.get $byte) (i32.const 0x09) (i32.const 0x0a))) ;; tab, newline
      (br_if $again (i32.eq (local.get $byte) (i32.const 0x0d))))
    (local.get $byte))

  ;; Letters become lower case, letters and digits stay, and every run of anything else becomes one
  ;; hyphen, except at the ends.
  (func (export "_start") (local $char i32) (local $some i32) (local $gap i32)
    (if (i32.ne (call $skip_space) (i32.const 0x22)) ;; "
      (then (call $fail)))
    (call $put (i32.const 0x22))
    (block $end
      (loop $next
        (local.set $char (call $character))
        (br_if $end (i32.eq (local.get $char) (i32.const -1)))
        (if (call $in_range (local.get $char) (i32.const 0x41) (i32.const 0x5a)) ;; A-Z
          (then (local.set $char (i32.or (local.get $char) (i32.const 0x20)))))
        (if (i32.or
              (call $in_range (local.get $char) (i32.const 0x61) (i32.const 0x7a))  ;; a-z
              (call $in_range (local.get $char) (i32.const 0x30) (i32.const 0x39))) ;; 0-9
          (then
            (if (i32.and (local.get $gap) (local.get $some))
              (then (call $put (i32.const 0x2d)))) ;; -
            (call $put (local.get $char))
            (local.set $some (i32.const 1))
            (local.set $gap (i32.const 0)))
          (else (local.set $gap (i32.const 1))))
        (br $next)))
    (if (i32.ne (call $skip_space) (i32.const -1)) ;; something follows the string
      (then (call $fail)))
    (call $put (i32.const 0x22))
    (call $put (i32.const 0x0a))
    (call $flush)))
