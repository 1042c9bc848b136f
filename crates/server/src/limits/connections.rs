//! Open connections in all, per address and per subject.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::Proxies;

/// Counts one kind of connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connections {
    total_max: usize,
    address_max: usize,
    subject_max: usize,
    limit_loopback: bool,
    proxies: Proxies,
    counts: Arc<Mutex<Counts>>,
}

/// Only what is open has an entry, so the maps are bounded by the total.
#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
    by_subject: HashMap<Box<str>, usize>,
}

/// A place; dropping it gives it back.
#[derive(Debug)]
pub struct ConnectionGuard {
    owner: Connections,
    address: IpAddr,
    subject: Option<Box<str>>,
}

impl Connections {
    /// 0 switches the limits per address and per subject off.
    #[must_use]
    pub fn new(
        total_max: usize,
        address_max: usize,
        subject_max: usize,
        limit_loopback: bool,
        proxies: &Proxies,
    ) -> Self {
        Self { total_max, address_max, subject_max, limit_loopback, proxies: proxies.clone(), counts: Arc::default() }
    }

    /// A place for a connection from `address`, before anything is read from it.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> Option<ConnectionGuard> {
        // A proxy stands for all its clients, which are counted when they are known.
        let limited = self.limits(address) && !self.proxies.trusts(address);
        let address = network(address);
        let mut counts = self.lock();
        let of_address = counts.by_address.get(&address).copied().unwrap_or_default();
        if counts.total >= self.total_max || (limited && of_address >= self.address_max) {
            return None;
        }
        counts.total += 1;
        counts.by_address.insert(address, of_address + 1);
        drop(counts);
        Some(ConnectionGuard { owner: self.clone(), address, subject: None })
    }

    #[must_use]
    pub fn open(&self) -> usize {
        self.lock().total
    }

    fn limits(&self, address: IpAddr) -> bool {
        self.address_max > 0 && (self.limit_loopback || !address.is_loopback())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionGuard {
    /// Counts the connection for the client that a proxy named, instead of for the proxy. `false`: it has too many.
    #[must_use]
    pub fn forward(&mut self, client: IpAddr) -> bool {
        let limited = self.owner.limits(client);
        let client = network(client);
        if client == self.address {
            return true;
        }
        let mut counts = self.owner.lock();
        let open = counts.by_address.get(&client).copied().unwrap_or_default();
        if limited && open >= self.owner.address_max {
            return false;
        }
        counts.by_address.insert(client, open + 1);
        leave(&mut counts.by_address, &self.address);
        drop(counts);
        self.address = client;
        true
    }

    /// Counts the connection for the subject that its token names. `false`: the subject has too many.
    #[must_use]
    pub fn identify(&mut self, subject: &str) -> bool {
        if self.subject.is_some() {
            return true;
        }
        let mut counts = self.owner.lock();
        let open = counts.by_subject.get(subject).copied().unwrap_or_default();
        if self.owner.subject_max > 0 && open >= self.owner.subject_max {
            return false;
        }
        counts.by_subject.insert(subject.into(), open + 1);
        drop(counts);
        self.subject = Some(subject.into());
        true
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut counts = self.owner.lock();
        counts.total -= 1;
        leave(&mut counts.by_address, &self.address);
        if let Some(subject) = &self.subject {
            leave(&mut counts.by_subject, subject);
        }
    }
}

fn leave<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// What stands for one client: an IPv4 address, or the /64 that one IPv6 client has to itself.
#[must_use]
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let prefix = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let connections = Connections::new(3, 2, 1, false, &Proxies::default());
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut first = connections.enter(one).unwrap();
        let mut second = connections.enter(one).unwrap();
        assert!(connections.enter(one).is_none(), "two of an address");
        assert!(first.identify("ann") && first.identify("ann"));
        assert!(!second.identify("ann"), "one of a subject");
        let _third = connections.enter(other).unwrap();
        assert!(connections.enter(other).is_none(), "three in all");
        drop(first);
        assert!(second.identify("ann"));
        assert!(connections.enter(one).is_some());
        drop(second);
        assert_eq!(connections.open(), 1);
    }

    #[test]
    fn clients_behind_a_proxy_are_counted_one_by_one() {
        let proxies = Proxies::new(&["192.0.2.1".to_owned()]).unwrap();
        let connections = Connections::new(9, 1, 0, false, &proxies);
        let (proxy, one, other) =
            ("192.0.2.1".parse().unwrap(), "198.51.100.1".parse().unwrap(), "198.51.100.2".parse().unwrap());
        let mut places: Vec<_> = (0..3).map(|_| connections.enter(proxy).unwrap()).collect();
        assert!(places[0].forward(one) && places[0].forward(one));
        assert!(!places[1].forward(one), "one has its connection");
        assert!(places[2].forward(other));
        drop(places);
        assert_eq!(connections.open(), 0);
        assert!(connections.lock().by_address.is_empty());
    }

    #[test]
    fn one_ipv6_client_is_one() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
