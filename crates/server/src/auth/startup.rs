//! Whether a server may start as it is configured: not open to a network without a lock.

use super::AuthConfig;
use super::config::Algorithm;

/// # Errors
/// A sentence that says what to set.
pub fn check_startup(config: &AuthConfig) -> Result<(), String> {
    if config.algorithm != Algorithm::Off {
        return Ok(());
    }
    match config.addresses.iter().find(|address| !address.ip().is_loopback()) {
        None => {
            tracing::info!("authentication is off: everybody on this machine may do everything");
            Ok(())
        }
        Some(address) if config.insecure_no_auth => {
            tracing::warn!(%address, "authentication is off, as told: everybody who reaches this address may do everything");
            Ok(())
        }
        Some(address) => Err(format!(
            "{address} can be reached from other machines and authentication is off; set auth_algorithm and its key, \
             listen on 127.0.0.1, or say --insecure-no-auth"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Role};

    #[test]
    fn only_loopback_is_open_without_being_told() {
        let open = "0.0.0.0:8003".parse().unwrap();
        let check = |config: Config| check_startup(&AuthConfig::from(&config));
        assert!(check(Config::default()).is_ok());
        let reached = Config { gateway_addr: open, ..Config::default() };
        assert!(check(reached.clone()).unwrap_err().contains("0.0.0.0:8003"));
        assert!(check(Config { role: vec![Role::Api], ..reached.clone() }).is_ok(), "the gateway does not run");
        assert!(check(Config { insecure_no_auth: true, ..reached.clone() }).is_ok());
        assert!(check(Config { auth_algorithm: Algorithm::EdDSA, ..reached }).is_ok());
    }
}
