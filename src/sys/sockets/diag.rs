//! `sock_diag(7)`: the kernel's table of sockets, filtered by the kernel.

use std::{io, time::Duration};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
    netlink::{self, SocketAddrNetlink},
    sockopt::{self, Timeout},
};

use super::table::{Row, State};

/// The kernel makes its answers no larger than the room that there is for them, if that is a page or 8
/// KiB: netlink(7).
const ANSWER: usize = 8 * 1024;

/// The kernel answers while it is asked; this is for a kernel that does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// As [`super::table::rows`].
pub(super) fn rows(state: State, port: Option<u16>) -> io::Result<Vec<Row>> {
    let mut rows = dump(AF_INET, state, port)?;
    rows.extend(dump(AF_INET6, state, port)?);
    Ok(rows)
}

fn dump(family: u8, state: State, port: Option<u16>) -> io::Result<Vec<Row>> {
    let protocol = Some(netlink::SOCK_DIAG);
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let request = request(family, state, port);
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &kernel)?;
    let mut answer = [0; ANSWER];
    let mut rows = Vec::new();
    loop {
        let (_, size) = rustix::net::recv(&socket, &mut answer, RecvFlags::TRUNC)?;
        let whole = answer.get(..size).ok_or_else(|| io::Error::other("a cut answer"))?;
        if collect(whole, &mut rows)? == More::No {
            return Ok(rows);
        }
    }
}

fn request(family: u8, state: State, port: Option<u16>) -> Vec<u8> {
    let states = match state {
        State::Established => StateFlags::ESTABLISHED,
        State::Listening => StateFlags::LISTEN,
    };
    // Of the socket id, a dump heeds the ports, where they are not 0.
    let socket_id = SocketId { source_port: port.unwrap_or(0), ..SocketId::new_v4() };
    let extensions = ExtensionFlags::empty();
    let request = InetRequest { family, protocol: IPPROTO_TCP, extensions, states, socket_id };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Whether another answer follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Yes,
    No,
}

/// Adds what an answer holds: one message behind the other, each begun at a multiple of 4 bytes.
fn collect(mut answer: &[u8], rows: &mut Vec<Row>) -> io::Result<More> {
    while !answer.is_empty() {
        let message: NetlinkMessage<SockDiagMessage> =
            NetlinkMessage::deserialize(answer).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(told)) => {
                rows.push(row(&told.header));
            }
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(io::Error::from_raw_os_error(-done.code));
            }
            NetlinkPayload::Done(_) => return Ok(More::No),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => {}
        }
        let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(More::Yes)
}

fn row(told: &InetResponseHeader) -> Row {
    Row {
        port: told.socket_id.source_port,
        peer: (told.socket_id.destination_address, told.socket_id.destination_port).into(),
        inode: u64::from(told.inode),
        waiting: told.recv_queue,
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        assert!(collect(b"nonsense", &mut Vec::new()).is_err());
        assert!(collect(&[0; 64], &mut Vec::new()).is_err());
    }

    #[test]
    fn what_the_kernel_refuses_is_told_as_its_error() {
        let refused = dump(250, State::Listening, None).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::INVAL.raw_os_error()));
    }
}
