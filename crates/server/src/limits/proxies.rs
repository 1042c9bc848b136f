//! Whom a connection stands for: the peer, or behind a proxy of the configuration the client that it names.

use std::net::IpAddr;

use axum::http::HeaderMap;

/// Proxies that may say for whom they ask, in `X-Forwarded-For`.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<Network>);

#[derive(Clone, Copy, Debug)]
struct Network {
    address: u128,
    bits: u32,
}

impl Proxies {
    /// Addresses, or networks such as `10.0.0.0/8`.
    ///
    /// # Errors
    /// A sentence on the one that is none.
    pub fn new(texts: &[String]) -> Result<Self, String> {
        let read = |text: &String| {
            let (address, bits) = text.split_once('/').map_or((text.as_str(), None), |(at, bits)| (at, Some(bits)));
            let address: IpAddr = address.parse().ok()?;
            let all: u32 = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(all), |bits| bits.parse().ok().filter(|bits| *bits <= all))?;
            Some(Network { address: wide(address), bits: bits + 128 - all })
        };
        let networks = texts.iter().map(|text| {
            read(text)
                .ok_or_else(|| format!("trusted_proxies: {text:?} is neither an address nor a network like 10.0.0.0/8"))
        });
        networks.collect::<Result<_, _>>().map(Self)
    }

    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = wide(address);
        self.0.iter().any(|network| {
            let shift = 128 - network.bits;
            shift == 128 || address >> shift == network.address >> shift
        })
    }

    /// The nearest address of the chain that is no trusted proxy. What stands before it in the header was written by
    /// the client itself; a header with something that is no address is not believed at all.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
            return peer;
        }
        let mut client = peer;
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        for hop in lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(',').map(str::trim)) {
            let Ok(address) = hop.parse::<IpAddr>() else { return peer };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client
    }
}

/// IPv4 as mapped into IPv6, so that both are compared alike.
fn wide(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies = Proxies::new(&["10.0.0.0/8".into(), "192.0.2.7".into(), "2001:db8::/32".into()]).unwrap();
        let check = |peer: &str, forwarded: &[&str], expect: &str| {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let client = proxies.client(peer.parse().unwrap(), &headers);
            assert_eq!(client, expect.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        };
        check("203.0.113.1", &["198.51.100.9"], "203.0.113.1");
        check("10.1.2.3", &["198.51.100.9"], "198.51.100.9");
        check("::ffff:10.1.2.3", &["198.51.100.9"], "198.51.100.9");
        check("10.1.2.3", &["1.1.1.1, 198.51.100.9, 192.0.2.7"], "198.51.100.9");
        check("10.1.2.3", &["1.1.1.1", "198.51.100.9"], "198.51.100.9");
        check("2001:db8::1", &["2001:db9::2"], "2001:db9::2");
        check("10.1.2.3", &["10.9.9.9"], "10.9.9.9");
        check("10.1.2.3", &["198.51.100.9, nonsense"], "10.1.2.3");
        check("10.1.2.3", &[], "10.1.2.3");
        assert!(Proxies::new(&["10.0.0.0/33".into()]).is_err() && Proxies::new(&["proxy".into()]).is_err());
    }
}
