//! Threat 35: a component may import `wasi:sockets`, and gets no socket.

use axocoatl_isolation::Termination;
use serde_json::json;

use crate::support::{builder, call, wat};

/// A component that asks for a socket from `interface` by `function`, whose resource `socket` is
/// declared by `declaring`. It succeeds if it is refused with `access-denied`.
fn asks_for_a_socket(declaring: &str, socket: &str, interface: &str, function: &str) -> String {
    format!(
        r#"(component
  (import "wasi:sockets/network@0.2.0" (instance $network
    (type $codes (enum "unknown" "access-denied" "not-supported" "invalid-argument"
      "out-of-memory" "timeout" "concurrency-conflict" "not-in-progress" "would-block"
      "invalid-state" "new-socket-limit" "address-not-bindable" "address-in-use"
      "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure"
      "permanent-resolver-failure"))
    (export "error-code" (type (eq $codes)))
    (type $families (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $families)))))
  (alias export $network "error-code" (type $error-code))
  (alias export $network "ip-address-family" (type $family))
  (import "{declaring}" (instance $declaring (export "{socket}" (type (sub resource)))))
  (alias export $declaring "{socket}" (type $socket))
  (import "{interface}" (instance $create
    (export "error-code" (type $code (eq $error-code)))
    (export "ip-address-family" (type $kind (eq $family)))
    (export "{socket}" (type $made (eq $socket)))
    (type $result (result (own $made) (error $code)))
    (export "{function}" (func (param "address-family" $kind) (result $result)))))
  (core module $memory (memory (export "memory") 1))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $bytes))
  (core func $ask (canon lower (func $create "{function}") (memory $bytes)))
  (core module $main
    (import "host" "ask" (func $ask (param i32 i32)))
    (import "host" "memory" (memory 1))
    ;; The result is at 16: 1 for an error, whose code is 4 bytes on; access-denied is 1.
    (func (export "run") (result i32)
      (call $ask (i32.const 0) (i32.const 16))
      (i32.eqz (i32.and
        (i32.eq (i32.load8_u (i32.const 16)) (i32.const 1))
        (i32.eq (i32.load8_u (i32.const 20)) (i32.const 1))))))
  (core instance $main (instantiate $main (with "host" (instance
    (export "ask" (func $ask)) (export "memory" (memory $bytes))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exports)))"#
    )
}

#[tokio::test]
async fn a_component_that_asks_for_a_socket_is_denied() {
    for (declaring, socket, interface, function) in [
        (
            "wasi:sockets/tcp@0.2.0",
            "tcp-socket",
            "wasi:sockets/tcp-create-socket@0.2.0",
            "create-tcp-socket",
        ),
        (
            "wasi:sockets/udp@0.2.0",
            "udp-socket",
            "wasi:sockets/udp-create-socket@0.2.0",
            "create-udp-socket",
        ),
    ] {
        let home = tempfile::tempdir().unwrap();
        let text = asks_for_a_socket(declaring, socket, interface, function);
        let engine = builder(home.path()).tool(wat("t", &text)).build().unwrap();
        let outcome = engine.call(call("t", json!(null))).await;
        let outcome =
            outcome.unwrap_or_else(|e| panic!("{e}: {:?}", std::error::Error::source(&e)));
        assert_eq!(
            outcome.termination,
            Termination::Exited(0),
            "{function} was not denied"
        );
    }
}
