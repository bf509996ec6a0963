//! Whatever a guest sends is frames of replies, or an error.
#![no_main]

use axo_guest_proto::{Frame, Hello, Kind, Message as _, Reply};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes;
    while let Ok(Some((frame, rest))) = Frame::split(bytes) {
        match frame.kind {
            Kind::Hello => drop(Hello::from_payload(frame.payload)),
            Kind::Control => {
                if let Ok(reply) = Reply::from_payload(frame.payload) {
                    let again = reply.to_frame().expect("what was read can be written");
                    let (frame, _) = Frame::split(&again).expect("a frame").expect("a whole one");
                    assert_eq!(Reply::from_payload(frame.payload).expect("a reply"), reply);
                }
            }
            Kind::Input | Kind::Output | Kind::Error => {}
        }
        bytes = rest;
    }
});
