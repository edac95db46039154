//! Which requests are a service's own. Pure.

use std::net::{IpAddr, SocketAddr};

use super::line::{Logged, Try};
use crate::{
    ident::{Port, ServiceName},
    nginx::{Proxied, render},
};

/// A service, as nginx's log names it.
#[derive(Debug, Clone)]
pub struct Whose {
    upstream: ServiceName,
    host: IpAddr,
}

impl Whose {
    pub(super) fn new(proxied: &Proxied) -> Self {
        Self { upstream: proxied.options.name.clone(), host: render::reached(proxied.host) }
    }

    #[cfg(test)]
    pub(crate) fn at(upstream: ServiceName, host: IpAddr) -> Self {
        Self { upstream, host }
    }

    /// The instances that nginx asked for `logged`, in order, where it is a request to the service
    /// with one of `slots`. None were asked where the upstream had none left.
    #[must_use]
    pub fn asked<'l>(
        &self,
        logged: &'l Logged<'l>,
        slots: &[Port],
    ) -> Option<Vec<(Port, &'l Try<'l>)>> {
        let of_slot = |tried: &&'l Try<'l>| {
            let address: SocketAddr = tried.to.parse().ok()?;
            let port = slots.iter().find(|port| port.get() == address.port())?;
            (address.ip() == self.host).then_some(*port)
        };
        let asked: Vec<_> =
            logged.tries.iter().filter_map(|tried| Some((of_slot(&tried)?, tried))).collect();
        let ours = || logged.tries.iter().any(|tried| self.is_upstream(tried.to));
        (!asked.is_empty() || ours()).then_some(asked)
    }

    /// Where colours are upstreams of their own, they bear its name too.
    fn is_upstream(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.upstream.as_str());
        matches!(rest, Some("" | "_blue" | "_green"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Option<Vec<u16>> {
        let whose = Whose::at("api_backend".parse().unwrap(), [127, 0, 0, 1].into());
        let slots = [8000, 8001].map(|port| Port::new(port).unwrap());
        let logged = Logged::read(line).unwrap();
        let asked = whose.asked(&logged, &slots)?;
        Some(asked.into_iter().map(|(port, _)| port.get()).collect())
    }

    #[test]
    fn only_the_service_s_own_count() {
        let line = |to: &str| asked(&format!("1.000|200|0.001|OK|{to}|200|0.001|"));
        assert_eq!(line("127.0.0.1:8000"), Some(vec![8000]));
        assert_eq!(line("127.0.0.1:8000, 127.0.0.1:8001"), Some(vec![8000, 8001]));
        assert_eq!(line("127.0.0.1:8000, api_backend"), Some(vec![8000]));
        assert_eq!(line("api_backend"), Some(vec![]));
        assert_eq!(line("api_backend_green"), Some(vec![]));
        for other in ["127.0.0.1:8002", "127.0.0.2:8000", "unix:/run/php.sock", "admin_backend"] {
            assert_eq!(line(other), None, "{other}");
        }
    }
}
