//! Whether a server may start as it is configured: not open to a network without a lock.

use std::net::SocketAddr;

use super::AuthConfig;

/// `addresses` are all that the server will listen on.
///
/// # Errors
/// A sentence that says what to set.
pub fn check_startup(config: &AuthConfig, addresses: &[SocketAddr]) -> Result<(), String> {
    if config.algorithm.is_some() {
        return Ok(());
    }
    match addresses.iter().find(|address| !address.ip().is_loopback()) {
        None => {
            tracing::info!("authentication is off: everybody on this machine may do everything");
            Ok(())
        }
        Some(address) if config.insecure_no_auth => {
            tracing::warn!(%address, "authentication is off, as told: everybody who reaches this address may do everything");
            Ok(())
        }
        Some(address) => Err(format!(
            "{address} can be reached from other machines and authentication is off; set auth.algorithm and its key, \
             listen on 127.0.0.1, or say --insecure-no-auth"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::config::Algorithm;

    #[test]
    fn only_loopback_is_open_without_being_told() {
        let local = "127.0.0.1:8001".parse().unwrap();
        let open = "0.0.0.0:8003".parse().unwrap();
        let off = AuthConfig::default();
        assert!(check_startup(&off, &[local, "[::1]:8001".parse().unwrap()]).is_ok());
        assert!(check_startup(&off, &[local, open]).unwrap_err().contains("0.0.0.0:8003"));
        assert!(check_startup(&AuthConfig { insecure_no_auth: true, ..off.clone() }, &[open]).is_ok());
        assert!(check_startup(&AuthConfig { algorithm: Some(Algorithm::EdDSA), ..off }, &[open]).is_ok());
    }
}
