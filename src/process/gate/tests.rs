use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use super::*;

pub(super) fn gate() -> Arc<Gate> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    Gate::new("api@8000".parse().unwrap(), free, Shelf::default())
}

fn accepted(listener: &Listener) -> usize {
    let listener = TcpListener::from(listener.descriptor().unwrap());
    listener.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| listener.accept().ok()).count()
}

#[test]
fn a_new_side_gets_only_probes_until_it_is_faced() {
    let gate = gate();
    let knock = |n: usize| (0..n).for_each(|_| drop(TcpStream::connect(gate.address()).unwrap()));
    let old = gate.open(Side::B).unwrap();
    let new = gate.open(Side::A).unwrap();
    assert_eq!(gate.open(Side::A).unwrap(), new);
    knock(20);
    assert_eq!(gate.waiting(Side::B).unwrap(), 20);
    assert_eq!((accepted(&old), accepted(&new)), (20, 0));

    let probe = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    );
    let probe = probe.unwrap();
    rustix::net::bind(&probe, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let source = SocketAddr::try_from(rustix::net::getsockname(&probe).unwrap()).unwrap();
    gate.let_in(source.port(), Side::A).unwrap();
    rustix::net::connect(&probe, &gate.address()).unwrap();
    assert_eq!((accepted(&old), accepted(&new)), (0, 1));

    gate.face(Side::A).unwrap();
    knock(20);
    assert_eq!((accepted(&old), accepted(&new)), (0, 20));
    gate.close(Side::B);
    drop(old);
    let newest = gate.open(Side::B).unwrap();
    knock(20);
    assert_eq!((accepted(&new), accepted(&newest)), (20, 0));
    gate.close(Side::A);
    drop(new);
    knock(20);
    assert_eq!(accepted(&newest), 20);
}

#[test]
fn whoever_has_the_port_is_named() {
    let squatter = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = squatter.local_addr().unwrap();
    let gate = Gate::new("api@8000".parse().unwrap(), address, Shelf::default());
    let refused = gate.open(Side::A).unwrap_err().to_string();
    assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
}

#[test]
fn what_is_on_the_shelf_is_taken_up_and_a_stranger_is_not() {
    let gate = gate();
    let found = listener::bind(gate.address()).unwrap();
    listener::listen(found.as_fd()).unwrap();
    let elsewhere = listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let again = |side: Side, fd: &OwnedFd| {
        let name = format!("listener-api@8000.{side}");
        let found = BTreeMap::from([(name, fd.try_clone().unwrap())]);
        let shelf = Shelf::new(found, None);
        Gate::new("api@8000".parse().unwrap(), gate.address(), shelf)
    };
    let next = again(Side::B, &found);
    assert!(next.recover(Side::B, None).unwrap() && !next.recover(Side::A, None).unwrap());
    assert_eq!(next.open(Side::B).unwrap(), Listener::of(found).unwrap());
    assert!(!again(Side::A, &elsewhere).recover(Side::A, None).unwrap());
}
