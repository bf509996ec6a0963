//! Messages with descriptors over a `SOCK_SEQPACKET` socket: one packet, one message.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message, in bytes. The kernel's default socket buffer (212,992 bytes) holds it.
pub const MAX_PACKET_BYTES: usize = 160 << 10;

/// Most descriptors that one message carries: the streams, the root and the granted mounts.
pub const MAX_DESCRIPTORS: usize = 64;

/// Why a message was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The other side closed its end.
    #[error("the other side closed the socket")]
    Closed,
    /// It is longer than [`MAX_PACKET_BYTES`], or carries more than [`MAX_DESCRIPTORS`].
    #[error("a message of {bytes} bytes and {descriptors} descriptors is too large")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// Its descriptors.
        descriptors: usize,
    },
    /// It is not one of ours.
    #[error("a message is malformed")]
    Malformed(#[from] serde_json::Error),
    /// The socket failed.
    #[error("the socket failed")]
    Io(#[from] rustix::io::Errno),
}

/// Sends one message.
///
/// # Errors
/// [`PacketError`]; on a non-blocking socket, [`PacketError::Io`] with `EAGAIN` when it is full.
pub fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), PacketError> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_PACKET_BYTES || descriptors.len() > MAX_DESCRIPTORS {
        return Err(PacketError::TooLarge {
            bytes: bytes.len(),
            descriptors: descriptors.len(),
        });
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    match sendmsg(
        socket,
        &[IoSlice::new(&bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    ) {
        Ok(_) => Ok(()),
        Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(PacketError::Closed),
        Err(e) => Err(e.into()),
    }
}

/// Receives one message with its descriptors, all close-on-exec.
///
/// # Errors
/// [`PacketError`]; on a non-blocking socket, [`PacketError::Io`] with `EAGAIN` when there is none.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<(T, Vec<OwnedFd>), PacketError> {
    let mut bytes = vec![0; MAX_PACKET_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = match recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    ) {
        Ok(received) => received,
        Err(rustix::io::Errno::CONNRESET) => return Err(PacketError::Closed),
        Err(e) => return Err(e.into()),
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    if received.bytes == 0 {
        return Err(PacketError::Closed);
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(PacketError::TooLarge {
            bytes: received.bytes,
            descriptors: descriptors.len(),
        });
    }
    let message = serde_json::from_slice(&bytes[..received.bytes])?;
    Ok((message, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
    }

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (a, b) = pair();
        send(&a, &"hello", &[a.as_fd(), b.as_fd()]).unwrap();
        let (text, descriptors): (String, _) = receive(&b).unwrap();
        assert_eq!((text.as_str(), descriptors.len()), ("hello", 2));
    }

    #[test]
    fn the_longest_message_fits_and_a_longer_one_is_refused() {
        let (a, b) = pair();
        let longest = "x".repeat(MAX_PACKET_BYTES - 2);
        send(&a, &longest, &[]).unwrap();
        assert_eq!(receive::<String>(&b).unwrap().0, longest);
        let longer = "x".repeat(MAX_PACKET_BYTES - 1);
        assert!(matches!(
            send(&a, &longer, &[]),
            Err(PacketError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_closed_socket_and_a_foreign_message_are_told_apart() {
        let (a, b) = pair();
        rustix::net::send(&a, b"{", SendFlags::empty()).unwrap();
        assert!(matches!(
            receive::<String>(&b),
            Err(PacketError::Malformed(_))
        ));
        drop(a);
        assert!(matches!(receive::<String>(&b), Err(PacketError::Closed)));
    }
}
