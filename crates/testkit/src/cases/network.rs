//! The ways out of a sandbox that has no network.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use serde_json::json;

use super::Need::Kernel;
use super::host::{EACCES, EPERM, edit, everything_worked};
use super::{Case, Sabotage, case, ensure, output};
use crate::rig::Request;

/// The kernel, or a filter, knows no such family or protocol.
const UNKNOWN: [i64; 4] = [EPERM, EACCES, 93, 97];

/// Connections, and one datagram.
const WAYS: [&str; 12] = [
    "loopback4",
    "loopback6",
    "mapped",
    "any",
    "host",
    "metadata",
    "udp",
    "abstract",
    "unix",
    "vsock_host",
    "vsock_local",
    "vsock_socket",
];

/// An address of this host that is not loopback, if it has one. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

pub(super) const CASES: &[Case] = &[
    case!(
        no_way_leads_out,
        "threats 35 and 36",
        [Kernel],
        Sabotage::Outcome(everything_worked),
        |rig| {
            let text = |e: std::io::Error| e.to_string();
            // Canaries: whoever listens on every address, on a path and on an abstract name.
            let tcp = TcpListener::bind("0.0.0.0:0").map_err(text)?;
            let port = tcp.local_addr().map_err(text)?.port();
            let home = tempfile::tempdir().map_err(text)?;
            let path = home.path().join("s");
            let unix = UnixListener::bind(&path).map_err(text)?;
            let name = format!("axocoatl-canary-{port}");
            let address = SocketAddr::from_abstract_name(&name).map_err(text)?;
            let hidden = UnixListener::bind_addr(&address).map_err(text)?;
            let mut arguments = json!({"port": port, "abstract": name, "unix": path});
            if let Some(host) = own_address() {
                arguments["host"] = json!(host);
            }
            let found = output(&rig.call(Request::new("network", arguments)).await?)?;
            // A virtual machine may talk vsock among its own; a container's is the host's.
            let own_vsock = rig.tier() == axo_core::Tier::MicroVm;
            for way in WAYS {
                let harmless = own_vsock && (way == "vsock_local" || way == "vsock_socket");
                ensure(
                    harmless || found[way].as_i64().is_some_and(|errno| errno != 0),
                    || format!("{way} came to {}", found[way]),
                )?;
            }
            tcp.set_nonblocking(true).map_err(text)?;
            unix.set_nonblocking(true).map_err(text)?;
            hidden.set_nonblocking(true).map_err(text)?;
            ensure(
                tcp.accept().is_err() && unix.accept().is_err() && hidden.accept().is_err(),
                || "a connection arrived".into(),
            )
        }
    ),
    case!(
        no_raw_packet_can_be_sent,
        "threat 35",
        [Kernel],
        Sabotage::Outcome(everything_worked),
        |rig| {
            let found = output(
                &rig.call(Request::new("network", json!({"port": 9})))
                    .await?,
            )?;
            for family in ["packet", "raw4", "raw6", "bluetooth", "can"] {
                let errno = found[family].as_i64().unwrap_or_default();
                ensure(UNKNOWN.contains(&errno), || {
                    format!("a socket of {family} came to {errno}")
                })?;
            }
            Ok(())
        }
    ),
    case!(
        no_interface_but_loopback_is_up,
        "threat 35",
        [Kernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| {
                found["interfaces"]["eth0"] = json!({"up": true, "addresses": 1});
            });
        }),
        |rig| {
            let found = output(
                &rig.call(Request::new("network", json!({"port": 9})))
                    .await?,
            )?;
            let interfaces = found["interfaces"].as_object();
            // Some kernels put their tunnels, all down, into every new network namespace.
            for (name, interface) in interfaces.ok_or("no list")? {
                let idle = interface["up"] == false && interface["addresses"] == 0;
                ensure(name == "lo" || idle, || format!("{name} is {interface}"))?;
            }
            Ok(())
        }
    ),
];
